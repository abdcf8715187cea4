"""
07: a study
===========

The whole experiment in one file: what is shown to whom, which region guides, every
control, seeds, attacks, and the comparisons that are declared before anything runs. It
is checked first, goes on after any stop, and ends with tables and a report. **The
subject is simulated**, and this study is far too small to find anything: it shows what
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
name: Two regions of a simulated subject guide small networks
images:
  {source: digits, contrast: 0.5, num_neural: [400, 80], num_train: 500, num_test: 200,
   resplit: true}
responses:
  - {source: simulated, regions: [V1, TO], num_voxels: 30, copies: 1, val_copies: 3,
     teacher: {epochs: 4, batch_size: 64, lr: 0.1, accelerator: cpu}}
predictors:
  {kind: network, backbone: small_resnet, layer: layer3, size: 2,
   training: {epochs: 3, batch_size: 64, optimizer: adam, lr: 3.0e-3, accelerator: cpu}}
network: {backbone: small_resnet}
training: {epochs: 3, batch_size: 64, lr: 0.1, accelerator: cpu}
weight: 0.9
conditions:
  none:
  shuffled fit: {regions: [TO]}
  neural guidance:
seeds: [0, 1]
evaluations:
  robustness:
    pgd: {attack: pgd, steps: 5, eps: ["4/255", "8/255"]}
comparisons:
  - treatment: neural guidance
    region: TO
    controls: [none, shuffled fit, {condition: neural guidance, region: V1}]
""")

# %%
# What would be done
# ------------------
# ``neuroalign study plan digits.yaml`` prints the same.

plan = plan_study(Study.from_file(file))
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
columns = ["control", "difference", "low", "high", "p_holm"]
print(result.comparisons[columns].to_string(index=False))

# %%
# Intervals are over seeds and images. With two seeds they are so wide that nothing can
# be said; ``neuroalign study power`` says how many seeds a difference needs. The folder
# holds all tables as CSV, the figures, and ``report.html``, which opens offline.

print(sorted(path.name for path in (folder / "out").iterdir() if path.is_file()))
image = plt.imread(next((folder / "out").rglob("robustness.png")))
plt.figure(figsize=(8, 8 * image.shape[0] / image.shape[1]), layout="constrained")
plt.imshow(image)
plt.axis("off")
plt.show()

# %%
# All keys of the file: :doc:`/studies`. The report: :doc:`/report`. Seeds:
# :doc:`/power`.
