"""
02: predict responses
=====================

From images to the responses of the voxels of one region: a network and a ridge
regression, compared with what the noise allows. **The subject is simulated**: its files
have the layout of the Natural Scenes Dataset, and are read as real ones would be.
"""

# %%
# Recordings
# ----------
# With NSD itself, ``root`` is the folder that holds ``nsddata``, ``nsddata_betas`` and
# ``nsddata_stimuli``.

import logging
import tempfile
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

from neuroalign import (
    NeuralPredictionTask,
    NeuralPredictor,
    NSDDataModule,
    RidgePredictor,
    functional,
    write_simulated_nsd,
)
from neuroalign.data import load_digits
from neuroalign.models import VisualFeatures

# Lightning's advice on loaders and hardware would fill this page.
warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

images, labels = load_digits()
root = tempfile.mkdtemp()
write_simulated_nsd(root, images[:900], labels[:900])
data = NSDDataModule(root, subject=1, roi="V4", batch_size=64)
data.setup()
print(data.train_responses)
print(data.val_responses)

# %%
# A network
# ---------
# Validation logs the correlation with responses to held-out images: ``val/correlation``
# is the median over voxels.

L.seed_everything(0, verbose=False)
network = NeuralPredictor(
    "small_resnet", data.num_voxels, layer="layer3", size=2, image_shape=(3, 8, 8)
)
trainer = L.Trainer(
    max_epochs=15,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(NeuralPredictionTask(network, lr=3e-3), data)
print(f"val/correlation: {trainer.callback_metrics['val/correlation']:.3f}")

# %%
# Ridge regression, and a control
# -------------------------------
# A linear map from fixed features (here Gabor energy) is fitted in a second. The
# control is the same map fitted to the responses to *other* images: what it reaches
# needs no link between an image and its responses.


def batches(loader):
    parts = list(loader)
    return [torch.cat([part[key] for part in parts]) for key in ("image", "response")]


def fitted(images: torch.Tensor, responses: torch.Tensor) -> RidgePredictor:
    features = VisualFeatures(8, wavelengths=(3, 5), grid=2)
    return RidgePredictor(features, data.num_voxels).fit(images, responses)


shown, responses = batches(data.train_dataloader())
ridge = fitted(shown, responses)
control = fitted(shown, responses[torch.randperm(len(responses))])

# %%
# Held-out correlations, voxel by voxel
# -------------------------------------
# The best correlation that can be expected with responses that contain noise is the
# square root of the noise ceiling.

held_out, measured = batches(data.val_dataloader())
best = torch.as_tensor(data.val_responses.noise_ceiling).sqrt()
figure, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
for name, predictor, marker, color in (
    ("network", network, "o", "tab:blue"),
    ("ridge", ridge, "^", "tab:orange"),
    ("ridge, other images", control, "x", "0.5"),
):
    with torch.no_grad():
        r = functional.pearson(predictor.eval()(held_out), measured)
    label = f"{name}: median r {r.median():.2f}"
    ax.scatter(best, r, s=14, marker=marker, color=color, label=label)
    share = (r / best).median()
    print(f"{label}, as a share of the best possible {share:.2f}")
ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="the best possible")
ax.set(
    xlabel="square root of the noise ceiling",
    ylabel=f"correlation over {len(held_out)} held-out images",
    title="Simulated V4, one mark for each voxel and predictor",
    xlim=(0, 1),
    ylim=(-0.6, 1),
)
ax.legend(frameon=False, loc="lower left")
plt.show()

# %%
# Marks below the dashed line leave something unexplained that is not noise; one above
# it is within the noise of its own correlation and ceiling. The grey crosses show
# which correlations appear by chance.
#
# Where to go next: which heads a predictor can have, :doc:`/heads`; what to do with
# your own recordings, :doc:`/own_data`; what a predictor is for,
# :doc:`/gallery/03_guide_a_network`.
