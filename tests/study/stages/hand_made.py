"""Small results of the stages before the networks, written by hand."""

import json

import torch

from neuroalign import NeuralPredictor
from neuroalign.data import Responses
from neuroalign.losses import CategoryManifolds
from neuroalign.models.network_files import save_module
from neuroalign.study.settings.conditions import KINDS, MANIFOLD, NEURAL
from neuroalign.study.stages.result_files import write_tensors
from neuroalign.study.work import Work

SHAPE = (3, 8, 8)
VOXELS = 6
PARTS = {"train": (0, 96), "val": (96, 128), "test": (128, 192)}


def write_images(folder, digits, num_classes=4, parts=PARTS):
    """Digits of a few classes, divided into parts."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = digits
    kept = (labels < num_classes).nonzero()[:, 0]
    images, labels = (images[kept] * 255).round().to(torch.uint8), labels[kept]
    state = {}
    for part, (start, stop) in parts.items():
        state[f"{part}_image"] = images[start:stop].contiguous()
        state[f"{part}_label"] = labels[start:stop].contiguous()
        state[f"{part}_stimulus"] = torch.arange(start, stop)
    write_tensors(folder / "images.safetensors", state)
    counts = {part: stop - start for part, (start, stop) in parts.items()}
    about = {"classes": [str(c) for c in range(num_classes)], "image_shape": list(SHAPE), "counts": counts}
    (folder / "images.json").write_text(json.dumps(about))
    return folder


def write_predictor(folder, seed, num_voxels=VOXELS, correlation=0.6):
    """A predictor that was never fitted, and a table of how well it is said to predict."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    predictor = NeuralPredictor("small_resnet", num_voxels, image_shape=SHAPE)
    for module in predictor.modules():  # responses that vary in several directions
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.orthogonal_(module.weight, gain=3.0)
    save_module(predictor, folder / "predictor.safetensors")
    lines = ["voxel,correlation,noise_ceiling", *(f"{v},{correlation},0.64" for v in range(num_voxels))]
    (folder / "prediction.csv").write_text("\n".join(lines) + "\n")
    (folder / "predictor.json").write_text(json.dumps({"num_voxels": num_voxels, "median_correlation": correlation}))
    return folder


def write_manifolds(folder, num_classes=4):
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(80) % num_classes
    centers = 2 * torch.randn(num_classes, VOXELS, generator=generator)
    features = centers[labels] + 0.3 * torch.randn(80, VOXELS, generator=generator)
    CategoryManifolds.from_features(features, labels).save(folder / "manifolds.safetensors")
    return folder


def write_stimuli(folder, digits, num=24):
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(
        folder / "stimuli.safetensors",
        {"image": (digits[0][500 : 500 + num] * 255).to(torch.uint8), "stimulus": torch.arange(700, 700 + num)},
    )
    return folder


def write_responses(folder, num=24):
    folder.mkdir(parents=True, exist_ok=True)
    values = torch.randn(num, VOXELS, generator=torch.Generator().manual_seed(5)).numpy()
    stimulus = torch.arange(700, 700 + num).numpy()
    shared = stimulus >= 700 + num - 4
    Responses.from_arrays(values, stimulus=stimulus, shared=shared).save(folder / "responses.h5")
    return folder


def write_rdm(folder, num=24):
    folder.mkdir(parents=True, exist_ok=True)
    points = torch.randn(num, 5, generator=torch.Generator().manual_seed(6))
    rdm = torch.cdist(points, points).square()
    rdm = (rdm + rdm.T) / 2
    rdm.fill_diagonal_(0)
    write_tensors(folder / "rdm.safetensors", {"rdm": rdm})
    return folder


class Results:
    """A folder of hand-made results; each is written when it is first asked for."""

    def __init__(self, root, digits):
        self.root, self.digits = root, digits

    def folder(self, name):
        makers = {
            "images": lambda f: write_images(f, self.digits),
            "predictor": lambda f: write_predictor(f, 1),
            "wrong": lambda f: write_predictor(f, 2),
            "like": lambda f: write_predictor(f, 4, num_voxels=3, correlation=0.3),
            "manifolds": write_manifolds,
            "stimuli": lambda f: write_stimuli(f, self.digits),
            "responses": write_responses,
            "rdm": write_rdm,
        }
        folder = self.root / name
        if not folder.exists():
            makers[name](folder)
        return folder

    def inputs(self, kind):
        """The results that a kind of condition needs, by role, as the plan names them."""
        needs, control_of = KINDS[kind].needs, KINDS[kind].control_of
        names = {"images": "images"}
        if needs in ("predictor", "shuffled fit", "untrained"):
            names["predictor"] = "predictor" if needs == "predictor" else "wrong"
        if needs in ("responses", "rdm"):
            names |= {"stimuli": "stimuli", "responses": "rdm" if needs == "rdm" else "responses"}
        if needs == "manifolds" or control_of == MANIFOLD:
            names["manifolds"] = "manifolds"
        if control_of == NEURAL and needs != "predictor":
            names["treatment"] = "predictor"
        if kind in ("noise matched", "rank matched", "spectrum matched"):
            names["like"] = "like"
        return {role: self.folder(name) for role, name in names.items()}


TRAINING = {
    "epochs": 2, "batch_size": 32, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4,
    "schedule": "one_cycle", "step_size": 20, "augment": None, "channels_last": False, "precision": "32-true",
}  # fmt: skip


def settings_of(kind, seed=0, training=None, network=None, **condition):
    return {
        "network": {"backbone": "small_resnet", "weights": None, "layer": None, "size": None, **(network or {})},
        "training": {**TRAINING, **(training or {})},
        "condition": {
            "kind": kind, "weight": 0.5, "loss": "mse", "matched_to": KINDS[kind].control_of, "robust_training": None,
            "options": {}, **condition,
        },
        "region": "V4" if KINDS[kind].by_region else None,
        "seed": seed,
        "smoothness": {"eps": 8 / 255, "steps": 2, "num_images": 16},
    }  # fmt: skip


OPTIONS = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "num_workers": 0, "logger": "csv"}


def work_of(root, settings, inputs, name="network", options=OPTIONS, **more):
    out, scratch = root / "out", root / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    return Work(name, settings, inputs, out, scratch, options=options, **more)
