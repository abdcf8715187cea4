"""
05: robustness, and whether to believe it
=========================================

Accuracy at every budget from one pass of an attack, common corruptions, and a check for
masked gradients: a network whose gradients are useless to an attack looks robust
without being so.
"""

# %%
# Two networks that are equally good without attack
# -------------------------------------------------
# The second rounds its input to 4 grey levels. That makes its gradients useless.

import logging
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch
from torch import nn

from neuroalign import (
    PGD,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    masking_report,
    robustness_curve,
)

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Rounded(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images * 3).round() / 3)


L.seed_everything(0, verbose=False)
data = GuidanceDataModule(dataset="digits", batch_size=64)
network = GuidedNetwork("small_resnet", num_classes=10, image_shape=(3, 8, 8))
trainer = L.Trainer(
    max_epochs=10,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
)
trainer.fit(GuidedClassificationTask(network, lr=0.05), data)
networks = {"as trained": network.eval(), "input rounded": Rounded(network).eval()}

# %%
# The whole accuracy-eps curve
# ----------------------------
# Budgets are in pixels of [0, 1], whatever the network's normalisation.

test = list(data.test_dataloader())[:2]
eps = [0.0, "4/255", "8/255", "16/255", "24/255"]
curves = {
    name: robustness_curve(each, test, PGD.two_losses(steps=10), eps)
    for name, each in networks.items()
}
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, curve in curves.items():
    table = curve.table()
    ax.plot(table["eps"], table["accuracy"], marker="o", label=name)
    ax.fill_between(table["eps"], table["ci_low"], table["ci_high"], alpha=0.2)
ax.set(
    xlabel="eps (Linf, pixels of [0, 1])",
    ylabel="accuracy",
    ylim=(0, 1),
    title="Digits; bands: 95 % intervals over images",
)
ax.legend(frameon=False)
plt.show()

# %%
# The masking report
# ------------------
# The rounded network seems far more robust. The checks say not to believe it: its
# gradients are exactly 0, and even an attack without any limit fails, which only shows
# that the attack is stuck.

for name, each in networks.items():
    print(f"{name}:")
    print(masking_report(each, test[:1], eps="8/255"))
    print()

# %%
# Attacks, suites, corruptions, and what each check means: :doc:`/robustness`. The same
# for a checkpoint, from the shell:
# ``neuroalign evaluate --ckpt task.ckpt --data images/ --suite standard``.
