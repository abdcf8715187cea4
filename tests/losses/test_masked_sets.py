"""Measures of sets without looking at values, as on a GPU: the same values and gradients as with looking."""

import pytest
import torch

from neuroalign import NeuralAlignmentLoss
from neuroalign.losses import alignment

N, P, V = 16, 5, 7
MEASURES = [
    ("cka", {}),
    ("cka", {"debiased": False}),
    ("cka", {"voxel_corrected": True}),
    ("cka", {"momentum": 0.9}),
    ("rbf_cka", {}),
    ("rbf_cka", {"debiased": False}),
    ("rbf_cka", {"median": (1.0, 2.0)}),
    ("rsa", {}),
    ("rsa", {"dissimilarity": "correlation"}),
    ("rsa", {"dissimilarity": "cosine"}),
    ("rsa", {"comparison": "cosine"}),
    ("rsa", {"comparison": "whitened_cosine"}),
    ("rsa", {"comparison": "soft_spearman"}),
    ("procrustes", {}),
    ("procrustes", {"alpha": 0.5}),
    ("procrustes", {"angular": True}),
    ("soft_matching", {}),
]
ALL, NAN = slice(None), torch.nan
ENTRIES = [((1, 2), NAN), ((4, 0), NAN), ((9, 5), NAN)]
MISSING = {  # what of the target is missing, or constant
    "nothing": [],
    "entries": ENTRIES,
    "rows": [(2, NAN), (11, NAN)],
    "voxels": [((ALL, 1), NAN)],
    "entries, rows and voxels": [*ENTRIES, (2, NAN), ((ALL, 1), NAN)],
    "all but two rows": [(slice(2, None), NAN)],
    "everything": [(ALL, NAN)],
    "a constant voxel": [((ALL, 3), 2.5)],
    "variance": [(ALL, 2.5)],
}
pytestmark = pytest.mark.filterwarnings("ignore:comparison='cosine'", "ignore:soft matching did not converge")


def sets(dtype, missing):
    g = torch.Generator().manual_seed(3)
    signal = torch.randn(N, 3, generator=g, dtype=torch.float64)
    x, y = (signal @ torch.randn(3, k, generator=g, dtype=torch.float64) for k in (P, V))
    x, y = (z + 0.5 * torch.randn(*z.shape, generator=g, dtype=torch.float64) for z in (x, y))
    for place, value in MISSING[missing]:
        y[place] = value
    return x.to(dtype), y.to(dtype)


def answers(loss, preds, target, *stimulus):
    preds, target = preds.clone().requires_grad_(), target.clone().requires_grad_()
    value = loss(preds, target, *stimulus)
    gradients = torch.autograd.grad(value, (preds, target), allow_unused=True)
    zero = torch.zeros_like(target)  # where nothing could be compared, the target took no part
    return value.detach(), gradients[0], zero if gradients[1] is None else gradients[1], loss.last_valid


def both(monkeypatch, make, *batch):
    looking = answers(make(), *batch)
    monkeypatch.setattr(alignment, "readable", lambda x: False)
    return looking, answers(make(), *batch)


def agree(looking, not_looking, tolerance):
    torch.testing.assert_close(not_looking[0], looking[0], rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(not_looking[1:3], looking[1:3]):
        assert torch.allclose(ours, theirs, rtol=10 * tolerance, atol=10 * tolerance * float(theirs.abs().max()))
    assert bool(not_looking[3]) == bool(looking[3])


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("ceiling", [False, True])
@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize(("name", "options"), MEASURES, ids=str)
def test_the_same_with_and_without_looking(monkeypatch, name, options, missing, ceiling, repeated):
    weights = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.0, torch.nan]) if ceiling else None
    batch = sets(torch.float64, missing) + ((100 + torch.arange(N) % 13,) if repeated else ())
    looking, not_looking = both(
        monkeypatch, lambda: NeuralAlignmentLoss(name, noise_ceiling=weights, voxel_reduction="sum", **options), *batch
    )
    agree(looking, not_looking, 1e-8)


@pytest.mark.parametrize("missing", ["nothing", "entries", "rows"])
@pytest.mark.parametrize(("name", "options"), [case for case in MEASURES if "median" not in case[1]], ids=str)
def test_in_single_precision_and_any_unit(monkeypatch, name, options, missing):
    x, y = sets(torch.float32, missing)
    for a, b in ((1.0, 1.0), (1e-20, 1e20), (1e20, 1e-20)):
        with monkeypatch.context() as patch:
            agree(*both(patch, lambda: NeuralAlignmentLoss(name, **options), a * x, b * y), 2e-4)


@pytest.mark.parametrize(("name", "options"), MEASURES, ids=str)
@pytest.mark.parametrize("where", ["preds", "target"])
def test_what_would_be_refused_is_nan(monkeypatch, name, options, where):
    loss = NeuralAlignmentLoss(name, **options)
    monkeypatch.setattr(alignment, "readable", lambda x: False)
    monkeypatch.setattr(alignment, "check_infinite", lambda **tensors: None)
    x, y = sets(torch.float32, "entries")
    (x if where == "preds" else y)[3, 0] = torch.inf
    value, gradient, _, valid = answers(loss, x, y)
    assert value.isnan() and gradient.isnan().all() and valid
    state = loss.state_dict()
    assert not any(bool(v.any()) for v in state.values())  # and it reaches no running average


def test_averages_over_batches_are_the_same(monkeypatch):
    ours, theirs = (NeuralAlignmentLoss("cka", momentum=0.8) for _ in range(2))
    for missing in ("entries", "variance", "all but two rows", "rows", "nothing"):
        x, y = sets(torch.float64, missing)
        expected = answers(theirs, x, y)
        with monkeypatch.context() as patch:
            patch.setattr(alignment, "readable", lambda x: False)
            agree(expected, answers(ours, x, y), 1e-8)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert int(theirs.state_dict()["_function.average.steps"]) == 3


def test_pairs_that_whitening_lacks(monkeypatch):
    x, y = sets(torch.float32, "nothing")
    y[3, :4], y[8, 4:] = torch.nan, torch.nan  # two stimuli without a common voxel
    loss = NeuralAlignmentLoss("rsa", comparison="whitened_cosine")
    with pytest.raises(ValueError, match="whitened_cosine needs every pair of stimuli, and 1 are missing"):
        loss(x, y)
    monkeypatch.setattr(alignment, "readable", lambda x: False)
    monkeypatch.setattr(loss._function, "_looks", lambda x: False)
    assert loss(x, y).isnan()


def test_a_measure_that_takes_no_mask_gets_the_rows_that_count(monkeypatch):
    seen = []

    def own(preds, target, weight):
        seen.append((preds, target, weight))
        return (preds.mean() - target.mean()).square()

    own.paired = False
    x, y = sets(torch.float64, "rows")
    looking, not_looking = both(monkeypatch, lambda: NeuralAlignmentLoss(own), x, y)
    agree(looking, not_looking, 1e-8)
    assert all(len(part) == N - 2 for call in seen for part in call)
