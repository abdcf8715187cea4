"""
07: a study
===========

The whole experiment in one file: what is shown to whom, which region guides, every
control, seeds, attacks, and the comparisons that are declared before anything runs. It
is checked first, goes on after any stop, and ends with tables and a report. **The
subject is simulated and an effect is planted**: its TO learned these digits under
noise. Two seeds of short trainings are too few to decide anything: this page shows what
a study looks like.
"""

# %%
# The file
# --------

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from neuroalign.study import Study, plan_study, run_study

folder = Path(tempfile.mkdtemp())
file = folder / "digits.yaml"
file.write_text("""
name: TO of a simulated subject guides small networks
images:
  {source: digits, contrast: 0.5, num_neural: [400, 80], num_train: 500, num_test: 200,
   resplit: true}
responses:
  - {source: simulated, regions: [TO], num_voxels: 60, copies: 2, val_copies: 3,
     teacher: {epochs: 16, batch_size: 64, lr: 0.1, accelerator: cpu}}
predictors:
  {kind: network, backbone: small_resnet, layer: layer3, size: 2,
   training: {epochs: 6, batch_size: 64, optimizer: adam, lr: 3.0e-3, accelerator: cpu}}
network: {backbone: small_resnet}
training: {epochs: 16, batch_size: 128, lr: 0.1, accelerator: cpu}
weight: 0.9
conditions:
  none:
  label only: {regions: [TO]}
  shuffled fit: {regions: [TO]}
  neural guidance:
seeds: [0, 1]
evaluations:
  robustness:
    pgd: {attack: pgd, steps: 5, eps: [0.01, 0.02, 0.03, 0.04]}
comparisons:
  - treatment: neural guidance
    region: TO
    controls: [none, label only, shuffled fit]
""")
study = Study.from_file(file)

# %%
# What would be done
# ------------------
# ``neuroalign study plan digits.yaml`` prints the same.

plan = plan_study(study)
for part in ("predictors", "networks", "stages"):
    print(len(getattr(plan, part)), part)
print([run.stage.name for run in plan.networks][:4])

# %%
# Run it
# ------
# One stage after another in this process, since a page of documentation has no main
# program. ``neuroalign study run digits.yaml`` runs as many at once as there is room
# for, and ``--engine slurm`` or ``--engine ray`` does so on a cluster. The same call
# again does only what is missing.

result = run_study(file, folder / "out", engine="serial", progress=False)
again = run_study(file, folder / "out", engine="serial", progress=False)
print(f"{len(result.made)} stages in {result.seconds:.0f} s; again: {len(again.made)}")

# %%
# What came out
# -------------
# Accuracy under attack, the mean of the budgets: guidance by TO minus each control,
# with 95 % intervals over seeds and images, and p after Holm's correction for the
# number of comparisons.

columns = ["control", "difference", "low", "high", "p_holm"]
print(result.comparisons[columns].round(3).to_string(index=False))
shown = result.comparisons["p_holm"] < 0.05
print(f"\nshown after correction: {shown.sum()} of {len(shown)} differences")

# %%
# A difference whose interval holds 0, or whose p is not small, is not shown; that
# does not mean that there is none. Each seed is one replication, and two seeds allow
# almost no conclusion whatever the differences are: ``neuroalign study power`` says
# how many a difference needs. With four seeds and longer trainings, ``neuroalign
# demo`` shows an advantage over *shuffled fit*, and none over *none* or *label only*.
#
# The folder holds all tables as CSV, the figures, and ``report.html``, which opens
# offline. This is its figure of accuracy against the attack's budget, with a line for
# each condition:

print(sorted(path.name for path in (folder / "out").iterdir() if path.is_file()))
image = plt.imread(next((folder / "out").rglob("robustness.png")))
plt.figure(figsize=(8, 8 * image.shape[0] / image.shape[1]), layout="constrained")
plt.imshow(image)
plt.axis("off")
plt.show()

# %%
# Where to go next: all keys of the file, :doc:`/studies`; reading the report,
# :doc:`/report`; how many seeds, :doc:`/power`; what was found with real recordings,
# :doc:`/real_data`.
