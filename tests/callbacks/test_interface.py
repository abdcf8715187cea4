"""Callbacks in other people's projects: outputs that hold more than logits, images normalised by a transform or a hook."""

import lightning as L
import pytest
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import PGD, InputSmoothnessCallback, ManifoldGeometryCallback, RobustnessCallback
from neuroalign.models import Normalize
from tests.evaluation.test_curve import images, network
from tests.evaluation.test_interface import MEAN, STD, normalized

ATTACK, EPS = PGD(steps=3), 0.008


class Project(L.LightningModule):
    """A project whose images are pixels: what the others are compared with."""

    told = {}

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(Normalize(MEAN, STD), network())

    def forward(self, x):
        return self.net(x)

    def logits(self, x):
        return self(x)

    def validation_step(self, batch, _):
        self.log("val/loss", F.cross_entropy(self.logits(batch[0]), batch[1]))

    def val_data(self):
        x = images(48)
        return x, network()(normalized(x)).argmax(1)

    def val_dataloader(self):
        return DataLoader(TensorDataset(*self.val_data()), 16)


class NormalizesInItsTransform(Project):
    """Its data are normalised, and its call gives a dict."""

    told = {"logits": "logits", "mean": MEAN, "std": STD}

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return {"logits": self.net(x), "features": x}

    def logits(self, x):
        return self(x)["logits"]

    def val_dataloader(self):
        x, labels = self.val_data()
        return DataLoader(TensorDataset(normalized(x), labels), 16)


class NormalizesInAHook(NormalizesInItsTransform):
    """It normalises batches as they come to the device, and its call gives a tuple."""

    told = {"logits": 1, "mean": MEAN, "std": STD}

    def forward(self, x):
        return x, self.net(x)

    def logits(self, x):
        return self(x)[1]

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return normalized(batch[0]), batch[1]

    def val_dataloader(self):
        return Project.val_dataloader(self)


def validated(project, callbacks):
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=callbacks)
    return {k: float(v) for k, v in trainer.validate(project, verbose=False)[0].items()}


def callbacks(layer, **told):
    return [
        RobustnessCallback(ATTACK, [0.0, EPS], **told),
        InputSmoothnessCallback(ATTACK, EPS, **told),
        ManifoldGeometryCallback(layer, num_per_class=None, num_samples=20),
    ]


@pytest.mark.parametrize("project", [NormalizesInItsTransform, NormalizesInAHook])
def test_the_numbers_of_the_same_project_in_pixels(project):
    expected = validated(Project(), callbacks("net.1.3"))
    found = validated(project(), callbacks("net.3", **project.told))
    found = {k.replace("net.3", "net.1.3"): v for k, v in found.items()}
    assert found == pytest.approx(expected, rel=1e-3)
    clean, robust = (expected[f"robust_accuracy/{ATTACK.name}/eps={e}"] for e in ("0", "0.008"))
    assert clean == 1 and 0 < robust < 1


@pytest.mark.parametrize("make", [lambda **k: RobustnessCallback(ATTACK, EPS, **k), InputSmoothnessCallback])
def test_what_is_missing_is_named(make):
    with pytest.raises(ValueError, match=r"give these to the evaluation or callback as mean=\.\.\. and std="):
        validated(NormalizesInItsTransform(), [make(logits="logits")])
    with pytest.raises(TypeError, match="a dict of 'logits', 'features', not a tensor of logits"):
        validated(NormalizesInItsTransform(), [make(mean=MEAN, std=STD)])
    with pytest.raises(ValueError, match="as pixels do"):
        validated(Project(), [make(mean=MEAN, std=STD)])
    with pytest.raises(ValueError, match="give both mean and std"):
        make(mean=MEAN)
    with pytest.raises(TypeError, match="a key, an index or a function"):
        make(logits=0.5)


def test_a_configuration_file_can_say_it():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_argument("--callback", type=L.Callback)
    for given, expected in (("logits", "logits"), (1, 1), (None, None)):
        config = {
            "class_path": "neuroalign.RobustnessCallback",
            "init_args": {
                "perturbations": {"class_path": "neuroalign.FGSM"}, "eps": 0.1, "logits": given, "mean": [0.4, 0.4, 0.4],
                "std": [0.2, 0.2, 0.2],
            },
        }  # fmt: skip
        built = parser.instantiate_classes(parser.parse_object({"callback": config})).callback
        assert built.interface.logits == expected and list(built.interface.mean) == [0.4] * 3
