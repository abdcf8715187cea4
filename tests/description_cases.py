"""One object or more of every class that has a description, by name, and why the other public classes have none."""

import torch

from neuroalign import guidance as g
from neuroalign import losses, models, tasks
from neuroalign import perturbations as p

SHAPE = (3, 8, 8)
SQUARE = getattr(p, "SquareAttack", None) or p.Square


def predictor(**options):
    return models.NeuralPredictor("small_resnet", 3, image_shape=SHAPE, **options)


def manifolds(**options):
    generator = torch.Generator().manual_seed(0)
    return losses.CategoryManifolds.from_features(
        torch.randn(20, 3, generator=generator), torch.arange(20) % 2, **options
    )


def measured(**options):
    return g.MeasuredGuidance("V4", **options)


CASES = {
    # losses
    "CapacityLoss": lambda: losses.CapacityLoss("per_manifold", num_samples=8, kappa=0.5, seed=3),
    "CategoryManifolds": manifolds,
    "CategoryManifolds of a kernel": lambda: manifolds(feature_map=losses.RandomFourierFeatures(3, 8)),
    "MMCRLoss": lambda: losses.MMCRLoss(local_weight=0.5),
    "ManifoldGuidanceLoss": lambda: losses.ManifoldGuidanceLoss(manifolds(), radius_weight=2),
    "ManifoldGuidanceLoss of a description": lambda: losses.ManifoldGuidanceLoss(manifolds().config),
    "NeuralAlignmentLoss": losses.NeuralAlignmentLoss,
    "NeuralAlignmentLoss with options": lambda: losses.NeuralAlignmentLoss("pearson", over="voxels", distributed=False),
    "NeuralAlignmentLoss of a function": lambda: losses.NeuralAlignmentLoss(lambda preds, target: preds.sum()),
    "NeuralAlignmentLoss with a ceiling": lambda: losses.NeuralAlignmentLoss(noise_ceiling=torch.ones(3)),
    "NeuralAlignmentLoss with a listed ceiling": lambda: losses.NeuralAlignmentLoss(noise_ceiling=[0.5, 1.0]),
    "NonNeuralManifoldLoss": losses.NonNeuralManifoldLoss,
    "NonNeuralManifoldLoss not normalized": lambda: losses.NonNeuralManifoldLoss(normalized=False),
    "OddOneOutLoss": lambda: losses.OddOneOutLoss("cosine"),
    "RDMAlignmentLoss": lambda: losses.RDMAlignmentLoss(torch.ones(4, 4) - torch.eye(4)),
    "RandomFourierFeatures": lambda: losses.RandomFourierFeatures(3, 8, bandwidth=2.0, seed=1),
    "RandomFourierFeatures of a weight": lambda: losses.RandomFourierFeatures.from_weight(torch.ones(4, 3)),
    # models
    "Frozen": lambda: models.Frozen(predictor()),
    "Frozen of a description": lambda: models.Frozen(models.SmallResNet().config),
    "Frozen of another's": lambda: models.Frozen(torch.nn.Linear(1, 1)),
    "GuidedNetwork": lambda: models.GuidedNetwork(
        "small_resnet", 5, {"V1": ("layer1", 2), "V4": {"layer": "layer2", "num_outputs": 4}}, image_shape=SHAPE
    ),
    "GuidedNetwork without heads": lambda: models.GuidedNetwork("small_resnet", None, image_shape=torch.Size(SHAPE)),
    "NeuralPredictor": predictor,
    "NeuralPredictor of a layer": lambda: predictor(
        layer="layer2", head="factorized", head_options={"positive_mask": True}
    ),
    "NeuralPredictor without normalization": lambda: predictor(mean=None, std=None, options={"widths": (4, 4, 8)}),
    "NeuralPredictor of a SmallResNet": lambda: models.NeuralPredictor(
        models.SmallResNet((4, 4, 8)), 3, image_shape=SHAPE, mean=(0.5,), std=(0.2,)
    ),
    "NeuralPredictor of another's": lambda: models.NeuralPredictor(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)), 3, image_shape=SHAPE
    ),
    "RidgePredictor": lambda: models.RidgePredictor(models.VisualFeatures(16, wavelengths=(4,), grid=2), 3),
    "SmallResNet": lambda: models.SmallResNet((4, 4, 8)),
    "StandardizedPredictor": lambda: models.StandardizedPredictor(predictor()),
    "Trunk": lambda: models.Trunk("small_resnet", layers=["layer1"], image_shape=SHAPE),
    "VisualFeatures": lambda: models.VisualFeatures(16, wavelengths=(4,), grid=2, color=False),
    # guidance
    "LabelOnlyGuidance": lambda: g.LabelOnlyGuidance(3, {"V4": 2}, seed=1),
    "ManifoldGuidance": lambda: g.ManifoldGuidance({"V4": manifolds()}, subspace_weight=0.5),
    "ManifoldGuidance without a brain": lambda: g.ManifoldGuidance({"V4": losses.NonNeuralManifoldLoss(0.3)}),
    "MeasuredGuidance": measured,
    "MeasuredGuidance of columns": lambda: g.MeasuredGuidance(
        {"V1": [0, 1], "V4": 2}, {"V1": "mse", "V4": losses.NeuralAlignmentLoss("cosine")}, subjects={"V1": 1}
    ),
    "OddOneOutGuidance": lambda: g.OddOneOutGuidance("V4", torch.tensor([[0, 1, 2]])),
    "OddOneOutGuidance of a list": lambda: g.OddOneOutGuidance("V4", [[0, 1, 2]]),
    "PredictedGuidance": lambda: g.PredictedGuidance({"V4": predictor()}, "cosine"),
    "PredictedGuidance of another's": lambda: g.PredictedGuidance({"V4": torch.nn.Flatten()}),
    "RDMGuidance": lambda: g.RDMGuidance({"V4": torch.ones(4, 4) - torch.eye(4)}),
    "ShuffledGuidance": lambda: g.ShuffledGuidance(measured(), seed=2, within_class=True, labels=torch.tensor([0])),
    "ShuffledGuidance of images": lambda: g.ShuffledGuidance(measured(), images=torch.rand(4, *SHAPE)),
    "WeightedGuidance": lambda: g.WeightedGuidance([measured()], {"V4/*": g.Ramp(1.0, 2, 3), "x": 2}),
    "WeightedGuidance that learns": lambda: g.WeightedGuidance(
        measured(), "learned", terms=("V4/mse",), weigh_task=True
    ),
    # ways of robust training
    "AdversarialTraining": lambda: tasks.AdversarialTraining(1, steps=3),
    "GaussianNoiseTraining": lambda: tasks.GaussianNoiseTraining(0.1),
    "GradientRegularization": lambda: tasks.GradientRegularization(2),
    "TRADES": lambda: tasks.TRADES(8 / 255, "l2", beta=3),
}
"""Objects whose descriptions files hold already: ``descriptions.json`` keeps what these were."""

NEW_CASES = {
    "RobustTraining": tasks.RobustTraining,
    "MatchedGuidance": lambda: g.MatchedGuidance(measured(), {"V4": g.StimulusNoise(torch.ones(3), seed=1)}),
    "MatchedGuidance of a rank": lambda: g.MatchedGuidance(
        measured(), {"V4": g.PrincipalGains.of_rank(torch.eye(4, 3), 2)}
    ),
    "Normalize": lambda: models.Normalize((0.5,), (0.25,)),
    "PixelClassifier": lambda: p.PixelClassifier(models.Normalize((0.5,), (0.25,)), mean=(0.5,), std=[0.5]),
    "FullLinear": lambda: models.FullLinear((4, 2, 2), 3),
    "PooledLinear": lambda: models.PooledLinear((4, 2, 2), 3, size=2),
    "TokenLinear": lambda: models.TokenLinear((5, 4), 3, "mean"),
    "Identity": lambda: models.Identity((4, 2, 2)),
    "FactorizedReadout": lambda: models.FactorizedReadout((4, 2, 2), 3),
    "GaussianReadout": lambda: models.GaussianReadout((4, 2, 2), 3),
    "LowRankLinear": lambda: models.LowRankLinear((4, 2, 2), 3, rank=2),
    "AttentionPool": lambda: models.AttentionPool((4, 2, 2), 3),
    "APGD": lambda: p.APGD(steps=3),
    "FGSM": lambda: p.FGSM("l2", targeted=True),
    "FMN": lambda: p.FMN(steps=3),
    "PGD": lambda: p.PGD("l2", loss=["ce", "margin"]),
    "AutoAttack": p.AutoAttack,
    "BrendelBethge": lambda: p.BrendelBethge(steps=3),
    "CarliniWagner": lambda: p.CarliniWagner(steps=3, targeted="least-likely"),
    "Contrast": lambda: p.Contrast(0.5),
    "Corruption": lambda: p.Corruption("gaussian_noise", 2, seed=1),
    "DeepFool": p.DeepFool,
    "HighPass": lambda: p.HighPass(2),
    "LowPass": lambda: p.LowPass(2.5),
    "RotationTranslation": lambda: p.RotationTranslation(10.0, num_rotations=3),
    SQUARE.__name__: lambda: SQUARE(num_queries=7),
}
"""Objects that had no description of their own before."""

NOT_DESCRIBED = {
    "metrics": "keep what they counted, and are no part of a network",
    "evaluation": "results and functions",
    "data": "data, and what reads it",
    "callbacks": "belong to a Trainer",
    "config": "functions",
    "PlainClassifier": "is made from a network; its load reads the network's file",
    "sharing": "facts for model cards, and not parts of a network",
    "ResponseHead": "is plain values itself",
    "Ramp": "is plain values itself",
    "GuidedClassificationTask": "Lightning keeps its arguments",
    "NeuralPredictionTask": "Lightning keeps its arguments",
}
"""Rooms and classes without one, and why."""
