"""
06: your own data
=================

A folder of pictures, a table of responses and a network of your own. **The files are
made up** in the first block, so that the page runs; with yours, begin at the second.
Other layouts, repeats, several regions: :doc:`/own_data`.
"""

# %%
# Made-up files
# -------------
# 300 digits as PNG files, and a table with a row per trial: the picture's name and 20
# "voxels", linear in the blurred pixels.

import csv
import logging
import tempfile
import warnings
from pathlib import Path

import lightning as L
import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import nn

from neuroalign import (
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    ResponsesDataModule,
    functional,
)
from neuroalign.data import load_digits

# Lightning's advice on loaders and hardware would fill this page.
warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

torch.manual_seed(0)
mine = Path(tempfile.mkdtemp())
(mine / "pictures").mkdir()
digits = nn.functional.interpolate(load_digits()[0][:300, :1], 16, mode="bilinear")
digits = digits.clamp(0, 1)
for i, digit in enumerate(digits):
    picture = Image.fromarray((255 * digit[0]).byte().numpy())
    picture.save(mine / f"pictures/digit {i:03d}.png")
signal = nn.functional.avg_pool2d(digits, 4).flatten(1)
signal = (signal - signal.mean(0)) @ torch.randn(16, 20)
signal = signal / signal.std(0)
with (mine / "responses.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["stimulus", *(f"voxel{v}" for v in range(20))])
    for trial in signal + torch.randn(3, 300, 20):
        for i, row in enumerate(trial):
            table.writerow([f"digit {i:03d}", *row.tolist()])


# %%
# Your network
# ------------
# Any module from images to features.


class MyNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )


# %%
# From pictures to responses
# --------------------------
# Names in the table are matched to the files'. The noise ceiling comes from the three
# trials of each picture, which are then averaged; a random fifth of the pictures is
# held out.

data = ResponsesDataModule(
    mine / "pictures",
    mine / "responses.csv",
    image_size=16,
    batch_size=32,
    val_fraction=0.2,
)
predictor = NeuralPredictor(MyNet(), data.num_voxels, image_shape=data.image_shape)
quiet = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
trainer = L.Trainer(max_epochs=25, accelerator="cpu", **quiet)
trainer.fit(NeuralPredictionTask(predictor, noise_ceiling=data.noise_ceiling), data)
for name, value in trainer.callback_metrics.items():
    if "correlation" in name:
        print(f"{name}: {value:.2f}")

# %%
# What noise allows
# -----------------
# One dot for each voxel. No predictor can be expected above the dashed line, the
# square root of the noise ceiling; dots below it leave something unexplained that is
# not noise.

parts = list(data.val_dataloader())
held_out = torch.cat([part["image"] for part in parts])
measured = torch.cat([part["response"] for part in parts])
with torch.no_grad():
    r = functional.pearson(predictor.eval()(held_out), measured)
figure, ax = plt.subplots(figsize=(4.5, 4), layout="constrained")
ax.scatter(torch.as_tensor(data.noise_ceiling).sqrt(), r, s=16)
ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="the best possible")
ax.set(
    xlabel="square root of the noise ceiling",
    ylabel=f"correlation over {len(held_out)} held-out pictures",
    title="Made-up voxels, one dot each",
    xlim=(0, 1),
    ylim=(0, 1),
)
ax.legend(frameon=False, loc="lower left")
plt.show()

# %%
# Keep it, and use it
# -------------------
# The file holds weights and the name of your class, which is given again when it is
# read. The predictor then guides a network of yours, as in example 03.

predictor.save(mine / "predictor.safetensors")
again = NeuralPredictor.load(mine / "predictor.safetensors", backbone=MyNet).eval()
print("equal:", torch.equal(again(held_out), predictor(held_out)))
heads = {"mine": ("3", again)}
print(GuidedNetwork(MyNet(), 10, heads=heads, image_shape=data.image_shape))

# %%
# Where to go next: guidance by this predictor with its controls,
# :doc:`/gallery/03_guide_a_network`; other layouts, several regions and your labelled
# pictures, :doc:`/own_data`; recordings in other files, :doc:`/recordings`; how to keep
# and share what you trained, :doc:`/sharing`.
