"""
03: guide a network
===================

A classifier whose trunk must also match what a frozen predictor says about the
responses of one region; and the controls that every such training needs. **The subject
is simulated and an effect is planted**: its object level, TO, learned these very digits
under noise. So this page shows how it is done and how it is judged, and nothing about
brains.
"""

# %%
# A subject with something to tell
# --------------------------------
# Its object level is a network that learned to name 600 digits under pixel noise. It
# sees shifted, noisy copies of them, and its responses are written in the layout of the
# Natural Scenes Dataset, one session after another. With NSD itself, ``root`` is the
# folder that holds ``nsddata``, and none of this section is needed.

import logging
import tempfile
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

from neuroalign import (
    PGD,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    LabelOnlyGuidance,
    NeuralPredictionTask,
    NeuralPredictor,
    NSDDataModule,
    PredictedGuidance,
    ShuffledGuidance,
    StandardizedPredictor,
    evaluate_robustness,
    write_simulated_nsd,
)
from neuroalign.data import ShiftFlip, load_digits

# Lightning's advice on loaders and hardware would fill this page.
warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
SHAPE = (3, 8, 8)
shifts = ShiftFlip(1, flip=False)


class PixelNoise(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return shifts(images) + 0.15 * torch.randn_like(images)


def fit(task: L.LightningModule, data: L.LightningDataModule, epochs: int) -> dict:
    options = {"logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", **options, **quiet)
    trainer.fit(task, data)
    return trainer.callback_metrics


L.seed_everything(0, verbose=False)
images, labels = load_digits()
order = torch.randperm(len(images))
images, labels = 0.25 + 0.5 * images[order], labels[order]  # half contrast, on grey
seen, train, test = slice(0, 600), slice(600, 1300), slice(1300, 1797)
teacher = GuidedNetwork("small_resnet", 10, image_shape=SHAPE)
lessons = GuidanceDataModule(
    (images[seen], labels[seen]), batch_size=64, augment=PixelNoise()
)
fit(GuidedClassificationTask(teacher, lr=0.1), lessons, epochs=30)

shown = shifts(images[seen].repeat(3, 1, 1, 1))
strength = 0.3 * torch.rand(len(shown), 1, 1, 1)
shown = (shown + strength * torch.randn_like(shown)).clamp(0, 1)
root = tempfile.mkdtemp()
subject = write_simulated_nsd(
    root,
    shown,
    labels[seen].repeat(3),
    regions=["TO"],
    num_shared=300,
    object_stage=teacher.eval().trunk,
)

# %%
# A predictor, trained before
# ---------------------------
# As in example 02. ``StandardizedPredictor`` puts its outputs on a common scale, voxel
# by voxel.

neural = NSDDataModule(root, subject=1, roi="TO", batch_size=64)
neural.setup()
predictor = NeuralPredictor(
    "small_resnet", neural.num_voxels, layer="layer3", size=2, image_shape=SHAPE
)
metrics = fit(NeuralPredictionTask(predictor, lr=3e-3), neural, epochs=10)
r = metrics["val/correlation"]
print(f"median correlation with responses to held-out views: {r:.2f}")

# %%
# Guided networks and controls
# ----------------------------
# ``weight`` is :math:`\alpha` in :math:`(1-\alpha)\,\mathrm{CE} +
# \alpha\,\mathrm{MSE}`. Each control takes one thing away, and keeps the rest:
#
# - *none*: no second target at all;
# - *label only*: a random target for each class, which holds no more than the label;
# - *another image's responses*: right responses, wrong images.
#
# A study has more: predictors that are random, or fitted to shuffled responses.

standardized = StandardizedPredictor(predictor).fit(images[train])
guidances = {
    "TO": PredictedGuidance({"TO": standardized}),
    "none": None,
    "label only": LabelOnlyGuidance(10, {"TO": neural.num_voxels}),
    "another image's responses": ShuffledGuidance(
        PredictedGuidance({"TO": standardized})
    ),
}
digits = GuidanceDataModule(
    (images[train], labels[train]), batch_size=128, augment=shifts
)
networks = {}
for name, guidance in guidances.items():
    L.seed_everything(0, verbose=False)
    network = GuidedNetwork(
        "small_resnet", 10, heads={"TO": (None, neural.num_voxels)}, image_shape=SHAPE
    )
    fit(GuidedClassificationTask(network, guidance, weight=0.9, lr=0.1), digits, 40)
    networks[name] = network.eval()

# %%
# Under attack
# ------------
# On digits that neither the subject nor any network has seen; an image that is wrong
# without attack counts as wrong at every budget.

unseen = [{"image": images[test], "label": labels[test]}]
eps = [0.0, 0.01, 0.02, 0.03, 0.04]
figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
means = {}
for place, (name, network) in enumerate(networks.items()):
    table = evaluate_robustness(network, unseen, PGD(steps=10), eps)
    accuracy = table["accuracy"]
    means[name] = accuracy[table["eps"] > 0].mean()
    ax.errorbar(
        table["eps"] + 0.0005 * (place - 1.5),  # side by side
        table["accuracy"],
        yerr=[
            table["accuracy"] - table["ci_low"],
            table["ci_high"] - table["accuracy"],
        ],
        marker="os^D"[place],
        linestyle="-" if name == "TO" else "--",
        linewidth=2.5 if name == "TO" else 1.2,
        capsize=2,
        label=name,
    )
ax.set(
    xlabel="eps (largest change of a pixel, of 1 from black to white)",
    ylabel=f"accuracy under PGD, {len(labels[test])} digits",
    ylim=(0, 1.02),
    title="Simulated subject, planted effect, one seed",
)
ax.legend(frameon=False, loc="lower left", title="guidance; bars: 95 %, over images")
plt.show()

# %%
# What the table says
# -------------------
# Means over the four budgets above 0. Guidance by TO is to be believed in only as far
# as it beats *every* control.

print(f"TO: {means['TO']:.3f}")
for name in list(means)[1:]:
    print(f"{name}: {means[name]:.3f}, TO - {name}: {means['TO'] - means[name]:+.3f}")
far = [name for name in means if means["TO"] - means[name] > 0.15]
near = [name for name in means if name not in (*far, "TO")]
print("TO is ahead by more than .15 of:", ", ".join(far) or "no control")
print("No such distance from:", ", ".join(near) or "no control")

# %%
# One seed can't tell a small difference from luck, and the bars know of images only.
# Over four seeds, with longer trainings and corrected tests, ``neuroalign demo``
# finds TO ahead of other images' responses, of a random predictor and of one fitted
# to shuffled responses, and **not** of *none* or *label only*. So an advantage over
# these two, in one seed of trainings as short as here, is nothing to build on.
#
# Where to go next: how it is tested, :doc:`/gallery/07_study`; what was found with
# real recordings, :doc:`/real_data`; guidance by geometry only,
# :doc:`/gallery/04_manifolds`; whether to believe a curve,
# :doc:`/gallery/05_robustness`; your own pictures, :doc:`/gallery/06_own_data`.
