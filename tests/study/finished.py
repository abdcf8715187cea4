"""A planned study with made-up results, in the files that its stages write."""

import json

import numpy as np
import pandas as pd

from neuroalign.study.planning import plan_study
from neuroalign.study.study import Study

BUDGETS = (0.0, 0.01, 0.02)


class FakeFolder:
    """Results of stages in folders by their key; what isn't there isn't finished."""

    def __init__(self, root):
        self.root, self.failed = root, {}

    def done(self, stages):
        return {stage.key for stage in stages if (self.root / stage.key).is_dir()}

    def path(self, stage, *, only=None):
        return self.root / stage.key

    def failures(self):
        return self.failed

    def put(self, stage, files):
        """Write tables as CSV and dictionaries as JSON."""
        folder = self.root / stage.key
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {"stage.json": {"started": 1000.0, "seconds": 36.0}, **files}.items():
            if isinstance(content, pd.DataFrame):
                content.to_csv(folder / name, index=False)
            else:
                (folder / name).write_text(json.dumps(content))

    def remove(self, stage, error=None):
        for path in (self.root / stage.key).iterdir():
            path.unlink()
        (self.root / stage.key).rmdir()
        if error:
            self.failed[stage.key] = {"name": stage.name, "error": error}


def study_of(**changes):
    """A small study of two regions of a simulated subject."""
    return Study.from_settings({
        "name": "Digits",
        "images": {"source": "digits", "num_neural": [600, 100], "resplit": True},
        "responses": [{"source": "simulated", "regions": ["V1", "TO"]}],
        "conditions": {"none": {}, "label only": {"regions": ["TO"]}, "neural guidance": {}},
        "seeds": [0, 1, 2, 3],
        "evaluations": {"robustness": {"pgd": {"steps": 10, "eps": list(BUDGETS[1:])}}, "geometry": {}},
        "comparisons": [{"treatment": "neural guidance", "region": "TO",
                         "controls": ["none", "label only", {"condition": "neural guidance", "region": "V1"}]}],
        **changes,
    })  # fmt: skip


def finish(study, root, accuracy=None, num_images=60, num_voxels=5):
    """A plan and a folder in which everything is finished.

    Args:
        study: The study.
        root: Folder for the results.
        accuracy: From a run and a budget to the share of images that stay right; None takes 0.5 for all.
        num_images: Number of test images.
        num_voxels: Voxels of each region.
    """
    plan, folder = plan_study(study), FakeFolder(root)
    for stage in plan.stages:
        folder.put(stage, {})
    for i, run in enumerate(plan.predictors):
        rng = np.random.default_rng(i)
        r = rng.uniform(0.3, 0.6, num_voxels) if run.fit == "right" else rng.normal(0, 0.05, num_voxels)
        rows = {"voxel": np.arange(num_voxels), "correlation": r, "noise_ceiling": rng.uniform(0.4, 0.8, num_voxels)}
        folder.put(
            run.stage, {"prediction.csv": pd.DataFrame(rows), "predictor.json": {"noise_ceiling_from": "repeats"}}
        )
        if run.geometry is not None:
            folder.put(run.geometry, {"rows.csv": geometry_rows(rng)})
    for i, run in enumerate(plan.networks):
        rng = np.random.default_rng(1000 + i)
        factor = None if run.stage.settings["condition"]["matched_to"] is None else 0.5
        folder.put(run.stage, {"network.json": {"weights_crc": f"{i:08x}", "factor": factor}})
        for name, stage in run.evaluations.items():
            if stage.kind == "robustness":
                outcomes = images_of(run, accuracy or (lambda run, eps: 0.5), num_images, rng, name)
                by_eps = outcomes.groupby("eps")["correct"].agg(["mean", "size"]).reset_index()
                rows = by_eps.set_axis(["eps", "value", "n"], axis=1).assign(measure="accuracy")
                folder.put(stage, {"images.csv": outcomes, "rows.csv": rows})
            elif stage.kind == "geometry":
                folder.put(stage, {"rows.csv": geometry_rows(rng)})
    return plan, folder


def geometry_rows(rng):
    measures = ("capacity", "rms_radius", "participation_ratio", "separability")
    return pd.DataFrame({"measure": measures, "eps": np.nan, "value": rng.uniform(0.2, 0.6, 4), "n": 60})


def images_of(run, accuracy, num_images, rng, name):
    """Outcomes in which exactly the asked share stays right, other images in every network."""
    order = rng.permutation(num_images)
    parts = [
        pd.DataFrame({
            "stimulus": np.arange(num_images) + 100, "label": np.arange(num_images) % 10, "perturbation": name,
            "norm": "linf", "eps": eps, "correct": (order < round(accuracy(run, eps) * num_images)).astype(int),
        })
        for eps in (0.0, *(e for e in run.evaluations[name].settings["eps"] if e))
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)
