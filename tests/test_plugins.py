"""What other installed packages publish appears by name, is imported only when it is asked for, and breaks nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuroalign import list_attacks, list_measures, read_recording
from neuroalign.evaluation.requests import named
from neuroalign.losses import NeuralAlignmentLoss
from neuroalign.study.settings.evaluations import Robustness

ROOT = Path(__file__).parents[1]

GOOD = '''
"""A loss, an attack and two readers."""
import numpy as np
import torch
from neuroalign.losses import register_measure
from neuroalign.perturbations.attacks.base import Attack


@register_measure("lab_mae", averages_over="entry")
def mae(preds, target, weight, power=1.0):
    return ((weight * (preds - target).abs() ** power).sum()) / weight.sum()


def unregistered(preds, target, weight):
    return (weight * (preds - target) ** 2).sum() / weight.sum()


class Grey(Attack):
    """Moves every pixel toward grey."""

    name = "grey"

    def __init__(self, norm="linf", steps=1):
        super().__init__(norm)
        self.steps = steps

    def search(self, classifier, images, labels, eps, index, start=None):
        grey = images + torch.maximum(torch.minimum(0.5 - images, eps), -eps)
        return grey, classifier.logits(grey).argmax(1) != labels


def darker(model, images, labels, eps):
    return (images - eps).clamp(0, 1)


def read_lab(path, key="a"):
    from neuroalign import Responses

    return Responses.from_arrays(np.full((4, 2), float(path.read_text())) + np.arange(8).reshape(4, 2), roi=key)


def read_raw(path):
    return np.arange(24.0).reshape(2, 3, 4)


def read_torn(path):
    raise RuntimeError("torn")
'''
PACKAGES = {
    "good-lab": ("good_lab", GOOD, """
[neuroalign.measures]
lab_mae = good_lab:mae
lab_mse = good_lab:unregistered
twice = good_lab:mae
cka = good_lab:mae
[neuroalign.perturbations]
Grey = good_lab:Grey
darker = good_lab:darker
[neuroalign.readers]
lab = good_lab:read_lab
raw = good_lab:read_raw
torn = good_lab:read_torn
"""),
    "bad-lab": ("bad_lab", "raise RuntimeError('broken\\nat import')\n", """
[neuroalign.measures]
bad = bad_lab:loss
twice = bad_lab:loss
[neuroalign.perturbations]
bad = bad_lab:attack
[neuroalign.readers]
npy = bad_lab:read
"""),
    "odd-lab": ("odd_lab", """
from neuroalign.perturbations.attacks.base import Attack


def loss(a, b):
    return 0


class Half(Attack):
    pass


number = 3
""", """
[neuroalign.measures]
odd = odd_lab:loss
[neuroalign.perturbations]
odd = odd_lab:number
half = odd_lab:Half
"""),
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the packages as pip installs them: the module, and the folder of its metadata."""
    place = tmp_path_factory.mktemp("site")
    for name, (module, code, points) in PACKAGES.items():
        (place / f"{module}.py").write_text(code)
        info = place / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
    return place


def ask(place, code):
    start = "import warnings\nwarnings.simplefilter('error')\n"
    path = os.pathsep.join([str(place), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", start + code], cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


MEASURES = """
import sys, torch
import neuroalign
from neuroalign.config import build
from neuroalign.losses import MEASURES, NeuralAlignmentLoss

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    names = neuroalign.list_measures()
print([str(w.message) for w in told], told[0].filename)
assert {"lab_mae", "lab_mse", "bad", "odd", "twice", "cka"} <= set(names), names
assert not {"good_lab", "bad_lab", "odd_lab"} & set(sys.modules), "listing imports nothing"

preds, target = torch.zeros(4, 3), torch.ones(4, 3)
target[0, 0] = torch.nan
assert NeuralAlignmentLoss("lab_mae", power=2.0)(preds, 2 * target) == 4
assert MEASURES["lab_mae"].averages_over == "entry" and "bad_lab" not in sys.modules
assert NeuralAlignmentLoss("lab_mse", voxel_reduction="sum")(preds, target) == 3
loss = build({"class_path": "neuroalign.NeuralAlignmentLoss", "init_args": {"measure": "lab_mae", "power": 2.0}})
assert loss.config["init_args"]["measure"] == "lab_mae" and loss.config["init_args"]["power"] == 2, loss.config
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert neuroalign.MeasuredGuidance("V4", "cka").loss._function.__module__ == "neuroalign.losses.set_measures"
print([str(w.message) for w in told], told[0].filename)
for name, options in [("bad", {}), ("odd", {}), ("twice", {}), ("lab_mea", {}), ("lab_mae", {"power2": 1})]:
    try:
        NeuralAlignmentLoss(name, **options)
    except (ImportError, TypeError, ValueError) as error:
        print(name, type(error).__name__, error)
assert NeuralAlignmentLoss("mse")(preds, target) == 1
"""


def test_measures(installed):
    listed, used, *errors = ask(installed, MEASURES).splitlines()
    hidden = "the measure 'cka' of the package good-lab is hidden by neuroalign's own of this name, which is used"
    assert hidden in listed and listed.endswith("<string>")
    assert hidden in used and used.endswith("<string>")
    assert errors == [
        "bad PluginError the measure 'bad' of the package bad-lab can't be used: RuntimeError: broken at import",
        "odd PluginError the measure 'odd' of the package odd-lab can't be used: TypeError: a measure is called as (preds, "
        "target, weight); 'odd' takes (a, b)",
        "twice PluginError bad-lab and good-lab both publish the measure 'twice': uninstall one of them",
        "lab_mea ValueError unknown measure 'lab_mea'; did you mean 'lab_mse' or 'lab_mae' or 'rbf_cka'? (A measure of "
        "another package is known where that package is installed.)",
        "lab_mae TypeError unknown option of measure 'lab_mae': 'power2'; did you mean 'power'?",
    ]


PERTURBATIONS = """
import sys, torch
import neuroalign
from neuroalign.study.settings.evaluations import Robustness
from neuroalign.study.stages.attacks import attack_of
from neuroalign.study.methods import attack_text
from neuroalign.study.passes import attack_passes

assert {"Grey", "darker", "PGD", "bad", "odd"} <= set(neuroalign.list_attacks())
settings = Robustness(attack="Grey", eps=[0.1])
assert attack_text("grey", settings) == "grey is Grey (Linf) at ε 25.5/255"
assert attack_passes({"attack": "Grey", "eps": [0.1]}) == (20, 0)
assert "good_lab" not in sys.modules
made = attack_of("Grey", "l2", 3)
assert (made.norm, made.steps) == ("l2", 3)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
table = neuroalign.evaluate_robustness(model, loader, ["grey", "darker", "fgsm"], eps=[0.1])
assert set(table["perturbation"]) == {"grey", "darker", "fgsm-linf"}, table
assert neuroalign.RobustnessCallback("Grey", eps=[0.1]).keys == ["robust_accuracy/grey/eps=0.1"]
for name in ("bad", "odd", "half", "gray"):
    try:
        neuroalign.evaluate_robustness(model, loader, name, eps=[0.1])
    except (ImportError, ValueError) as error:
        print(type(error).__name__, error)
try:
    attack_of("darker", "linf", None)
except ValueError as error:
    print(error)
"""


def test_perturbations(installed):
    assert ask(installed, PERTURBATIONS).splitlines() == [
        "PluginError the perturbation 'bad' of the package bad-lab can't be used: RuntimeError: broken at import",
        "PluginError the perturbation 'odd' of the package odd-lab can't be used: TypeError: it is neither a perturbation "
        "nor a function, but int",
        "PluginError the perturbation 'half' of the package odd-lab can't be used: TypeError: its class Half doesn't define "
        "name and search",
        "ValueError unknown perturbation 'gray'; did you mean 'Grey'?",
        "a study's attack is a subclass of Attack with a norm; 'darker' is none",
    ]


READERS = """
import sys
from pathlib import Path
import numpy as np
from neuroalign import read_recording

Path("x.lab").write_text("5"); Path("y.raw").write_text(""); Path("z.torn").write_text(""); Path("w.other").write_text("")
np.save("a.npy", np.ones((3, 2)) * np.arange(2))
assert read_recording("x.lab", key="V4").roi.tolist() == ["V4", "V4"] and read_recording("x.lab").values[0, 0] == 5
assert len(read_recording("y.raw", axes="voxel stimulus repeat", stimulus=[3, 4, 5], roi="IT")) == 12
assert read_recording("w.other", reader="raw", axes="repeat voxel stimulus").num_voxels == 3
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert len(read_recording("a.npy")) == 3 and len(read_recording("a.npy", reader="npy")) == 3
print(told[0].message)
assert "bad_lab" not in sys.modules
for path, options in [
    ("z.torn", {}), ("w.other", {}), ("w.other", {"reader": "row"}), ("x.lab", {"averaged": True}), ("y.raw", {"key": "b"}),
]:
    try:
        read_recording(path, **options)
    except (TypeError, ValueError) as error:
        print(error)
"""


def test_readers(installed):
    assert ask(installed, READERS).splitlines() == [
        "the reader 'npy' of the package bad-lab is hidden by neuroalign's own of this name, which is used",
        "z.torn: the reader 'torn' fails: RuntimeError: torn",
        "w.other: recordings are read from .npy, .npz, .mat, .h5, .hdf5, .csv and .tsv; installed packages read lab, npy, "
        "raw, torn (reader=...)",
        "unknown reader 'row'; did you mean 'raw'?",
        "x.lab: the reader 'lab' returns responses, which need no axes, stimulus, roi, averaged or missing",
        "y.raw: the reader 'raw' takes no key",
    ]


DOCTOR = """
from neuroalign.commands.environment_plugins import published

found = published()
print(found.packages["measures"])
print(*found.broken, *found.hidden, sep="\\n")
"""


def test_doctor(installed):
    names, *sentences = ask(installed, DOCTOR).splitlines()
    assert names == str(
        {
            "bad": ["bad-lab"], "cka": ["good-lab"], "lab_mae": ["good-lab"], "lab_mse": ["good-lab"], "odd": ["odd-lab"],
            "twice": ["bad-lab", "good-lab"],
        }
    )  # fmt: skip
    assert sentences == [
        "the measure 'bad' of the package bad-lab can't be used: RuntimeError: broken at import",
        "the measure 'odd' of the package odd-lab can't be used: TypeError: a measure is called as (preds, target, weight); "
        "'odd' takes (a, b)",
        "bad-lab and good-lab both publish the measure 'twice': uninstall one of them",
        "the perturbation 'bad' of the package bad-lab can't be used: RuntimeError: broken at import",
        "the perturbation 'half' of the package odd-lab can't be used: TypeError: its class Half doesn't define name "
        "and search",
        "the measure 'cka' of the package good-lab is hidden by neuroalign's own of this name, which is used",
        "the reader 'npy' of the package bad-lab is hidden by neuroalign's own of this name, which is used",
    ]


def test_without_packages(tmp_path):
    assert "cka" in list_measures() and "PGD" in list_attacks() and list(named("fgsm")) == ["fgsm-linf"]
    with pytest.raises(ValueError, match="unknown measure 'lab_mae'"):
        NeuralAlignmentLoss("lab_mae")
    with pytest.raises(ValueError, match="unknown perturbation 'grey'"):
        named(["PGD", "grey"])
    with pytest.raises(ValueError, match="'grey' is none of pgd, fgsm, apgd"):
        Robustness(attack="grey", eps=[0.1])
    (tmp_path / "x.lab").write_text("5")
    with pytest.raises(ValueError, match=r"x\.lab: recordings are read from \.npy"):
        read_recording(tmp_path / "x.lab")
    with pytest.raises(ValueError, match="unknown reader 'lab'; no installed package publishes one"):
        read_recording(tmp_path / "x.lab", reader="lab")
