"""Made-up tables of studies, large and small, for figures."""

import dataclasses

import numpy as np
import pandas as pd

from neuroalign.study.tables import gather
from tests.study.finished import finish, study_of

ADVERSARIAL = {"robust_training": {"eps": "4/255", "steps": 2}}
CONDITIONS = {
    "none": {}, "neural guidance": {}, "shuffled fit": {}, "random predictor": {}, "shuffled images": {}, "label only": {},
    "manifold guidance": {}, "random geometry": {}, "adversarial training": ADVERSARIAL,
    "adversarial + neural guidance": {"kind": "neural guidance", "regions": ["V4"], **ADVERSARIAL},
    "adversarial + shuffled fit": {"kind": "shuffled fit", "regions": ["V4"], **ADVERSARIAL},
}  # fmt: skip
COMPARISONS = [
    {"treatment": "neural guidance",
     "controls": ["none", "shuffled fit", "random predictor", "shuffled images", "label only"]},
    {"treatment": "manifold guidance", "controls": ["none", "random geometry"]},
    {"treatment": "adversarial + neural guidance", "region": "V4",
     "controls": ["adversarial training", "adversarial + shuffled fit", "none"]},
]  # fmt: skip
EVALUATIONS = {
    "robustness": {"pgd": {"steps": 10, "eps": ["1/255", "2/255", "4/255"]}},
    "geometry": {"layers": ["layer1", "layer2", "layer3"]}, "smoothness": {"eps": "4/255"}, "corruptions": {},
    "transfer": {"eps": "2/255"}, "shape_bias": {"stimuli": "stimuli.zip", "classes": {"cat": "3", "dog": "5"}},
}  # fmt: skip
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip


def large_study(regions=("V1", "V4"), seeds=6, **changes):
    """A study like the shipped one of macaque V1 and V4: every control, robust training, every evaluation."""
    return study_of(**{
        "responses": [{"source": "simulated", "regions": list(regions)}], "conditions": CONDITIONS,
        "seeds": list(range(seeds)), "evaluations": EVALUATIONS, "comparisons": COMPARISONS, "hierarchy": list(regions),
        **changes,
    })  # fmt: skip


def accuracy(run, eps):
    """Accuracy as networks of a real study have it: falls with the budget; guidance helps by one to six hundredths."""
    rng = np.random.default_rng([run.seed, sum(map(ord, run.condition)), len(run.region or "")])
    regions = {"V1": 0, "V2": 1, "V4": 2, "TO": 3}
    helped = {"neural guidance": 0.02, "manifold guidance": 0.03, "label only": 0.01}.get(run.condition, 0.0)
    helped *= 1 + 0.5 * regions.get(run.region, 0)
    robust = "adversarial" in run.condition
    clean, slope = (0.52, 7.0) if robust else (0.63, 32.0)
    helped += 0.01 * ("neural" in run.condition) if robust else 0
    return float(np.clip((clean + rng.normal(0, 0.008)) * np.exp(-slope * eps) + helped * (eps > 0), 0, 1))


def tables_of(study, root, **changes):
    """Tables of a study of which everything is finished."""
    plan, folder = finish(study, root, accuracy, num_images=400, num_voxels=40)
    for i, run in enumerate(plan.networks):
        rng, robust = np.random.default_rng(i), "adversarial" in run.condition
        for name, stage in run.evaluations.items():
            if name in _ROWS:
                folder.put(stage, {"rows.csv": _rows(_ROWS[name](rng, robust))})
            elif name == "geometry" and study.evaluations.geometry.layers:
                folder.put(stage, _geometry(rng, robust, study.evaluations.geometry.layers))
    for seed, stage in plan.transfers.items():
        names = [role.removeprefix("network:") for role in stage.needs if role.startswith("network:")]
        folder.put(stage, {"transfer.csv": _transfer(names, np.random.default_rng(seed))})
    return dataclasses.replace(gather(plan, folder, root), **changes)


def _rows(rows):
    return pd.DataFrame(rows, columns=["measure", "eps", "value", "n"])


def _smoothness(rng, robust):
    scale = (0.02 if robust else 1.0) * rng.lognormal(0, 0.2)
    return [("input gradient (clean)", np.nan, scale, 400), ("input gradient (adversarial)", 4 / 255, 4 * scale, 400),
            ("loss (clean)", np.nan, 1.1, 400), ("loss (adversarial)", 4 / 255, 2.5, 400)]  # fmt: skip


def _corruptions(rng, robust):
    rows = [
        (f"corruption accuracy {name}", float(severity), float(np.clip(0.62 - 0.07 * severity - 0.02 * (i % 5) + 0.05 * robust
         + rng.normal(0, 0.01), 0, 1)), 400)
        for i, name in enumerate(CORRUPTIONS) for severity in (1, 3, 5)
    ]  # fmt: skip
    return [*rows, ("mean error under corruptions", np.nan, 1 - float(np.mean([row[2] for row in rows])), 400)]


def _shape_bias(rng, robust):
    bias = float(np.clip(0.25 + 0.15 * robust + rng.normal(0, 0.03), 0, 1))
    return [("shape bias", np.nan, bias, 300), ("shape bias, low", np.nan, bias - 0.05, 300),
            ("shape bias, high", np.nan, bias + 0.05, 300), ("decisions for shape or texture", np.nan, 0.6, 500)]  # fmt: skip


_ROWS = {"smoothness": _smoothness, "corruptions": _corruptions, "shape_bias": _shape_bias}


def _geometry(rng, robust, layers):
    last = {"capacity": 0.2 + 0.06 * robust, "rms_radius": 1.1 - 0.1 * robust, "participation_ratio": 12.0,
            "separability": 0.3}  # fmt: skip
    values = {name: value * rng.lognormal(0, 0.05) for name, value in last.items()}
    rows = [(name, np.nan, value, 400) for name, value in values.items()]
    depth = np.arange(len(layers))
    table = pd.DataFrame({
        "layer": layers, "depth": depth / max(1, len(layers) - 1), "capacity": (0.08 + 0.04 * depth) * rng.lognormal(0, 0.04),
        "radius": (1.5 - 0.2 * depth) * rng.lognormal(0, 0.04), "dimension": (30 - 6 * depth) * rng.lognormal(0, 0.04),
        "separability": (0.05 + 0.08 * depth) * rng.lognormal(0, 0.04),
    })  # fmt: skip
    return {"rows.csv": _rows(rows), "layers.csv": table}


def _transfer(names, rng):
    pairs = [(first, second) for first in names for second in names]
    rates = [float(np.clip((0.9 if a == b else 0.35) * (0.4 if "adversarial" in b else 1) + rng.normal(0, 0.03), 0, 1))
             for a, b in pairs]  # fmt: skip
    sources, targets = zip(*pairs)
    return pd.DataFrame({"source": sources, "target": targets, "rate": rates, "n": 300})
