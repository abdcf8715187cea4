"""One stage alone, as an engine would run it: settings as a study's file has them, defaults filled in."""

from pathlib import Path

from neuroalign.study.settings.images import Images
from neuroalign.study.work import Work

MACHINE = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "num_workers": 0, "logger": "csv"}


def run(function, folder, settings, *, inputs=None, sources=None, options=MACHINE):
    """Run a stage's function and return the folder of its result."""
    out, scratch = Path(folder) / "out", Path(folder) / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    function(
        Work("a stage", settings, inputs or {}, out, scratch, {k: str(v) for k, v in (sources or {}).items()}, options)
    )
    return out


def image_settings(seed=0, **given):
    """What planning gives the stage of the images."""
    complete = Images(**{"root": "x", "train": "x", **given})
    settings = complete.model_dump(mode="json", exclude={"root", "train", "test", "resplit", "split_seed"})
    return {**settings, "seed": seed}
