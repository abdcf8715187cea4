"""
05: robustness, and whether to believe it
=========================================

Accuracy at every budget from one pass of an attack, and a check for masked gradients: a
network whose gradients are useless to an attack looks robust without being so. No brain
takes part in this page: the images are real digits, the networks are not guided.
"""

# %%
# A network, and one that looks more robust
# -----------------------------------------
# The second is the first, with its input rounded to 4 grey levels. Rounding has the
# gradient 0 nearly everywhere, which makes gradients useless to an attack.

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

# Lightning's advice on loaders and hardware would fill this page.
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
    enable_model_summary=False,
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
    name: robustness_curve(each, test, PGD.two_losses(steps=10), eps).table()
    for name, each in networks.items()
}
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, table in curves.items():
    ax.plot(table["eps"], table["accuracy"], marker="o", label=name)
    ax.fill_between(table["eps"], table["ci_low"], table["ci_high"], alpha=0.2)
ax.set(
    xlabel="eps (largest change of a pixel, of 1 from black to white)",
    ylabel="accuracy under PGD, 2 losses, 10 steps each",
    ylim=(0, 1.02),
    title="Digits; bands: 95 % intervals over images",
)
ax.legend(frameon=False)
plt.show()
at = {name: table["accuracy"].iloc[-1] for name, table in curves.items()}
for name, accuracy in at.items():
    print(f"{name}: accuracy {accuracy:.2f} under attack at eps 24/255")

# %%
# The masking report
# ------------------
# A curve alone can't tell robustness from a stuck attack. The report tries what would
# give it away: whether there is a gradient, whether an attack without any limit
# succeeds (it must), whether random changes or another network's adversarial images
# do more harm than the attack. What failed says why.

reports = {}
for name, each in networks.items():
    reports[name] = masking_report(each, test[:1], eps="8/255")
    print(f"{name}:")
    print(reports[name])
    print()

# %%
# An attack that does not need the masked gradients
# -------------------------------------------------
# The images that fool the network as trained, shown to the rounded one: no gradient of
# the rounded network is used.

right, total = 0, 0
for batch in test:
    fooling = PGD(steps=10)(network, batch["image"], batch["label"], 24 / 255)
    answers = networks["input rounded"](fooling).argmax(1)
    right += int((answers == batch["label"]).sum())
    total += len(answers)
for name, report in reports.items():
    failed = ", ".join(report.failed) or "none"
    print(f"{name}: failed checks: {failed}")
print("accuracy of the rounded network at eps 24/255,")
print(f"  attacked by its own gradients: {at['input rounded']:.2f}")
print(f"  attacked by those of the network as trained: {right / total:.2f}")

# %%
# Where the last number lies below the one above it, the curve of the rounded network is
# no measure of its robustness: an attack that knows nothing of it does more.
#
# Where to go next: attacks, suites, corruptions, and what each check means,
# :doc:`/robustness`; networks that are guided, and their controls,
# :doc:`/gallery/03_guide_a_network`. The same for a checkpoint, from the shell:
# ``neuroalign evaluate --ckpt task.ckpt --data images/ --suite standard``.
