"""Tensors on another device are told in words at the doors of losses, metrics and attacks; "meta" stands for one."""

import pytest
import torch
from torch import nn

import neuroalign as na
from neuroalign.functional.checks import check_devices
from neuroalign.losses import MEASURES

N = 12


def pair():
    return torch.randn(N, 6), torch.randn(N, 6).abs()


def labels():
    return torch.arange(N) % 3


def classifier():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


def manifolds():
    return na.CategoryManifolds.from_features(torch.randn(N, 6), labels())


PAIRED = {f"NeuralAlignmentLoss({name!r})": na.NeuralAlignmentLoss(name) for name in MEASURES} | {
    metric.__name__: metric().update
    for metric in (
        na.VoxelCorrelation,
        na.CKA,
        na.RSA,
        na.ProcrustesSimilarity,
        na.RidgePredictivity,
        na.SoftMatching,
        na.CCA,
    )
}
LABELLED = {
    "ManifoldGuidanceLoss": na.ManifoldGuidanceLoss(manifolds()),
    "CapacityLoss": na.CapacityLoss(),
    "MMCRLoss": na.MMCRLoss(),
    "NonNeuralManifoldLoss": na.NonNeuralManifoldLoss(),
    "CategoryManifolds": na.CategoryManifolds.from_features,
    "ManifoldGeometry": na.ManifoldGeometry().update,
    "RobustAccuracy": na.RobustAccuracy().update,
    "manifold_capacity": na.functional.manifold_capacity,
    "OddOneOutLoss": lambda x, y: na.OddOneOutLoss()(x, torch.arange(3)[None].to(y.device)),
    "RDMAlignmentLoss": lambda x, y: na.RDMAlignmentLoss(1 - torch.eye(N))(x, torch.arange(N).to(y.device)),
}
ATTACKS = [na.FGSM(), na.PGD(steps=2), na.APGD(steps=2), na.FMN(steps=2), na.DeepFool(), na.SquareAttack(num_queries=2),
           na.CarliniWagner(steps=2, search_steps=1)]  # fmt: skip


@pytest.mark.parametrize("which", ["preds", "target", "both"])
@pytest.mark.parametrize("door", PAIRED)
def test_measures_of_two_sides(door, which):
    preds, target = pair()
    preds = preds if which == "target" else preds.to("meta")
    target = target if which == "preds" else target.to("meta")
    with pytest.raises(
        ValueError, match=r"(preds|target) is on the device 'meta', where tensors have shapes but no values"
    ):
        PAIRED[door](preds, target)


@pytest.mark.parametrize("which", ["features", "labels"])
@pytest.mark.parametrize("door", LABELLED)
def test_measures_of_classes(door, which):
    x, y = torch.randn(N, 6), labels()
    x, y = (x.to("meta"), y) if which == "features" else (x, y.to("meta"))
    with pytest.raises(ValueError, match="on the device 'meta'"):
        LABELLED[door](x, y)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_attacks(attack):
    x, y = torch.rand(N, 3, 2, 2), labels()
    with pytest.raises(ValueError, match="images are on the device 'meta'"):
        attack(classifier(), x.to("meta"), y, 0.1)
    with pytest.raises(ValueError, match="labels is on the device 'meta'"):
        attack(classifier(), x, y.to("meta"), 0.1)
    with pytest.raises(ValueError, match="the model is on meta, the images on cpu: move one to the other's device"):
        attack(classifier().to("meta"), x, y, 0.1)


def test_what_a_loss_holds_is_on_its_device():
    preds, target = pair()
    with pytest.raises(ValueError, match="noise_ceiling is on the device 'meta'"):
        na.NeuralAlignmentLoss("mse", noise_ceiling=torch.rand(6)).to("meta")(preds, target)
    with pytest.raises(ValueError, match="is on the device 'meta'"):
        na.ManifoldGuidanceLoss(manifolds()).to("meta")(preds, labels())
    with pytest.raises(ValueError, match="rdm is on the device 'meta'"):
        na.RDMAlignmentLoss(1 - torch.eye(N)).to("meta")(preds, torch.arange(N))


def test_evaluations_name_the_models_device():
    batches = [(torch.rand(N, 3, 2, 2), labels())]
    with pytest.raises(ValueError, match=r"the model is on the device 'meta', where it has no weights: .* say device="):
        na.evaluate_robustness(classifier().to("meta"), batches, na.FGSM(), 0.1)
    with pytest.raises(ValueError, match="images are on the device 'meta'"):
        na.evaluate_robustness(classifier(), [(batches[0][0].to("meta"), labels())], na.FGSM(), 0.1)


def test_an_error_of_the_models_own_stays_its_own():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        na.FGSM()(
            nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).eval(), torch.rand(2, 3, 2, 2), torch.tensor([0, 1]), 0.1
        )


class Elsewhere(torch.Tensor):
    """A tensor that says it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda", 1)


def test_two_devices_are_both_named():
    preds, target = pair()
    with pytest.raises(ValueError, match=r"preds is on cuda:1, target on cpu: move one to the other's device by \.to"):
        na.NeuralAlignmentLoss()(preds.as_subclass(Elsewhere), target)
    with pytest.raises(ValueError, match="preds is on cpu, target on cuda:1"):
        na.CKA().update(preds, target.as_subclass(Elsewhere))
    with pytest.raises(ValueError, match="embedding is on cpu, labels on cuda:1"):
        na.CapacityLoss()(preds, labels().as_subclass(Elsewhere))
    with pytest.raises(ValueError, match="preds is on cpu, target on cuda:1"):
        na.RobustAccuracy().update(preds, labels().as_subclass(Elsewhere))
    check_devices(a=preds, b=None, c=target)


def test_no_value_is_read():
    """Comparing attributes is all: a tensor without values gets as far as its name."""
    x = torch.empty(3, device="meta")
    with pytest.raises(ValueError, match="x is on the device 'meta'"):
        check_devices(x=x)
