"""Small synthetic trees in the on-disk layout of the Natural Scenes Dataset (NSD), with a planted encoding.

Every file has the name, axes, type, unit and index base of the real one; only volumes, surfaces and images are small. Each
voxel answers to the mean colour of the image, ``response = features(image) @ weights[voxel] + noise``, in percent signal
change under a baseline and a gain that change from session to session. Whoever misreads an axis, an index base, a label or
a subject, or leaves out the z-score of each session, therefore loses correlation with the planted signal.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io
from PIL import Image

TRIALS = 750  # per session
IMAGES = 73000
SHAPES = {"func1pt8mm": (11, 10, 9), "func1mm": (13, 9, 11)}
VOXEL_SIZES = {"func1pt8mm": 1.8, "func1mm": 1.0}
NUM_VERTICES = (300, 280)
NOISE = {"betas_assumehrf": 2.5, "betas_fithrf": 2.0, "betas_fithrf_GLMdenoise_RR": 1.5}
SCALE, LIMIT = 300, 32767
ANCHORS = {
    0: 46003,
    28: 48618,
    35: 44981,
    44: 32626,
}  # 0-based trial of subject 1 -> 73k id, as public readers print it
COLOUR_MEAN, COLOUR_STD = 128.0, 128 / 12**0.5  # of the uniform colours that the images are drawn from

ATLASES = {
    "Kastner2015": (
        *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2", "PHC1", "PHC2", "TO2", "TO1", "LO2", "LO1"),
        *("V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
    ),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "nsdgeneral": ("nsdgeneral",),
    "HCP_MMP1": tuple({18: "FFC", 163: "VVC"}.get(i, f"area{i}") for i in range(1, 181)),
}
# Cortex is cut into patches, the grain of the weights. prf-visualrois starts past Kastner2015 so that its numbers 1..7 name
# other voxels; the category regions overlap in part, as the real ones do.
PATCHES = 46
FIRST_PATCH = {
    **{"Kastner2015": 1, "prf-visualrois": 26, "prf-eccrois": 28},
    **{"floc-faces": 33, "floc-words": 35, "floc-places": 39, "floc-bodies": 40},
}
STREAMS = [0, *[1] * 6, 2, *[5] * 4, 6, 6, 3, 3, 4, 4, *[7] * 6, *[0] * 9, *[5] * 9, *[0] * 5]  # by patch
GENERAL = 43  # nsdgeneral holds the patches up to this one, each less one voxel
COLUMNS = (
    *("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND"),
    *("MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA"),
)


@dataclass(frozen=True)
class Tree:
    """What was planted. Voxel axes are (X, Y, Z); vertices are the left hemisphere's, then the right's.

    Attributes:
        root: folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subjects: the subjects written, of 1..8.
        sessions: number of sessions of each subject.
        shapes: volume shape of each volume space.
        num_vertices: vertices of the left and the right hemisphere.
        masterordering: 1-based 10k id of each of the 30,000 trials, the same for all subjects.
        subjectim: 1-based 73k id of each subject's 10,000 images; the first 1,000 are shared.
        features: (73000, 3), by 0-based brick row; NaN for an image that nobody was shown.
        weights: (subject, space) -> (X, Y, Z, 3) or (vertices, 3); NaN where there is no signal.
        labels: (subject, space, atlas) -> combined labels, -1 off cortex in a volume, never so on a surface.
        valid: (subject, space) -> (sessions, X, Y, Z) or (sessions, vertices), False where that session has no data.
        saturated: (subject, space) -> mask of units with signal and a gain that, stored as int16, passes the limit.
        noise: beta version -> single-trial noise sd, in the unit of ``features @ weights``, before baseline and gain.
    """

    root: Path
    subjects: tuple[int, ...]
    sessions: dict[int, int]
    shapes: dict[str, tuple[int, int, int]]
    num_vertices: tuple[int, int]
    masterordering: np.ndarray
    subjectim: np.ndarray
    features: np.ndarray
    weights: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    labels: dict[tuple[int, str, str], np.ndarray] = field(default_factory=dict)
    valid: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    saturated: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=lambda: dict(NOISE))

    def rows(self, subject: int) -> np.ndarray:
        """0-based brick row of each trial of a subject, in the order of the experiment."""
        shown = self.masterordering[: TRIALS * self.sessions[subject]]
        return self.subjectim[subject - 1, shown - 1] - 1


@dataclass(frozen=True)
class _Layout:
    side: np.ndarray  # 0 left cortex, 1 right cortex, -1 neither; (units,)
    patch: np.ndarray  # 1..PATCHES, 0 where nothing responds; (units,)
    brain: np.ndarray
    shape: tuple[int, ...]  # of one map; units are its elements in C order


def write_tree(
    root: str | Path,
    *,
    subjects: Sequence[int] = (1,),
    spaces: Sequence[str] = ("func1pt8mm",),
    versions: Sequence[str] = ("betas_fithrf_GLMdenoise_RR",),
    containers: Sequence[str] = ("hdf5",),
    sessions: int | dict[int, int] = 3,
    image_size: int = 8,
    ctab: bool = True,
    real_anchors: bool = False,
    seed: int = 0,
) -> Tree:
    """Write a tree and return what was planted.

    Betas, labels, weights and images of a seed do not depend on what else is written.

    Args:
        root: folder to write to.
        subjects: any of 1..8.
        spaces: any of "func1pt8mm", "func1mm", "fsaverage", "nativesurface".
        versions: names of beta folders, each a noise draw of its own: see ``NOISE``.
        containers: "hdf5", "nii.gz" or both, for the volumes; a surface space has one format only.
        sessions: sessions of 750 trials, at most 40, for all subjects or by subject.
        image_size: side of the images, which are 425 pixels in the real brick.
        ctab: write the tables of label names.
        real_anchors: give subject 1 the images known to have been shown on some early trials of the real experiment.
        seed: of everything drawn.
    """
    root = Path(root)
    order, subjectim = _design(seed, real_anchors)
    tree = Tree(
        root=root,
        subjects=tuple(subjects),
        sessions={s: sessions[s] if isinstance(sessions, dict) else sessions for s in subjects},
        shapes={space: SHAPES[space] for space in spaces if space in SHAPES},
        num_vertices=NUM_VERTICES,
        masterordering=order,
        subjectim=subjectim,
        features=np.full((IMAGES, 3), np.nan),
    )
    _write_design(tree, seed)
    _write_images(tree, image_size, seed)
    for subject in subjects:
        _write_behaviour(tree, subject, seed)
        for space in spaces:
            _write_space(tree, subject, space, versions, containers, seed)
    if ctab:
        for owner in (*(f"subj{s:02d}" for s in subjects), "fsaverage"):
            for atlas, names in ATLASES.items():
                lines = [f"{i} {name}\n" for i, name in enumerate(("Unknown", *names))]
                path = _parent(root / "nsddata/freesurfer" / owner / "label" / f"{atlas}.mgz.ctab")
                path.write_text("".join(lines), encoding="utf-8")
    return tree


def image_features(images: np.ndarray) -> np.ndarray:
    """Planted features of uint8 images, (..., height, width, 3) -> (..., 3): mean red, green and blue, standardised."""
    return (images.mean(axis=(-3, -2)) - COLOUR_MEAN) / COLOUR_STD


def _rng(seed: int, *keys: object) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(str(key).encode()) for key in keys)])


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _design(seed: int, real_anchors: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = _rng(seed, "design")
    # Most repeats fall in other sessions, so that baselines left in the data pass for noise; a tenth follow at once, so
    # that a single session too holds images shown three times.
    soon = rng.random((10000, 1)) < 0.1
    gaps = np.where(soon, rng.uniform(5, 200, (10000, 2)), rng.uniform(600, 1500, (10000, 2)))
    when = 3 * rng.permutation(10000)[:, None] + np.hstack([np.zeros((10000, 1)), gaps.cumsum(axis=1)])
    order = np.argsort(when.ravel(), kind="stable") // 3 + 1

    anchors = list(ANCHORS.values())
    middle = rng.permutation(np.setdiff1d(np.arange(2952, 72949), anchors))
    fixed = [2951, 72949, *(anchors if real_anchors else [])]
    shared = np.sort([*fixed, *middle[: 1000 - len(fixed)]])
    # 8 x 9,000 + 1,000 = 73,000: no image is left over, and no two subjects meet outside the shared ones.
    others = rng.permutation(np.setdiff1d(np.arange(1, IMAGES + 1), shared)).reshape(8, 9000)
    if real_anchors:
        for trial, image in ANCHORS.items():
            last = np.flatnonzero(order == np.searchsorted(shared, image) + 1)[-1]
            order[[trial, last]] = order[[last, trial]]
    return order, np.hstack([np.tile(shared, (8, 1)), others])


def _repeats(order: np.ndarray) -> np.ndarray:
    """0-based trials of the three showings of each 10k id, ascending."""
    return np.argsort(order, kind="stable").reshape(-1, 3)


def _write_design(tree: Tree, seed: int) -> None:
    order, subjectim = tree.masterordering, tree.subjectim
    counts = [np.unique(part, return_counts=True)[1] for part in order.reshape(40, TRIALS)]
    in_run = np.array([63, 62] * 6)[:, None]
    arrays = {
        "masterordering": order[None],
        "subjectim": subjectim,
        "sharedix": subjectim[:1, :1000],
        "stimpattern": _rng(seed, "stimpattern").random((40, 12, 75)).argsort(axis=2) < in_run,
        "basiccnt": np.array([[np.sum(c == times) for c in counts] for times in (1, 2, 3)]),
    }
    # MATLAB stores whole numbers in the smallest type that holds them, and readers see that type: subtraction can wrap.
    arrays = {key: value.astype(np.min_scalar_type(int(value.max()))) for key, value in arrays.items()}
    experiment = tree.root / "nsddata/experiments/nsd"
    scipy.io.savemat(_parent(experiment / "nsd_expdesign.mat"), arrays, do_compression=True)

    rng = _rng(seed, "stim_info")
    crop = rng.integers(0, 2, IMAGES)
    flags = rng.random((IMAGES, 2)) < 0.01
    columns: dict[str, Any] = {
        "cocoId": rng.permutation(580000)[:IMAGES] + 1,
        "cocoSplit": np.where(rng.random(IMAGES) < 0.95, "train2017", "val2017"),
        "cropBox": np.array(["(0, 0, 0.125, 0.125)", "(0.25, 0.0625, 0, 0)"])[crop],
        "loss": np.array([0.125, 0.25])[crop],
        "nsdId": np.arange(IMAGES),
        "flagged": flags[:, 0],
        "BOLD5000": flags[:, 1],
        "shared1000": np.isin(np.arange(1, IMAGES + 1), subjectim[0, :1000]),
    }
    planned = np.zeros((8, 3, IMAGES), dtype=int)
    for images, row in zip(subjectim, planned):
        row[:, images - 1] = _repeats(order).T + 1
    columns |= {f"subject{s + 1}": (planned[s, 0] > 0).astype(int) for s in range(8)}
    columns |= {f"subject{s + 1}_rep{r}": planned[s, r] for s in range(8) for r in range(3)}
    pd.DataFrame(columns).to_csv(experiment / "nsd_stim_info_merged.csv")


def _write_images(tree: Tree, size: int, seed: int) -> None:
    shown = np.unique(np.concatenate([tree.rows(s) for s in tree.subjects]))
    colours = _rng(seed, "colours").uniform(64, 192, (IMAGES, 3))
    path = _parent(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    shared = tree.subjectim[0, :1000] - 1
    as_png = np.intersect1d(shown, shared)[:5].tolist()
    with h5py.File(path, "w") as file:
        # One chunk an image: the rows that are never written take no room.
        shape = (size, size, 3)
        brick = file.create_dataset("imgBrick", (IMAGES, *shape), np.uint8, chunks=(1, *shape))
        for row in shown.tolist():
            pixels = colours[row] + 16 * _rng(seed, "image", row).standard_normal(shape)
            image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            brick[row] = image
            tree.features[row] = image_features(image)
            if row in as_png:
                name = f"shared{np.searchsorted(shared, row) + 1:04d}_nsd{row + 1:05d}.png"
                Image.fromarray(image).save(_parent(tree.root / "nsddata/stimuli/nsd/shared1000" / name))


def _write_behaviour(tree: Tree, subject: int, seed: int) -> None:
    trials = TRIALS * tree.sessions[subject]
    rng = _rng(seed, "behaviour", subject)
    t = np.arange(trials)
    session, within = t // TRIALS, t % TRIALS
    starts = np.cumsum([0, *[63, 62] * 6])
    run = np.searchsorted(starts, within, side="right") - 1
    trial = within - starts[run]
    days = 737000 + 7 * session + (300 * run + 4 * trial) / 86400  # as MATLAB counts them
    ids = tree.masterordering[:trials]
    before = _repeats(tree.masterordering)[ids - 1]
    recent = np.where(before < t[:, None], before, -1).max(axis=1)
    old, old_today = recent >= 0, (recent >= 0) & (recent // TRIALS == session)
    lost = session * 12 + run == 7  # one run without behavioural data
    pressed = ~lost & (rng.random(trials) >= 0.02)
    correct = rng.random(trials) < 0.85
    says_old = np.where(correct, old, ~old)

    def given(values: np.ndarray, where: np.ndarray = pressed) -> np.ndarray:
        return np.where(where, values, np.nan)

    reaction = rng.uniform(400, 3200, trials).round(1)
    since = given(t - recent - 1, old), given(t - before[:, 0] - 1, old)
    totals = 1 * (pressed & ~says_old), 1 * (pressed & says_old)
    when = [np.full(trials, subject), session + 1, run + 1, trial + 1, tree.rows(subject) + 1, ids, days, 1 * old]
    answer = [given(correct), given(reaction), given(rng.random(trials) < 0.03), *since, 1 * old_today]
    tally = [given(says_old == old_today), *totals, given(1 + says_old), 1 * lost]
    path = _parent(tree.root / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv")
    pd.DataFrame(dict(zip(COLUMNS, [*when, *answer, *tally]))).to_csv(path, sep="\t", index=False, na_rep="NaN")


def _layout(space: str, rng: np.random.Generator) -> _Layout:
    if space in SHAPES:
        shape = SHAPES[space]
        index = np.indices(shape)
        depth = np.minimum.reduce([np.minimum(i, n - 1 - i) for i, n in zip(index, shape)])
        brain = depth >= 1
        cortex = brain & (depth < 3)
        side = np.where(cortex, index[0] >= shape[0] // 2, -1).ravel()  # x grows to the right
    else:
        shape = (sum(NUM_VERTICES),)
        brain = np.ones(shape, dtype=bool)
        side = np.repeat([0, 1], NUM_VERTICES)
    patch = np.zeros(len(side), dtype=int)
    for hemisphere in (0, 1):
        # Scattered, so that a flipped or transposed mask lands in other patches; the first ones respond to nothing.
        units = rng.permutation(np.flatnonzero(side == hemisphere))[20:]
        patch[units] = 1 + np.arange(len(units)) * PATCHES // len(units)
    return _Layout(side, patch, brain.ravel(), shape)


def _labels(atlas: str, patch: np.ndarray) -> np.ndarray:
    if atlas == "nsdgeneral":
        labels = ((patch > 0) & (patch <= GENERAL)).astype(int)
        labels[np.unique(patch, return_index=True)[1]] = 0
        return labels
    if atlas == "HCP_MMP1":
        table = np.array([0, *(1 + 17 * np.arange(1, PATCHES + 1) % 180)])
    elif atlas == "streams":
        table = np.array(STREAMS)
    else:
        names = len(ATLASES[atlas])
        table = np.arange(PATCHES + 1) - FIRST_PATCH[atlas] + 1
        table[(table < 1) | (table > names)] = 0
    return table[patch]


def _weights(layout: _Layout, rng: np.random.Generator) -> np.ndarray:
    directions = rng.standard_normal((2, PATCHES + 1, 3))
    for one in directions:
        # Neighbouring numbers get orthogonal directions: a label read one too low shows up as no correlation at all.
        for k in range(1, len(one)):
            one[k] = np.cross(one[k - 1], one[k])
            one[k] /= np.linalg.norm(one[k])
    weights = directions[layout.side, layout.patch] + 0.2 * rng.standard_normal((len(layout.patch), 3))
    weights *= rng.uniform(0.7, 1.4, (len(weights), 1))
    weights[layout.patch == 0] = np.nan
    return weights


def _write_space(
    tree: Tree, subject: int, space: str, versions: Sequence[str], containers: Sequence[str], seed: int
) -> None:
    name, sessions = f"subj{subject:02d}", tree.sessions[subject]
    owner = "fsaverage" if space == "fsaverage" else name  # one template carries one set of labels
    layout = _layout(space, _rng(seed, "layout", space, owner))
    rng = _rng(seed, "weights", space, subject)
    weights = _weights(layout, rng)

    def pick(patch: int) -> int:
        return rng.choice(np.flatnonzero(layout.patch == patch))

    once, never, extreme = [pick(1), pick(5), pick(40)], pick(2), pick(3)
    valid = np.ones((sessions, len(layout.patch)), dtype=bool)
    for i, unit in enumerate(once[:sessions]):
        valid[i, unit] = False
    valid[:, never] = False
    saturated = np.arange(len(layout.patch)) == extreme
    weights[~valid.any(axis=0)] = np.nan
    tree.weights[subject, space] = weights.reshape(*layout.shape, 3)
    tree.valid[subject, space] = valid.reshape(sessions, *layout.shape)
    tree.saturated[subject, space] = saturated.reshape(layout.shape)
    _write_labels(tree, subject, space, layout, owner)
    power = np.nan_to_num(np.square(weights).sum(axis=1))
    if space in SHAPES:
        maps = tree.root / "nsddata/ppdata" / name / space
        for i, mask in enumerate(valid, start=1):
            _write_volume(maps / f"valid_session{i:02d}.nii.gz", mask.astype(np.int16), space)
        _write_volume(maps / "valid.nii.gz", valid.all(axis=0).astype(np.int16), space)
        _write_volume(maps / "brainmask.nii.gz", layout.brain.astype(np.int16), space)
        mean = np.where(layout.brain, 1000, 50) * rng.uniform(0.8, 1.2, len(power))
        _write_volume(maps / "mean.nii.gz", mean.astype(np.float32), space)
        _write_volume(maps / "R2.nii.gz", (100 * power / (power + 1)).astype(np.float32), space)

    signal = np.nan_to_num(weights) @ tree.features[tree.rows(subject)].T
    for version in versions:
        folder = tree.root / "nsddata_betas/ppdata" / name / space / version
        stored = []
        for i in range(sessions):
            # Large enough that without a z-score in each session they, not the signal, are most of the variance.
            drift = _rng(seed, "drift", space, subject, i)
            baseline = 4 * drift.standard_normal((len(power), 1))
            gain = 2 ** drift.uniform(-1, 1, (len(power), 1)) * np.where(saturated, 50, 1)[:, None]
            noise = _rng(seed, "noise", space, subject, version, i).standard_normal((len(power), TRIALS))
            response = signal[:, i * TRIALS : (i + 1) * TRIALS] + NOISE[version] * noise
            stored.append(_store(baseline + gain * response, valid[i], space))
            _write_betas(folder, i + 1, stored[i], layout, space, containers)
        ncsnr = np.where(layout.brain, _ncsnr(stored, tree.masterordering), np.nan).astype(np.float32)
        if space not in SHAPES:
            for hemisphere, prefix in enumerate(("lh.", "rh.")):
                _write_surface(folder / f"{prefix}ncsnr.mgh", ncsnr[layout.side == hemisphere])
            continue
        means = [betas.mean(axis=1, dtype=float).astype(np.float32) for betas in stored]
        for i, mean in enumerate(means, start=1):
            _write_volume(folder / f"meanbeta_session{i:02d}.nii.gz", mean, space)
        _write_volume(folder / "meanbeta.nii.gz", np.mean(means, axis=0, dtype=np.float32), space)
        _write_volume(folder / "R2.nii.gz", (100 * power / (power + NOISE[version] ** 2)).astype(np.float32), space)
        _write_volume(folder / "ncsnr.nii.gz", ncsnr, space)


def _write_labels(tree: Tree, subject: int, space: str, layout: _Layout, owner: str) -> None:
    volumes = tree.root / f"nsddata/ppdata/subj{subject:02d}" / space / "roi"
    surfaces = tree.root / "nsddata/freesurfer" / owner / "label"
    for atlas in ATLASES:
        labels = _labels(atlas, layout.patch)
        for hemisphere, prefix in enumerate(("lh.", "rh.")):
            here = layout.side == hemisphere
            if space in SHAPES:
                _write_volume(volumes / f"{prefix}{atlas}.nii.gz", np.where(here, labels, -1.0), space)
            else:
                _write_surface(surfaces / f"{prefix}{atlas}.mgz", labels[here])
        if space in SHAPES:
            labels = np.where(layout.side >= 0, labels, -1)
            _write_volume(volumes / f"{atlas}.nii.gz", labels.astype(float), space)
        tree.labels[subject, space, atlas] = labels.reshape(layout.shape)


def _store(percent: np.ndarray, valid: np.ndarray, space: str) -> np.ndarray:
    if space == "fsaverage":
        return np.where(valid[:, None], percent, np.nan).astype(np.float32)
    counts = np.clip(np.rint(SCALE * percent), -LIMIT, LIMIT)
    return np.where(valid[:, None], counts, 0).astype(np.int16)


def _ncsnr(stored: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Noise-ceiling SNR of the betas as stored, z-scored within each session (ddof 1).

    The noise variance is the mean, over the images with three trials so far, of the variance (ddof 1) of those trials.
    A voxel that is invalid in any session has no z-score there and is NaN, as the plain arithmetic gives.
    """
    scores = []
    for betas in stored:
        values = betas.astype(float)
        with np.errstate(invalid="ignore"):
            scores.append((values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, ddof=1, keepdims=True))
    z = np.concatenate(scores, axis=1)
    repeats = _repeats(order)
    repeats = repeats[(repeats < z.shape[1]).all(axis=1)]
    noise = z[:, repeats].var(axis=2, ddof=1).mean(axis=1)
    return np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)


def _write_betas(
    folder: Path, session: int, betas: np.ndarray, layout: _Layout, space: str, containers: Sequence[str]
) -> None:
    name = f"betas_session{session:02d}"
    if space in SHAPES:
        if "nii.gz" in containers:
            _write_volume(folder / f"{name}.nii.gz", betas, space)
        if "hdf5" in containers:
            # MATLAB writes X, Y, Z, trial with the first axis fastest: other readers see the axes reversed.
            _write_hdf5(folder / f"{name}.hdf5", betas.reshape(*layout.shape, TRIALS).T)
        return
    for hemisphere, prefix in enumerate(("lh.", "rh.")):
        here = betas[layout.side == hemisphere]
        if space == "fsaverage":
            _write_surface(folder / f"{prefix}{name}.mgh", here)
        else:
            _write_hdf5(folder / f"{prefix}{name}.hdf5", here.T)


def _write_hdf5(path: Path, data: np.ndarray) -> None:
    with h5py.File(_parent(path), "w") as file:
        file.create_dataset("betas", data=data, chunks=(TRIALS, *[1] * (data.ndim - 1)))


def _write_volume(path: Path, units: np.ndarray, space: str) -> None:
    shape, size = SHAPES[space], VOXEL_SIZES[space]
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = -size * (np.array(shape) - 1) / 2
    image = nib.Nifti1Image(units.reshape(*shape, *units.shape[1:]), affine)
    image.set_qform(None, code=0)
    image.set_sform(affine, code=1)
    if units.ndim == 2:
        image.header.set_zooms((size, size, size, 4 / 3))
    image.header.set_xyzt_units("mm", "sec")
    raw = bytearray(image.to_bytes())
    raw[112:120] = bytes(8)  # nibabel writes slope 1, the real files hold 0
    _parent(path).write_bytes(gzip.compress(bytes(raw), 1, mtime=0))


def _write_surface(path: Path, units: np.ndarray) -> None:
    data = units.astype(np.float32).reshape(len(units), 1, 1, *units.shape[1:])
    nib.save(nib.MGHImage(data, np.eye(4)), _parent(path))
