"""Former names: they still work, and say what to write instead."""

import importlib

import pytest
import torch

import neuroalign
from neuroalign.config import build
from neuroalign.functional import linear_separability
from neuroalign.models import VisualFeatures
from neuroalign.moved import former_keywords, former_names

RENAMED = [
    ("neuroalign", "read_split", "read_nsd_split"),
    ("neuroalign", "cache_stimuli", "cache_nsd_stimuli"),
    ("neuroalign", "Procrustes", "ProcrustesSimilarity"),
    ("neuroalign", "Square", "SquareAttack"),
    ("neuroalign.data", "read_split", "read_nsd_split"),
    ("neuroalign.data", "cache_stimuli", "cache_nsd_stimuli"),
    ("neuroalign.data", "open_tree", "open_nsd"),
    ("neuroalign.data.nsd", "read_split", "read_nsd_split"),
    ("neuroalign.data.nsd", "open_tree", "open_nsd"),
    ("neuroalign.metrics", "Procrustes", "ProcrustesSimilarity"),
    ("neuroalign.perturbations", "Square", "SquareAttack"),
]


@pytest.mark.parametrize(("place", "former", "now"), RENAMED)
def test_a_former_name_warns_where_it_is_used(place, former, now):
    module = importlib.import_module(place)
    with pytest.warns(DeprecationWarning, match=rf"{former} is .*\.{now} now") as seen:
        found = getattr(module, former)
    assert found is getattr(module, now)
    assert seen[0].filename == __file__
    assert former not in module.__all__


def test_a_former_name_can_be_imported():
    with pytest.warns(DeprecationWarning, match="SquareAttack"):
        from neuroalign import Square
    assert Square is neuroalign.SquareAttack


def test_an_unknown_name_stays_unknown():
    with pytest.raises(AttributeError, match="module 'old' has no attribute 'x'"):
        former_names("old", {})("x")


@pytest.mark.parametrize("place", ["", "perturbations.", "perturbations.attacks.square."])
def test_descriptions_of_before_still_build(place):
    attack = build({"class_path": f"neuroalign.{place}Square", "init_args": {"num_queries": 3}})
    assert type(attack) is neuroalign.SquareAttack
    assert attack.num_queries == 3
    assert attack.name == "square-linf"


def test_former_keywords_of_functions_and_methods():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=g), torch.arange(40) % 2
    with pytest.warns(DeprecationWarning, match=r"'penalty' of linear_separability\(\) is 'C' now"):
        former = linear_separability(x, y, penalty=3.0)
    assert former == linear_separability(x, y, C=3.0)

    metric = neuroalign.RobustAccuracy()
    with pytest.warns(DeprecationWarning, match="'labels' .* is 'target' now"):
        metric.update(torch.eye(3), labels=torch.tensor([0, 1, 1]))
    assert metric.compute() == pytest.approx(2 / 3)

    images, responses = torch.rand(12, 3, 8, 8, generator=g), torch.randn(12, 2, generator=g)
    features = VisualFeatures(8, wavelengths=(4,), grid=1)
    with pytest.warns(DeprecationWarning, match="'alphas' .* is 'penalties' now"):
        predictor = neuroalign.RidgePredictor(features, 2).fit(images, responses, alphas=[30.0])
    assert predictor.alphas.tolist() == [30.0, 30.0]


def test_a_keyword_by_both_names_is_refused():
    @former_keywords(old="new")
    def f(new=0):
        return new

    with pytest.raises(TypeError, match="'new' and its former name 'old'"):
        f(new=1, old=2)
