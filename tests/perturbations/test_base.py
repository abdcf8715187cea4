"""Every perturbation tells the truth about itself, and any callable becomes one."""

import math

import pytest
import torch
from torch import nn

import neuroalign.types
from neuroalign import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AutoAttack,
    BrendelBethge,
    CarliniWagner,
    Contrast,
    Corruption,
    DeepFool,
    HighPass,
    LowPass,
    RobustnessCurve,
    RotationTranslation,
    SquareAttack,
    evaluate_robustness,
    robustness_curve,
)
from neuroalign import perturbations as room
from neuroalign.callbacks import RobustnessCallback
from neuroalign.evaluation import Suite, evaluate_suite
from neuroalign.evaluation.requests import as_perturbation, named, settings_of
from neuroalign.functional.norms import length
from neuroalign.perturbations import Attack, Classifier, Perturbation, list_attacks

INDEX, LABELS = torch.arange(4), torch.tensor([0, 1, 2, 0])
OURS = [
    FGSM(), FGSM("l2"), FGSM(targeted=True), PGD(steps=2), PGD("l2", steps=2), PGD(steps=2, targeted=True),
    APGD(steps=3), APGD("l2", steps=3), SquareAttack(num_queries=5), SquareAttack("l2", num_queries=5), DeepFool(steps=3),
    CarliniWagner(steps=3, search_steps=1), FMN(steps=3), FMN("l2", steps=3), AutoAttack(version="fast"),
    Corruption("fog"), Corruption("gaussian_noise"), LowPass(3), HighPass(3), Contrast(0.2),
    RotationTranslation(num_rotations=3, num_translations=3),
]  # fmt: skip


def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def classifier(seed=0):
    torch.manual_seed(seed)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)).eval())


def loader():
    model = classifier().model
    return [{"image": images(), "label": model(images()).argmax(1), "stimulus": INDEX}]


@pytest.mark.parametrize("perturbation", OURS, ids=repr)
class TestOurs:
    def test_attributes(self, perturbation):
        assert isinstance(perturbation, Perturbation)
        assert isinstance(perturbation.name, str)
        assert perturbation.norm in ("linf", "l2", None)
        assert perturbation.has_budget == (perturbation.norm is not None) == isinstance(perturbation, Attack)
        assert perturbation.needs_model or not perturbation.has_budget
        assert settings_of(perturbation).startswith(repr(perturbation))
        assert as_perturbation(perturbation) is perturbation

    def test_it_is_applied_in_one_way(self, perturbation):
        x, eps = images(), 0.01 if perturbation.has_budget else math.nan
        before = x.clone()
        found, fooled = perturbation.attempt(classifier(), x, LABELS, eps, index=INDEX)
        applied = perturbation.apply(classifier(), x, LABELS, eps, index=INDEX)
        assert torch.equal(found, applied)
        assert torch.equal(x, before)
        assert found.shape == x.shape and fooled.shape == (4,) and fooled.dtype == torch.bool
        assert torch.equal(fooled, classifier().fooled(found, LABELS))
        assert 0 <= float(found.min()) <= float(found.max()) <= 1

    def test_the_call_gives_the_same(self, perturbation):
        x, model = images(), classifier().model
        eps = 0.01 if perturbation.has_budget else math.nan
        if not perturbation.needs_model:
            called = perturbation(x, index=INDEX)
        elif perturbation.has_budget:
            called = perturbation(model, x, LABELS, eps, index=INDEX)
        else:
            called = perturbation(model, x, LABELS)
        assert torch.equal(called, perturbation.apply(classifier(), x, LABELS, eps, index=INDEX))

    def test_what_needs_no_model_asks_none(self, perturbation):
        eps, asked = 0.01 if perturbation.has_budget else math.nan, classifier()
        perturbation.apply(asked, images(), LABELS, eps, index=INDEX)
        assert (asked.num_forward > 0) == perturbation.needs_model

    def test_budgets_bound_and_nothing_else_depends_on_them(self, perturbation):
        x = images()
        small, large = (perturbation.apply(classifier(), x, LABELS, eps, index=INDEX) for eps in (0.001, 0.5))
        if perturbation.has_budget:
            assert float(length(small - x, perturbation.norm).max()) <= 0.001 + 1e-6
        else:
            assert torch.equal(small, large)

    def test_nested_ones_search_a_ball(self, perturbation):
        """A single step, what goes toward targets, and what knows no budget count at each budget by itself."""
        single, targeted = isinstance(perturbation, FGSM), getattr(perturbation, "targeted", None) is not None
        assert perturbation.is_nested == (perturbation.has_budget and not single and not targeted)


def test_every_perturbation_of_the_room_is_asked():
    classes = {c for c in vars(room).values() if isinstance(c, type) and issubclass(c, Perturbation)}
    abstract = {Perturbation, Attack, room.ImageTransform}
    assert classes - abstract - {type(p) for p in OURS} == {BrendelBethge}  # which compiles for minutes
    attack = BrendelBethge("l2")
    assert (attack.norm, attack.has_budget, attack.needs_model, attack.is_nested) == ("l2", True, True, True)


def test_the_base_class_can_not_be_made_and_stays_where_it_was():
    for cls in (Perturbation, Attack, room.ImageTransform):
        with pytest.raises(TypeError, match="abstract"):
            cls()
    assert neuroalign.types.Perturbation is Perturbation
    with pytest.raises(AttributeError, match="no attribute 'Perturbations'"):
        _ = neuroalign.types.Perturbations


class Darker(Perturbation):
    name, norm = "darker", "linf"

    def apply(self, classifier, images, labels, eps, *, index):
        return (images - eps).clamp(0, 1)


def darker(model, images, labels, eps):
    assert isinstance(model, nn.Module)
    return (images - eps).clamp(0, 1)


def test_a_subclass_and_a_function_of_ones_own_are_measured_alike():
    model = classifier().model
    curves = [robustness_curve(model, loader(), p, [0.0, 0.1, 0.3]) for p in (Darker(), darker)]
    assert curves[0].images["threshold"].equals(curves[1].images["threshold"])
    assert [c.norm for c in curves] == ["linf", None]
    assert [c.attack for c in curves] == ["darker", "darker"]
    with pytest.raises(ValueError, match="divide by 255"):
        evaluate_robustness(model, loader(), Darker(), 8)


class Leaving(Darker):
    def apply(self, classifier, images, labels, eps, *, index):
        return images + 2


def test_a_subclass_that_leaves_the_box_is_told():
    with pytest.raises(ValueError, match="must stay in"):
        evaluate_robustness(classifier().model, loader(), Leaving(), 0.1)


def test_a_plain_function_is_wrapped_once():
    (wrapped,) = named(darker).values()
    assert isinstance(wrapped, Perturbation)
    assert (wrapped.name, wrapped.norm, wrapped.has_budget, wrapped.needs_model) == ("darker", None, True, True)
    assert (wrapped.is_nested, wrapped.ran, wrapped.kind) == (False, None, None)
    assert repr(wrapped) == repr(darker)
    assert named(wrapped) == {"darker": wrapped}
    assert list(named({"mine": darker})) == ["mine"]


@pytest.mark.parametrize(
    "function",
    [
        lambda model, images, labels, eps, index: images + index[:, None, None, None] / 100,
        lambda model, images, labels, eps, *, index=None: images + index[:, None, None, None] / 100,
        lambda model, images, labels, eps, **more: images + more["index"][:, None, None, None] / 100,
    ],
)
def test_a_function_that_takes_the_index_gets_it(function):
    x = images() / 2
    found = as_perturbation(function).apply(classifier(), x, LABELS, 0.1, index=INDEX)
    torch.testing.assert_close(found, x + INDEX[:, None, None, None] / 100)


class Negative:
    """Tells what ours tell, without being one."""

    name, norm, has_budget, needs_model = "negative", None, False, False
    kind, strength = "inversion", 1.0

    def __init__(self):
        self.ran = None

    def __call__(self, images):
        self.ran = "once"
        return 1 - images

    def __repr__(self):
        return "Negative()"


class Shift:
    name, norm = "shift", "l2"

    def __call__(self, model, images, labels, eps):
        return (images + eps / math.sqrt(images[0].numel())).clamp(0, 1)


def test_objects_that_tell_what_ours_tell():
    table = evaluate_robustness(classifier().model, loader(), [Negative(), LowPass(3)])
    assert table["perturbation"].tolist() == ["negative", "low-pass-3"]
    assert table["settings"][0] == "Negative(), which ran once"
    assert table["eps"].isna().all()
    curve = robustness_curve(classifier().model, loader(), Shift(), [0.1, 1.0], l2_scale="rms")
    assert (curve.norm, curve.attack) == ("l2", "shift")
    with pytest.raises(ValueError, match="takes no budget"):
        robustness_curve(classifier().model, loader(), Negative(), [0.1])


def test_they_take_part_in_suites_and_callbacks():
    suite = Suite("mine", ((PGD(steps=2), (0.01,)), (darker, (0.1, 0.2))), transforms=(Negative(), LowPass(3)))
    result = evaluate_suite(classifier().model, loader(), suite)
    assert list(result.curves) == ["pgd2-linf-margin-cosine", "darker"]
    assert result.transforms[["kind", "strength"]].values.tolist() == [["inversion", 1.0], ["low-pass", 3.0]]
    assert all(isinstance(c, RobustnessCurve) for c in result.curves.values())
    callback = RobustnessCallback([darker, Negative()], eps=0.1)
    assert callback.keys == ["robust_accuracy/darker/eps=0.1", "robust_accuracy/negative"]


def test_two_of_one_name_are_refused_everywhere():
    pair = (PGD(), PGD(seed=1))
    for ask in (
        lambda: Suite("mine", tuple((attack, (0.1,)) for attack in pair)),
        lambda: evaluate_robustness(classifier().model, loader(), pair, 0.1),
        lambda: RobustnessCallback(list(pair), 0.1),
        lambda: named(list(pair)),
    ):
        with pytest.raises(ValueError, match="two perturbations are named 'pgd20-linf-margin-cosine'"):
            ask()
    assert list(named({"a": pair[0], "b": pair[1]})) == ["a", "b"]


def test_losses_make_names_of_their_own():
    names = [PGD(loss=loss).name for loss in ("ce", "margin", "dlr", ("margin", "ce"))]
    assert len(set(names)) == 4


def test_attacks_are_listed():
    every = {c.__name__ for c in vars(room).values() if isinstance(c, type) and issubclass(c, Attack)} - {"Attack"}
    assert set(list_attacks()) == every
    assert list_attacks() == sorted(every, key=str.lower)
    assert list_attacks("F*") == ["FGSM", "FMN"]
    assert list_attacks("nothing") == []
    assert all(isinstance(getattr(room, name), type) for name in list_attacks())
