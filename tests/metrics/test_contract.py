"""Every exported metric answers torchmetrics' questions; see tester.py."""

import matplotlib
import pytest
import torch

from neuroalign import (
    CCA,
    CKA,
    RSA,
    AlignmentMetric,
    ManifoldGeometry,
    NeuralAlignmentLoss,
    NoiseNormalizedCorrelation,
    OddOneOutAccuracy,
    ProcrustesSimilarity,
    RDMSimilarity,
    RidgePredictivity,
    RobustAccuracy,
    ShapeBias,
    SoftMatching,
    VoxelCorrelation,
    functional,
    metrics,
)
from tests.distributed import run_on_ranks
from tests.metrics import tester
from tests.metrics.tester import Case

N = 40


def sets():
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(N, 2, generator=g)
    x, y = (signal @ torch.randn(2, k, generator=g) + 0.5 * torch.randn(N, k, generator=g) for k in (5, 5))
    y[3, 2] = torch.nan
    return x, y


def decisions():
    g = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (N,), generator=g)
    return torch.nn.functional.one_hot(labels, 4) + torch.randn(N, 4, generator=g), labels


def clouds():
    g = torch.Generator().manual_seed(2)
    labels = torch.arange(N) % 4
    return 3 * torch.randn(4, 12, generator=g)[labels] + torch.randn(N, 12, generator=g), labels


def cues():
    g = torch.Generator().manual_seed(3)
    return tuple(torch.randint(3, (N,), generator=g) for _ in range(3))


def triplets():
    """Embeddings of which each triplet picks three: given one by one, a triplet and its embeddings are one row."""
    g = torch.Generator().manual_seed(4)
    return torch.stack([torch.randperm(12, generator=g)[:3] for _ in range(N)])


class Triplets(OddOneOutAccuracy):
    """Whose embeddings are always the same, so that its data lie along the triplets alone."""

    def update(self, chosen):
        super().update(torch.randn(12, 4, generator=torch.Generator().manual_seed(5)), chosen)


CEILING = torch.linspace(0.2, 0.9, 5)
RDMS = torch.rand(2, N * (N - 1) // 2, generator=torch.Generator().manual_seed(6)) + functional.rdm(sets()[0])
GEOMETRY = {"num_samples": 20, "center_correlation": "keep"}
CASES = {
    "cka": Case(CKA, sets()),
    "rbf": Case(lambda: CKA(kernel="rbf", noise_ceiling=CEILING), sets()),
    "rsa": Case(lambda: RSA(dissimilarity="correlation", comparison="spearman"), sets()),
    "procrustes": Case(ProcrustesSimilarity, sets()),
    "angle": Case(lambda: ProcrustesSimilarity(angular=True), sets(), higher_is_better=False),
    "soft matching": Case(lambda: SoftMatching(temperature=0.1), sets()),
    "ridge": Case(lambda: RidgePredictivity(penalty=0.1, num_folds=3), sets(), order_matters=True),
    "cca": Case(CCA, (sets()[0], sets()[1].nan_to_num(0.0))),
    "any loss": Case(lambda: AlignmentMetric(NeuralAlignmentLoss("mse")), sets(), higher_is_better=False),
    "any set loss": Case(lambda: AlignmentMetric(NeuralAlignmentLoss("cka")), sets(), higher_is_better=False),
    "any function": Case(lambda: AlignmentMetric(torch.nn.functional.mse_loss), (sets()[0], sets()[0] + 1), None),
    "voxels": Case(VoxelCorrelation, sets()),
    "each voxel": Case(lambda: VoxelCorrelation(reduction="none"), sets()),
    "patterns": Case(lambda: VoxelCorrelation(over="voxels", reduction="mean"), sets()),
    "normalised": Case(lambda: NoiseNormalizedCorrelation(CEILING, reduction="median"), sets()),
    "normalised, pooled": Case(lambda: NoiseNormalizedCorrelation(CEILING, reduction="pooled"), sets()),
    "robust": Case(RobustAccuracy, decisions()),
    "geometry": Case(lambda: ManifoldGeometry(**GEOMETRY), clouds(), None, key="capacity"),
    "shape": Case(ShapeBias, cues(), None, key="shape_bias"),
    "rdm": Case(lambda: RDMSimilarity(RDMS), (sets()[0], torch.arange(N)), key="similarity"),
    "odd one out": Case(Triplets, (triplets(),)),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def test_every_metric_is_asked():
    asked = {base for case in CASES.values() for base in type(case.make()).__mro__}
    assert {getattr(metrics, name) for name in metrics.__all__} <= asked


def test_batch_by_batch(case):
    tester.assert_batch_by_batch(case)


def test_merged(case):
    tester.assert_merged(case)


def test_copied(case):
    tester.assert_copied(case)


def test_running(case):
    tester.assert_running(case)


def test_in_a_collection(case):
    others = {2: lambda: CKA(debiased=False), 1: Triplets, 3: ShapeBias}
    other = others[len(case.data)]
    if case.make().__class__ in (RobustAccuracy, ManifoldGeometry, RDMSimilarity):
        other = type(case.make()) if isinstance(case.make(), RobustAccuracy) else case.make
    tester.assert_in_a_collection(case, other)


def test_bootstrapped(case):
    if isinstance(case.make(), RDMSimilarity):
        pytest.skip("its stimuli come with their identities: those drawn twice are one")
    tester.assert_bootstrapped(case)


def _on_rank(rank, world):
    torch.set_num_threads(1)
    return torch.cat([tester.spread(case, rank, world).flatten().double() for case in CASES.values()])


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_on_several_processes(world):
    expected = []
    for case in CASES.values():
        value = tester.whole(case)
        value = value if case.key is None else value[case.key]
        expected.append(value.flatten().double().repeat(4))
    for values in run_on_ranks(_on_rank, world):
        torch.testing.assert_close(values, torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_seen_is_said(case):
    metric = case.make()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"has seen no .*: call update before compute"):
            metric.compute()
        metric.update(*case.data)
        metric.reset()


def test_another_kind_is_refused(case):
    metric = case.make()
    metric.update(*case.data)
    before = metric.compute()
    for other in (torch.tensor(2.0), 2, _OtherKind(), {"something": torch.zeros(1)}):
        with pytest.raises(ValueError, match=r"can take in another|are not those of this"):
            metric.merge_state(other)
    tester.assert_equal(metric.compute(), before)


class _OtherKind(VoxelCorrelation):
    """A subclass is another kind: it may mean its states otherwise."""


def test_a_subclass_is_another_kind():
    with pytest.raises(ValueError, match="a VoxelCorrelation can take in another VoxelCorrelation"):
        VoxelCorrelation().merge_state(NoiseNormalizedCorrelation(CEILING))
    with pytest.raises(ValueError, match="made with other options"):
        VoxelCorrelation().merge_state(VoxelCorrelation(over="voxels"))


def test_what_is_better(case):
    assert case.make().higher_is_better is case.higher_is_better


def test_the_tracker_keeps_the_best_of_a_distance():
    from torchmetrics.wrappers import MetricTracker

    x, y = sets()
    tracker = MetricTracker(ProcrustesSimilarity(angular=True))
    for noise in (1.0, 0.1, 3.0):
        tracker.increment()
        tracker.update(x, x + noise * y.nan_to_num(0.0))
    assert tracker.best_metric(return_step=True)[1] == 1


def test_figures(case):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metric = case.make()
    metric.update(*case.data)
    for values in (None, [metric.compute(), metric.compute()]):
        figure, _ = metric.plot(values)
        assert figure.axes
    plt.close("all")


def test_a_refused_batch_leaves_no_trace(case):
    metric = case.make()
    for first, *rest in tester.parts(case):
        metric(first, *rest)
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            metric(*(first[:-1], *rest) if rest else (first[:, :2],))
    tester.assert_equal(metric.compute(), tester.whole(case))


def test_an_index_that_is_given_makes_repeats_one():
    for name in ("cka", "robust", "geometry", "ridge"):
        case = CASES[name]
        index = torch.arange(N) + 100
        metric = case.make()
        for rows in (slice(20, 40), slice(0, 25)):  # 20 to 24 come twice
            metric.update(*(x[rows] for x in case.data), index[rows])
        tester.assert_equal(metric.compute(), tester.whole(case))


def test_half_of_the_rows_with_an_index_and_half_without():
    preds, labels = decisions()
    metric = RobustAccuracy()
    metric.update(preds[:10], labels[:10], torch.arange(10))
    metric.update(preds[10:], labels[10:])
    metric.update(preds[:10], labels[:10], torch.arange(10))
    tester.assert_equal(metric.compute(), tester.whole(CASES["robust"]))
    assert metric.num_images == N


def test_the_choice_of_images_is_that_of_one_update():
    features, labels = clouds()
    expected = ManifoldGeometry(num_per_class=4, **GEOMETRY)
    expected.update(features, labels)
    called, a, b = (ManifoldGeometry(num_per_class=4, **GEOMETRY) for _ in range(3))
    for x, y in zip(features.split(10), labels.split(10)):
        called(x, y)
    a.update(features[:15], labels[:15])
    b.update(features[15:], labels[15:])
    a.merge_state(b)
    for metric in (called, a):
        for x, y in zip(metric.chosen(), expected.chosen()):
            assert torch.equal(x, y)
    a.update(features, labels, torch.arange(N))
    with pytest.raises(ValueError, match="index for all of them, or for none"):
        a.compute()


def test_float64_under_a_large_mean():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=g, dtype=torch.float64)
    y = x + 0.8 * torch.randn(200, 3, generator=g, dtype=torch.float64)
    expected = torch.stack([torch.corrcoef(torch.stack([x[:, v], y[:, v]]))[0, 1] for v in range(3)]).float()
    metric = VoxelCorrelation(reduction="none")
    for a, b in zip((x + 1e8).split(30), (y - 1e9).split(30)):
        metric(a, b)
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("constant", [0.1, -1.3, 1e20, 1e-20])
def test_a_constant_voxel_is_undefined(constant):
    for n in (7, 256, 1448):
        x, y = torch.randn(n, 2), torch.randn(n, 2)
        y[:, 1] = constant
        metric = VoxelCorrelation(reduction="none")
        for a, b in zip(x.split(100), y.split(100)):
            metric.update(a, b)
        assert metric.compute().isnan().tolist() == [False, True]
        assert metric.num_undefined == 1


@pytest.mark.parametrize("make", [CKA, VoxelCorrelation, lambda: VoxelCorrelation(over="voxels")])
def test_infinite_values_are_refused(make):
    x, y = sets()
    with pytest.raises(ValueError, match="target has infinite values"):
        make().update(x, y.index_fill(0, torch.tensor([3]), torch.inf))
    metric = make()
    metric.update(x, y)
    with pytest.raises(ValueError, match="preds has NaN or infinite values"):
        metric.update(x.index_fill(0, torch.tensor([3]), torch.inf), y)
    assert metric.compute().isfinite()


@pytest.mark.slow
def test_lightning_logs_the_value_of_the_whole(tmp_path):
    """The idiom of Lightning's pages, ``self.acc(p, t); self.log("acc", self.acc)``, on one process and on two."""
    import json
    import subprocess
    import sys
    from pathlib import Path

    script = [sys.executable, "-W", "ignore", "-m", "tests.metrics.lightning_script", str(tmp_path / "logged.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = json.loads((tmp_path / "logged.json").read_text())
    assert set(one) == {"robust", "cka", "voxels", "called robust", "called cka", "called voxels"}
    assert two == pytest.approx(one, rel=1e-4)
    assert 0.3 < one["robust"] < 0.9


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RobustAccuracy().update(decisions()[0].numpy(), decisions()[1]), TypeError, "preds must be a tensor"),
        (lambda: RobustAccuracy().update(torch.rand(4), torch.zeros(4)), TypeError, "predicted classes, integers"),
        (lambda: RobustAccuracy().update(torch.rand(4, 3), torch.tensor([0, 1, 2, 7])), ValueError, "run from 0 to 7"),
        (lambda: RobustAccuracy().update(*decisions(), torch.arange(N) / N), TypeError, "index must be integer"),
        (lambda: CKA().update(*sets(), torch.arange(N) > 3), TypeError, "index must be integer"),
        (lambda: CKA().update(*sets(), list(range(N))), TypeError, "index must be a tensor; got list"),
        (lambda: ManifoldGeometry().update(clouds()[0].numpy(), clouds()[1]), TypeError, "features must be a tensor"),
        (lambda: ManifoldGeometry().update(torch.rand(4), torch.zeros(4)), ValueError, "must be .stimulus, feature"),
        (lambda: ShapeBias().update(1, 2, 3), TypeError, "preds must be a tensor; got int"),
        (lambda: RDMSimilarity(RDMS).update(torch.rand(4), torch.arange(4)), ValueError, "must be .stimulus, feature"),
        (lambda: RDMSimilarity(RDMS).update(torch.full((4, 2), torch.nan), torch.arange(4)), ValueError, "NaN or infinite"),
    ],
)  # fmt: skip
def test_errors_at_the_door(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_network_that_says_nothing_decides_by_no_cue():
    metric = ShapeBias()
    metric.update(torch.full((4, 3), torch.nan), torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 0, 0]))
    found = metric.compute()
    assert (float(found["num_shape"]), float(found["num_texture"]), float(found["num_images"])) == (0, 0, 4)
