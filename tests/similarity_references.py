"""Slow, literal float64 NumPy/SciPy references of the similarity measures, written for comparison only.

Throughout, X (n, p) are predictions without gaps, Y (n, v) is a target with NaN where an entry is missing, and w (v,) are
voxel weights (NaN: 0; None: all 1). Voxels of weight 0 or without any entry are dropped first, then the stimuli left
without any entry. All else that is undefined is NaN unless its function says otherwise.
"""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from scipy.spatial import distance

Array = NDArray[np.float64]


def _array(values: ArrayLike) -> Array:
    """A float64 array."""
    return np.asarray(values, dtype=np.float64)


def _kept(Y: Array, w: ArrayLike | None) -> tuple[list[int], list[int], Array]:
    """Stimuli and voxels that remain, and the weights of the latter."""
    weights = np.ones(Y.shape[1]) if w is None else np.nan_to_num(_array(w))
    voxels = [v for v in range(Y.shape[1]) if weights[v] > 0 and not np.isnan(Y[:, v]).all()]
    stimuli = [i for i in range(Y.shape[0]) if not np.isnan(Y[i, voxels]).all()]
    return stimuli, voxels, weights[voxels]


def _prepared(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None) -> tuple[Array, Array, Array]:
    """X, Y and w without the dropped stimuli and voxels (X keeps its columns)."""
    X, Y = _array(X), _array(Y)
    stimuli, voxels, weights = _kept(Y, w)
    return X[stimuli], Y[np.ix_(stimuli, voxels)], weights


def _present(column: Array) -> list[int]:
    """Indices of the entries that are not NaN."""
    return [i for i, value in enumerate(column) if not math.isnan(value)]


def _centred(Z: Array) -> Array:
    """Columns minus their means over the present entries."""
    return Z - np.nanmean(Z, axis=0)


def _cosine(x: Array, y: Array, w: Array) -> float:
    """sum(w x y) / sqrt(sum(w x^2) sum(w y^2)); NaN where a side is 0."""
    xy, xx, yy = (float(np.sum(w * product)) for product in (x * y, x * x, y * y))
    return xy / (math.sqrt(xx) * math.sqrt(yy)) if xx > 0 and yy > 0 else math.nan


def _pearson(x: Array, y: Array, w: Array | None = None) -> float:
    """Weighted Pearson correlation; NaN with fewer than 2 entries or where a side is constant."""
    w = np.ones(len(x)) if w is None else w
    if len(x) < 2 or np.isnan(x).any() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return _cosine(x - np.sum(w * x) / np.sum(w), y - np.sum(w * y) / np.sum(w), w)


def _ratio(cross: float, self_x: float, self_y: float) -> float:
    """cross / sqrt(self_x self_y); NaN where a self term is not positive."""
    return float(cross / math.sqrt(self_x * self_y)) if self_x > 0 and self_y > 0 else math.nan


def _matrix_power(S: Array, exponent: float) -> Array:
    """Power of a symmetric positive definite matrix: V diag(lam^exponent) V'."""
    lam, vectors = np.linalg.eigh(S)
    return vectors @ np.diag(lam**exponent) @ vectors.T


def pearson_patterns_loss(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> float:
    """1 - mean_i r_i, r_i the weighted correlation over the present voxels of stimulus i (undefined: 0).

    Only stimuli with at least 2 present voxels of positive weight count; no such stimulus gives 0.
    """
    X, Y = _array(X), _array(Y)
    stimuli, voxels, weights = _kept(Y, w)
    correlations = []
    for x, y in zip(X[np.ix_(stimuli, voxels)], Y[np.ix_(stimuli, voxels)]):
        present = _present(y)
        if len(present) >= 2:
            correlations.append(np.nan_to_num(_pearson(x[present], y[present], weights[present])))
    return float(1.0 - np.mean(correlations)) if correlations else 0.0


def _entry_mean(losses: Array, w: ArrayLike | None) -> float:
    """sum(w loss) / sum(w) over the entries that are not NaN."""
    weights = np.ones(losses.shape[1]) if w is None else np.nan_to_num(_array(w))
    entries = [(i, v) for i, v in np.ndindex(losses.shape) if weights[v] > 0 and not math.isnan(losses[i, v])]
    return float(sum(weights[v] * losses[i, v] for i, v in entries) / sum(weights[v] for _, v in entries))


def gaussian_nll(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None, variance: ArrayLike) -> float:
    """sum w m ((x - y)^2 / (2 s_v) + log(s_v) / 2) / sum w m, s a scalar or one variance per voxel."""
    s = _array(variance)
    return _entry_mean((_array(X) - _array(Y)) ** 2 / (2 * s) + 0.5 * np.log(s), w)


def poisson_nll(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None, log_input: bool = True) -> float:
    """sum w m (lam - y + y log(y / lam)) / sum w m, lam = exp(x) or x: half the Poisson deviance (0 log 0 = 0)."""
    lam, Y = np.exp(_array(X)) if log_input else _array(X), _array(Y)
    return _entry_mean(lam - Y + special.rel_entr(Y, lam), w)  # rel_entr: y log(y / lam)


def target_gram(Y: ArrayLike, w: ArrayLike | None = None) -> Array:
    """K_ij = sum_v w m_i m_j Yc_i Yc_j / sum_v w m_i m_j, Yc centred per voxel (pair without a common voxel: 0)."""
    _, Y, weights = _prepared(Y, Y, w)
    Yc = _centred(Y)
    K = np.zeros((len(Y), len(Y)))
    for i, j in np.ndindex(K.shape):
        common = _present(Y[i] + Y[j])
        if common:
            K[i, j] = np.sum(weights[common] * Yc[i, common] * Yc[j, common]) / np.sum(weights[common])
    return K


def _u_centred(K: Array) -> Array:
    """K_ij - r_i - r_j + t off the diagonal, 0 on it, r_i = sum_l K_il / (n-2), t = sum K / ((n-1)(n-2))."""
    n = len(K)
    K = K - np.diag(np.diag(K))
    r, t = K.sum(axis=1) / (n - 2), K.sum() / ((n - 1) * (n - 2))
    centred = K - r[:, None] - r[None, :] + t
    return centred - np.diag(np.diag(centred))


def hsic(K: ArrayLike, L: ArrayLike, debiased: bool = True) -> float:
    """Debiased: <K^, L^> / (n (n-3)) of the U-centred matrices. Biased: trace(K H L H) / (n-1)^2."""
    K, L = _array(K), _array(L)
    n = len(K)
    if debiased:
        return float(np.sum(_u_centred(K) * _u_centred(L)) / (n * (n - 3)))
    H = np.eye(n) - np.ones((n, n)) / n
    return float(np.trace(K @ H @ L @ H) / (n - 1) ** 2)


def _cka(K: Array, L: Array, debiased: bool) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    return _ratio(hsic(K, L, debiased), hsic(K, K, debiased), hsic(L, L, debiased))


def linear_cka(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None, debiased: bool = True) -> float:
    """HSIC ratio of Xc Xc' and the target's Gram matrix."""
    X, Y, weights = _prepared(X, Y, w)
    return _cka(_centred(X) @ _centred(X).T, target_gram(Y, weights), debiased)


def _corrected_self_term(Z: Array, w: Array) -> float:
    """sum_{f != g} w_f w_g HSIC1(z_f z_f', z_g z_g') / ((sum w)^2 - sum w^2)."""
    grams = [np.outer(z, z) for z in Z.T]
    pairs = permutations(range(len(grams)), 2)
    return float(sum(w[f] * w[g] * hsic(grams[f], grams[g]) for f, g in pairs) / (np.sum(w) ** 2 - np.sum(w**2)))


def linear_cka_voxel_corrected(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None) -> float:
    """Debiased linear CKA whose self terms leave out the pairs of a feature with itself; complete voxels only."""
    X, Y, weights = _prepared(X, Y, w)
    complete = [v for v in range(Y.shape[1]) if not np.isnan(Y[:, v]).any()]
    Xc, Yc, weights = _centred(X), _centred(Y[:, complete]), weights[complete]
    L = sum(weight * np.outer(y, y) for weight, y in zip(weights, Yc.T)) / np.sum(weights)
    cross = hsic(Xc @ Xc.T / X.shape[1], L)
    return _ratio(cross, _corrected_self_term(Xc, np.ones(X.shape[1])), _corrected_self_term(Yc, weights))


def _rbf_kernel(pairs: Array, bandwidth: float) -> Array:
    """exp(-d / (2 bandwidth^2 med)), med the median over pairs; a NaN distance stays out of med and has kernel 0."""
    kernel = np.exp(-pairs / (2 * bandwidth**2 * np.nanmedian(pairs)))
    K = distance.squareform(np.nan_to_num(kernel), checks=False)
    return K + np.eye(len(K))


def rbf_cka(
    X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None, bandwidth: float = 1.0, debiased: bool = True
) -> float:
    """HSIC ratio of Gaussian kernels of squared distances (means over common voxels; the median undoes the scale)."""
    X, Y, weights = _prepared(X, Y, w)
    K = _rbf_kernel(rdm(X, None, "sqeuclidean"), bandwidth)
    L = _rbf_kernel(rdm(Y, weights, "sqeuclidean"), bandwidth)
    return _cka(K, L, debiased)


def _dissimilarity(a: Array, b: Array, w: Array, dissimilarity: str) -> float:
    """Dissimilarity of two patterns over their common voxels; NaN where undefined."""
    common = _present(a + b)
    if not common:
        return math.nan
    a, b, w = a[common], b[common], w[common]
    if dissimilarity == "sqeuclidean":
        return float(np.sum(w * (a - b) ** 2) / np.sum(w))
    return 1.0 - {"correlation": _pearson, "cosine": _cosine}[dissimilarity](a, b, w)


def rdm(Y: ArrayLike, w: ArrayLike | None = None, dissimilarity: str = "correlation") -> Array:
    """Dissimilarities of the pairs i < j of the stimuli that remain, row by row of the upper triangle."""
    _, Y, weights = _prepared(Y, Y, w)
    return _array([_dissimilarity(Y[i], Y[j], weights, dissimilarity) for i, j in combinations(range(len(Y)), 2)])


def _soft_ranks(d: Array, temperature: float) -> Array:
    """r_i = sum_j F((d_i - d_j) / tau), F the Laplace distribution function, tau = temperature std(d)."""
    if np.ptp(d) == 0:
        return np.ones(len(d)) * len(d) / 2
    u = (d[:, None] - d[None, :]) / (temperature * np.std(d))
    return np.sum(np.where(u < 0, 0.5 * np.exp(-np.abs(u)), 1.0 - 0.5 * np.exp(-np.abs(u))), axis=1)


def compare_rdms(a: ArrayLike, b: ArrayLike, comparison: str, temperature: float = 0.05) -> float:
    """Pearson, cosine, Spearman, soft Spearman or whitened cosine over the entries where neither RDM is NaN.

    Whitened: a' V^-1 b / sqrt(a' V^-1 a b' V^-1 b), V the elementwise square of C C', C rows e_i - e_j of these pairs.
    """
    a, b = _array(a), _array(b)
    n = round((1 + math.sqrt(1 + 8 * len(a))) / 2)
    valid = _present(a + b)
    pairs = [list(combinations(range(n), 2))[k] for k in valid]
    a, b = a[valid], b[valid]
    if comparison == "cosine":
        return _cosine(a, b, np.ones(len(a)))
    if comparison == "whitened_cosine":
        C = _array([np.eye(n)[i] - np.eye(n)[j] for i, j in pairs])
        inverse = np.linalg.inv((C @ C.T) ** 2)
        return _ratio(float(a @ inverse @ b), float(a @ inverse @ a), float(b @ inverse @ b))
    if comparison == "soft_spearman":
        a, b = _soft_ranks(a, temperature), _soft_ranks(b, temperature)
    elif comparison == "spearman":
        a, b = stats.rankdata(a), stats.rankdata(b)
    elif comparison != "pearson":
        raise ValueError(f"unknown comparison {comparison!r}")
    return _pearson(a, b)


def rsa(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None, dissimilarity: str, comparison: str) -> float:
    """Comparison of the RDM of X (unweighted) with that of Y."""
    X, Y, weights = _prepared(X, Y, w)
    return compare_rdms(rdm(X, None, dissimilarity), rdm(Y, weights, dissimilarity), comparison)


def rdm_noise_ceiling(rdms: ArrayLike, comparison: str) -> tuple[float, float]:
    """(lower, upper): mean comparison of a subject's RDM with the mean normalised RDM of the others, of all."""
    rdms = _array(rdms)
    if comparison == "pearson":
        normalised = [(d - np.mean(d)) / np.std(d) for d in rdms]
    else:
        normalised = [d / math.sqrt(np.mean(d**2)) for d in rdms]
    others = [np.mean(normalised[:s] + normalised[s + 1 :], axis=0) for s in range(len(rdms))]
    lower = [compare_rdms(d, other, comparison) for d, other in zip(rdms, others)]
    upper = [compare_rdms(d, np.mean(normalised, axis=0), comparison) for d in rdms]
    return sum(lower) / len(lower), sum(upper) / len(upper)


def _partly_whitened(Z: Array, alpha: float) -> Array:
    """alpha Z + (1 - alpha) (ZZ' + 1e-6)^-1/2 Z of Z scaled so that the eigenvalues of ZZ' have sum l^2 / sum l = 1."""
    K = Z @ Z.T
    Z = Z * math.sqrt(np.trace(K) / np.trace(K @ K))
    return alpha * Z + (1 - alpha) * _matrix_power(Z @ Z.T + 1e-6 * np.eye(len(Z)), -0.5) @ Z


def procrustes(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None = None, alpha: float = 1.0) -> float:
    """|Xc' Yc|_* / (|Xc|_F |Yc|_F), missing entries 0 after centring, columns of Y times sqrt(w); alpha < 1 whitens."""
    X, Y, weights = _prepared(X, Y, w)
    Xc, Yc = _centred(X), np.nan_to_num(_centred(Y)) * np.sqrt(weights)
    if alpha < 1:
        Xc, Yc = _partly_whitened(Xc, alpha), _partly_whitened(Yc, alpha)
    nuclear = np.sum(np.linalg.svd(Xc.T @ Yc, compute_uv=False))
    return _ratio(float(nuclear), float(np.sum(Xc**2)), float(np.sum(Yc**2)))


def feature_correlations(X: ArrayLike, Y: ArrayLike) -> Array:
    """R_fv: correlation of feature f and voxel v over the stimuli present in v (undefined: 0)."""
    X, Y = _array(X), _array(Y)
    return np.nan_to_num(_array([[_pearson(x[_present(y)], y[_present(y)]) for y in Y.T] for x in X.T]))


def soft_matching(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None, temperature: float) -> float:
    """max_P sum P R - temperature KL(P | a b') over couplings of a = 1/p and b = w / sum w, by log-domain Sinkhorn."""
    X, Y, weights = _prepared(X, Y, w)
    R = feature_correlations(X, Y)
    log_a, log_b = np.full(X.shape[1], -math.log(X.shape[1])), np.log(weights / np.sum(weights))
    g = np.zeros(len(log_b))
    for _ in range(1_000_000):
        f = -special.logsumexp(R / temperature + g[None, :] + log_b[None, :], axis=1)
        g = -special.logsumexp(R / temperature + f[:, None] + log_a[:, None], axis=0)
        log_density = R / temperature + f[:, None] + g[None, :]  # log(P / (a b'))
        P = np.exp(log_density + log_a[:, None] + log_b[None, :])
        errors = [np.abs(P.sum(axis=1) - np.exp(log_a)).max(), np.abs(P.sum(axis=0) - np.exp(log_b)).max()]
        if max(errors) <= 1e-13:
            return float(np.sum(P * R) - temperature * np.sum(P * log_density))
    raise RuntimeError("Sinkhorn's iterations did not converge")


def hard_matching(R: ArrayLike, a: ArrayLike, b: ArrayLike) -> float:
    """max_P sum P R over couplings of a and b, by linear programming."""
    R = _array(R)
    p, v = R.shape
    constraints = [np.kron(row, np.ones(v)) for row in np.eye(p)] + [np.kron(np.ones(p), row) for row in np.eye(v)]
    result = optimize.linprog(-R.ravel(), A_eq=constraints, b_eq=np.concatenate([a, b]), bounds=(0, None))
    return float(-result.fun)


def ridge_predictions(X: ArrayLike, Y: ArrayLike, Q: ArrayLike, penalty: ArrayLike) -> Array:
    """(Q - xmean) (Xc'Xc + penalty I)^-1 Xc'yc + ymean per voxel, on its present stimuli (none: NaN)."""
    X, Y, Q = _array(X), _array(Y), _array(Q)
    penalties = np.broadcast_to(_array(penalty), (Y.shape[1],))
    predictions = np.full((len(Q), Y.shape[1]), math.nan)
    for v in range(Y.shape[1]):
        present = _present(Y[:, v])
        if present:
            x, y = X[present], Y[present, v]
            Xc, yc = _centred(x), y - y.mean()
            beta = np.linalg.solve(Xc.T @ Xc + penalties[v] * np.eye(X.shape[1]), Xc.T @ yc)
            predictions[:, v] = (Q - x.mean(axis=0)) @ beta + y.mean()
    return predictions


def ridge_gcv(X: ArrayLike, Y: ArrayLike, penalties: ArrayLike) -> Array:
    """Penalty of each voxel that minimises n |y - yhat|^2 / (n - tr H - 1)^2, H the centred ridge's hat matrix."""
    X, Y, penalties = _array(X), _array(Y), _array(penalties)
    chosen = []
    for v in range(Y.shape[1]):
        present = _present(Y[:, v])
        Xc, yc, n = _centred(X[present]), _centred(Y[present, v]), len(present)
        scores = []
        for penalty in penalties:
            H = Xc @ np.linalg.inv(Xc.T @ Xc + penalty * np.eye(X.shape[1])) @ Xc.T
            scores.append(n * np.sum((yc - H @ yc) ** 2) / (n - np.trace(H) - 1) ** 2)
        chosen.append(penalties[int(np.argmin(scores))])
    return _array(chosen)


def ridge_kfold(X: ArrayLike, Y: ArrayLike, penalties: ArrayLike, num_folds: int) -> Array:
    """Penalty of each voxel that minimises the mean over contiguous folds of the held-out mean squared error."""
    X, Y, penalties = _array(X), _array(Y), _array(penalties)
    n = len(X)
    scores = np.zeros((len(penalties), Y.shape[1]))
    for held in np.array_split(np.arange(n), num_folds):  # the first n % num_folds folds have one more
        train = np.setdiff1d(np.arange(n), held)
        for k, penalty in enumerate(penalties):
            errors = ridge_predictions(X[train], Y[train], X[held], penalty) - Y[held]
            scores[k] += np.mean(errors**2, axis=0) / num_folds
    return penalties[np.argmin(scores, axis=0)]


def within_folds(predictions: Array, Y: Array, num_folds: int) -> Array:
    """Each voxel's mean over folds of its correlation in the fold, weighted by its entries there minus 1; NaN without any.

    Stimulus i is in fold i % num_folds. Folds of fewer than 3 entries or with an undefined correlation are left out.
    """
    out = np.full(Y.shape[1], math.nan)
    for v in range(Y.shape[1]):
        values, weights = [], []
        for fold in range(num_folds):
            rows = [i for i in _present(Y[:, v]) if i % num_folds == fold]
            r = _pearson(predictions[rows, v], Y[rows, v]) if len(rows) >= 3 else math.nan
            if not math.isnan(r):
                values.append(r)
                weights.append(len(rows) - 1)
        if values:
            out[v] = sum(w * r for w, r in zip(weights, values)) / sum(weights)
    return out


def ridge_loss(X: ArrayLike, Y: ArrayLike, w: ArrayLike | None, penalty: ArrayLike, num_folds: int = 2) -> float:
    """1 - weighted mean over voxels of the correlation within folds of held-out predictions and target (undefined: 0).

    Stimulus i is in fold i % num_folds; the penalty is relative to the mean squared norm of the support's centred rows.
    """
    voxels = _kept(_array(Y), w)[1]
    penalty = np.broadcast_to(_array(penalty), (_array(Y).shape[1],))[voxels]
    X, Y, weights = _prepared(X, Y, w)
    predictions = np.zeros_like(Y)
    for fold in range(num_folds):
        held, support = np.arange(len(X)) % num_folds == fold, np.arange(len(X)) % num_folds != fold
        scale = np.mean(np.sum(_centred(X[support]) ** 2, axis=1))
        predictions[held] = ridge_predictions(X[support], Y[support], X[held], penalty * scale)
    r = within_folds(predictions, Y, num_folds)
    return float(1.0 - np.sum(weights * np.nan_to_num(r)) / np.sum(weights))


def _canonical(X: Array, Y: Array) -> tuple[Array, Array]:
    """Canonical correlations, descending, and the unit-norm canonical variables of X in the columns of a matrix."""
    Xc, Yc = _centred(X), _centred(Y)
    root_x, root_y = _matrix_power(Xc.T @ Xc / len(X), -0.5), _matrix_power(Yc.T @ Yc / len(X), -0.5)
    U, correlations, _ = np.linalg.svd(root_x @ (Xc.T @ Yc / len(X)) @ root_y, full_matrices=False)
    variables = Xc @ root_x @ U
    return correlations, variables / np.linalg.norm(variables, axis=0)


def cca(X: ArrayLike, Y: ArrayLike) -> Array:
    """Singular values of Sxx^(-1/2) Sxy Syy^(-1/2), descending."""
    return _canonical(_array(X), _array(Y))[0]


def _principal_components(Z: Array, variance: float) -> Array:
    """Scores on the fewest principal components whose variances sum to at least a share of the total."""
    Zc = _centred(Z)
    lam, vectors = np.linalg.eigh(Zc.T @ Zc)
    lam, vectors = lam[::-1], vectors[:, ::-1]  # eigh sorts upwards
    k = 1 + sum(np.sum(lam[:j]) < variance * np.sum(lam) for j in range(1, len(lam)))
    return Zc @ vectors[:, :k]


def svcca(X: ArrayLike, Y: ArrayLike, variance: float = 0.99) -> float:
    """Mean canonical correlation of the leading principal components of both sides."""
    return float(np.mean(cca(_principal_components(_array(X), variance), _principal_components(_array(Y), variance))))


def pwcca(X: ArrayLike, Y: ArrayLike) -> float:
    """Mean of the canonical correlations weighted by sum_j |<h_i, x_j>|, h_i the canonical variables of X."""
    correlations, variables = _canonical(_array(X), _array(Y))
    weights = np.sum(np.abs(variables.T @ _centred(_array(X))), axis=1)
    return float(np.sum(weights * correlations) / np.sum(weights))


def _triplet_similarities(E: ArrayLike, triplets: ArrayLike, similarity: str) -> list[list[float]]:
    """[s01, s02, s12] of each triplet; a cosine with a zero row is 0."""
    E = _array(E)
    functions = {
        "dot": lambda a, b: float(np.sum(a * b)),
        "cosine": lambda a, b: np.nan_to_num(_cosine(a, b, np.ones(len(a)))),
        "sqeuclidean": lambda a, b: -float(np.sum((a - b) ** 2)),
    }
    return [[functions[similarity](E[i], E[j]) for i, j in combinations(t, 2)] for t in np.asarray(triplets)]


def odd_one_out_loss(E: ArrayLike, triplets: ArrayLike, similarity: str = "dot", temperature: float = 1.0) -> float:
    """Mean of -log(exp(s01 / T) / (exp(s01 / T) + exp(s02 / T) + exp(s12 / T))); columns 0 and 1 are the pair."""
    logits = _array(_triplet_similarities(E, triplets, similarity)) / temperature
    return float(np.mean([special.logsumexp(row) - row[0] for row in logits]))


def odd_one_out_accuracy(E: ArrayLike, triplets: ArrayLike, similarity: str = "dot") -> float:
    """Mean over triplets of 1 / k if s01 is among the k tied maxima, else 0."""
    rows = _triplet_similarities(E, triplets, similarity)
    return float(np.mean([1.0 / row.count(max(row)) if row[0] == max(row) else 0.0 for row in rows]))
