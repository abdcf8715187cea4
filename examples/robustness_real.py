"""A robustness suite on real images, for networks with standard and adversarial training, and guided by V1 and V4.

Each condition is a ResNet-18 that classifies ten CIFAR-100 superclasses. All are tested on the same images by attacks,
corruptions, filters and the masking report, and compared in pairs. A second network of each condition, trained on the eight
fine classes that CIFAR-100 shares with the cue-conflict stimuli of Geirhos et al. (2019), gives its shape bias. Run it with

    NEUROALIGN_DATA=/path/to/data python examples/robustness_real.py --out robustness_real

Trained networks and finished parts in --out are used again. Data: see docs/real_data.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18

from neuroalign import (
    FGSM,
    PGD,
    AdversarialTraining,
    AutoAttack,
    Contrast,
    DeepFool,
    GuidanceDataModule,
    GuidedNetwork,
    HighPass,
    LowPass,
    PredictedGuidance,
    RotationTranslation,
    ShapeBias,
    SquareAttack,
    StandardizedPredictor,
    transfer_matrix,
)
from neuroalign.data import ArrayDataset, ShiftFlip, collate
from neuroalign.evaluation import Suite, compare, evaluate_suite, loss_landscape
from neuroalign.files import whole, write_csv, write_png
from neuroalign.functional import error_consistency
from neuroalign.perturbations import COMMON_CORRUPTIONS
from neuroalign.plot import plot_accuracy, plot_corruptions, plot_landscape, plot_transforms
from neuroalign.study import Recipe, train_classifier

sys.path.insert(0, str(Path(__file__).parent))
from real_v4 import as_small_images, fit_ridge, read_cifar, read_v1, read_v4, unzip_images

TRAINING_EPS = 4 / 255
CONDITIONS = ("none", "adversarial", "V1", "V4", "V4 shuffled fit", "adversarial + V4")
# Classes of the cue-conflict stimuli that CIFAR-100 also has, with CIFAR-100's names.
SHARED = {
    "bear": "bear", "bicycle": "bicycle", "bottle": "bottle", "chair": "chair", "clock": "clock", "elephant": "elephant",
    "keyboard": "keyboard", "truck": "pickup_truck",
}  # fmt: skip


def network(num_classes: int, num_voxels: int) -> GuidedNetwork:
    """Torchvision's unchanged ResNet-18: its stem is fast and coarse for 32 pixels."""
    backbone = resnet18()
    backbone.fc = nn.Identity()
    return GuidedNetwork(backbone, num_classes, heads={"brain": (None, num_voxels)}, image_shape=(3, 32, 32))


@cache
def fit_predictors(data: Path) -> dict[str, nn.Module]:
    """One ridge predictor per region, and one of V4 fitted to shuffled responses."""
    found = {}
    for region, recorded in (("V1", read_v1(data)[:3]), ("V4", read_v4(data))):
        images, counts, held_out = recorded
        train = torch.from_numpy(~held_out)
        mean, std = counts[train].mean(0), counts[train].std(0, correction=0)
        responses = ((counts - mean) / std)[:, std > 0][train]
        found[region] = fit_ridge(images[train], responses)
        if region == "V4":
            order = torch.from_numpy(np.random.default_rng(1).permutation(len(responses)))
            found["V4 shuffled fit"] = fit_ridge(images[train], responses[order])
    return found


def train(
    condition: str, args: argparse.Namespace, task: str, images: Tensor, labels: Tensor, epochs: int
) -> nn.Module:
    """The network of a condition: read from its file, or trained and saved."""
    num_classes = int(labels.max()) + 1
    predictors = fit_predictors(Path(args.data)) if "V" in condition else {}
    region = condition.removeprefix("adversarial + ")
    num_voxels = predictors[region].num_voxels if predictors else 1
    treatment = "V4" if region == "V4 shuffled fit" else None  # its gradient scale is used
    matched = " matched" if treatment else ""
    path = Path(args.out) / "networks" / f"{task} {condition}{matched} seed{args.seed} epochs{epochs}.pt"
    if path.exists():
        made = network(num_classes, num_voxels)
        made.load_state_dict(torch.load(path, weights_only=True))
        return made.eval()

    def guide(name: str) -> PredictedGuidance:
        return PredictedGuidance({"brain": StandardizedPredictor(predictors[name]).fit(images)})

    module = GuidanceDataModule((images, labels), batch_size=args.batch_size, augment=ShiftFlip(4), seed=args.seed)
    print(f"training {task}, {condition}", flush=True)
    made = train_classifier(
        lambda: network(num_classes, num_voxels), module, Recipe(epochs, max_lr=0.1, weight_decay=5e-4), args.seed,
        guidance=guide(region) if predictors else None, weight=0.5,
        matched_to=guide(treatment) if treatment else None, precision=args.precision,
        robust_training=AdversarialTraining(TRAINING_EPS, steps=4) if "adversarial" in condition else None,
    )  # fmt: skip
    with whole(path) as temporary:
        torch.save(made.state_dict(), temporary)
    return made


def suite(fast: bool) -> Suite:
    """The suite of the example. It was fixed before any of these networks was evaluated."""
    linf = tuple(e / 255 for e in (0.25, 0.5, 1, 2, 3, 4, 6, 8))
    l2 = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)
    attacks = [(PGD.two_losses("linf"), linf), (PGD.two_losses("l2"), l2), (FGSM("linf", loss="ce"), linf)]
    if fast:
        return Suite("example, fast", tuple(attacks), ("gaussian_noise",), (3,), masking_images=8)
    attacks += [
        (SquareAttack("linf", num_queries=300), linf[2:6]),
        (AutoAttack("linf", version="fast"), linf[3:4]),
        (DeepFool(), l2),
    ]
    transforms = (
        RotationTranslation(num_rotations=13, num_translations=3),
        *(LowPass(c) for c in (1, 2, 3, 4, 6, 8, 12)),
        *(HighPass(c) for c in (0.5, 1, 2, 3, 4, 6, 8)),
        *(Contrast(c) for c in (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03)),
    )
    return Suite("example", tuple(attacks), COMMON_CORRUPTIONS, (1, 3, 5), transforms, masking_images=64)


def evaluate(conditions: list[str], args: argparse.Namespace) -> None:
    data = Path(args.data)
    images, labels = pixels(read_cifar(data, "train", args.per_class))
    test_images, test_labels = pixels(read_cifar(data, "test", args.per_class))
    order = torch.randperm(len(test_images), generator=torch.Generator().manual_seed(0))[: args.num_images]
    test = ArrayDataset(test_images[order], label=test_labels[order])
    loader = DataLoader(test, batch_size=100, collate_fn=collate)
    networks = {c: train(c, args, "superclasses", images, labels, args.epochs) for c in conditions}
    if args.train_only:
        return
    results = {}
    for condition, net in networks.items():
        print(f"evaluating {condition}", flush=True)
        results[condition] = evaluate_suite(net, loader, suite(args.fast), out=Path(args.out) / condition)
        print(results[condition].masking, flush=True)
    write(results, networks, test, loader, args)


def pixels(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return part[0].float() / 255, part[1]


def write(results: dict, networks: dict, test: ArrayDataset, loader: DataLoader, args: argparse.Namespace) -> None:
    out = Path(args.out)

    def joined(kind: str) -> pd.DataFrame:
        return pd.concat([getattr(r, kind).assign(model=c) for c, r in results.items()], ignore_index=True)

    attacks, corruptions, transforms = (joined(kind) for kind in ("attacks", "corruptions", "transforms"))
    for name, table in (("attacks", attacks), ("corruptions", corruptions), ("transforms", transforms)):
        write_csv(table, out / f"{name}.csv")
    worst = "worst case, linf"
    pairs = []
    for condition, result in results.items():
        for control in ("none", "V4 shuffled fit", "adversarial"):
            if control in results and control != condition:
                found = compare(result.curves[worst], results[control].curves[worst], names=(condition, control))
                pairs.append(found.table.assign(treatment=condition, control=control, mean=str(found)))
                print(found)
    if pairs:
        write_csv(pd.concat(pairs), out / "paired.csv")
    rows = [{"model": c, "clean": r.attacks["clean_accuracy"].iloc[0], **r.smoothness._asdict(),
             "masking": "passed" if r.masking.passed else "failed: " + "; ".join(r.masking.failed)}
            for c, r in results.items()]  # fmt: skip
    write_csv(pd.DataFrame(rows), out / "networks.csv")
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    write_csv(transfer_matrix(networks, loader, PGD(steps=10), 2 / 255), out / "transfer.csv")
    right = {c: torch.from_numpy((r.curves[worst].images["threshold"] > 0).to_numpy()) for c, r in results.items()}
    kappas = []
    for a, b in [(a, b) for a in right for b in right if a < b]:
        found = error_consistency(right[a], right[b])
        kappas.append((a, b, float(found.kappa), float(found.low), float(found.high), len(test)))
    columns = ["model", "other", "kappa", "ci_low", "ci_high", "num_images"]
    write_csv(pd.DataFrame(kappas, columns=columns), out / "error_consistency.csv")
    figures(results, networks, test, attacks, corruptions, transforms, out)


def figures(results, networks, test, attacks, corruptions, transforms, out: Path) -> None:
    num_images = int(attacks["num_images"].iloc[0])
    drawn = {}
    for norm in ("linf", "l2"):
        part = attacks[(attacks["perturbation"] == f"worst case, {norm}")]
        if len(part):
            title = f"Worst case of all {norm} attacks, {num_images} CIFAR-100 test images"
            drawn[f"attacks-{norm}"] = plot_accuracy(part, norm=norm, chance=0.1, title=title).figure
    drawn["corruptions"] = plot_corruptions(corruptions, title=f"{num_images} CIFAR-100 test images").figure
    if len(transforms):
        drawn["transforms"] = plot_transforms(transforms, chance=0.1)
    first = next(iter(results.values())).curves
    always = np.logical_and.reduce([r.curves[next(iter(first))].images["threshold"] > 0 for r in results.values()])
    chosen = [c for c in ("none", "adversarial", "V4") if c in networks]
    if always.any() and chosen:
        from matplotlib.figure import Figure

        item = test[int(np.flatnonzero(always)[0])]
        figure = Figure(figsize=(5.2 * len(chosen), 4.2), layout="constrained")
        for ax, c in zip(np.atleast_1d(figure.subplots(1, len(chosen))), chosen):
            try:
                table = loss_landscape(networks[c], item["image"], int(item["label"]), 4 / 255, num_points=31)
            except ValueError as error:  # no gradient at this image: the figure says so
                ax.set_title(f"{c}: {error}", fontsize=7)
                continue
            plot_landscape(table, ax=ax, title=f"{c}, ε = 4/255")
        drawn["landscape"] = figure
    for name, figure in drawn.items():
        write_png(figure, out / f"{name}.png", dpi=130)


def shape_bias(conditions: list[str], args: argparse.Namespace) -> None:
    data = Path(args.data)
    names = list(SHARED.values())
    raw, paths = unzip_images(data / "cifar100/train.zip")
    fine = [p.split("/")[-2] for p in paths]
    kept = [i for i, f in enumerate(fine) if f in names]
    images = torch.from_numpy(raw[kept]).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([names.index(fine[i]) for i in kept])
    if args.per_class is not None:
        chosen = torch.cat([(labels == c).nonzero()[: args.per_class, 0] for c in range(len(names))])
        images, labels = images[chosen], labels[chosen]
    stimuli, paths = unzip_images(data / "cue_conflict/cue_conflict.zip")
    cues = [(p.split("/")[0], re.sub(r"\d", "", p.split("/")[1][:-4].split("-")[1])) for p in paths]
    both = [i for i, (s, t) in enumerate(cues) if s in SHARED and t in SHARED]
    order = list(SHARED)
    shapes, textures = (torch.tensor([order.index(cues[i][k]) for i in both]) for k in (0, 1))
    small = as_small_images(stimuli[both])
    rows = []
    for condition in conditions:
        net = train(condition, args, "shared classes", images, labels, args.epochs if args.fast else 2 * args.epochs)
        metric = ShapeBias()
        with torch.no_grad():
            metric.update(net(small).argmax(1), shapes, textures)
        found = {k: float(v) for k, v in metric.compute().items()}
        low, high = found.pop("low"), found.pop("high")
        rows.append({"model": condition, **found, "ci_low": low, "ci_high": high})
    table = pd.DataFrame(rows)
    write_csv(table, Path(args.out) / "shape_bias.csv")
    print(
        f"Shape bias, {len(both)} cue-conflict stimuli of {len(SHARED)} shared classes (interval over decided stimuli)"
    )
    print(table.to_string(index=False, float_format="%.3f"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("NEUROALIGN_DATA"), help="folder of the data sets")
    parser.add_argument("--out", default="robustness_real", help="folder for networks, tables and figures")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--num-images", type=int, default=300, help="number of test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-mixed", help="precision of training; attacks are in float32")
    parser.add_argument("--train-only", action="store_true", help="train the networks and stop")
    parser.add_argument(
        "--fast", action="store_true", help="take a minute, to see that it runs; its numbers mean nothing"
    )
    args = parser.parse_args(argv)
    if not args.data or not Path(args.data).is_dir():
        parser.error("give the folder of the data sets by --data or NEUROALIGN_DATA (see docs/real_data.md)")
    args.per_class = 4 if args.fast else None
    if args.fast:
        args.epochs, args.num_images, args.batch_size = 4, 60, 32
        args.conditions = args.conditions if len(args.conditions) < len(CONDITIONS) else ["adversarial", "V4"]
    warnings.filterwarnings("ignore", ".*kappa is not defined.*")
    Path(args.out).mkdir(parents=True, exist_ok=True)
    evaluate(args.conditions, args)
    shape_bias(args.conditions, args)


if __name__ == "__main__":
    main()
