"""
03: guide a network
===================

A classifier whose trunk must also match what a frozen predictor says about the
responses of one region, and the two controls that every such training needs: the same
guidance with another image's responses, and no guidance. **The subject is simulated**,
and one seed of one small network is no evidence of anything: it shows how it is done.
"""

# %%
# A predictor, trained before
# ---------------------------
# As in example 02, for the highest region, TO. ``StandardizedPredictor`` puts its
# outputs on a common scale, voxel by voxel.

import logging
import tempfile
import warnings

import lightning as L
import matplotlib.pyplot as plt

from neuroalign import (
    PGD,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    NSDDataModule,
    PredictedGuidance,
    ShuffledGuidance,
    StandardizedPredictor,
    evaluate_robustness,
    write_simulated_nsd,
)
from neuroalign.data import load_digits

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
SHAPE = (3, 8, 8)


def trainer(epochs: int) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(max_epochs=epochs, accelerator="cpu", **quiet)


L.seed_everything(0, verbose=False)
images, labels = load_digits()
root = tempfile.mkdtemp()
write_simulated_nsd(root, images[:750], labels[:750])
neural = NSDDataModule(root, subject=1, roi="TO", batch_size=64)
neural.setup()
predictor = NeuralPredictor(
    "small_resnet", neural.num_voxels, layer="layer3", size=2, image_shape=SHAPE
)
fit = trainer(12)
fit.fit(NeuralPredictionTask(predictor, lr=3e-3), neural)
r = fit.callback_metrics["val/correlation"]
print(f"median correlation with held-out responses: {r:.2f}")

# %%
# Guided networks and controls
# ----------------------------
# ``weight`` is :math:`\alpha` in
# :math:`(1-\alpha)\,\mathrm{CE} + \alpha\,\mathrm{MSE}`; validation also logs how well
# the head matches the predictor on images that it was not trained on.

digits = GuidanceDataModule(
    (images[750:1250], labels[750:1250]),
    (images[1250:1500], labels[1250:1500]),
    batch_size=64,
)
standardized = StandardizedPredictor(predictor).fit(images[750:1250])
guidance = PredictedGuidance({"TO": standardized})
guidances = {
    "none": None,
    "TO, another image's responses": ShuffledGuidance(guidance),
    "TO": guidance,
}
networks = {}
for name, guidance in guidances.items():
    L.seed_everything(0, verbose=False)
    network = GuidedNetwork(
        "small_resnet", 10, heads={"TO": (None, neural.num_voxels)}, image_shape=SHAPE
    )
    fit = trainer(15)
    fit.fit(GuidedClassificationTask(network, guidance, weight=0.5, lr=0.05), digits)
    networks[name] = network.eval()
    matched = {
        key: round(value.item(), 2)
        for key, value in fit.callback_metrics.items()
        if key.startswith("val/alignment")
    }
    print(f"{name}: accuracy {fit.callback_metrics['val/accuracy']:.3f} {matched}")

# %%
# Under attack
# ------------
# On images of a third set. With so few images the intervals are wide, and they say
# nothing about another seed.

test = [{"image": images[1500:], "label": labels[1500:]}]
eps = ["2/255", "4/255", "8/255"]
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for shift, (name, network) in zip((-0.3, 0, 0.3), networks.items()):
    table = evaluate_robustness(network, test, PGD(steps=10), eps)
    accuracy = table["accuracy"]
    bars = [accuracy - table["ci_low"], table["ci_high"] - accuracy]
    x = table["eps"] * 255 + shift
    ax.errorbar(x, accuracy, yerr=bars, marker="o", capsize=3, label=name)
ax.set(
    xlabel="eps (255ths)",
    ylabel="accuracy under PGD",
    ylim=(0, 1),
    title="Simulated subject, one seed, 297 images",
)
ax.legend(frameon=False)
plt.show()

# %%
# More controls, several seeds, gradients of equal scale and corrected tests are what a
# study does: example 07. What was found with real recordings: :doc:`/real_data`.
