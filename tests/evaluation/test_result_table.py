"""Tables in a terminal: what people look for comes first and is shown."""

import pickle

import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import FGSM, PGD, evaluate_corruptions, evaluate_robustness, robustness_curve
from neuroalign.evaluation import compare, layer_geometry, masking_report, targeted_success, transfer_matrix
from neuroalign.evaluation.result_table import ResultTable, result_table


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


@pytest.fixture
def loader(model):
    images = torch.rand(20, 3, 2, 2)
    return [(images, model(images).argmax(1))]


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def large(images):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)).eval(), [(images, torch.arange(len(images)) % 3)]


TABLES = {
    "evaluate_robustness": (
        lambda m, b: evaluate_robustness(m, b, [FGSM(), PGD.two_losses()], ["2/255", 0.1]),
        ["perturbation", "eps", "accuracy", "ci_low", "ci_high"],
    ),
    "curve": (lambda m, b: robustness_curve(m, b, FGSM(), [0.1]).table(), ["perturbation", "eps", "accuracy", "ci_low"]),
    "targeted_success": (
        lambda m, b: targeted_success(m, b, PGD(targeted=True), [0.1]), ["perturbation", "eps", "success_rate"]
    ),
    "transfer_matrix": (
        lambda m, b: transfer_matrix({"a": m, "b": m}, b, FGSM(), 0.1), ["source", "target", "accuracy", "ci_low", "ci_high"]
    ),
    "evaluate_corruptions": (
        lambda m, b: evaluate_corruptions(*large(torch.rand(4, 3, 32, 32)), ["fog", "snow"], [1]),
        ["corruption", "severity", "accuracy", "ci_low", "ci_high", "num_images"],
    ),
    "compare": (
        lambda m, b: compare(robustness_curve(m, b, FGSM(), [0.1]), robustness_curve(m, b, FGSM(), [0.1])).table,
        ["perturbation", "eps", "difference", "low", "high"],
    ),
    "layer_geometry": (
        lambda m, b: layer_geometry(m, [(b[0][0], torch.arange(20) % 3)], ["0", "1"], num_samples=20, progress=False),
        ["layer", "capacity", "radius", "dimension"],
    ),
    "masking_report": (lambda m, b: masking_report(m, b, "8/255").table, ["check", "passed", "value", "bound"]),
}  # fmt: skip


@pytest.mark.parametrize(("make", "first"), TABLES.values(), ids=TABLES)
def test_what_people_look_for_is_shown_in_80_columns(make, first, model, loader):
    table = make(model, loader)
    shown = str(table).split("\n")
    assert list(table.columns)[: len(first)] == first
    assert shown[0].split()[: len(first)] == first
    assert max(map(len, shown)) < 80
    hidden = [name for name in table.columns if name not in shown[0].split()]
    assert all(name in str(table) for name in hidden)


def test_the_columns_that_were_promised_are_all_there(model, loader):
    assert set(evaluate_robustness(model, loader, FGSM(), 0.1)) == {
        "perturbation", "norm", "eps", "accuracy", "num_images", "num_correct", "ci_low", "ci_high", "clean_accuracy",
        "attack_success_rate", "settings",
    }  # fmt: skip


WIDE = ResultTable({"a": range(3), "b": 0.25, "text": "a long text " * 9, "more": "a long text " * 9})


def test_a_table_that_fits_and_a_user_s_own_choice_look_as_in_pandas(monkeypatch):
    assert "more" not in repr(WIDE).split("\n")[0] and "not shown: more" in repr(WIDE)
    narrow = WIDE[["a", "b"]]
    assert isinstance(narrow, ResultTable) and repr(narrow) == repr(pd.DataFrame(narrow))
    monkeypatch.setenv("COLUMNS", "300")
    assert repr(WIDE) == repr(pd.DataFrame(WIDE))
    monkeypatch.setenv("COLUMNS", "30")
    with pd.option_context("display.max_columns", 20):
        assert repr(WIDE) == repr(pd.DataFrame(WIDE))


def test_long_and_very_narrow_tables(monkeypatch):
    many = pd.concat([WIDE] * 100, ignore_index=True)
    assert isinstance(many, ResultTable)
    with pd.option_context("display.max_rows", None):
        assert len(str(many).split("\n")) == 302
    assert len(str(many).split("\n")) < 20 and "[300 rows; not shown: more]" in str(many)
    monkeypatch.setenv("COLUMNS", "3")
    assert str(WIDE).split("\n")[0].split() == ["a"]
    assert str(ResultTable({"only": ["long " * 30]})).startswith(" ")
    assert repr(ResultTable()) == repr(pd.DataFrame())


def test_a_table_is_a_data_frame(tmp_path):
    pd.testing.assert_frame_equal(WIDE, pd.DataFrame(WIDE))
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(WIDE)), WIDE)
    assert WIDE.groupby("a")["b"].mean().tolist() == [0.25] * 3
    WIDE.to_csv(tmp_path / "a.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), pd.DataFrame(WIDE))


def test_columns_in_order():
    table = pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    assert list(result_table(table, ["c", "b", "x"])) == ["c", "b", "a"]
    assert list(table) == ["a", "b", "c"]
