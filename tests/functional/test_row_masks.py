"""Sets whose missing stimuli stay as rows: the same as those from which they were dropped."""

import pytest
import torch

from neuroalign.functional import missing
from neuroalign.functional.gram import centered_gram, double_centered
from neuroalign.functional.independence import hsic_terms
from neuroalign.functional.missing import prepare
from neuroalign.functional.repeats import average_repeats, group_valid_rows
from neuroalign.functional.row_masks import average_masked, first_rows, keep, mask_sets


def sets(n=9, p=3, v=4):
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, k, generator=g, dtype=torch.float64) for k in (p, v))
    y[2], y[5], y[:, 1], y[0, 3] = (torch.nan,) * 4
    return x, y, torch.tensor([1.0, 0.5, 0.0, 0.25])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_rows_that_count_are_those_that_are_kept(weighted):
    x, y, weight = sets()
    weight = weight if weighted else None
    masked, dropped = mask_sets(x, y, weight), list(prepare(x, y, weight))
    dropped[1] = dropped[1] * (dropped[2] > 0)
    assert masked.kept.tolist() == [i not in (2, 5) for i in range(9)]
    for ours, theirs in zip(masked[:3], dropped):
        torch.testing.assert_close(ours[masked.kept], theirs)
        assert not ours[~masked.kept].any()


def test_no_row_counts_where_a_condition_fails():
    left = keep(mask_sets(*sets()), torch.tensor(False))
    assert not any(part.any() for part in left)


@pytest.mark.parametrize("weighted", [False, True])
def test_averages_over_repeats_stand_in_the_first_row(weighted):
    x, y, weight = sets()
    weight = weight if weighted else None
    stimulus = torch.tensor([7, 7, 4, 9, 4, 4, 9, 1, 7])
    masked = mask_sets(x, y, weight)
    masked = average_masked(masked, first_rows(stimulus, masked.kept))
    expected = average_repeats(*prepare(x, y, weight), group_valid_rows(stimulus, y, weight))
    for ours, theirs in zip(masked[:3], expected):
        torch.testing.assert_close(ours[masked.kept], theirs)
        assert not ours[~masked.kept].any()


def test_matrices_of_the_rows_that_count():
    x, y, _ = sets()
    masked = mask_sets(x, y, None)
    kept, some = masked.kept, x[masked.kept]
    a, b = centered_gram(masked.preds, kept=kept), centered_gram(some)
    torch.testing.assert_close(a.matrix[kept][:, kept] * a.unit**2, b.matrix * b.unit**2)
    k = some @ some.T
    wide = torch.full((9, 9), 5.0, dtype=torch.float64)  # anything outside
    wide[kept.nonzero(), kept.nonzero().T] = k
    torch.testing.assert_close(double_centered(wide, kept)[kept][:, kept], double_centered(k))
    assert not double_centered(wide, kept)[~kept].any()
    for debiased in (False, True):
        ours = hsic_terms(wide * (wide != 5), a.matrix, debiased, kept)
        torch.testing.assert_close(torch.stack(ours), torch.stack(hsic_terms(k, a.matrix[kept][:, kept], debiased)))


@pytest.mark.parametrize("case", ["complete", "rows", "voxels", "scattered", "nothing"])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_look_prepares_alike(monkeypatch, case, weighted):
    x, y, weight = sets()
    if case != "scattered":
        y = torch.randn_like(y)
    y[{"rows": 3, "voxels": (slice(None), 2), "nothing": slice(None)}.get(case, slice(0, 0))] = torch.nan
    expected = prepare(x, y, weight if weighted else None, checked=True)
    monkeypatch.setattr(missing, "readable", lambda x: False)
    for ours, theirs in zip(prepare(x, y, weight if weighted else None, checked=True), expected):
        torch.testing.assert_close(ours, theirs)
        assert ours.stride() == theirs.stride() or not len(ours)
    with pytest.raises(ValueError, match="target has infinite values"):
        prepare(x, y.fill_(torch.inf), None, checked=True)
