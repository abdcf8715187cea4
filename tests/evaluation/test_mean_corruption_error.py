"""Accuracy under corruptions and its means, by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from neuroalign import Corruption, RobustnessCallback, corruption_errors, evaluate_corruptions, evaluate_robustness
from tests.evaluation.test_curve import loader


def table(accuracies, clean=0.9):
    rows = [(c, s, a, clean, 50) for c, by_severity in accuracies.items() for s, a in by_severity.items()]
    return pd.DataFrame(rows, columns=["corruption", "severity", "accuracy", "clean_accuracy", "num_images"])


def test_by_hand():
    ours = table({"fog": {1: 0.8, 5: 0.4}, "snow": {1: 0.7, 5: 0.5}})
    theirs = table({"snow": {1: 0.5, 5: 0.1}, "fog": {1: 0.6, 5: 0.2}}, clean=0.7)
    found = corruption_errors(ours, theirs)
    assert found.mean_error == pytest.approx((0.4 + 0.4) / 2)
    assert found.mce == pytest.approx(((0.2 + 0.6) / (0.4 + 0.8) + (0.3 + 0.5) / (0.5 + 0.9)) / 2)
    assert found.relative_mce == pytest.approx(((0.1 + 0.5) / (0.1 + 0.5) + (0.2 + 0.4) / (0.2 + 0.6)) / 2)
    assert found.by_corruption["corruption"].tolist() == ["fog", "snow"]
    alone = corruption_errors(ours)
    assert alone.mean_error == found.mean_error
    assert pd.isna(alone.mce)
    assert pd.isna(alone.relative_mce)
    with pytest.raises(ValueError, match="same corruptions"):
        corruption_errors(ours, theirs.iloc[:3])


class Brightness(nn.Module):
    """Says whether the mean is above a half."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def test_evaluated_on_all_images_whatever_they_were():
    x = torch.rand(12, 3, 32, 32) * 0.2 + 0.38
    labels = torch.ones(12, dtype=torch.long)  # dark images, called bright: brightening them makes the answer right
    model = Brightness()
    found = evaluate_corruptions(model, loader(x, labels, 5), ["brightness", "fog"], [1, 5])
    assert (found["clean_accuracy"] < 1).all()
    by_hand = [
        float((model(Corruption(c, s)(x)).argmax(1) == labels).float().mean())
        for c in ("brightness", "fog")
        for s in (1, 5)
    ]
    assert found["accuracy"].tolist() == pytest.approx(by_hand)
    assert found["accuracy"][1] == 1
    assert found["perturbation"].tolist() == ["brightness-1", "brightness-5", "fog-1", "fog-5"]
    assert found["norm"].isna().all()


def test_mixed_with_attacks_in_one_call():
    from neuroalign import FGSM

    x, labels = torch.rand(12, 3, 32, 32), torch.ones(12, dtype=torch.long)
    found = evaluate_robustness(Brightness(), loader(x, labels), [FGSM(), Corruption("snow", 2)], [0.0, 0.1])
    assert found["perturbation"].tolist() == ["fgsm-linf", "fgsm-linf", "snow-2"]
    assert found["eps"].isna().tolist() == [False, False, True]
    callback = RobustnessCallback([FGSM(), Corruption("snow", 2)], [0.1])
    assert callback.keys == ["robust_accuracy/fgsm-linf/eps=0.1", "robust_accuracy/snow-2"]


@pytest.mark.filterwarnings("ignore:strengths of corruptions were published")
@pytest.mark.parametrize("per_image", [False, True])
def test_the_table_says_whose_strengths_these_are(per_image):
    labels = torch.ones(3, dtype=torch.long)
    cases = {(64, 64): (64, "published"), (40, 40): (40, "interpolated"), (32, 40): (32, "published for another size"),
             (230, 300): (230, "scaled up")}  # fmt: skip
    for size, expected in cases.items():
        batches = loader(torch.rand(3, 3, *size), labels)
        found = evaluate_corruptions(Brightness(), batches, ["contrast"], [1], per_image=per_image)
        assert set(zip(found["table"], found["strengths"])) == {expected}
    found = evaluate_corruptions(
        Brightness(), loader(torch.rand(3, 3, 40, 40), labels), ["contrast"], [1], table=32, per_image=per_image
    )
    assert set(zip(found["table"], found["strengths"])) == {(32, "published for another size")}
    mixed = [(torch.rand(3, 3, n, n), labels) for n in (32, 64, 40)]
    found = evaluate_corruptions(Brightness(), mixed, ["contrast"], [1], per_image=per_image)
    assert found["table"].isna().all() and set(found["strengths"]) == {"interpolated and published"}
    small = loader(torch.rand(3, 3, 30, 40), labels)
    with pytest.raises(ValueError, match="30 x 40 pixels are too small"):
        evaluate_corruptions(Brightness(), small, ["contrast"], [1], per_image=per_image)
    assert len(evaluate_corruptions(Brightness(), small, ["contrast"], [1], table=32)) == 1


def test_strengths_are_known_when_everything_was_done_before(tmp_path):
    batches = loader(torch.rand(3, 3, 64, 64), torch.ones(3, dtype=torch.long))
    model = Brightness()
    first, second = (
        evaluate_corruptions(model, batches, ["contrast"], [1], checkpoint=tmp_path / "done.csv") for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)
    assert second["table"].tolist() == [64]


def test_a_reference_of_another_size_is_no_reference():
    ours = table({"fog": {1: 0.8}}).assign(table=96.0, strengths="interpolated")
    theirs = table({"fog": {1: 0.6}}).assign(table=224.0, strengths="published")
    with pytest.raises(
        ValueError, match=r"images of 96 pixels, the reference those for 224.*Evaluate both at one size"
    ):
        corruption_errors(ours, theirs)
    assert corruption_errors(ours, ours).mce == 1
    published = table({"fog": {1: 0.2}})  # AlexNet's, from a paper
    with pytest.warns(UserWarning, match=r"interpolated \(96 pixels\).*AlexNet's, are of 224 x 224"):
        corruption_errors(ours, published)
    assert corruption_errors(theirs, published).mce == pytest.approx(0.5)


CORRUPTIONS = 5, 3  # corruptions and severities of the simulation


def simulated(rng, num_images, threshold):
    """(image, corruption, severity) errors of two networks on images that are hard for both under all corruptions."""
    hard = 1.5 * rng.standard_normal((num_images, 1, 1)) + 0.7 * rng.standard_normal((num_images, CORRUPTIONS[0], 1))
    level = threshold - np.linspace(0, 0.8, CORRUPTIONS[0])[:, None] - np.linspace(0, 1.2, CORRUPTIONS[1])
    noise = rng.standard_normal((2, num_images, *CORRUPTIONS))
    return hard + noise[0] > level, hard + noise[1] > level - 0.5


def rows(errors, clean=None):
    image, corruption, severity = (a.ravel() for a in np.indices(errors.shape))
    clean = np.zeros(len(errors), dtype=bool) if clean is None else clean
    return pd.DataFrame(
        {"corruption": [f"c{c}" for c in corruption], "severity": severity + 1, "stimulus": image,
         "correct": ~errors.ravel(), "clean_correct": ~clean[image]}
    )  # fmt: skip


def test_a_row_an_image_gives_the_same_errors():
    rng = np.random.default_rng(0)
    ours, theirs = (rows(e, rng.random(200) < 0.05) for e in simulated(rng, 200, 1.5))
    ours = ours.sample(frac=1, random_state=0)
    found = corruption_errors(ours, theirs)
    groups = [t.groupby(["corruption", "severity"]) for t in (ours, theirs)]
    counted = [
        g.agg(accuracy=("correct", "mean"), clean_accuracy=("clean_correct", "mean"), num_images=("correct", "size"))
        for g in groups
    ]
    by_accuracy = corruption_errors(*(c.reset_index() for c in counted))
    for name in ("mean_error", "mce", "relative_mce"):
        assert getattr(found, name) == pytest.approx(getattr(by_accuracy, name))
        low, high = getattr(found, f"{name}_interval")
        assert low < getattr(found, name) < high
        assert np.isnan(getattr(by_accuracy, f"{name}_interval")).all()
    each = found.by_corruption
    assert (each["error_low"] < each["error"]).all() and (each["error"] < each["error_high"]).all()
    assert (each["ce_low"] < each["ce"]).all() and (each["ce"] < each["ce_high"]).all()
    # The reference's errors as fixed, or resampled along with ours: sharing the hard images, they cancel in the ratio.
    fixed = corruption_errors(ours, counted[1].reset_index())
    assert fixed.mce == pytest.approx(found.mce)
    assert np.ptp(fixed.mce_interval) > 1.2 * np.ptp(found.mce_interval)
    assert fixed.mean_error_interval == found.mean_error_interval


def test_the_interval_is_scipys():
    rng = np.random.default_rng(3)
    errors, _ = simulated(rng, 80, 2.0)
    found = corruption_errors(rows(errors), num_resamples=20_000).mean_error_interval
    reference = stats.bootstrap(
        (errors.mean((1, 2)),), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found == pytest.approx(tuple(reference), abs=0.004)


def test_no_interval_where_there_is_nothing_to_resample():
    errors = np.zeros((40, *CORRUPTIONS), dtype=bool)
    assert np.isnan(corruption_errors(rows(errors)).mean_error_interval).all()
    errors[:3] = True  # in some resamples none of the three is drawn
    found = corruption_errors(rows(errors), rows(errors))
    assert np.isnan(found.mean_error_interval).all() and np.isnan(found.mce_interval).all()
    errors[:20] = True
    assert not np.isnan(corruption_errors(rows(errors)).mean_error_interval).any()


def test_rows_of_images_are_checked():
    errors, _ = simulated(np.random.default_rng(0), 30, 1.5)
    ours = rows(errors)
    with pytest.raises(ValueError, match="under every corruption"):
        corruption_errors(ours.iloc[1:])
    with pytest.raises(ValueError, match="occurs twice"):
        corruption_errors(pd.concat([ours, ours.iloc[:1]]))
    with pytest.raises(ValueError, match="of the same images"):
        corruption_errors(ours, ours.assign(stimulus=ours["stimulus"] + 1))


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [50, 500])
def test_intervals_cover(num_images):
    rng = np.random.default_rng(0)
    for threshold in (1.5, 2.5) if num_images == 50 else (2.5,):
        truth = np.mean([[e.mean(0) for e in simulated(rng, 20_000, threshold)] for _ in range(10)], 0)
        error, mce = truth[0].mean(), (truth[0].mean(-1) / truth[1].mean(-1)).mean()
        covered = []
        for i in range(120):
            ours, theirs = simulated(rng, num_images, threshold)
            found = corruption_errors(rows(ours), rows(theirs), num_resamples=1000, seed=i)
            ends = found.mean_error_interval, found.mce_interval
            covered.append([low <= value <= high for (low, high), value in zip(ends, (error, mce))])
        share = np.mean(covered, 0)
        assert (share >= 0.9).all() and (share <= 0.99).all(), (threshold, error, mce, share)


def test_evaluated_image_by_image():
    x, labels = torch.rand(12, 3, 32, 32), torch.randint(2, (12,))
    plain, each = (
        evaluate_corruptions(Brightness(), loader(x, labels, 5), ["brightness", "fog"], [1, 5], per_image=p)
        for p in (False, True)
    )
    assert len(each) == 4 * 12
    keys = ["corruption", "severity"]
    accuracy = each.groupby(keys, sort=False)["correct"].mean()
    assert accuracy.tolist() == pytest.approx(plain.set_index(keys)["accuracy"].tolist())
    assert corruption_errors(each).mean_error == pytest.approx(corruption_errors(plain).mean_error)
