"""
01: a loss in your own loop
===========================

No Trainer, no head, no data set of ours: two tensors go in, a number with a gradient
comes out. A small network learns to be similar to responses of 60 voxels to 400 images
of digits. **The responses are simulated**: random linear functions of the images' Gabor
energy, plus noise.
"""

# %%
# Simulated responses
# -------------------
# Twice the same signal with new noise: two "repeats", so that the noise ceiling of each
# voxel is known.

import matplotlib.pyplot as plt
import torch
from torch import nn

from neuroalign import NeuralAlignmentLoss, functional
from neuroalign.data import load_digits

torch.manual_seed(0)
images = load_digits()[0][:400]  # (stimulus, channel, height, width) in [0, 1]
energy = functional.gabor_energy(images, functional.gabor_filters(5, 3.0)).flatten(1)
signal = (energy - energy.mean(0)) @ torch.randn(energy.shape[1], 60)
signal = signal / signal.std(0)
noise = torch.linspace(0.3, 3.0, 60)  # per voxel, in units of its signal
repeats = signal[:, None] + torch.randn(400, 2, 60) * noise  # (stimulus, repeat, voxel)
# Explainable share of the variance of the mean over repeats, per voxel:
ceiling = functional.noise_ceiling(repeats)
responses = repeats.mean(1)
responses[3, :5] = torch.nan  # missing values are left out
train, test = slice(0, 300), slice(300, 400)


# %%
# The loop
# --------
# Linear CKA compares the geometry of two sets of responses of any widths, so 32
# features can be compared with 60 voxels without a linear map between them. The loss is
# 1 - CKA of the batch. The noise ceiling weights the voxels.


def train_with(measure: str, **options) -> tuple[list[float], nn.Module]:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, 32),
    )
    loss = NeuralAlignmentLoss(measure, noise_ceiling=ceiling, **options)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    curve = []
    for _ in range(60):
        for batch in torch.randperm(300).split(100):
            optimizer.zero_grad()
            value = loss(network(images[train][batch]), responses[train][batch])
            value.backward()
            optimizer.step()
        with torch.no_grad():
            curve.append(loss(network(images[test]), responses[test]).item())
    return curve, network


curves = {
    "cka": train_with("cka")[0],
    "rsa": train_with("rsa", dissimilarity="correlation")[0],
}

# %%
# On images that the network was not trained on
# ---------------------------------------------
# The curves can't reach 0, since half of the voxels are mostly noise.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for measure, curve in curves.items():
    ax.plot(range(1, 61), curve, label=f'NeuralAlignmentLoss("{measure}")')
ax.set(
    xlabel="epoch",
    ylabel="loss on 100 held-out images",
    ylim=(0, None),
    title="Simulated responses, one seed",
)
ax.legend(frameon=False)
plt.show()

# %%
# Which of the measures to take, what each is invariant to and which batch it needs:
# :doc:`/losses`.
