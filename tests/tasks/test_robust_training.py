"""Adversarial training and its kin: what they feed, what they add, and that they do what they are for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroalign import (
    PGD,
    TRADES,
    AdversarialTraining,
    GaussianNoiseTraining,
    GradientRegularization,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    InputSmoothnessCallback,
    NeuralPredictor,
    PredictedGuidance,
    evaluate_robustness,
    evaluate_smoothness,
)
from neuroalign.config import build, description_of
from neuroalign.perturbations.attacks.budget import per_sample, random_points
from neuroalign.study import Recipe, train_classifier
from neuroalign.tasks.robust_training import _new_starts
from tests.distributed import run_on_ranks
from tests.evaluation.test_curve import images, loader, network

SHAPE = (3, 8, 8)
ALL = [
    AdversarialTraining(0.1, steps=3),
    TRADES(0.1, steps=3),
    GaussianNoiseTraining(0.1),
    GradientRegularization(0.1),
]


def data(digits, n=400):
    x, labels = digits
    return GuidanceDataModule((x[:n], labels[:n]), (x[n : n + 200], labels[n : n + 200]), batch_size=50)


def make():
    return GuidedNetwork("small_resnet", 10, heads={"V4": (None, 12)}, image_shape=SHAPE)


def guidance():
    return PredictedGuidance({"V4": NeuralPredictor("small_resnet", 12, image_shape=SHAPE)})


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_inputs_are_harder_than_noise_and_in_the_ball(norm):
    model, x = network(), images(40)
    labels = model(x).argmax(1)
    eps = {"linf": 0.005, "l2": 0.05}[norm]
    found = AdversarialTraining(eps, norm).inputs(model.train(), x, labels)
    delta = (found - x).flatten(1)
    assert (delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)).max() <= eps + 1e-6
    noise = (x + eps * torch.randn_like(x).sign()).clamp(0, 1)
    clean, noisy, hard = (F.cross_entropy(model(z), labels).item() for z in (x, noise, found))
    assert hard > max(clean, noisy) + 0.05
    assert model.training


class SeenPrecisions(nn.Module):
    """A linear network that notes in which precision its passes are computed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * 8 * 8, 10)
        self.seen = set()

    def forward(self, x):
        logits = self.linear(x.flatten(1))
        self.seen.add(logits.dtype)
        return logits


@pytest.mark.parametrize(("mixed", "expected"), [(False, torch.float32), (True, torch.bfloat16)])
def test_the_attack_is_in_float32_unless_it_may_take_the_precision_of_the_training(mixed, expected):
    x, labels = torch.rand(20, *SHAPE), torch.arange(20) % 10
    model = SeenPrecisions()
    with torch.autocast("cpu", torch.bfloat16):
        found = AdversarialTraining(0.05, mixed_precision=mixed).inputs(model, x, labels)
    assert model.seen == {expected}
    assert found.dtype == torch.float32
    assert (found - x).abs().max() <= 0.05 + 1e-6
    assert found.min() >= 0 and found.max() <= 1
    losses = [F.cross_entropy(model(images), labels) for images in (x, found)]
    assert losses[1] > losses[0]


def _passes_through_ddp(rank, world):
    """Passes of an attack that go through DistributedDataParallel, whose buffers all processes would have to wait for."""

    class Counting(nn.parallel.DistributedDataParallel):
        passes = 0

        def forward(self, *images):
            Counting.passes += 1
            return super().forward(*images)

    model = Counting(SeenPrecisions())
    x, labels = torch.rand(5 + rank, *SHAPE), torch.arange(5 + rank) % 10
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            found = AdversarialTraining(0.05, steps=2 + rank, mixed_precision=mixed).inputs(model, x, labels)
        assert found.shape == x.shape
    return torch.tensor(Counting.passes)


def test_processes_attack_with_different_numbers_of_passes():
    assert [int(passes) for passes in run_on_ranks(_passes_through_ddp, 2)] == [0, 0]


def test_mixed_precision_is_described_where_it_is_asked_for():
    made = build(description_of(AdversarialTraining(0.05, mixed_precision=True)))
    assert made.mixed_precision and "mixed_precision" not in description_of(AdversarialTraining(0.05))["init_args"]


def test_outside_autocast_mixed_precision_changes_nothing():
    x, labels, model = torch.rand(20, *SHAPE), torch.arange(20) % 10, SeenPrecisions()
    found = []
    for mixed in (False, True):
        torch.manual_seed(1)
        found.append(AdversarialTraining(0.05, mixed_precision=mixed).inputs(model, x, labels))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_a_run_that_does_not_stop_goes_beyond_the_first_success():
    model, x = network(), images(40)
    labels = model(x).argmax(1)
    settings = {"loss": "ce", "steps": 10}
    stopped, full = (PGD(early_stop=stop, **settings)(model, x, labels, 0.05) for stop in (True, False))
    assert F.cross_entropy(model(full), labels) > F.cross_entropy(model(stopped), labels) + 0.05
    assert "early_stop=False" in repr(PGD(early_stop=False))


def test_random_starts_are_new_in_each_step_and_reproducible():
    model, x = network(), images(10)
    labels = model(x).argmax(1)
    training = AdversarialTraining(0.01, steps=1)
    torch.manual_seed(0)
    first, second = (training.inputs(model, x, labels) for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(training.inputs(model, x, labels), first)
    assert not torch.equal(first, second)


def test_trades_is_the_divergence_where_it_is_large():
    model, x = network(), images(40)
    labels, logits = model(x).argmax(1), model(x)
    training = TRADES(0.005, beta=3.0)
    torch.manual_seed(0)
    worst = training._worst(model, x)
    assert (worst - x).abs().max() <= 0.005 + 1e-6
    p, q = logits.softmax(1), model(worst).softmax(1)
    expected = 3 * (p * (p / q).log()).sum(1).mean()
    torch.manual_seed(0)
    found = training.penalty(model, x, labels, logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    q = model((x + 0.005 * torch.randn_like(x).sign()).clamp(0, 1)).softmax(1)
    assert found > 3 * 3 * (p * (p / q).log()).sum(1).mean(), "ascent beats noise"
    found.backward()
    assert all(p.grad is not None for p in model.parameters())


def ascent(loss, x, start, eps, steps, norm):
    """Plain steps of 2.5 eps / steps up a loss (stimulus,) from the start, back into the ball after each."""
    z = start
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z).sum(), z)
        unit = gradient.sign() if norm == "linf" else gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
        delta = z.detach() + 2.5 * eps / steps * unit - x
        size = delta.flatten(1).norm(dim=1)[:, None, None, None]
        delta = delta.clamp(-eps, eps) if norm == "linf" else delta * (eps / size).clamp_max(1)
        z = (x + delta).clamp(0, 1)
    return z


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.5)])
def test_adversarial_training_takes_all_of_madrys_steps(norm, eps):
    model, x = network(), images(40)
    labels = model(x).argmax(1)
    torch.manual_seed(0)
    found = AdversarialTraining(eps, norm).inputs(model, x, labels)
    torch.manual_seed(0)
    start = random_points(x, per_sample(eps, x, norm), norm, _new_starts(x), seed=0, stream=0)
    expected = ascent(lambda z: F.cross_entropy(model(z), labels, reduction="none"), x, start, eps, 7, norm)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.005), ("l2", 0.05)])
def test_trades_climbs_in_steps_of_a_share_of_the_ball(norm, eps):
    # In double precision: a gradient that is 0 but for rounding would point either way.
    model, x = network().double(), images(40).double()
    p = model(x).softmax(1).detach()
    torch.manual_seed(0)
    found = TRADES(eps, norm)._worst(model, x)
    torch.manual_seed(0)
    start = random_points(x, 0.01 * per_sample(eps, x, norm), norm, _new_starts(x), seed=0, stream=0)
    expected = ascent(lambda z: (p * (p / model(z).softmax(1)).log()).sum(1), x, start, eps, 10, norm)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_defaults_are_the_papers():
    assert (TRADES(0.1).beta, TRADES(0.1).steps) == (6, 10)
    assert AdversarialTraining(0.1).steps == 7


def test_noise_has_its_size():
    x = torch.full((50, 3, 8, 8), 0.5)
    noise = GaussianNoiseTraining(0.1).inputs(nn.Identity(), x, torch.zeros(50)) - x
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert GaussianNoiseTraining(9.0).inputs(nn.Identity(), x, torch.zeros(50)).max() == 1


def test_the_gradient_penalty_is_that_of_the_measure():
    model, x = network(), images(40)
    labels = model(x).argmax(1)
    found = GradientRegularization(0.5).penalty(model, x, labels, model(x))
    assert float(found) == pytest.approx(0.5 * evaluate_smoothness(model, loader(x, labels)).clean / 400, rel=1e-4)


@pytest.mark.parametrize("robust_training", ALL, ids=lambda r: type(r).__name__)
def test_combines_with_guidance_and_comes_back_from_a_checkpoint(robust_training, digits, quiet_trainer, tmp_path):
    torch.manual_seed(0)
    task = GuidedClassificationTask(make(), guidance(), 0.4, robust_training=robust_training, lr=0.01)
    trainer = quiet_trainer(limit_train_batches=2)
    trainer.fit(task, data(digits))
    logged = {k: float(v) for k, v in trainer.callback_metrics.items()}
    guided = logged["alignment/features/V4/mse"]
    assert logged["train/loss"] == pytest.approx(0.6 * logged["train/task_loss"] + 0.4 * guided, rel=1e-4)
    assert ("train/robust_penalty" in logged) == isinstance(robust_training, (TRADES, GradientRegularization))
    assert logged.get("train/robust_penalty", 1) > 0
    counts = [m.num_batches_tracked for m in task.network.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(c) for c in counts} == {2}, "the attack or the penalty moved BatchNorm"
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "task.ckpt")
    assert vars(again.robust_training).keys() == vars(robust_training).keys()
    assert again.robust_training.config == robust_training.config


def test_targets_stay_those_of_the_clean_image(digits, quiet_trainer):
    seen = []

    class Watching(PredictedGuidance):
        def forward(self, responses, batch):
            seen.append(batch["image"].clone())
            return super().forward(responses, batch)

    watching = Watching({"V4": NeuralPredictor("small_resnet", 12, image_shape=SHAPE)})
    task = GuidedClassificationTask(make(), watching, 0.5, robust_training=GaussianNoiseTraining(0.3))
    quiet_trainer(limit_train_batches=1).fit(task, data(digits))
    known = digits[0][:400].flatten(1)
    assert all((image.flatten() == known).all(1).any() for image in seen[0])


def normed(dropout=0.5):
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout)
    return nn.Sequential(*first, nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8, track_running_stats=True), nn.Flatten(),
                         nn.Linear(8 * 4 * 4, 5))  # fmt: skip


def test_trades_is_zero_at_no_budget_with_dropout_and_batch_norm():
    """Both passes have the same masks, so that what is left is the images' difference."""
    model, x = normed(), images(32)
    labels = torch.arange(32) % 5
    tiny = float(TRADES(1e-6, steps=2).penalty(model, x, labels, model(x)).detach())
    assert abs(tiny) < 1e-5
    assert float(TRADES(0.1, steps=2).penalty(model, x, labels, model(x)).detach()) > 1000 * abs(tiny)
    assert model.training


def test_trades_gradient_is_that_of_both_passes_under_one_mask():
    model, x = normed(), images(32)
    labels = torch.arange(32) % 5
    training = TRADES(0.05, beta=2.0, steps=2)
    logits = model(x)
    torch.manual_seed(1)
    training.penalty(model, x, labels, logits).backward()
    found = [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(1)
    worst = training._worst(model, x)
    state = torch.get_rng_state()
    passes = []
    for z in (x, worst):
        torch.set_rng_state(state)
        passes.append(model(z).log_softmax(1))
    model.zero_grad()
    (2 * (passes[0].exp() * (passes[0] - passes[1])).sum(1).mean()).backward()
    for ours, p in zip(found, model.parameters()):
        torch.testing.assert_close(ours, p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "training", [TRADES(0.1, steps=2), GradientRegularization(0.1)], ids=lambda t: type(t).__name__
)
def test_running_statistics_are_those_of_one_clean_pass(training):
    model, x = normed(), images(32)
    once = normed()
    torch.manual_seed(1)
    once(x)
    labels = torch.arange(32) % 5
    torch.manual_seed(1)
    training.penalty(model, x, labels, model(x)).backward()
    for (name, ours), expected in zip(model.named_buffers(), once.buffers()):
        assert torch.equal(ours, expected), name
    assert all(m.training for m in model.modules()) and model[1].track_running_stats


def test_the_gradient_penalty_leaves_dropout_out():
    model, x = nn.Sequential(nn.Dropout(), *network()).train(), images(40)
    labels = torch.arange(40) % 5
    found = GradientRegularization(0.5).penalty(model, x, labels, model(x))
    assert model.training and model[0].training
    assert float(found) == pytest.approx(0.5 * evaluate_smoothness(model, loader(x, labels)).clean / 400, rel=1e-4)


def test_the_gradient_penalty_is_the_measure_by_the_batch_s_statistics():
    """What eval mode gives once the running statistics are those of the batch."""
    model, x = normed(), images(8)
    model[5] = nn.Identity()
    labels = torch.arange(8) % 5
    found = float(GradientRegularization(1.0).penalty(model, x, labels, model(x)).detach())
    model[1].momentum = 1.0
    model(x)
    n = 8 * 16
    model[1].running_var *= (n - 1) / n  # running variances are the unbiased ones
    expected = evaluate_smoothness(model, loader(x, labels)).clean / 400
    assert found == pytest.approx(expected, rel=1e-4)
    x = x.requires_grad_()
    (mixed,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    assert abs(float(mixed.flatten(1).square().sum(1).mean()) / expected - 1) > 0.05, "train mode is another quantity"


def test_the_gradient_penalty_sees_statistics_change_with_the_parameters():
    """Against statistics of a second, constant copy of the batch; a layer's scale before BatchNorm has no gradient."""

    class OfSecondHalf(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm

        def forward(self, h):
            kept = h[len(h) // 2 :]
            mean, var = kept.mean((0, 2, 3), keepdim=True), kept.var((0, 2, 3), unbiased=False, keepdim=True)
            scale, shift = (p.view(1, -1, 1, 1) for p in (self.norm.weight, self.norm.bias))
            return (h - mean) / (var + self.norm.eps).sqrt() * scale + shift

    model, x = normed(dropout=0.0).double(), images(8).double()
    model[5] = nn.BatchNorm2d(8).double()
    labels = torch.arange(8) % 5
    GradientRegularization(1.0).penalty(model, x, labels, model(x)).backward()
    found = [p.grad.clone() for p in model.parameters()]
    copy = nn.Sequential(*(OfSecondHalf(m) if isinstance(m, nn.BatchNorm2d) else m for m in model))
    leaf = x.clone().requires_grad_()
    value = F.cross_entropy(copy(torch.cat([leaf, x]))[:8], labels, reduction="sum")
    model.zero_grad()
    (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
    gradient.flatten(1).square().sum(1).mean().backward()
    for ours, p in zip(found, model.parameters()):
        torch.testing.assert_close(ours, p.grad, rtol=1e-8, atol=1e-10)
    weight = model[0].weight
    assert abs(float((found[0] * weight).sum())) < 1e-3 * float(found[0].norm() * weight.norm())


@pytest.mark.slow
@pytest.mark.parametrize(
    "robust_training",
    [AdversarialTraining(0.1, steps=4), TRADES(0.1, steps=4), GradientRegularization(1.0)],
    ids=lambda r: type(r).__name__,
)
def test_it_makes_networks_robust(robust_training, digits):
    module, recipe = data(digits, 1000), Recipe(epochs=8, max_lr=0.05, weight_decay=5e-4)
    trained = [train_classifier(make, module, recipe, 0, robust_training=r) for r in (None, robust_training)]
    accuracies = [
        evaluate_robustness(n, module.val_dataloader(), PGD(steps=10), [0.0, 0.1])["accuracy"].tolist() for n in trained
    ]
    assert accuracies[1][1] > accuracies[0][1] + 0.1, accuracies
    assert accuracies[1][0] > 0.8, accuracies
    rough, smooth = (evaluate_smoothness(n, module.val_dataloader(), PGD(steps=5), 0.1) for n in trained)
    assert smooth.adversarial < rough.adversarial


def test_smoothness_callback_logs_the_measure(digits, quiet_trainer):
    task, module = GuidedClassificationTask(make(), lr=0.01), data(digits)
    callback = InputSmoothnessCallback(PGD(steps=3), 0.05)
    trainer = quiet_trainer(callbacks=[callback])
    trainer.fit(task, module)
    expected = evaluate_smoothness(task, module.val_dataloader(), PGD(steps=3), 0.05)
    for key in callback.keys:
        name = key.split("/")[1]
        assert float(trainer.callback_metrics[key]) == pytest.approx(getattr(expected, name), rel=1e-4)
    assert expected.adversarial_loss > expected.clean_loss
    tested = quiet_trainer(callbacks=[InputSmoothnessCallback(limit_batches=1)]).validate(task, module, verbose=False)
    assert sorted(k for k in tested[0] if k.startswith("smooth")) == ["smoothness/clean", "smoothness/clean_loss"]
    with pytest.raises(ValueError, match="'ce' or 'margin'"):
        InputSmoothnessCallback(loss="mse")


def test_images_outside_of_the_box_are_refused_in_a_loop_of_ones_own():
    model, x = network(), 2 * images(4) - 1
    labels = torch.zeros(4, dtype=torch.long)
    for training in ALL:
        with pytest.raises(ValueError, match="normalised"):
            training.penalty(model, training.inputs(model, x, labels), labels, model(x))
    for wrong in ("trades", AdversarialTraining):
        with pytest.raises(TypeError, match="must be a RobustTraining object"):
            GuidedClassificationTask(make(), robust_training=wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdversarialTraining(0), "positive budget"),
        (lambda: AdversarialTraining(8), "got 8: divide by 255"),
        (lambda: AdversarialTraining(0.1, steps=0), "steps must be at least 1"),
        (lambda: TRADES(0.1, beta=0), "beta must be positive"),
        (lambda: TRADES(0.1, "l1"), "'linf' or 'l2'"),
        (lambda: GaussianNoiseTraining(0), "std must be positive"),
        (lambda: GradientRegularization(-1), "weight must be positive"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("beta", lambda value: TRADES(0.03, beta=value)),
        ("std", GaussianNoiseTraining),
        ("weight", GradientRegularization),
    ],
)
def test_options_are_finite(option, make, value):
    with pytest.raises(ValueError, match=rf"^{option} must be positive and finite.*got {value}"):
        make(value)
