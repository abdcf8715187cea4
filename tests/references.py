"""Slow, literal float64 NumPy/SciPy references of the library's formulas, written for comparison only.

Every function loops in plain Python and forms its matrices explicitly; clarity comes before speed throughout.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def _voxel_weights(ceiling: ArrayLike | None, voxels: int) -> list[float]:
    """Weight of each voxel: its ceiling, 1 without a ceiling, 0 where the ceiling is NaN."""
    if ceiling is None:
        return [1.0] * voxels
    return [0.0 if math.isnan(value) else float(value) for value in np.asarray(ceiling, dtype=np.float64)]


def _classes(labels: ArrayLike) -> list[int]:
    """Sorted distinct labels."""
    return sorted({int(label) for label in np.asarray(labels)})


def _members(features: Array, labels: ArrayLike, label: int) -> Array:
    """Rows of the features that carry a label, in order."""
    return np.array([features[i] for i, other in enumerate(np.asarray(labels)) if int(other) == label])


def _length(vector: Array) -> float:
    """Euclidean length: sqrt(sum x^2)."""
    return math.sqrt(sum(float(value) ** 2 for value in vector))


def mse_loss(preds: ArrayLike, target: ArrayLike, ceiling: ArrayLike | None = None, reduction: str = "mean") -> float:
    """sum(w (p - t)^2) / sum(w) over entries whose target is not NaN; w is the voxel's ceiling (NaN: 0).

    'sum' multiplies by the number of voxels with a valid entry of positive weight; nothing valid gives 0.
    """
    p, t = np.asarray(preds, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', not {reduction!r}")
    weights = _voxel_weights(ceiling, p.shape[1])
    numerator, denominator, used_voxels = 0.0, 0.0, set()
    for i in range(p.shape[0]):
        for v in range(p.shape[1]):
            if math.isnan(t[i, v]) or weights[v] == 0:
                continue
            numerator += weights[v] * (p[i, v] - t[i, v]) ** 2
            denominator += weights[v]
            used_voxels.add(v)
    if denominator == 0:
        return 0.0
    mean = float(numerator / denominator)
    return mean * len(used_voxels) if reduction == "sum" else mean


def pearson_loss(preds: ArrayLike, target: ArrayLike, ceiling: ArrayLike | None = None) -> float:
    """1 - sum_v(w_v r_v) / sum_v(w_v), r_v over the valid stimuli of v, for voxels with at least 3 of them.

    r is 0 where either side is constant; w is the ceiling (NaN: 0); no voxel of positive weight gives 0.
    """
    p, t = np.asarray(preds, dtype=np.float64), np.asarray(target, dtype=np.float64)
    weights = _voxel_weights(ceiling, p.shape[1])
    numerator, denominator = 0.0, 0.0
    for v in range(p.shape[1]):
        valid = [i for i in range(p.shape[0]) if not math.isnan(t[i, v])]
        if len(valid) < 3:
            continue
        x, y = [float(p[i, v]) for i in valid], [float(t[i, v]) for i in valid]
        constant = min(x) == max(x) or min(y) == max(y)
        r = 0.0 if constant else float(stats.pearsonr(x, y)[0])
        numerator += weights[v] * r
        denominator += weights[v]
    return 1.0 - numerator / denominator if denominator > 0 else 0.0


def cosine_loss(preds: ArrayLike, target: ArrayLike, ceiling: ArrayLike | None = None) -> float:
    """1 - mean_i of sum(w p t) / sqrt(sum(w p^2) sum(w t^2)) over the valid voxels of stimulus i (0 if a side is 0).

    Stimuli without a valid entry of positive weight are left out; no stimulus left gives 0.
    """
    p, t = np.asarray(preds, dtype=np.float64), np.asarray(target, dtype=np.float64)
    weights = _voxel_weights(ceiling, p.shape[1])
    cosines = []
    for i in range(p.shape[0]):
        valid = [v for v in range(p.shape[1]) if not math.isnan(t[i, v]) and weights[v] > 0]
        if not valid:
            continue
        dot = sum(weights[v] * float(p[i, v]) * float(t[i, v]) for v in valid)
        pp = sum(weights[v] * float(p[i, v]) ** 2 for v in valid)
        tt = sum(weights[v] * float(t[i, v]) ** 2 for v in valid)
        cosines.append(0.0 if pp == 0 or tt == 0 else dot / (math.sqrt(pp) * math.sqrt(tt)))
    return 1.0 - sum(cosines) / len(cosines) if cosines else 0.0


def category_manifolds(
    features: ArrayLike, labels: ArrayLike, variance: float = 0.95
) -> dict[str, Array | list[Array]]:
    """Centers mu_c, radii sqrt(mean |x - mu_c|^2) and bases of each class, in sorted order of the labels.

    A basis is the k leading eigenvectors of the class covariance, k the least with sum_{i<=k} lam >= variance sum lam.
    """
    x = np.asarray(features, dtype=np.float64)
    centers, radii, bases = [], [], []
    for label in _classes(labels):
        members = _members(x, labels, label)
        center = sum(members) / len(members)
        covariance = np.zeros((x.shape[1], x.shape[1]))
        for row in members:
            covariance += np.outer(row - center, row - center) / len(members)
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        order = list(range(x.shape[1]))[::-1]  # eigh sorts upwards
        lam = [max(0.0, float(eigenvalues[j])) for j in order]
        total, held, k = sum(lam), 0.0, 0
        while k < len(lam) and held < variance * total:
            held += lam[k]
            k += 1
        centers.append(center)
        radii.append(math.sqrt(sum(_length(row - center) ** 2 for row in members) / len(members)))
        bases.append(eigenvectors[:, order[:k]])
    return {"centers": np.array(centers), "radii": np.array(radii), "bases": bases}


def manifold_terms(
    z: ArrayLike,
    labels: ArrayLike,
    centers: ArrayLike,
    radii: ArrayLike,
    bases: list[Array],
    about: str = "center",
) -> tuple[float, float]:
    """(mean_c max(0, sqrt(mean_{i in c} |z_i - mu_c|^2) - R_c), 1 - mean_c mean_{i in c} VAF_i), c the classes present.

    VAF_i = 1 - |zt_i - U_c U_c^T zt_i| / |zt_i| with zt = z - mu_c, or z - batch mean (1 where zt_i is 0); a label indexes
    centers.
    """
    z = np.asarray(z, dtype=np.float64)
    mu, limits = np.asarray(centers, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    batch_mean = sum(z) / len(z)
    hinges, vafs = [], []
    for label in _classes(labels):
        members = _members(z, labels, label)
        spread = math.sqrt(sum(_length(row - mu[label]) ** 2 for row in members) / len(members))
        hinges.append(max(0.0, spread - float(limits[label])))
        basis = np.asarray(bases[label], dtype=np.float64)
        projector = basis @ basis.T
        class_vafs = []
        for row in members:
            centred = row - (mu[label] if about == "center" else batch_mean)
            length = _length(centred)
            class_vafs.append(1.0 if length == 0 else 1.0 - _length(centred - projector @ centred) / length)
        vafs.append(sum(class_vafs) / len(class_vafs))
    return sum(hinges) / len(hinges), 1.0 - sum(vafs) / len(vafs)


def non_neural_terms(z: ArrayLike, labels: ArrayLike, radius: float) -> tuple[float, float]:
    """(mean_c max(0, sqrt(mean_{i in c} |z_i - zbar_c|^2) - radius), mean_c sum of singular values of Z_c - zbar_c).

    zbar_c is the batch mean of class c; both means run over the classes present.
    """
    z = np.asarray(z, dtype=np.float64)
    hinges, nuclear_norms = [], []
    for label in _classes(labels):
        members = _members(z, labels, label)
        center = sum(members) / len(members)
        centred = np.array([row - center for row in members])
        spread = math.sqrt(sum(_length(row) ** 2 for row in centred) / len(members))
        hinges.append(max(0.0, spread - radius))
        singular_values = np.linalg.svd(centred, compute_uv=False)
        nuclear_norms.append(sum(float(value) for value in singular_values))
    return sum(hinges) / len(hinges), sum(nuclear_norms) / len(nuclear_norms)


def normalized_non_neural_terms(z: ArrayLike, labels: ArrayLike, radius: float) -> tuple[float, float]:
    """(mean_c max(0, r_c / T - radius), mean_c |Z_c - zbar_c|_* / (T sqrt((n_c - 1) min(n_c - 1, d)))), n_c >= 2.

    r_c^2 = sum_{i in c} |z_i - zbar_c|^2 / (n_c - 1) and T^2 = sum_i |z_i - zbar|^2 / (B - 1); r_c / T and the second term
    are 1 where T is 0.
    """
    z = np.asarray(z, dtype=np.float64)
    mean = sum(z) / len(z)
    total = math.sqrt(sum(_length(row - mean) ** 2 for row in z) / (len(z) - 1))
    hinges, nuclear_norms = [], []
    for label in _classes(labels):
        members = _members(z, labels, label)
        if len(members) < 2:
            continue
        center = sum(members) / len(members)
        centred = np.array([row - center for row in members])
        freedom = len(members) - 1
        relative = 1.0 if total == 0 else math.sqrt(sum(_length(row) ** 2 for row in centred) / freedom) / total
        singular_values = np.linalg.svd(centred, compute_uv=False)
        nuclear = float(sum(singular_values))
        hinges.append(max(0.0, relative - radius))
        nuclear_norms.append(1.0 if total == 0 else nuclear / (total * math.sqrt(freedom * min(freedom, z.shape[1]))))
    return sum(hinges) / len(hinges), sum(nuclear_norms) / len(nuclear_norms)


def noise_ceiling(responses: ArrayLike) -> Array:
    """NC = S / (S + N / n) of complete (stimulus, repeat, voxel) data with n repeats; 0 where S is 0.

    N = mean over stimuli of var(ddof=1) over repeats, S = max(0, var(ddof=0) over all trials - N).
    """
    x = np.asarray(responses, dtype=np.float64)
    stimuli, repeats, voxels = x.shape
    result = np.zeros(voxels)
    for v in range(voxels):
        noise = sum(float(np.var(x[s, :, v], ddof=1)) for s in range(stimuli)) / stimuli
        total = float(np.var([x[s, r, v] for s in range(stimuli) for r in range(repeats)], ddof=0))
        signal = max(0.0, total - noise)
        result[v] = 0.0 if signal == 0 else signal / (signal + noise / repeats)
    return result


def nsd_noise_ceiling(z: ArrayLike) -> Array:
    """NC = ncsnr^2 / (ncsnr^2 + 1/3) of z-scored (stimulus, 3, voxel) data, as a fraction; 1 where N is 0.

    ncsnr = sqrt(max(0, 1 - N)) / sqrt(N), N = mean over stimuli of var(ddof=1) over the 3 repeats.
    """
    z = np.asarray(z, dtype=np.float64)
    if z.shape[1] != 3:
        raise ValueError(f"three repeats are needed, not {z.shape[1]}")
    result = np.zeros(z.shape[2])
    for v in range(z.shape[2]):
        noise = sum(float(np.var(z[s, :, v], ddof=1)) for s in range(z.shape[0])) / z.shape[0]
        if noise == 0:
            result[v] = 1.0
            continue
        ncsnr = math.sqrt(max(0.0, 1.0 - noise)) / math.sqrt(noise)
        result[v] = ncsnr**2 / (ncsnr**2 + 1.0 / 3.0)
    return result


def class_radius(features: ArrayLike, labels: ArrayLike) -> float:
    """sqrt(mean_i |x_i - mu_{c(i)}|^2) / sqrt(mean_c |mu_c - m|^2), m = unweighted mean of the class means.

    The upper mean runs over all samples, the lower one over classes.
    """
    x = np.asarray(features, dtype=np.float64)
    within, means = [], []
    for label in _classes(labels):
        members = _members(x, labels, label)
        mean = sum(members) / len(members)
        means.append(mean)
        for row in members:
            within.append(_length(row - mean) ** 2)
    middle = sum(means) / len(means)
    between = [_length(mean - middle) ** 2 for mean in means]
    return math.sqrt(sum(within) / len(within)) / math.sqrt(sum(between) / len(between))


def participation_ratio(features: ArrayLike) -> float:
    """(sum lam)^2 / sum lam^2 of the eigenvalues of the features' covariance."""
    x = np.asarray(features, dtype=np.float64)
    mean = sum(x) / len(x)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for row in x:
        covariance += np.outer(row - mean, row - mean) / len(x)
    eigenvalues = [float(value) for value in np.linalg.eigvalsh(covariance)]
    return sum(eigenvalues) ** 2 / sum(value**2 for value in eigenvalues)


def separability(features: ArrayLike, labels: ArrayLike) -> float:
    """trace(S_between) / trace(S_total), with the scatter about the mean m of all samples.

    S_between = sum_c n_c (mu_c - m)(mu_c - m)^T, S_total = sum_i (x_i - m)(x_i - m)^T.
    """
    x = np.asarray(features, dtype=np.float64)
    mean = sum(x) / len(x)
    between, total = np.zeros((x.shape[1], x.shape[1])), np.zeros((x.shape[1], x.shape[1]))
    for label in _classes(labels):
        members = _members(x, labels, label)
        class_mean = sum(members) / len(members)
        between += len(members) * np.outer(class_mean - mean, class_mean - mean)
    for row in x:
        total += np.outer(row - mean, row - mean)
    return float(np.trace(between) / np.trace(total))


def linear_robust(
    weights: ArrayLike, bias: ArrayLike, x: ArrayLike, labels: ArrayLike, eps: float, norm: str = "linf"
) -> Bools:
    """Robust iff min_{j != y} (z_y - z_j) / |w_y - w_j|_dual > eps, z = W x + b, with no box on x; needs z_y > z_j.

    The dual norm is the 1-norm for 'linf' and the 2-norm for 'l2'.
    """
    w, b, x = (np.asarray(value, dtype=np.float64) for value in (weights, bias, x))
    y = np.asarray(labels)
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', not {norm!r}")
    result = np.zeros(len(x), dtype=bool)
    for i in range(len(x)):
        logits = w @ x[i] + b
        robust, label = True, int(y[i])
        for j in range(len(w)):
            if j == label:
                continue
            margin = float(logits[label] - logits[j])
            difference = w[label] - w[j]
            dual = sum(abs(float(d)) for d in difference) if norm == "linf" else _length(difference)
            if margin <= 0:
                robust = False  # wrong, or tied
            elif dual > 0 and margin / dual <= eps:
                robust = False  # no perturbation changes the margin where dual is 0
        result[i] = robust
    return result


def nsd_trials(masterordering: ArrayLike, subjectim: ArrayLike, subject: int, session: int) -> tuple[Ints, Bools]:
    """stimulus0 = subjectim[subject - 1, ten_k - 1] - 1 and shared = ten_k <= 1000 of a session's 750 trials.

    ten_k = masterordering[(session - 1) 750 + column], 1-based like subject, session and the entries of both tables.
    """
    ordering, images = np.asarray(masterordering), np.asarray(subjectim)
    stimulus0, shared = np.zeros(750, dtype=np.int64), np.zeros(750, dtype=bool)
    for column in range(750):
        trial = (session - 1) * 750 + column
        ten_k = int(ordering[trial])
        seventythree_k = int(images[subject - 1, ten_k - 1])
        stimulus0[column] = seventythree_k - 1
        shared[column] = ten_k <= 1000
    return stimulus0, shared


def zscore_sessions(values: ArrayLike, session: ArrayLike) -> Array:
    """(x - mean) / std(ddof=0) per voxel and session over the entries that are not NaN; 0 where std is 0; NaN stays."""
    x, sessions = np.asarray(values, dtype=np.float64), np.asarray(session)
    result = np.full(x.shape, np.nan)
    for s in _classes(sessions):
        for v in range(x.shape[1]):
            rows = [i for i in range(x.shape[0]) if int(sessions[i]) == s and not math.isnan(x[i, v])]
            if not rows:
                continue
            entries = [float(x[i, v]) for i in rows]
            mean = sum(entries) / len(entries)
            std = math.sqrt(sum((entry - mean) ** 2 for entry in entries) / len(entries))
            for i in rows:
                result[i, v] = 0.0 if min(entries) == max(entries) else (float(x[i, v]) - mean) / std
    return result


def average_repeats(values: ArrayLike, stimulus: ArrayLike) -> tuple[Ints, Array]:
    """Sorted distinct stimuli and, per stimulus and voxel, the mean of the entries that are not NaN (none: NaN)."""
    x = np.asarray(values, dtype=np.float64)
    unique = _classes(stimulus)
    result = np.full((len(unique), x.shape[1]), np.nan)
    for k, label in enumerate(unique):
        rows = _members(x, stimulus, label)
        for v in range(x.shape[1]):
            entries = [float(entry) for entry in rows[:, v] if not math.isnan(entry)]
            if entries:
                result[k, v] = sum(entries) / len(entries)
    return np.array(unique, dtype=np.int64), result


def gabor_energy_naive(gray: ArrayLike, even: ArrayLike, odd: ArrayLike) -> Array:
    """sqrt(e^2 + o^2), e[y, x] = sum_{ij} even[i, j] padded[y + i, x + j] and o likewise: no flip of the filters.

    The image is padded by k // 2 with np.pad's mode 'reflect', for k x k filters with odd k.
    """
    image = np.asarray(gray, dtype=np.float64)
    first, second = np.asarray(even, dtype=np.float64), np.asarray(odd, dtype=np.float64)
    k = first.shape[0]
    padded = np.pad(image, k // 2, mode="reflect")
    result = np.zeros(image.shape)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            e, o = 0.0, 0.0
            for i in range(k):
                for j in range(k):
                    e += float(first[i, j]) * float(padded[y + i, x + j])
                    o += float(second[i, j]) * float(padded[y + i, x + j])
            result[y, x] = math.sqrt(e**2 + o**2)
    return result
