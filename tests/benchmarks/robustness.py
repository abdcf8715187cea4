"""Curves and single attacks against named peers: ``python -m tests.benchmarks.robustness``.

A residual network of 78,000 parameters trained on ten CIFAR-100 superclasses (digits where NEUROALIGN_DATA is not set), 10
budgets, Linf, CPU time of one thread. Every peer is run with its default PGD (40 steps) and well tuned (10 steps of a
quarter of the budget). Corruptions: 16 images of 224 pixels, against imagecorruptions image by image. A peer that is not
installed is said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign import PGD, GuidanceDataModule, GuidedNetwork, robustness_curve
from neuroalign.data.images import ShiftFlip, load_digits
from neuroalign.study import Recipe, Study, plan_study, train_classifier
from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.running import run_stages
from neuroalign.study.stages.images import read_images
from tests.benchmarks import corruptions

STUDY = Path(__file__).parents[2] / "examples/studies/v1_v4.yaml"
EPS = np.linspace(0.13, 4, 10) / 255


def data() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], str]:
    """Training and test images with labels, and what they are."""
    folder = os.environ.get("NEUROALIGN_DATA")
    if folder and (Path(folder) / "cifar100").is_dir():
        study = Study.from_file(STUDY)
        stage = plan_study(study).networks[0].stage.needs["images"]
        with tempfile.TemporaryDirectory() as out:
            made = StudyFolder(out)
            run_stages([stage], made, engine("serial"))
            sets = read_images(made.path(stage))
        parts = [(part.images.float() / 255, part.labels) for part in (sets.train, sets.test)]
        return *parts, "CIFAR-100 superclasses"  # type: ignore[return-value]
    images, labels = load_digits()
    return (images[:1200], labels[:1200]), (images[1200:], labels[1200:]), "digits (NEUROALIGN_DATA is not set)"


def train(images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    module = GuidanceDataModule((images, labels), (images[:2], labels[:2]), batch_size=64, augment=ShiftFlip(2))
    shape = tuple(images.shape[1:])
    return train_classifier(
        lambda: GuidedNetwork("small_resnet", 10, image_shape=shape), module, Recipe(epochs, 0.1, 5e-4), seed=0
    )


class Counted(nn.Module):
    """Counts images that go through, forward and backward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.num_forward, self.num_backward = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_forward += len(x)
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.num_backward += len(gradient)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: list[float], **settings: float) -> np.ndarray:
    import foolbox

    attack = foolbox.attacks.LinfPGD(**settings)
    _, _, fooled = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)
    return 1 - fooled.float().mean(1).numpy()


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: list[float], steps: int, share: float) -> np.ndarray:
    import torchattacks

    accuracies = []
    for e in eps:
        adversarial = torchattacks.PGD(model, eps=e, alpha=share * e, steps=steps)(x, y)
        model.eval()  # it leaves the model in train mode
        with torch.no_grad():
            accuracies.append(float((model(adversarial).argmax(1) == y).float().mean()))
    return np.array(accuracies)


PEERS: dict[str, tuple[str, Callable[..., np.ndarray], dict, float]] = {
    "foolbox PGD-40, default": ("foolbox", foolbox_pgd, {}, 20),
    "torchattacks PGD-40, eps/30": ("torchattacks", torchattacks_pgd, {"steps": 40, "share": 1 / 30}, 15),
    "foolbox PGD-10, eps/4": ("foolbox", foolbox_pgd, {"steps": 10, "rel_stepsize": 0.25}, 6),
    "torchattacks PGD-10, eps/4": ("torchattacks", torchattacks_pgd, {"steps": 10, "share": 0.25}, 5),
}


def ours(model: nn.Module, x: Tensor, y: Tensor, eps: list[float]) -> np.ndarray:
    return robustness_curve(model, [(x, y)], PGD.two_losses(), eps).accuracy


def ours_single(model: nn.Module, x: Tensor, y: Tensor, eps: list[float]) -> np.ndarray:
    return np.array([robustness_curve(model, [(x, y)], PGD.two_losses(), [e]).accuracy[0] for e in eps])


def timed(call: Callable[..., np.ndarray], model: nn.Module, *args: object, **settings: float):
    counted = Counted(model).eval()
    torch.manual_seed(0)
    start = time.process_time()
    accuracy = call(counted, *args, **settings)
    seconds = time.process_time() - start
    for p in model.parameters():
        p.grad = None  # foolbox fills them
    return seconds, counted, accuracy


def row(name: str, seconds: float, counted: Counted, accuracy: np.ndarray, ratio: str = "") -> None:
    passes = f"{counted.num_forward:7,} forward {counted.num_backward:7,} backward"
    print(f"{name:30s} {seconds:7.2f} s  {passes}  {' '.join(f'{a:.3f}'.lstrip('0') for a in accuracy)}  {ratio}")


def sweep(model: nn.Module, x: Tensor, y: Tensor) -> None:
    eps = EPS.tolist()
    print(f"10 budgets from {eps[0] * 255:.2f}/255 to {eps[-1] * 255:.2f}/255, {len(x)} images; accuracy at each:")
    timed(ours, model, x[:4], y[:4], eps)  # warm up
    seconds, counted, accuracy = timed(ours, model, x, y, eps)
    row("neuroalign, one curve", seconds, counted, accuracy)
    for name, (package, call, settings, bar) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name:30s} skipped: {package} is not installed")
            continue
        theirs, passes, peer = timed(call, model, x, y, eps, **settings)
        ratio = theirs / seconds
        fine = "ok" if ratio >= bar else "BELOW THE BAR"
        higher = int((accuracy > peer + 1e-6).sum())
        strength = "never above it" if not higher else f"ABOVE IT AT {higher} OF 10"
        row(name, theirs, passes, peer, f"{ratio:.1f}x (bar {bar}: {fine}), {strength}")


def single(model: nn.Module, x: Tensor, y: Tensor) -> None:
    eps = [float(EPS[4])]
    print(f"one budget, {eps[0] * 255:.2f}/255:")
    seconds, counted, accuracy = timed(ours_single, model, x, y, eps)
    row("neuroalign", seconds, counted, accuracy)
    for name, (package, call, settings, _) in PEERS.items():
        if importlib.util.find_spec(package) is not None:
            theirs, passes, peer = timed(call, model, x, y, eps, **settings)
            row(name, theirs, passes, peer, f"{theirs / seconds:.1f}x")


def cost(model: nn.Module, x: Tensor, y: Tensor, path: Path | None) -> None:
    """Cost against the number of budgets on the same range."""
    numbers, curve, plain = [1, 2, 5, 10, 20, 40], [], []
    for n in numbers:
        eps = np.linspace(EPS[0], EPS[-1], n).tolist() if n > 1 else [float(EPS[-1])]
        curve.append(timed(ours, model, x, y, eps)[0])
        plain.append(timed(ours_single, model, x, y, eps)[0] if n <= 10 else float("nan"))
    print("budgets      " + " ".join(f"{n:6d}" for n in numbers))
    print("one curve, s " + " ".join(f"{s:6.2f}" for s in curve))
    print("each alone, s" + " ".join(f"{s:6.2f}" for s in plain))
    if path is None:
        return
    from matplotlib.figure import Figure

    ax = Figure(figsize=(6, 4), layout="constrained").subplots()
    ax.plot(numbers, curve, "o-", color="#0072B2", label="one curve (robustness_curve)")
    ax.plot(numbers, plain, "s--", color="#666666", label="the same attack at each budget alone")
    ax.set_xlabel("number of budgets on the same range")
    ax.set_ylabel(f"CPU seconds for {len(x)} images, one thread")
    ax.set_ylim(0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    ax.set_title("A finer grid costs little", fontsize=11)
    ax.figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10, help="of training the network")
    parser.add_argument("--plot", type=Path, help="file for the figure of cost against the number of budgets")
    args = parser.parse_args()
    torch.set_num_threads(1)
    training, (images, labels), what = data()
    print(f"{what}; network trained for {args.epochs} epochs")
    model = train(*training, args.epochs)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[: args.images]
    x, y = images[order], labels[order]
    sweep(model, x, y)
    single(model, x, y)
    cost(model, x, y, args.plot)
    corruptions.against_peer()


if __name__ == "__main__":
    main()
