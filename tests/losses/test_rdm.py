"""Alignment with a given RDM."""

import numpy as np
import pytest
import torch

from neuroalign import RSA, NeuralAlignmentLoss, OddOneOutGuidance, RDMAlignmentLoss, RDMGuidance, RDMSimilarity
from neuroalign.functional import compare_rdms, rdm, rsa, square_rdm
from neuroalign.functional.rdm_comparison import normalized_rdms
from tests.distributed import averaged, run_on_ranks


def responses(seed=0, n=12, v=7):
    return torch.randn(n, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:comparison=.cosine. takes the noise")
@pytest.mark.parametrize("dissimilarity", ["sqeuclidean", "correlation", "cosine"])
@pytest.mark.parametrize("comparison", ["pearson", "cosine", "whitened_cosine", "soft_spearman"])
def test_it_equals_rsa_with_the_responses_behind_it(dissimilarity, comparison):
    x, y = responses(0), responses(1) + responses(0)
    options = {"dissimilarity": dissimilarity, "comparison": comparison}
    given = RDMAlignmentLoss(rdm(y, dissimilarity=dissimilarity), **options)
    rows = torch.tensor([7, 2, 9, 0, 5])
    torch.testing.assert_close(given(x[rows], rows), NeuralAlignmentLoss("rsa", **options)(x[rows], y[rows]))


def test_forms_of_an_rdm():
    vectors = torch.stack([rdm(responses(s)) for s in range(3)])
    x, rows = responses(9), torch.arange(12)
    values = [float(RDMAlignmentLoss(form)(x, rows)) for form in (vectors, square_rdm(vectors))]
    assert values[0] == pytest.approx(values[1])
    single = [float(RDMAlignmentLoss(form)(x, rows)) for form in (vectors[0], vectors[:1], square_rdm(vectors[0]))]
    assert single == pytest.approx([single[0]] * 3)


def test_subjects_are_averaged_on_one_scale():
    vectors = torch.stack([rdm(responses(s)) * 10.0**s for s in range(3)])
    mean = normalized_rdms(vectors, "pearson").mean(0)
    x = responses(9)
    expected = 1 - compare_rdms(rdm(x), mean)
    torch.testing.assert_close(RDMAlignmentLoss(vectors)(x, torch.arange(12)), expected)


def test_pairs_and_stimuli_without_a_value_are_left_out():
    y, x = responses(1), responses(0)
    target = rdm(y)
    target[[0, 5]] = torch.nan
    loss = RDMAlignmentLoss(target, stimuli=[100 + i for i in range(12)])
    expected = 1 - compare_rdms(rdm(x), target)
    torch.testing.assert_close(loss(x, torch.arange(100, 112)), expected)
    more = torch.cat([x, responses(5)[:3]])
    torch.testing.assert_close(loss(more, torch.tensor([*range(100, 112), 7, 99, 112])), expected)
    twice = torch.cat([x, x[:1]])  # a stimulus compared with itself says nothing
    assert not torch.isnan(loss(twice, torch.tensor([*range(100, 112), 100])))
    zero = loss(x.requires_grad_(), torch.zeros(12, dtype=torch.long))
    zero.backward()
    assert float(zero) == 0


@pytest.mark.parametrize("comparison", ["pearson", "soft_spearman", "whitened_cosine"])
def test_a_stimulus_that_comes_twice(comparison):
    x, y = responses(0), responses(1) + responses(0)
    loss = RDMAlignmentLoss(rdm(y), comparison=comparison)
    rows = torch.tensor([7, 2, 9, 2, 0, 5, 7, 2, 11])
    z = (x[rows] + 0.1 * responses(2)[:9]).requires_grad_()  # augmented, for instance
    value = loss(z, rows)
    torch.testing.assert_close(value, NeuralAlignmentLoss("rsa", comparison=comparison)(z, y[rows], rows))
    value.backward()
    assert bool(z.grad.isfinite().all()) and bool(z.grad.abs().sum(1).gt(0).all())
    alone, first = RDMAlignmentLoss(rdm(y), comparison=comparison), torch.tensor([7, 2, 9, 0, 5, 11])
    if comparison == "whitened_cosine":
        torch.testing.assert_close(alone(x[rows], rows), alone(x[first], first))
    assert float(loss(x[rows], rows % 2)) == 0  # two different stimuli are too few


@pytest.mark.parametrize(
    "make",
    [
        lambda: NeuralAlignmentLoss("rsa", comparison="cosine"),
        lambda: RDMAlignmentLoss(rdm(responses()), comparison="cosine"),
        lambda: RSA(comparison="cosine"),
        lambda: RDMSimilarity(rdm(responses()), comparison="cosine"),
    ],
)
def test_a_cosine_is_warned_of_where_it_is_chosen(make):
    with pytest.warns(UserWarning, match="'cosine' takes the noise.*Use comparison='pearson'") as caught:
        made = make()
    assert [warning.filename for warning in caught] == [__file__]
    x = responses().float()
    if isinstance(made, RDMAlignmentLoss):
        made(x, torch.arange(12))  # the steps are silent
    elif isinstance(made, NeuralAlignmentLoss):
        made(x, x)


def test_what_a_cosine_is_for_is_not_warned_of():
    crossvalidated = rdm(responses()) - 1.5
    assert bool((crossvalidated < 0).any())
    RDMAlignmentLoss(crossvalidated, comparison="cosine")
    RDMSimilarity(crossvalidated, comparison="cosine")
    for comparison in ("pearson", "whitened_cosine", "soft_spearman"):
        NeuralAlignmentLoss("rsa", comparison=comparison)


@pytest.mark.parametrize("dissimilarity", ["sqeuclidean", "correlation", "cosine"])
def test_a_cosine_ranks_noise_above_the_truth_and_pearson_does_not(dissimilarity):
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(256, 5, generator=g) @ torch.randn(5, 100, generator=g)
    noisy = signal + 1.5 * signal.std() * torch.randn(256, 100, generator=g)
    code = torch.randn(256, 1000, generator=g)
    for comparison, truth_is_above in (("cosine", False), ("pearson", True)):
        options = {"dissimilarity": dissimilarity, "comparison": comparison}
        assert (rsa(signal, noisy, **options) > rsa(code, noisy, **options)) == truth_is_above


def _gradient(rank, world, sizes):
    w = torch.eye(7, dtype=torch.float64, requires_grad=True)
    start = sum(sizes[:rank])
    rows = torch.arange(12)[start : start + sizes[rank]]
    loss = RDMAlignmentLoss(rdm(responses(1)))
    loss(responses(0)[rows] @ w, rows).backward()
    return w.grad


def test_several_processes_equal_one():
    together = averaged(run_on_ranks(_gradient, 2, (8, 4)))
    torch.testing.assert_close(together, _gradient(0, 1, (12,)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RDMAlignmentLoss(torch.rand(4, 4)), ValueError, "must be symmetric"),
        (lambda: RDMAlignmentLoss(torch.eye(4)), ValueError, "diagonal of an RDM must be 0.*similarity matrix"),
        (lambda: RDMAlignmentLoss(torch.rand(3))(torch.rand(3, 2), [0, 1, 2]), TypeError, "must be tensors"),
        (lambda: RDMAlignmentLoss(torch.rand(5)), ValueError, "5 is not a number of pairs"),
        (
            lambda: RDMAlignmentLoss(torch.ones(3, dtype=torch.long)),
            TypeError,
            "floating-point tensor; got torch.int64",
        ),
        (lambda: RDMAlignmentLoss(torch.rand(3), stimuli=[1, 1, 2]), ValueError, "each of the RDM's 3 rows once"),
        (
            lambda: RDMAlignmentLoss(torch.tensor([1.0, torch.nan, 2.0]), comparison="whitened_cosine"),
            ValueError,
            "needs every pair of stimuli, and 1 pairs of the RDM are NaN",
        ),
        (lambda: RDMAlignmentLoss(torch.rand(3), comparison="spearman"), ValueError, "no gradient"),
        (lambda: RDMAlignmentLoss(torch.rand(3))(torch.rand(3, 2), torch.rand(3)), TypeError, "integer identities"),
        (lambda: RDMAlignmentLoss(torch.rand(2, 2, 3)), ValueError, "must be square"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


OFF_BY_ONE = r"stimulus 12 is no row of the RDM: .*0 to 11 \(published lists often count from 1\)"


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        (torch.arange(1, 13), OFF_BY_ONE),
        (torch.arange(12) - 1, "stimulus -1 is no row of the RDM"),
        (torch.tensor([*range(11), 500]), "stimulus 500 is no row of the RDM"),
        (torch.arange(1, 13, dtype=torch.int32), OFF_BY_ONE),
    ],
)
def test_rows_without_names_are_counted_from_0(stimulus, message):
    vector, x = rdm(responses(1)), responses(0)
    for take in (
        RDMAlignmentLoss(vector),
        RDMSimilarity(vector).update,
        lambda *given: RDMGuidance({"IT": vector})({"IT": given[0]}, {"stimulus": given[1]}),
    ):
        with pytest.raises(ValueError, match=message):
            take(x, stimulus)


def test_rows_with_names_leave_other_stimuli_out():
    y, x = responses(1), responses(0)
    named = RDMAlignmentLoss(rdm(y), stimuli=range(1, 13))
    expected = 1 - compare_rdms(rdm(x), rdm(y))
    torch.testing.assert_close(named(x, torch.arange(1, 13)), expected)
    more = torch.cat([x, responses(5)[:2]])
    torch.testing.assert_close(named(more, torch.tensor([*range(1, 13), -1, 13], dtype=torch.int32)), expected)
    metric = RDMSimilarity(rdm(y), stimuli=range(1, 13))
    metric.update(more, torch.tensor([*range(1, 13), -1, 13]))
    torch.testing.assert_close(metric.compute()["similarity"], 1 - expected)


@pytest.mark.parametrize(
    ("stimuli", "error", "message"),
    [
        (
            ["a.png", "b.png", "c.png"],
            TypeError,
            r"stimuli must be integer identities; got names .*return_inverse=True",
        ),
        (np.array(["a", "b", "c"]), TypeError, "got names"),
        ([0, 1.5, 2], ValueError, r"stimuli must be integer identities; 1.5 is none, at \[1\]"),
        ([0, 1, float("nan")], ValueError, r"nan is none, at \[2\]"),
        ([True, False, True], TypeError, "integer identities; got torch.bool"),
        ([[0, 1, 2]], ValueError, r"stimuli must be \(stimulus,\); got shape \(1, 3\)"),
    ],
)
def test_names_of_rows_that_are_no_integers(stimuli, error, message):
    for made in (RDMAlignmentLoss, RDMSimilarity):
        with pytest.raises(error, match=message):
            made(torch.rand(3), stimuli=stimuli)


def test_whole_floats_name_rows():
    assert RDMAlignmentLoss(torch.rand(3), stimuli=np.array([4.0, 7.0, 5.0])).rows.tolist() == [4, 7, 5]


def test_names_in_a_batch():
    names, message = ["a.png"] * 3, r"names, numbers = numpy.unique\(names, return_inverse=True\)"
    x = torch.rand(3, 2)
    for take in (
        lambda: RDMAlignmentLoss(torch.rand(3))(x, names),
        lambda: RDMSimilarity(torch.rand(3)).update(x, names),
        lambda: RDMGuidance({"IT": torch.rand(3)})({"IT": x}, {"stimulus": names}),
        lambda: OddOneOutGuidance("IT", [[0, 1, 2]])({"IT": x}, {"stimulus": names}),
        lambda: OddOneOutGuidance("IT", [["a", "b", "c"]]),
    ):
        with pytest.raises(TypeError, match=message):
            take()
