"""Networks: backbones, outputs of their layers, response heads, and the predictors and guided networks made of them."""

from neuroalign.models.backbones import Trunk
from neuroalign.models.builders import build_backbone
from neuroalign.models.features import VisualFeatures
from neuroalign.models.frozen import Frozen, StandardizedPredictor, predicted_responses, untrained
from neuroalign.models.heads import (
    HEADS,
    FullLinear,
    Identity,
    PooledLinear,
    ResponseHead,
    TokenLinear,
    identity,
    pooled_linear,
)
from neuroalign.models.layer_names import network_layers, resolve_layer
from neuroalign.models.listing import list_heads
from neuroalign.models.networks import GuidedNetwork, NeuralPredictor
from neuroalign.models.normalization import Normalize
from neuroalign.models.readouts import AttentionPool, FactorizedReadout, GaussianReadout, LowRankLinear
from neuroalign.models.ridge import RidgePredictor
from neuroalign.models.smallnet import SmallResNet
from neuroalign.models.taps import record_layers

__all__ = [
    "HEADS",
    "AttentionPool",
    "FactorizedReadout",
    "Frozen",
    "FullLinear",
    "GaussianReadout",
    "GuidedNetwork",
    "Identity",
    "LowRankLinear",
    "NeuralPredictor",
    "Normalize",
    "PooledLinear",
    "ResponseHead",
    "RidgePredictor",
    "SmallResNet",
    "StandardizedPredictor",
    "TokenLinear",
    "Trunk",
    "VisualFeatures",
    "build_backbone",
    "identity",
    "list_heads",
    "network_layers",
    "pooled_linear",
    "predicted_responses",
    "record_layers",
    "resolve_layer",
    "untrained",
]
