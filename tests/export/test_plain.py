"""A guided network as a plain classifier, and what becomes of the guided network."""

import copy

import pytest
import torch
from torch import nn

from neuroalign import GuidedClassificationTask, GuidedNetwork, NeuralPredictor, PlainClassifier
from neuroalign.export.equality import check_equal, trial_images
from neuroalign.export.plain import plain_network

SHAPE = (3, 8, 8)


def guided(**options):
    return GuidedNetwork("small_resnet", 5, {"V4": ("layer2", 7)}, image_shape=SHAPE, **options)


def with_statistics(network):
    """A network whose batch statistics are not those of a new one, so that the two modes differ."""
    network.train()(torch.rand(16, *SHAPE))
    return network


def test_the_logits_of_eval_mode_without_heads_or_taps():
    network = with_statistics(guided())
    plain, images = PlainClassifier(network), torch.rand(3, *SHAPE)
    expected = copy.deepcopy(network).eval()(images)
    assert not torch.equal(network(images), expected)  # still in training mode
    assert torch.equal(plain(images), expected)
    assert not any("head" in name for name, _ in plain.named_modules())
    assert not any(m._forward_hooks for m in plain.modules())
    assert not plain.training and plain.num_classes == 5


def test_the_guided_network_is_left_as_it_was():
    network = with_statistics(guided())
    network(torch.rand(4, *SHAPE)).sum().backward()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    plain = PlainClassifier(network)
    assert network.training and network.trunk.backbone.layer2.training
    assert len(network.trunk.backbone.layer2._forward_hooks) == 1
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    weight = network.classifier.weight
    assert weight.grad is not None and plain.classifier.weight.grad is None
    assert plain.classifier.weight is not weight and weight.requires_grad
    _, responses = network(torch.rand(2, *SHAPE), with_responses=True)
    assert responses["V4"].shape == (2, 7)


def test_hooks_that_are_no_taps_stay():
    network = guided()
    network.trunk.backbone.layer2.register_forward_hook(lambda _module, _inputs, output: output * 2)
    network.eval()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(PlainClassifier(network)(images), network(images))


def test_layers_and_weights_keep_their_names():
    network = guided()
    plain = PlainClassifier(network)
    assert set(plain.state_dict()) == {k for k in network.state_dict() if not k.startswith("heads.")}
    assert dict(plain.named_modules())["trunk.backbone.layer2"] is plain.trunk.backbone.layer2


def test_a_task_and_a_parallel_wrapper_are_opened():
    network = guided().eval()
    images = torch.rand(2, *SHAPE)
    for wrapped in (GuidedClassificationTask(network), nn.DataParallel(network), torch.compile(network)):
        assert torch.equal(PlainClassifier(wrapped)(images), network(images))


def test_loaded_from_a_checkpoint(tmp_path, quiet_trainer):
    from torch.utils.data import DataLoader, TensorDataset

    task = GuidedClassificationTask(guided(), lr=0.01)
    loader = DataLoader(TensorDataset(torch.rand(8, *SHAPE), torch.arange(8) % 5), batch_size=8)
    trainer = quiet_trainer(limit_val_batches=0)
    trainer.fit(task, loader, loader)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    images = torch.rand(2, *SHAPE)
    assert torch.equal(PlainClassifier.load(tmp_path / "last.ckpt")(images), task.network.eval()(images))


def test_a_file_of_something_else_is_refused(tmp_path):
    NeuralPredictor("small_resnet", 4, image_shape=SHAPE).save(tmp_path / "predictor.safetensors")
    with pytest.raises(ValueError, match="holds a NeuralPredictor, no GuidedNetwork"):
        PlainClassifier.load(tmp_path / "predictor.safetensors")
    with pytest.raises(TypeError, match="made of a GuidedNetwork; got a Linear"):
        PlainClassifier(nn.Linear(2, 2))


def test_facts_of_a_classifier_and_of_a_predictor():
    facts = plain_network(guided(mean=(0.5,) * 3, std=(0.25,) * 3), class_names="abcde")[1]
    assert (facts.output, facts.num_outputs, facts.image_shape) == ("logits", 5, SHAPE)
    assert (facts.mean, facts.std, facts.backbone) == ((0.5,) * 3, (0.25,) * 3, "small_resnet")
    assert facts.class_names == tuple("abcde")
    facts = plain_network(NeuralPredictor("small_resnet", 4, image_shape=SHAPE, mean=None, std=None))[1]
    assert (facts.output, facts.num_outputs, facts.mean) == ("responses", 4, None)
    facts = plain_network(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), image_shape=(3, 2, 2))[1]
    assert (facts.output, facts.num_outputs, facts.backbone) == ("outputs", 3, None)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (lambda: nn.Flatten(), {}, "give image_shape=.channel, height, width.: a Flatten"),
        (guided, {"class_names": ["cat"]}, "5 outputs, class_names 1"),
        (guided, {"image_shape": (1, 8, 8)}, r"doesn't run on images of shape \(1, 8, 8\): images have 1 channel"),
        (lambda: nn.Identity(), {"image_shape": SHAPE}, r"returned shape \(2, 3, 8, 8\)"),
    ],
)
def test_what_is_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        plain_network(network(), **options)


def test_no_module_is_refused():
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module; got a function"):
        plain_network(lambda x: x)


def test_outputs_are_compared():
    linear, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), [torch.rand(4, 3, 2, 2)]
    assert check_equal(linear, linear, images, 1e-5, "it") == 0
    share = check_equal(linear, lambda x: linear(x) * 1.001, images, 0.01, "it")
    assert share == pytest.approx(0.001, rel=1e-3)
    with pytest.raises(ValueError, match=r"it gives other outputs than the network: they differ by 0.5 of the largest"):
        check_equal(linear, lambda x: linear(x) * 1.5, images, 0.01, "it")
    with pytest.raises(ValueError, match="other outputs"):
        check_equal(linear, lambda x: linear(x) * torch.nan, images, 0.01, "it")
    with pytest.raises(ValueError, match=r"returns shape \(4, 2\), the network \(4, 3\)"):
        check_equal(linear, lambda x: linear(x)[:, :2], images, 0.01, "it")
    with pytest.raises(ValueError, match="NaN or infinite outputs"):
        check_equal(lambda x: linear(x) * torch.nan, linear, images, 0.01, "it")


def test_images_to_compare_on():
    assert torch.equal(trial_images(None, SHAPE, 1), trial_images(None, SHAPE, 1))
    with pytest.raises(ValueError, match=r"must be pixels in \[0, 1\]"):
        trial_images(torch.full((1, *SHAPE), 3.0), SHAPE, 0)
    with pytest.raises(ValueError, match=r"takes images of shape \(3, 8, 8\); got \(3, 9, 8\)"):
        trial_images(torch.rand(1, 3, 9, 8), SHAPE, 0)


def test_a_backbone_of_ones_own_is_given_again(tmp_path):
    network = GuidedNetwork(nn.Flatten(), 3, image_shape=SHAPE)
    network.save(tmp_path / "own.safetensors")
    images = torch.rand(2, *SHAPE)
    plain = PlainClassifier.load(tmp_path / "own.safetensors", backbone=nn.Flatten())
    assert torch.equal(plain(images), network.eval()(images))
