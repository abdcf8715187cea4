"""Whether geometry predicts robustness given clean accuracy: what is found, what isn't, and what is said of bad input."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import pearsonr
from statsmodels.stats.multitest import multipletests

from neuroalign.evaluation import regress_on_geometry
from neuroalign.evaluation.geometry_regression import regressions

SCOPES = ["all networks", "between conditions", "within conditions"]


def networks(rng, conditions=17, seeds=6, effect=0.0, within=0.5, of_seed=0.3, measures=("capacity",)):
    """Networks whose condition, seed and chance move clean accuracy, geometry and robustness; clean accuracy moves both."""
    group, seed = np.repeat(range(conditions), seeds), np.tile(range(seeds), conditions)

    def drawn():
        parts = rng.normal(size=conditions)[group], of_seed * rng.normal(size=seeds)[seed]
        return sum(parts) + within * rng.normal(size=len(group))

    clean = drawn()
    values = {name: drawn() + 0.5 * clean for name in measures}
    robustness = 0.5 * clean + drawn() + effect * sum(values.values())
    return pd.DataFrame({"condition": group, "seed": seed, "clean": clean, "robustness": robustness, **values})


def by_scope(table, column):
    return table.set_index("scope")[column]


def test_a_relation_is_found_in_every_scope():
    found = regress_on_geometry(networks(np.random.default_rng(0), effect=1.5))
    assert found["scope"].tolist() == SCOPES
    assert (found["p_holm"] < 0.01).all() and (found["partial_low"] > 0.2).all() and (found["low"] > 0).all()
    assert found["n"].tolist() == [102, 17, 102] and found["df"].tolist() == [16, 14, 16]
    assert found["unit"].tolist() == ["network", "condition", "network"] and (found["note"] == "").all()
    assert ((found["low"] < found["slope"]) & (found["slope"] < found["high"])).all()


def test_what_clean_accuracy_explains_is_no_relation():
    """Clean accuracy moves both strongly: they are correlated, and not given clean accuracy."""
    rng = np.random.default_rng(3)
    table = networks(rng, within=0.3)
    clean = 5 * table["clean"]
    table = table.assign(clean=clean, robustness=table["robustness"] + clean, capacity=table["capacity"] + clean)
    found = regress_on_geometry(table)
    assert (found["r"] > 0.8).all() and (found["partial_r"].abs() < 0.5).all()
    assert by_scope(found, "p")["between conditions"] > 0.05


def test_between_conditions_is_the_regression_of_means_and_its_partial_correlation():
    table = networks(np.random.default_rng(1), effect=0.5)
    row = regress_on_geometry(table, confidence=0.9).iloc[1]
    means = table.groupby("condition").mean()
    fit = sm.OLS(means["robustness"], sm.add_constant(means[["clean", "capacity"]])).fit()
    assert row["p"] == pytest.approx(fit.pvalues["capacity"])
    assert row["slope"] == pytest.approx(fit.params["capacity"] * means["capacity"].std())
    assert row["low"] == pytest.approx(fit.conf_int(0.1).loc["capacity", 0] * means["capacity"].std())
    left = [sm.OLS(means[name], sm.add_constant(means["clean"])).fit().resid for name in ("capacity", "robustness")]
    assert row["partial_r"] == pytest.approx(pearsonr(*left).statistic)
    assert row["r"] == pytest.approx(pearsonr(means["capacity"], means["robustness"]).statistic)


def test_within_conditions_sees_nothing_of_the_conditions():
    """Moving whole conditions and seeds changes the first two scopes and not the third."""
    rng = np.random.default_rng(2)
    table = networks(rng)
    shift = rng.normal(size=17)[table["condition"]] * 10
    moved = table.assign(capacity=table["capacity"] + shift, robustness=table["robustness"] + shift)
    before, after = (by_scope(regress_on_geometry(t), "partial_r") for t in (table, moved))
    assert after["within conditions"] == pytest.approx(before["within conditions"])
    assert after["between conditions"] > 0.95


def test_the_order_of_rows_and_the_scale_of_a_measure_make_no_difference():
    table = networks(np.random.default_rng(4), effect=0.5)
    other = table.sample(frac=1, random_state=0).assign(capacity=lambda t: 3 * t["capacity"] + 100)
    numbers = ["slope", "low", "high", "p", "partial_r", "partial_low", "r"]
    np.testing.assert_allclose(regress_on_geometry(table)[numbers], regress_on_geometry(other)[numbers], rtol=1e-6)


def test_holm_is_over_the_measures_of_one_scope():
    names = ("capacity", "radius", "other")
    found = regress_on_geometry(networks(np.random.default_rng(5), effect=0.3, measures=names))
    for _, rows in found.groupby("scope"):
        np.testing.assert_allclose(rows["p_holm"], multipletests(rows["p"], method="holm")[1])
    assert found.drop_duplicates("measure")["expected"].tolist() == ["+", "-", ""]


@pytest.mark.slow
def test_subjects_are_a_fixed_effect():
    rng = np.random.default_rng(6)
    parts = [networks(rng, conditions=6, seeds=2).assign(subject=s, robustness=lambda t, s=s: t["robustness"] + 50 * s)
             for s in range(3)]  # fmt: skip
    table = pd.concat([*parts, networks(rng, conditions=1, seeds=2).assign(condition="none", subject=None)])
    found = by_scope(regress_on_geometry(table), "n")
    assert found.tolist() == [38, 7, 38]
    without = [regress_on_geometry(t.assign(robustness=t["robustness"] - 50 * t["subject"].fillna(0).astype(float)))
               for t in (table,)]  # fmt: skip
    np.testing.assert_allclose(by_scope(regress_on_geometry(table), "p")["within conditions"],
                               by_scope(without[0], "p")["within conditions"])  # fmt: skip


class TestNotComputed:
    @pytest.mark.parametrize(("change", "reason"), [
        (lambda t: t.assign(capacity=0.3), "the measure is constant"),
        (lambda t: t.assign(robustness=0.3), "robustness is constant"),
        (lambda t: t.assign(capacity=2 * t["clean"] + 1), "linear function of clean accuracy"),
        (lambda t: t[t["condition"] < 4], "4 conditions, at least 5 are needed"),
        (lambda t: t.assign(capacity=np.nan), "0 conditions, at least 5 are needed"),
    ])  # fmt: skip
    def test_a_row_without_numbers_says_why(self, change, reason):
        found = regress_on_geometry(change(networks(np.random.default_rng(0))))
        assert found["note"].str.contains(reason).all()
        assert found[["slope", "low", "high", "p", "p_holm", "partial_r", "partial_low", "r"]].isna().all(axis=None)
        assert (found["test"] != "").all()

    def test_means_of_conditions_have_nothing_within(self):
        table = networks(np.random.default_rng(0), within=0.0, of_seed=0.0)
        found = by_scope(regress_on_geometry(table), "note")
        assert "constant within conditions" in found["within conditions"] and found["between conditions"] == ""

    def test_one_condition_with_all_variation(self):
        table = networks(np.random.default_rng(0), of_seed=0.0)
        table.loc[table["condition"] > 0, "capacity"] = 0.0
        found = by_scope(regress_on_geometry(table), "note")
        assert "one condition alone" in found["all networks"] and "one condition alone" in found["within conditions"]

    def test_networks_without_the_measure_are_counted(self):
        table = networks(np.random.default_rng(0))
        table.loc[[1, 5], "capacity"] = np.nan
        found = regress_on_geometry(table)
        assert found["note"].str.contains("2 networks without this measure are left out").all()
        assert found["n"].tolist() == [100, 17, 100] and found["p"].notna().all()


def test_one_condition_on_which_it_rests_is_named():
    table = networks(np.random.default_rng(8))
    far = table["condition"] == 3
    table = table.assign(capacity=table["capacity"] + 30 * far, robustness=table["robustness"] + 30 * far)
    found = by_scope(regress_on_geometry(table), "note")
    assert found["between conditions"].startswith("rests on '3': p = 0.")


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.drop(columns="clean"), "'clean' is missing"),
    (lambda t: t.drop(columns="capacity"), "no measure of geometry"),
    (lambda t: pd.concat([t, t.head(1)]), "condition '0', seed 0 occurs twice"),
    (lambda t: t.assign(robustness=np.nan), "'robustness' is missing or not finite in 102 rows"),
    (lambda t: t.assign(seed=None), "condition and seed must be given"),
])  # fmt: skip
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        regress_on_geometry(change(networks(np.random.default_rng(0))))


def test_bad_arguments_are_refused():
    table = networks(np.random.default_rng(0))
    with pytest.raises(ValueError, match="'radius' is missing"):
        regress_on_geometry(table, ["radius"])
    with pytest.raises(ValueError, match="must hold numbers"):
        regress_on_geometry(table.assign(radius="wide"), ["radius"])
    with pytest.raises(ValueError, match="confidence"):
        regress_on_geometry(table, confidence=95)


@pytest.mark.slow
@pytest.mark.parametrize("conditions", [6, 17])
def test_unrelated_measures_are_called_related_in_5_percent_and_intervals_hold_the_truth(conditions):
    """400 studies: 0.05 and 0.95 within three Monte-Carlo standard errors. The usual clustered error rejects too often."""
    rng, wrong, held, usual = np.random.default_rng(0), [], [], []
    for effect in (0.0, 1.0):
        truth = effect / (1 + effect**2) ** 0.5  # the measure given clean accuracy varies as much as the rest
        for _ in range(400):
            table = networks(rng, conditions=conditions, effect=effect)
            found = regressions(table, None, 0.95)
            held.append((found["partial_low"] <= truth) & (truth <= found["partial_high"]))
            if not effect:
                wrong.append(found["p"] < 0.05)
                design = sm.add_constant(table[["clean", "capacity"]])
                fit = sm.OLS(table["robustness"], design).fit(
                    cov_type="cluster", cov_kwds={"groups": table["condition"]}, use_t=True
                )
                usual.append(fit.pvalues["capacity"] < 0.05)
    assert (np.mean(wrong, axis=0) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5).all()
    assert (np.mean(held, axis=0) >= 0.95 - 3 * (0.05 * 0.95 / 800) ** 0.5).all()
    assert np.mean(usual) > 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_one_condition_more_than_needed_is_enough_to_look_at_each_left_out():
    rng = np.random.default_rng(3)
    rows = [
        (f"c{c}", seed, 0.2 + 0.05 * c + rng.normal(0, 0.001), rng.normal(0.6, 0.02), c + rng.normal(0, 0.01))
        for c in range(5)
        for seed in range(3)
    ]
    table = pd.DataFrame(rows, columns=["condition", "seed", "robustness", "clean", "capacity"])
    for number in (3, 4, 5):
        kept = table[table["condition"].isin([f"c{c}" for c in range(number)])]
        found = regress_on_geometry(kept, ["capacity"])
        between = found[found["scope"] == "between conditions"].iloc[0]
        assert between["note"] if pd.isna(between["p"]) else between["partial_low"] <= between["partial_r"]
