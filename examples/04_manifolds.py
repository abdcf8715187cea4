"""
04: manifold guidance, and the geometry of categories
=====================================================

A classifier that need not match any single response: only the *shape* of a region's
category manifolds, their centres, radii and directions. **The region is simulated**:
the features of a network that learned the same digits under noise. The last section
measures what became of the categories, with the control that has the same numbers and
no meaning.
"""

# %%
# A region's category manifolds
# -----------------------------
# The region's responses to labelled images. Any (stimulus, feature) array will do:
# responses, or what a predictor predicts.

import logging
import warnings

import lightning as L
import matplotlib.pyplot as plt
import pandas as pd
import torch

from neuroalign import (
    CategoryManifolds,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    ManifoldGuidance,
    layer_geometry,
)
from neuroalign.data import load_digits
from neuroalign.plot import plot_geometry

# Lightning's advice on loaders and hardware would fill this page.
warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

images, labels = load_digits()
SHAPE = (3, 8, 8)


def train(
    network: GuidedNetwork,
    guidance: ManifoldGuidance | None,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    data = GuidanceDataModule((images, labels), batch_size=64)
    task = GuidedClassificationTask(network, guidance, weight=0.5, lr=0.05)
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    L.Trainer(max_epochs=12, limit_val_batches=0, **options).fit(task, data)


L.seed_everything(0, verbose=False)
teacher = GuidedNetwork("small_resnet", 10, image_shape=SHAPE)
noisy = (images[:700] + 0.15 * torch.randn(700, *SHAPE)).clamp(0, 1)
train(teacher, None, noisy, labels[:700])
with torch.no_grad():
    features = teacher.eval().trunk(images[700:1300])
    responses = features @ torch.randn(64, 40) / 8  # 40 "voxels"
manifolds = CategoryManifolds.from_features(responses, labels[700:1300])
print(manifolds)

# %%
# Guidance
# --------
# ``randomized`` keeps radii and numbers of directions, and puts centres and directions
# anywhere: a geometry without meaning. What it reaches as well, the region's geometry
# does not explain.

networks = {}
for name, guidance in (
    ("none", None),
    ("manifold guidance", ManifoldGuidance({"TO": manifolds})),
    ("random geometry", ManifoldGuidance({"TO": manifolds.randomized(seed=0)})),
):
    L.seed_everything(1, verbose=False)
    network = GuidedNetwork(
        "small_resnet", 10, heads={"TO": (None, 40)}, image_shape=SHAPE
    )
    train(network, guidance, images[700:1300], labels[700:1300])
    networks[name] = network.eval()

# %%
# Capacity, radius and dimension, layer by layer
# ----------------------------------------------
# On images that no network was trained on; equally many of every category.

batches = [{"image": images[1300:], "label": labels[1300:]}]
layers = ["layer1", "layer2", "layer3"]
tables, capacities = [], {}
for name, network in networks.items():
    table = layer_geometry(network, batches, layers, num_per_class=40, progress=False)
    tables.append(table.assign(network=name))
    with torch.no_grad():
        accuracy = (network(images[1300:]).argmax(1) == labels[1300:]).float().mean()
    capacities[name] = table["capacity"].iloc[-1]
    print(f"{name}: accuracy {accuracy:.3f}, capacity of layer3 {capacities[name]:.3f}")

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
title = "Held-out digits, simulated region, one seed"
plot_geometry(pd.concat(tables), by="network", title=title, axes=list(axes))
plt.show()

# %%
# From left to right in each panel the network gets deeper. Capacity tells how many
# categories a feature can keep apart, so larger is easier to separate; radius and
# dimension say why. Bars are the error of the computation only, not over seeds.

gain = capacities["manifold guidance"] - capacities["none"]
beyond = capacities["manifold guidance"] - capacities["random geometry"]
print(f"capacity of layer3, manifold guidance - none:            {gain:+.3f}")
print(f"capacity of layer3, manifold guidance - random geometry: {beyond:+.3f}")

# %%
# One seed shows that it runs, and nothing about manifold guidance. Over four seeds of
# ``neuroalign demo`` it shows no clear difference in robustness from no guidance, and
# random geometry does at least as well.
#
# Where to go next: several seeds and intervals, :doc:`/gallery/07_study`; what the
# measures mean, :doc:`/geometry`; how robust a network is,
# :doc:`/gallery/05_robustness`.
