"""neuroalign doctor and --version: what is installed, missing and broken."""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from neuroalign.__main__ import main
from neuroalign.commands import environment, versions
from neuroalign.commands.environment import examine, short
from neuroalign.commands.environment_plugins import Published
from neuroalign.commands.extras import EXTRAS, extra_of
from neuroalign.version import __version__

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture
def doctor(capsys):
    """Run the command; its exit code and what it printed."""

    def doctor(*arguments):
        code = 0
        try:
            main(["doctor", *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().out

    return doctor


@pytest.fixture
def needed(monkeypatch):
    """Give neuroalign other requirements, and packages other versions, than this environment has."""

    def needed(requirements, **installed):
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
        known = versions.version_of
        monkeypatch.setattr(environment, "version_of", lambda name: installed.get(name, known(name)))

    return needed


def test_extras_are_those_of_the_package():
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"tests", "docs", "release"}
    for name, extra in EXTRAS.items():
        packages = {each.split(">=")[0].replace("-", "_") for each in extras[name] if not each.startswith("neuroalign")}
        assert packages == set(extra.modules)
    assert extra_of("timm.layers") == "timm" and extra_of("torch") is None


def test_what_it_says(doctor, needed, monkeypatch):
    needed(["torch>=2.6", "timm>=1.0; extra == 'timm'"])
    monkeypatch.setenv("COLUMNS", "80")
    code, said = doctor()
    assert code == 0 and said.rstrip().endswith("Nothing is broken.")
    assert said.startswith(f"neuroalign {__version__} in ") and f"torch {importlib.metadata.version('torch')}" in said
    assert all(len(line) <= 80 for line in said.splitlines() if "/" not in line)
    for name in EXTRAS:
        assert f"\n  {name} " in said
    assert "timm 1" not in said.partition("Devices")[0]  # of an extra, so not needed


def test_a_missing_extra_says_what_it_gives_and_how_to_install_it(doctor, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as Python marks a module that can't be imported
    said = " ".join(doctor()[1].split())
    assert (
        "timm missing: backbones named timm:..., such as timm:vit_small_patch16_224; pip install 'neuroalign[timm]'"
        in said
    )
    assert examine().extras["timm"]["missing"] == ["timm"]


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [
        ({"lightning": "2.6.2"}, "broken: lightning 2.6.2 was a compromised release"),
        ({"lightning": "2.6.3"}, "broken: lightning 2.6.3 was a compromised release"),
        ({"lightning": "2.5.1"}, "broken: lightning 2.5.1 doesn't fit: pip install 'lightning!=2.6.2,!=2.6.3,>=2.6'"),
        ({"lightning": None}, "broken: lightning is missing: pip install 'lightning!=2.6.2,!=2.6.3,>=2.6'"),
    ],
)
def test_what_is_broken(doctor, needed, installed, sentence):
    needed(["lightning>=2.6,!=2.6.2,!=2.6.3"], **installed)
    for arguments in ((), ("-q",)):
        code, said = doctor(*arguments)
        assert code == 1 and sentence in " ".join(said.split()) and said.rstrip().endswith("1 broken: see above.")


def test_what_fits_is_not_broken(needed):
    needed(["torch>=2.6"], torch="2.7.0+cu126")
    assert examine().broken == []
    needed(["torch>=2.6", "absent-package>1; extra == 'x'"], torch="2.7.0a0+git1")  # a build of the system's own
    assert examine().broken == []


def test_torch_that_does_not_load(doctor, needed, monkeypatch):
    needed([])
    monkeypatch.setitem(sys.modules, "torch", None)
    code, said = doctor()
    assert code == 1 and "broken: torch can't be imported (ModuleNotFoundError:" in said


def test_a_package_that_does_not_load(doctor, needed, monkeypatch, tmp_path):
    (tmp_path / "matplotlib.py").write_text("print('loading')\nraise ImportError('libfoo.so: no such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    needed(["matplotlib>=3.8", "scikit-learn>=1.4", "pyyaml>=6.0"])
    code, said = doctor("-q")
    told = "broken: matplotlib can't be imported (ImportError: libfoo.so: no such file): pip install --force-reinstall"
    assert code == 1 and told in " ".join(said.split()) and said.rstrip().endswith("1 broken: see above.")
    assert json.loads(doctor("--json")[1])["broken"][0].startswith("matplotlib can't")
    monkeypatch.setitem(sys.modules, "torch", None)  # which the others import
    assert len(examine().broken) == 1


def test_not_installed_as_a_package(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    found = examine()
    assert found.broken == [] and found.packages["torch"]
    assert "neuroalign was not installed as a package: what it needs can't be checked" in found.notes


class TestDevices:
    def test_a_gpu(self, needed, monkeypatch, doctor):
        class Facts:
            name, total_memory = "H200", 150_000_000_000

        needed([])
        ones = torch.ones
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Facts)
        monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
        code, said = doctor()
        assert code == 0 and "GPU 0: H200, 150 GB" in said

        def no_kernel(*size, device):
            raise RuntimeError("CUDA error: no kernel image is available\nmore")

        monkeypatch.setattr(torch, "ones", no_kernel)
        code, said = doctor()
        assert code == 1 and "GPU 0 (H200) can't compute: CUDA error: no kernel image is available\n" in said

    def test_a_driver_without_a_torch_for_it(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
        assert any("but torch (" in note and "sees no GPU" in note for note in examine().notes)


class TestFolders:
    def test_of_variables(self, monkeypatch, tmp_path):
        monkeypatch.setenv("NEUROALIGN_DATA", str(tmp_path / "gone"))
        monkeypatch.setenv("NEUROALIGN_CACHE", str(tmp_path))
        found = examine()
        assert found.folders["NEUROALIGN_CACHE"]["exists"] and found.folders["NEUROALIGN_CACHE"]["free"] > 0
        assert f"NEUROALIGN_DATA is set to {tmp_path / 'gone'}, which is no folder" in found.notes

    def test_of_nsd(self, doctor, needed, tmp_path):
        needed([])
        for part in ("nsddata", "nsddata_betas/ppdata/subj01", "nsddata_betas/ppdata/subj05"):
            (tmp_path / "nsd" / part).mkdir(parents=True)
        code, said = doctor("--nsd", str(tmp_path / "nsd"))
        assert code == 0 and "betas of subj01, subj05" in " ".join(said.split()) and "neuroalign nsd check" in said
        code, said = doctor("--nsd", str(tmp_path))
        assert code == 1 and "is no NSD folder" in " ".join(said.split())


def test_nothing_private_is_shown(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NEUROALIGN_DATA", "https://me:password@host/data?token=abc")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("NEUROALIGN_CACHE", str(tmp_path / "cache"))
    for arguments in ((), ("--json",), ("--nsd", "s3://me:password@host/nsd")):
        said = doctor(*arguments)[1]
        assert not any(each in said for each in ("password@", "abc", "sesame")), said
        assert str(tmp_path) not in said and "~/cache" in said
    assert short(tmp_path) == "~" and short(f"{tmp_path}er/x") == f"{tmp_path}er/x"


def test_what_other_packages_publish(doctor, monkeypatch):
    assert "Of other packages" not in doctor()[1]
    found = Published(
        {"measures": {"theirs": ["lab-a"], "twice": ["lab-a", "lab-b"]}, "perturbations": {}, "readers": {}}
    )
    monkeypatch.setattr(environment, "published", lambda: found)
    code, said = doctor()
    wanted = "  measures          theirs (lab-a), twice (lab-a, lab-b)\n  perturbations     none\n"
    assert code == 0 and wanted in said.partition("Of other packages\n")[2] and said.endswith("Nothing is broken.\n")
    found.broken.append("they don't go together")
    found.hidden.append("ours is used")
    code, said = doctor("-q")
    assert code == 0 and "note: ours is used\nbroken plugin: they don't go together\n" in said
    assert said.endswith("Nothing that neuroalign needs is broken, but 1 plugin is: see above.\n")


def test_json(doctor, needed):
    needed(["torch>=2.6"])
    code, said = doctor("--json")
    found = json.loads(said)
    assert code == 0 and found["software"]["neuroalign"] == __version__
    assert set(found["packages"]) == {"torch"} and found["broken"] == []


class TestVersion:
    def test_what_it_says(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        lines = capsys.readouterr().out.splitlines()
        assert stop.value.code == 0 and lines[0] == f"neuroalign {__version__}"
        assert lines[2:4] == [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning")]
        built = torch.version.cuda or "none"
        assert lines[4] == f"CUDA {built}; for the GPUs of this machine: neuroalign doctor" or torch.version.hip

    def test_it_loads_nothing(self):
        code = "import sys; from neuroalign.__main__ import main\ntry: main(['--version'])\n"
        code += "except SystemExit: print({'torch', 'lightning', 'numpy'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("set()")

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("cuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n", "CUDA 12.4"),
            ("cuda = None\nhip = None\n", "CUDA none"),
            ("cuda: Optional[str] = None\nhip: Optional[str] = '6.2.4'\n", "ROCm 6.2.4"),
            (None, "CUDA none"),
        ],
    )
    def test_builds_of_torch(self, tmp_path, monkeypatch, text, wanted):
        if text is not None:
            (tmp_path / "version.py").write_text(text)

        class Spec:
            submodule_search_locations = [str(tmp_path)]

        monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: Spec)
        assert versions.gpu_build() == wanted
