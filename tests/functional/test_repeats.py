"""Stimuli that come more than once: no similarity of a stimulus with itself, the references, independent data."""

import numpy as np
import pytest
import torch
from scipy import stats

from neuroalign import functional as F
from neuroalign.functional.missing import prepare
from neuroalign.functional.repeats import average_repeats, group_rows

ROWS = torch.tensor([0, 1, 2, 1, 3, 4, 5, 6, 0, 7, 8, 9, 1, 10])  # 1 comes three times, 0 twice
IDENTITY = torch.tensor([9, 4, 70, 3, 12, 5, 66, 8, 1, 0, 2])[ROWS]
AVERAGED = {
    "cka": F.linear_cka,
    "biased": lambda x, y, **k: F.linear_cka(x, y, debiased=False, **k),
    "corrected": lambda x, y, **k: F.linear_cka(x, y, voxel_corrected=True, **k),
    "rbf": F.rbf_cka,
    "whitened": lambda x, y, **k: F.rsa(x, y, comparison="whitened_cosine", **k),
}
LEFT_OUT = {
    f"{d} {c}": (d, c)
    for d in ("sqeuclidean", "correlation", "cosine")
    for c in ("pearson", "cosine", "spearman", "soft_spearman")
}
ALL = {**AVERAGED, **{k: lambda x, y, o=o, **w: F.rsa(x, y, dissimilarity=o[0], comparison=o[1], **w)
                      for k, o in LEFT_OUT.items()}}  # fmt: skip


def sets(n=11, p=5, v=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 3, generator=g, dtype=torch.float64)
    x, y = (signal @ torch.randn(3, k, generator=g, dtype=torch.float64) for k in (p, v))
    return [z + 0.5 * torch.randn(z.shape, generator=g, dtype=torch.float64) for z in (x, y)]


def noisy(missing=False):
    """Rows with noise of their own, so that those of one stimulus differ."""
    g = torch.Generator().manual_seed(1)
    x, y = (z[ROWS] + 0.3 * torch.randn(14, z.shape[1], generator=g, dtype=torch.float64) for z in sets())
    if missing:
        y[torch.rand(14, 6, generator=g) < 0.15] = torch.nan
        y[:, :3] = y[:, :3].nan_to_num(0.5)  # complete voxels, which the corrected form uses
        y[3], y[5] = torch.nan, torch.nan  # of a stimulus that comes again, and of one that doesn't
    return x, y


def by_hand(x, y):
    """Mean over each stimulus's valid rows, in order of first occurrence; stimuli without a valid row are left out."""
    rows = [i for i in range(len(y)) if not np.isnan(y[i]).all()]
    order = list(dict.fromkeys(IDENTITY[rows].tolist()))
    of = [[i for i in rows if IDENTITY[i] == s] for s in order]
    means = ([np.ma.masked_invalid(z.numpy()[i]).mean(0).filled(np.nan) for i in of] for z in (x, y))
    return [torch.as_tensor(np.stack(m)) for m in means]


@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_a_stimulus_are_averaged(name, missing, weighted):
    x, y = noisy(missing)
    w = torch.tensor([0.9, 0.3, 0.5, 0.2, 0.0, 1.0], dtype=torch.float64) if weighted else None
    value = AVERAGED[name](x, y, stimulus=IDENTITY, weight=w)
    torch.testing.assert_close(value, AVERAGED[name](*by_hand(x, y), weight=w))
    assert not torch.isclose(value, AVERAGED[name](x, y, weight=w), rtol=1e-4)


@pytest.mark.parametrize("name", LEFT_OUT)
@pytest.mark.parametrize("missing", [False, True])
def test_pairs_of_one_stimulus_are_left_out(name, missing):
    dissimilarity, comparison = LEFT_OUT[name]
    x, y = noisy(missing)
    value = ALL[name](x, y, stimulus=IDENTITY)
    rows = (~y.isnan()).any(1)
    x, y, identity = x[rows], y[rows], IDENTITY[rows]
    i, j = np.triu_indices(len(x), 1)
    kept = (identity[i] != identity[j]).numpy()
    a, b = (F.rdm(z, dissimilarity=dissimilarity).numpy()[kept] for z in (x, y))
    expected = {
        "pearson": lambda: stats.pearsonr(a, b)[0],
        "spearman": lambda: stats.spearmanr(a, b)[0],
        "cosine": lambda: a @ b / np.sqrt((a @ a) * (b @ b)),
    }
    if comparison in expected:
        assert float(value) == pytest.approx(expected[comparison](), rel=1e-9)
    assert abs(float(value - ALL[name](x, y))) > 1e-6


@pytest.mark.parametrize("name", ALL)
def test_nothing_changes_where_nothing_repeats(name):
    x, y = sets()
    assert torch.equal(ALL[name](x, y, stimulus=torch.arange(20, 9, -1)), ALL[name](x, y))


@pytest.mark.parametrize("name", AVERAGED)
def test_a_row_given_twice_is_as_if_given_once(name):
    x, y = sets()
    y[4, 5] = torch.nan
    torch.testing.assert_close(AVERAGED[name](x[ROWS], y[ROWS], stimulus=IDENTITY), AVERAGED[name](x, y))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("repeats", [1, 4, 16])
def test_independent_sides_read_zero(repeats, noise):
    """64 rows of 200 columns of which some are of one stimulus, alike (noise 0) or as far apart as two stimuli."""
    g = torch.Generator().manual_seed(repeats)
    identity = torch.cat([torch.arange(64 - repeats), torch.arange(repeats)])
    told, untold = [], []
    for _ in range(250):
        x, y = (
            torch.randn(64 - repeats, 200, generator=g)[identity] + noise * torch.randn(64, 200, generator=g)
            for _ in range(2)
        )
        told.append([f(x, y, stimulus=identity) for f in (F.linear_cka, F.rbf_cka, F.rsa)])
        untold.append([f(x, y) for f in (F.linear_cka, F.rbf_cka, F.rsa)])
    told, untold = torch.tensor(told), torch.tensor(untold)
    error = told.std(0) / 250**0.5
    assert bool((error < 0.006).all())
    assert bool((told.mean(0).abs() < 3 * error + 0.002).all())
    assert bool((untold.mean(0)[:2] > 0.015).all())


def test_means_of_rows_and_their_weights():
    y = torch.tensor([[1.0, torch.nan], [2.0, 4.0], [3.0, 6.0], [5.0, torch.nan]])
    group = torch.tensor([0, 1, 0, 2])
    x, mean, w = average_repeats(*prepare(y.nan_to_num(0.0), y, torch.tensor([0.5, 2.0])), group)
    assert x.tolist() == [[2.0, 3.0], [2.0, 4.0], [5.0, 0.0]]
    assert mean.tolist() == [[2.0, 6.0], [2.0, 4.0], [5.0, 0.0]]
    assert w.tolist() == [[0.5, 2.0], [0.5, 2.0], [0.5, 0.0]]


def test_numbers_follow_the_first_occurrence():
    assert group_rows(torch.tensor([5, -3, 9, -3, 5, 7])).tolist() == [0, 1, 2, 1, 0, 3]
    assert group_rows(torch.tensor([5, -3, 9])) is None


@pytest.mark.parametrize("name", ["cka", "rbf", "sqeuclidean pearson", "whitened"])
def test_gradients(name):
    x, y = noisy(missing=True)
    options = {"median": (1.0, 1.0)} if name == "rbf" else {}
    assert torch.autograd.gradcheck(lambda z: ALL[name](z, y, stimulus=IDENTITY, **options), x.requires_grad_())


@pytest.mark.parametrize("name", ["cka", "rbf", "sqeuclidean pearson"])
@pytest.mark.parametrize(
    ("stimulus", "error", "message"),
    [
        (torch.rand(14), TypeError, "integer identities"),
        (torch.ones(14, dtype=torch.bool), TypeError, "integer identities"),
        (torch.zeros(14, 1, dtype=torch.long), TypeError, r"integer identities \(stimulus,\)"),
        (list(range(14)), TypeError, "stimulus must be a tensor; got list"),
        (torch.arange(13), ValueError, "14 stimuli, but 13 identities"),
        (torch.arange(14) % 2, ValueError, r"at least \d stimuli; got 2"),
    ],
)
def test_errors(name, stimulus, error, message):
    with pytest.raises(error, match=message):
        ALL[name](*noisy(), stimulus=stimulus)
