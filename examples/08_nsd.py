"""
08: the Natural Scenes Dataset
==============================

From NSD's files to responses of one region, their noise ceiling, and a map. NSD itself
needs an agreement and can't be part of an example: **this subject is simulated**, in
files of the same layout; with the real data only ``root`` changes.
"""

# %%
# Is the download complete?
# -------------------------

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from neuroalign import Responses, check_nsd, extract_nsd, read_nsd, write_simulated_nsd
from neuroalign.data import load_digits, to_volume
from neuroalign.plot import plot_volume

images, labels = load_digits()
root = Path(tempfile.mkdtemp())
truth = write_simulated_nsd(root, images[:600], labels[:600])
report = check_nsd(root, [1])
for finding in report.findings:
    print(f"{finding.level}: {finding.what}: {finding.message}")
print("usable:", report.usable)

# %%
# One row per trial
# -----------------
# In percent signal change, nothing averaged or z-scored yet; a voxel that is invalid in
# a session is NaN there.

trials = read_nsd(root, subject=1, roi="V4")
print(trials)

# %%
# Averages over repeats
# ---------------------
# z-scored within each session, the noise ceiling estimated from the repeats, then
# averaged. The shared images become held-out data, and both parts are standardised by
# the statistics of the training part.

responses = trials.zscore_sessions().estimate_noise_ceiling().average_repeats()
train, test = responses.split_shared()
train, test = train.standardize(train), test.standardize(train)
print(train)
print(test)

# %%
# The ceiling of a simulated voxel is known, so the estimate can be checked: dots near
# the dashed line are estimated well.

figure, ax = plt.subplots(figsize=(4.5, 4), layout="constrained")
ncsnr = truth.ncsnr["V4"]
# Some images were shown more often than others.
trials_of = np.unique(trials.stimulus, return_counts=True)[1]
known = ncsnr**2 / (ncsnr**2 + (1 / trials_of).mean())
ax.scatter(known, responses.noise_ceiling, s=14)
ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="estimated = true")
error = np.abs(responses.noise_ceiling - known).mean()
print(f"mean error of the estimated noise ceiling: {error:.3f}")
ax.set(
    xlabel="true noise ceiling (share of variance)",
    ylabel="estimated noise ceiling (share of variance)",
    title="Simulated V4, one dot per voxel",
    xlim=(0, 1),
    ylim=(0, 1),
)
ax.legend(frameon=False)
plt.show()

# %%
# On the brain
# ------------
# The simulated subject has no anatomy: its "brain" is a box of voxels, shown in
# slices from bottom to top, and where there is no colour, there is no voxel of V4.
# With NSD the map is drawn on the subject's own volume or surface.

path = root / "subj01-V4.h5"
extract_nsd(root, path, 1, roi="V4", progress=False)  # once; reading takes milliseconds
stored = Responses.load(path).zscore_sessions().estimate_noise_ceiling()
averages = stored.average_repeats()
figure = plot_volume(
    to_volume(averages, averages.noise_ceiling),
    title="Simulated: noise ceiling of V4's averages over repeats",
    unit="share of variance",
)
figure.savefig(root / "noise-ceiling-V4.png", dpi=150)
figure

# %%
# Where to go next: subjects, spaces, versions, atlases, ``s3://``, and every misreading
# that a test excludes, :doc:`/nsd`; a predictor of these responses,
# :doc:`/gallery/02_predict_responses`; recordings of other kinds, :doc:`/recordings`.
