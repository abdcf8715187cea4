"""Many terms: fixed, scheduled and learned weights."""

import math

import pytest
import torch

from neuroalign import MeasuredGuidance, NeuralAlignmentLoss, PredictedGuidance, WeightedGuidance
from neuroalign.config import build
from neuroalign.guidance import Ramp


def measured():
    return MeasuredGuidance({"V1": [0, 1], "layer3/TO": [2]})


def batch():
    return {"response": torch.tensor([[1.0, 1.0, 2.0]] * 4)}


def preds():
    return {"V1": torch.zeros(4, 2, requires_grad=True), "layer3/TO": torch.zeros(4, 1, requires_grad=True)}


def values(terms):
    return {name: float(term) for name, term in terms.items()}


def test_fixed_weights_by_name_and_pattern():
    assert values(WeightedGuidance(measured())(preds(), batch())) == {"V1/mse": 1, "layer3/TO/mse": 4}
    weighted = WeightedGuidance(measured(), {"V1/mse": 3, "*": 0.5})  # the first that fits
    assert values(weighted(preds(), batch())) == {"V1/mse": 3, "layer3/TO/mse": 2}
    assert weighted.last_weights == {"V1/mse": 3, "layer3/TO/mse": 0.5}


def test_a_schedule_counts_training_batches_and_resumes():
    guidance = WeightedGuidance(measured(), {"V1/*": Ramp(delay=2, duration=2)})
    seen = [float(guidance(preds(), batch())["V1/mse"]) for _ in range(4)]
    assert seen == [0, 0, 0, 0.5]
    resumed = build(guidance.config) if guidance.config else WeightedGuidance(measured(), {"V1/*": Ramp(1.0, 2, 2)})
    resumed.load_state_dict(guidance.state_dict())
    assert float(resumed(preds(), batch())["V1/mse"]) == 1
    resumed.eval()
    for _ in range(3):
        resumed(preds(), batch())
    assert int(resumed.step) == 5


def test_learned_weights_are_homoscedastic_uncertainty():
    guidance = WeightedGuidance(measured(), "learned")
    assert values(guidance(preds(), batch())) == {"V1/mse": 0.5, "layer3/TO/mse": 2}
    optimizer = torch.optim.SGD(guidance.parameters(), 0.5)
    for _ in range(500):
        optimizer.zero_grad()
        sum(guidance(preds(), batch()).values()).backward()
        optimizer.step()
    # At the optimum sigma^2 is the term itself.
    assert guidance.log_variance.exp().tolist() == pytest.approx([1.0, 4.0], rel=1e-3)
    assert values(guidance(preds(), batch()))["layer3/TO/mse"] == pytest.approx(0.5 + 0.5 * math.log(4), rel=1e-3)
    assert guidance.last_weights["layer3/TO/mse"] == pytest.approx(1 / 8, rel=1e-3)


class Terms(torch.nn.Module):
    """Guidance that returns what it is told."""

    def __init__(self, valid=None, **terms):
        super().__init__()
        self.values, self.terms = {k: torch.as_tensor(v) for k, v in terms.items()}, tuple(terms)
        self.last_valid = {} if valid is None else valid

    def forward(self, preds, batch):
        return self.values


def descend(guidance, steps, lr=0.1):
    """With the optimiser that the classification task takes by default."""
    optimizer = torch.optim.SGD(guidance.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.9 * sum(guidance({}, {}).values())).backward()
        optimizer.step()
    return guidance


def test_a_negative_term_has_no_learned_weight():
    with pytest.raises(ValueError, match=r"term 'mmcr' is negative \(-1\).*fixed weight"):
        WeightedGuidance(Terms(mmcr=-1.0), "learned")({}, {})
    assert values(WeightedGuidance(Terms(mmcr=-1.0), {"mmcr": 2.0})({}, {})) == {"mmcr": -2.0}


@pytest.mark.parametrize("term", [0.0, 1e-6, 1e6])
def test_learned_weights_stay_in_their_bounds(term):
    guidance = descend(WeightedGuidance(Terms(a=term), "learned"), 400)
    weighted = guidance({}, {})["a"]
    assert math.exp(-4) / 2 * 0.999 <= guidance.last_weights["a"] <= math.exp(4) / 2 * 1.001
    assert torch.isfinite(weighted)
    guidance.guidances[0].values["a"] = torch.tensor(1.0)  # and come back from there
    descend(guidance, 300, lr=0.05)
    assert guidance.last_weights["a"] == pytest.approx(0.5, rel=0.05)


def test_a_term_with_nothing_to_compare_moves_no_weight():
    valid = {"a": torch.tensor(False), "b": torch.tensor(True)}
    guidance = WeightedGuidance(Terms(valid, a=0.0, b=1.0), "learned")
    with torch.no_grad():
        guidance.log_variance.fill_(1.0)
    terms = guidance({}, {})
    assert float(terms["a"].detach()) == 0
    sum(terms.values()).backward()
    assert float(guidance.log_variance.grad[0]) == 0 != float(guidance.log_variance.grad[1])


def test_the_tasks_own_loss_is_weighed_if_asked():
    guidance = WeightedGuidance(Terms(a=1.0), "learned", weigh_task=True)
    optimizer = torch.optim.SGD(guidance.parameters(), 0.5)
    for _ in range(400):
        optimizer.zero_grad()
        (sum(guidance({}, {}).values()) + guidance.weighted_task(torch.tensor(4.0))).backward()
        optimizer.step()
    assert guidance.last_task_weight == pytest.approx(1 / 8, rel=1e-3)
    assert guidance.last_weights["a"] == pytest.approx(1 / 2, rel=1e-3)
    loss = torch.tensor(3.0)
    assert WeightedGuidance(Terms(a=1.0), "learned").weighted_task(loss) is loss
    assert WeightedGuidance(Terms(a=1.0)).weighted_task(loss) is loss
    with pytest.raises(ValueError, match="task's loss is negative"):
        guidance.weighted_task(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="goes with weights='learned'"):
        WeightedGuidance(Terms(a=1.0), weigh_task=True)
    assert build(WeightedGuidance(measured(), "learned", weigh_task=True).config).weigh_task


def test_several_guidances():
    two = WeightedGuidance([MeasuredGuidance({"V1": [0]}), MeasuredGuidance({"TO": [2]}, loss="cosine")])
    assert two.terms == ("V1/mse", "TO/cosine")
    out = two({"V1": torch.zeros(4, 1), "TO": torch.ones(4, 1)}, batch())
    assert values(out) == {"V1/mse": 1, "TO/cosine": 0}
    assert build(WeightedGuidance([measured()], {"V1/*": 2}).config).weights == {"V1/*": 2}


def test_a_predictor_that_guides_several_layers_runs_once():
    class Counting(torch.nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            return images.mean((2, 3))

    predictor = Counting()
    guidance = PredictedGuidance({"layer2/V4": predictor, "layer3/V4": predictor})
    outputs = {name: torch.zeros(4, 3) for name in ("layer2/V4", "layer3/V4")}
    terms = guidance(outputs, {"image": torch.ones(4, 3, 2, 2)})
    assert values(terms) == {"layer2/V4/mse": 1, "layer3/V4/mse": 1}
    assert predictor.calls == 1


def test_a_loss_for_each_head():
    ceiling = torch.tensor([1.0, 0.0])
    losses = {"V1": NeuralAlignmentLoss("mse", noise_ceiling=ceiling), "TO": "gaussian_nll"}
    guidance = MeasuredGuidance({"V1": [0, 1], "TO": [2]}, loss=losses)
    response = torch.tensor([[1.0, 1.0, 2.0], [1.0, 1.0, -2.0]] * 2)  # a learned variance wants responses that vary
    out = guidance({"V1": torch.zeros(4, 2), "TO": torch.zeros(4, 1)}, {"response": response})
    assert values(out) == {"V1/mse": 1, "TO/gaussian_nll": 2}
    with pytest.raises(ValueError, match="unknown head without a loss 'V2'"):
        MeasuredGuidance({"V2": [0]}, loss={"V1": "mse"})({"V2": torch.zeros(4, 1)}, batch())


def test_a_loss_that_remembers_is_not_shared():
    guidance = MeasuredGuidance({"V1": [0, 1], "TO": [2]}, loss="gaussian_nll")
    with pytest.raises(ValueError, match=r"has a state of its own, so each of the heads \['TO', 'V1'\] needs its own"):
        guidance({"V1": torch.zeros(4, 2), "TO": torch.zeros(4, 1)}, batch())
    given = MeasuredGuidance({"V1": [0, 1], "TO": [2]}, loss=NeuralAlignmentLoss("gaussian_nll", variance=2.0))
    assert len(given({"V1": torch.zeros(4, 2), "TO": torch.zeros(4, 1)}, batch())) == 2


def test_subjects_of_different_width_share_a_batch():
    g = torch.Generator().manual_seed(0)
    subject = torch.tensor([0, 1, 0, 1, 1])
    response = torch.randn(5, 4, generator=g)
    response[subject == 0, 3:] = torch.nan  # the first subject has three voxels, the second four
    heads = {"subj01/V4": 3, "subj02/V4": 4}
    guidance = MeasuredGuidance(heads, subjects={"subj01/V4": 0, "subj02/V4": 1}, loss="pearson")
    outputs = {head: torch.randn(5, n, generator=g, requires_grad=True) for head, n in heads.items()}
    terms = guidance(outputs, {"response": response, "subject": subject})
    for i, (head, n) in enumerate(heads.items()):
        own = subject == i
        expected = NeuralAlignmentLoss("pearson")(outputs[head][own], response[own, :n])
        torch.testing.assert_close(terms[f"{head}/pearson"], expected)
    sum(terms.values()).backward()
    assert (outputs["subj01/V4"].grad[subject == 1] == 0).all()
    assert build(guidance.config).subjects == guidance.subjects


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: WeightedGuidance(measured(), {"V1/*": -1}), ValueError, "weight of 'V1/\\*' must be at least 0"),
        (lambda: WeightedGuidance(measured(), {"V1/*": "much"}), TypeError, "a number or a Ramp; got str"),
        (lambda: WeightedGuidance(measured(), "equal"), ValueError, "by term name, or 'learned'; got 'equal'"),
        (lambda: WeightedGuidance([]), ValueError, "at least one guidance"),
        (lambda: WeightedGuidance(measured(), {"V2/*": 1})(preds(), batch()), ValueError, "unknown term 'V2/\\*'"),
        (lambda: WeightedGuidance([measured(), measured()])(preds(), batch()), ValueError, "two guidances return"),
        (lambda: WeightedGuidance(torch.nn.Identity(), "learned"), ValueError, "need the terms' names beforehand"),
        (
            lambda: WeightedGuidance(measured(), "learned", terms=["V1/mse"])(preds(), batch()),
            ValueError,
            "learned weights were made for",
        ),
        (lambda: Ramp(delay=-1), ValueError, "at least 0; got -1"),
        (lambda: Ramp(end=-1), ValueError, "weights must be at least 0"),
        (lambda: Ramp(end=float("nan")), ValueError, "weights must be at least 0 and finite; got 0.* and nan"),
        (lambda: Ramp(duration=float("nan")), ValueError, "at least 0; got .*nan"),
        (lambda: WeightedGuidance(measured(), {"V1/*": float("nan")}), ValueError, "at least 0 and finite; got nan"),
        (lambda: WeightedGuidance(measured(), {"V1/*": float("inf")}), ValueError, "at least 0 and finite; got inf"),
        (lambda: MeasuredGuidance({"V1": 2}, subjects={"V4": 0}), ValueError, "unknown head of a subject 'V4'"),
        (
            lambda: MeasuredGuidance({"V1": 2}, subjects={"V1": 0})({"V1": torch.zeros(4, 2)}, batch()),
            ValueError,
            "this batch has no 'subject'",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
