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
# features can be compared with 60 voxels without a linear map between them. The loss
# is 1 - CKA of the batch; that of RSA is 1 minus the correlation of two dissimilarity
# matrices. The noise ceiling weights the voxels. The control is trained on the
# responses to *other* images: what it reaches needs no link between an image and its
# response.


def train_with(measure: str, targets: torch.Tensor, **options) -> list[float]:
    """The loss on held-out images, before training and after each of 40 epochs."""
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
    with torch.no_grad():
        curve = [loss(network(images[test]), responses[test]).item()]
    for _ in range(40):
        for batch in torch.randperm(300).split(100):
            optimizer.zero_grad()
            value = loss(network(images[train][batch]), targets[batch])
            value.backward()
            optimizer.step()
        with torch.no_grad():
            curve.append(loss(network(images[test]), responses[test]).item())
    return curve


right = responses[train]
other = right.roll(1, 0)  # each image gets the responses to the one before it
rsa = {"dissimilarity": "correlation"}
curves = {
    ("cka", "its own responses"): train_with("cka", right),
    ("cka", "other images' responses"): train_with("cka", other),
    ("rsa", "its own responses"): train_with("rsa", right, **rsa),
    ("rsa", "other images' responses"): train_with("rsa", other, **rsa),
}

# %%
# On images that the network was not trained on
# ---------------------------------------------
# The measured responses contain noise, so not even the signal without noise reaches 0:
# the dotted lines are its losses, which a network can hardly better.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained", sharey=True)
for ax, measure, options in zip(axes, ("cka", "rsa"), ({}, rsa), strict=True):
    loss = NeuralAlignmentLoss(measure, noise_ceiling=ceiling, **options)
    least = loss(signal[test], responses[test]).item()
    for name, style in (("its own responses", "-"), ("other images' responses", "--")):
        curve = curves[measure, name]
        ax.plot(curve, style, label=name)
        print(f"{measure}, {name}: {curve[0]:.2f} untrained, {curve[-1]:.2f} trained")
    ax.axhline(least, color="0.5", linestyle=":", label="the signal without noise")
    print(f"{measure}, the signal without noise: {least:.2f}")
    ax.set(xlabel="epoch (0: untrained)", title=f'NeuralAlignmentLoss("{measure}")')
axes[0].set(ylabel="loss on 100 held-out images", ylim=(0, None))
lines, names = axes[0].get_legend_handles_labels()
figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
figure.suptitle("Simulated responses, one seed")
plt.show()

# %%
# Solid lines fall towards the dotted ones: the network has become similar to the
# responses, on images that it has not seen. The control's dashed lines show what
# training alone would do.
#
# Where to go next: which of the measures to take, what each is invariant to and which
# batch it needs, :doc:`/losses`; a network that predicts single voxels,
# :doc:`/gallery/02_predict_responses`.
