import pytest
import torch
from torch import nn

from neuroalign import GuidedNetwork, NeuralPredictor
from neuroalign.config import build, describe


def test_round_trip_of_a_network():
    network = GuidedNetwork("small_resnet", 5, {"V4": ("layer2", 7)}, image_shape=(3, 8, 8)).eval()
    again = build(network.config).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(again(images), network(images))


def test_a_foreign_module_has_no_description():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert NeuralPredictor(backbone, 3, image_shape=(3, 8, 8)).config is None
    assert describe("neuroalign.models.Frozen", module=lambda x: x) is None


@pytest.mark.parametrize("path", ["os.system", "neuroalign", "subprocess.run", "neuroalign._import_module"])
def test_only_our_own_names_are_built(path):
    with pytest.raises(ValueError, match=r"neuroalign"):
        build({"class_path": path, "init_args": {}})
