"""The matrix and the map of similarities: what they show and what their captions claim."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study import plan_study
from neuroalign.study.collecting import Finished
from neuroalign.study.figures import study_figures
from neuroalign.study.figures.mds import mds_figure, scaled
from neuroalign.study.figures.side_labels import spread
from neuroalign.study.figures.similar_pairs import every_similarity, mean_similarity, similarity_groups
from neuroalign.study.figures.similarity import similarity_figure
from neuroalign.study.methods import controls_of
from neuroalign.study.similarity import similarity_table
from neuroalign.study.tables import gather
from tests.study.dissimilarities import finish_rdms
from tests.study.finished import FakeFolder, finish, study_of

LABELS = ["V1, predicted", "TO, predicted", "neural guidance (V1)", "neural guidance (TO)", "none", "label only (TO)"]


def study_with(seeds=(0, 1, 2), resplit=False, **rsa):
    return study_of(
        images={"source": "digits", "num_neural": [600, 100], "resplit": resplit}, seeds=list(seeds),
        evaluations={"robustness": {"pgd": {"steps": 10, "eps": [0.01]}}, "rsa": rsa},
    )  # fmt: skip


def made(root, study, **options):
    plan, folder = plan_study(study), FakeFolder(root)
    finish_rdms(plan, folder, **options)
    table = similarity_table(Finished.of(plan, folder))
    return table, similarity_groups(table, study, controls_of(study)), study.evaluations.rsa, "simulated subject"


def texts(ax):
    return [text.get_text() for text in ax.texts]


def pair(first, second, seeds, value, subjects=("a", "a"), networks=("classifier", "classifier")):
    return {
        "first": first, "second": second, "first_network": networks[0], "second_network": networks[1],
        "subject_first": subjects[0], "subject_second": subjects[1], "seed_first": seeds[0], "seed_second": seeds[1],
        "layer": "features", "similarity": value, "n_images": 20,
    }  # fmt: skip


def table_of(*pairs):
    return pd.DataFrame(pairs).astype({"seed_first": "Int64", "seed_second": "Int64"})


class TestMeans:
    def test_pairs_of_one_seed_do_not_count_where_there_are_others(self):
        table = table_of(
            pair("a", "a", (0, 1), 0.6),
            pair("a", "b", (0, 0), 0.9),
            pair("a", "b", (0, 1), 0.4),
            pair("a", "b", (1, 0), 0.2),
        )
        means = mean_similarity(table, ["a", "b"])
        assert means.loc["a", "a"] == pytest.approx(0.6) and np.isnan(means.loc["b", "b"])
        assert means.loc["a", "b"] == means.loc["b", "a"] == pytest.approx(0.3)

    def test_pairs_of_one_seed_count_where_there_are_no_others(self):
        table = table_of(pair("a", "b", (0, 0), 0.9), pair("a", "b", (1, 1), 0.7))
        assert mean_similarity(table, ["b", "a"]).loc["b", "a"] == pytest.approx(0.8)

    def test_pairs_with_a_region_count_whatever_their_seeds(self):
        networks = ("classifier", "predictor")
        table = table_of(
            pair("a", "V4", (0, None), 0.1, networks=networks), pair("a", "V4", (1, 1), 0.3, networks=networks),
            pair("a", "a", (0, 1), 0.5),
        )  # fmt: skip
        assert mean_similarity(table, ["a", "V4, predicted"]).loc["V4, predicted", "a"] == pytest.approx(0.2)

    def test_different_subjects_are_not_compared(self):
        table = table_of(
            pair("a", "b", (0, 1), 0.1, ("s", "t")), pair("a", "b", (0, 1), 0.5, ("s", "s")),
            pair("a", "none", (0, 1), 0.3, ("t", None)),
        )  # fmt: skip
        means = mean_similarity(table, ["a", "b", "none"])
        assert means.loc["a", "b"] == 0.5 and means.loc["none", "a"] == 0.3


class TestMatrix:
    def test_every_label_and_mean_stands_in_it(self, tmp_path):
        table, groups, settings, origin = made(tmp_path, study_with())
        assert groups == {"regions": LABELS[:2], "guided networks": LABELS[2:4], "other networks": LABELS[4:]}
        found = similarity_figure(table, groups, settings, origin)
        ax, bar = found.figure.axes
        assert [label.get_text() for label in ax.get_yticklabels()] == LABELS
        rows = table[(table["first"] == "none") & (table["second"] == "none")]
        assert texts(ax)[4 * 6 + 4] == f"{rows['similarity'].mean():.2f}"[1:] and texts(ax)[0] == "–"
        assert len(ax.lines) == 4 and "Spearman" in bar.get_ylabel()
        for claim in ("20 test images", "simulated subject", "different seeds", "start from the same weights", "Grey cells",
                      "1 - correlation", "predictors give, not for measured", "no intervals"):  # fmt: skip
            assert claim in found.caption

    @pytest.mark.parametrize(
        ("seeds", "resplit", "claim"), [((0,), False, "there is one seed"), ((0, 1), True, "2 seeds, within")]
    )
    def test_networks_of_one_seed_alone_are_said(self, tmp_path, seeds, resplit, claim):
        found = similarity_figure(*made(tmp_path, study_with(seeds, resplit)))
        assert claim in found.caption and "isn't known" in found.caption and "The diagonal" not in found.caption
        ax = found.figure.axes[0]
        assert [texts(ax)[7 * i] for i in range(6)] == ["–"] * 6

    def test_without_regions(self, tmp_path):
        found = similarity_figure(*made(tmp_path, study_with(predictors=False, comparison="pearson")))
        assert "egion" not in found.caption and "Pearson" in found.caption
        assert found.figure.axes[0].get_title() == "Similarity of networks (simulated subject)"

    def test_equal_networks(self, tmp_path):
        same = np.random.default_rng(0).normal(size=(20, 5))
        found = similarity_figure(*made(tmp_path, study_with(), features=lambda name, layer: same))
        assert set(texts(found.figure.axes[0])) == {"1", "–"}

    def test_many_labels_have_no_values(self, tmp_path, monkeypatch):
        monkeypatch.setattr("neuroalign.study.figures.similarity._MOST_VALUES", 5)
        assert not texts(similarity_figure(*made(tmp_path, study_with())).figure.axes[0])

    def test_pairs_of_different_subjects_alone_are_no_matrix(self):
        networks = ("predictor", "predictor")
        table = table_of(pair("V1", "V1", (None, None), 0.3, ("s", "t"), networks=networks))
        settings = study_with().evaluations.rsa
        assert similarity_figure(table, {"regions": ["V1, predicted"]}, settings, "") is None


class TestMap:
    def test_distances_in_a_plane_are_found_again(self):
        points = np.random.default_rng(0).normal(size=(12, 2)) * [3, 1]
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        places, stress = scaled(distances)
        found = np.linalg.norm(places[:, None] - places[None], axis=-1)
        assert np.allclose(found, distances, atol=0.02) and stress < 0.01
        assert places[:, 0].std() > places[:, 1].std() and np.array_equal(places, scaled(distances)[0])

    def test_stress_is_that_of_kruskal(self):
        """Four points at equal distances fit no plane."""
        places, stress = scaled(1 - np.eye(4))
        between = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(4, 1)]
        assert stress == pytest.approx(np.sqrt(np.sum((between - 1) ** 2) / np.sum(between**2))) and stress > 0.1

    def test_every_network_has_a_mark_and_every_label_a_name(self, tmp_path):
        found = mds_figure(*made(tmp_path, study_with()))
        ax = found.figure.axes[0]
        assert {text for text in texts(ax) if "similarity" not in text} == set(LABELS)
        marks = [len(each.get_offsets()) for each in ax.collections]
        assert sorted(marks) == [1] * 6 + [3] * 4  # one mean each, and three seeds of each condition
        assert not ax.get_xticks().size and not ax.get_yticks().size
        width, height = (np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim()))
        assert ax.get_box_aspect() == pytest.approx(height / width)  # one scale for both directions
        for claim in (
            "A small mark is a network",
            "Distances, not axes",
            "Normalised stress",
            "20 test images",
            "Stars are",
        ):
            assert claim in found.caption

    def test_networks_of_different_images_stand_for_their_conditions(self, tmp_path):
        found = mds_figure(*made(tmp_path, study_with(resplit=True)))
        assert [len(each.get_offsets()) for each in found.figure.axes[0].collections] == [1] * 6
        assert "A mark is a condition" in found.caption

    def test_many_networks_stand_for_their_conditions(self, tmp_path, monkeypatch):
        monkeypatch.setattr("neuroalign.study.figures.mds._MOST_POINTS", 10)
        found = mds_figure(*made(tmp_path, study_with()))
        assert len(found.figure.axes[0].collections) == 6

    @pytest.mark.parametrize(("stress", "words"), [(0.05, "shows most"), (0.15, "can be wrong"), (0.3, "poor picture")])
    def test_how_good_the_map_is_is_said(self, tmp_path, monkeypatch, stress, words):
        monkeypatch.setattr(
            "neuroalign.study.figures.mds.scaled", lambda distances: (np.eye(len(distances))[:, :2], stress)
        )
        found = mds_figure(*made(tmp_path, study_with()))
        assert f"stress {stress:.2f}" in found.caption and words in found.caption

    def test_two_points_and_missing_pairs_are_no_map(self):
        settings, groups = study_with().evaluations.rsa, {"other networks": ["a", "b", "c"]}
        few = table_of(pair("a", "b", (0, 0), 0.9))
        missing = table_of(pair("a", "b", (0, 0), 0.9), pair("a", "c", (1, 1), 0.9))
        assert mds_figure(few, groups, settings, "") is None and mds_figure(missing, groups, settings, "") is None

    def test_equal_networks_are_one_point(self, tmp_path):
        same = np.random.default_rng(0).normal(size=(20, 5))
        found = mds_figure(*made(tmp_path, study_with(), features=lambda name, layer: same))
        assert "stress 0.00" in found.caption and np.isfinite(found.figure.axes[0].get_xlim()).all()

    def test_rounding_of_equal_networks_is_no_distance(self, monkeypatch, tmp_path):
        def rounded(similarity):
            points, matrix = every_similarity(similarity)
            return points, matrix - 1.1e-16 * (1 - np.eye(len(matrix)))  # as another processor or library rounds

        monkeypatch.setattr("neuroalign.study.figures.mds.every_similarity", rounded)
        same = np.random.default_rng(0).normal(size=(20, 5))
        found = mds_figure(*made(tmp_path, study_with(), features=lambda name, layer: same))
        assert "stress 0.00" in found.caption


def test_labels_move_as_little_as_it_takes():
    assert spread([0.1, 0.5, 0.9], 0.2) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert spread([0.99, 1.0, 1.0], 0.25) == pytest.approx([0.5, 0.75, 1.0]) and spread([], 0.1) == []


@pytest.mark.slow
def test_a_study_has_them_where_it_asks_for_them(tmp_path):
    study = study_with((0, 1))
    plan, folder = finish(study, tmp_path)
    assert not {"similarity", "mds"} & set(study_figures(gather(plan, folder, tmp_path)))
    finish_rdms(plan, folder)
    assert {"similarity", "mds"} <= set(study_figures(gather(plan, folder, tmp_path)))
