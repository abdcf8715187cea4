"""``neuroalign nsd`` from the command line."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from neuroalign.__main__ import main
from neuroalign.commands.nsd import _sessions
from neuroalign.data import Responses, read_nsd


@pytest.fixture
def extracted(subject, tmp_path):
    main(["nsd", "extract", str(subject.root), "--subject", "1", "--roi", "V1", "V4", "--out", str(tmp_path / "x.h5")])
    return tmp_path / "x.h5"


def refused(capsys, message, arguments):
    """Run a command that ends with one line and exit code 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and re.search(message, said), said


def test_check(subject, capsys, tmp_path):
    main(["nsd", "check", str(subject.root)])
    out = capsys.readouterr().out
    assert "(simulated)" in out and "Usable" in out
    main(["nsd", "check", str(subject.root), "--json"])
    assert json.loads(capsys.readouterr().out)["usable"] is True
    main(["nsd", "check", str(subject.root), "-q"])
    assert re.fullmatch(r"Usable: \d+ ok, 0 missing, 0 warning, 0 error\.\n", capsys.readouterr().out)
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["nsd", "check", str(tmp_path)])
    assert stop.value.code == 1
    assert "no subject has betas" in capsys.readouterr().out
    refused(capsys, "neuroalign nsd check: no folder", ["nsd", "check", str(tmp_path / "absent")])
    refused(capsys, "looks like a URL: nsd check reads folders", ["nsd", "check", "s3://bucket"])
    (tmp_path / "file").touch()
    refused(capsys, "file is a file: give the folder that holds nsddata", ["nsd", "check", str(tmp_path / "file")])


@pytest.mark.parametrize(
    ("out", "message"),
    [("file/x.h5", "file is a file, where a folder is wanted"), ("x.csv", "x.csv would be an HDF5 file: give a name")],
)  # fmt: skip
def test_names_that_no_file_of_responses_can_have(capsys, tmp_path, out, message):
    (tmp_path / "file").touch()
    refused(
        capsys, message, ["nsd", "extract", "absent", "--subject", "1", "--roi", "V4", "--out", str(tmp_path / out)]
    )


def test_a_folder_without_anatomy_is_no_root(extracted, capsys, tmp_path):
    typed = ["nsd", "plot", str(extracted), "--out", str(tmp_path / "maps"), "--root", str(tmp_path)]
    refused(capsys, "is not an NSD folder", typed)


def test_extract(subject, extracted, capsys, tmp_path):
    responses, read = Responses.load(extracted), read_nsd(subject.root, 1, roi=["V1", "V4"])
    np.testing.assert_array_equal(responses.values, read.values)
    assert responses.info["simulated"] and responses.info["roi"] == ["V1", "V4"]
    out = tmp_path / "two.h5"
    main(["nsd", "extract", str(subject.root), "--subject", "1", "--roi", "V4", "--sessions", "2-3", "--out", str(out)])
    assert "1500 rows, 20 voxels" in capsys.readouterr().out
    assert np.unique(Responses.load(out).session).tolist() == [2, 3]
    refused(
        capsys,
        "neuroalign nsd extract: unknown roi 'V9'",
        ["nsd", "extract", str(subject.root), "--subject", "1", "--roi", "V9", "--out", str(out)],
    )
    refused(
        capsys,
        r"--accept-terms",
        ["nsd", "extract", "s3://natural-scenes-dataset", "--subject", "1", "--roi", "V4", "--out", str(out)],
    )


def test_stimuli(subject, extracted, capsys, tmp_path):
    main(["nsd", "stimuli", str(subject.root), "--out", str(tmp_path / "c"), "--image-size", "6",
          "--responses", str(extracted)])  # fmt: skip
    assert "holds 750 images of 6x6" in capsys.readouterr().out


def test_plot(extracted, tmp_path, capsys, subject):
    scores = np.linspace(-0.1, 0.6, 40)
    np.save(tmp_path / "scores.npy", scores)
    out = tmp_path / "maps"
    main(["nsd", "plot", str(extracted), "--prediction", str(tmp_path / "scores.npy"), "--map", "ncsnr",
          "--root", str(subject.root), "--out", str(out)])  # fmt: skip
    for name in ("noise_ceiling", "prediction", "ncsnr"):
        with Image.open(out / f"{name}.png") as figure:
            assert min(figure.size) > 200
        assert nibabel.load(out / f"{name}.nii.gz").shape == tuple(Responses.load(extracted).info["shape"])
    r = Responses.load(extracted)
    placed = nibabel.load(out / "prediction.nii.gz").get_fdata()[tuple(r.voxel_index.T)]
    np.testing.assert_allclose(placed, scores, rtol=1e-6)
    np.save(tmp_path / "few.npy", scores[:30])
    refused(
        capsys,
        r"has 40 voxels, .*few.npy 30 values. A DataModule leaves out voxels",
        ["nsd", "plot", str(extracted), "--prediction", str(tmp_path / "few.npy")],
    )
    refused(capsys, "no folder", ["nsd", "plot", str(extracted), "--root", str(tmp_path / "absent")])
    refused(capsys, r"holds no map 'R3'; it holds \['ncsnr'\]", ["nsd", "plot", str(extracted), "--map", "R3"])
    (tmp_path / "two.csv").write_text("a,b\n1,2\n")
    refused(
        capsys,
        "must hold one column of numbers",
        ["nsd", "plot", str(extracted), "--prediction", str(tmp_path / "two.csv")],
    )


def test_plot_on_a_surface(tmp_path, capsys):
    from nibabel.freesurfer import write_geometry, write_morph_data

    from tests.data.nsd.tree_writer import write_tree

    tree = write_tree(tmp_path / "tree", subjects=(2,), spaces=("fsaverage",))
    file, out = tmp_path / "x.h5", tmp_path / "maps"
    main(["nsd", "extract", str(tree.root), "--subject", "2", "--roi", "nsdgeneral", "--space", "fsaverage",
          "--out", str(file)])  # fmt: skip
    main(["nsd", "plot", str(file), "--out", str(out)])
    assert "No surface to draw on: give --root" in capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {"lh.noise_ceiling.gii", "rh.noise_ceiling.gii"}
    surf = tree.root / "nsddata/freesurfer/fsaverage/surf"
    surf.mkdir()
    rng = np.random.default_rng(0)
    axes = {name: np.eye(3)[i] for i, name in enumerate(("xras", "yras", "zras"))}
    footer = {"head": [2, 0, 20], "valid": "1", "filename": "x", "volume": [9, 9, 9], "voxelsize": [1, 1, 1], **axes,
              "cras": [0, 0, 0]}  # fmt: skip
    for hemisphere, n in (("lh", 300), ("rh", 280)):
        write_geometry(
            surf / f"{hemisphere}.inflated", rng.normal(0, 40, (n, 3)), rng.integers(0, n, (500, 3)), volume_info=footer
        )
        write_morph_data(surf / f"{hemisphere}.sulc", rng.standard_normal(n))
    main(["nsd", "plot", str(file), "--out", str(out), "--root", str(tree.root)])
    assert (out / "noise_ceiling.png").exists()


def interrupt(arguments, when, *, whole_group, cwd):
    """Run the command, send Ctrl-C when something has happened; (exit status, seconds until the end, last words)."""
    running = subprocess.Popen(
        [sys.executable, "-u", "-c", _SLOW, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest-xdist's processes ignore it
    )  # fmt: skip
    try:
        for _ in range(600):
            if when():
                break
            assert running.poll() is None, running.communicate()
            time.sleep(0.1)
        start = time.perf_counter()
        (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)  # which also waits for whoever else holds the pipes
        return running.returncode, time.perf_counter() - start, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


# Each step takes a while, as with files of NSD's size; it tells that it was begun by a file.
_SLOW = """
import sys
if __name__ == "__main__":
    import tests.commands.slow_steps as slow
    slow.install()
    from neuroalign.__main__ import main
    main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to a process group")
@pytest.mark.parametrize("whole_group", [True, False], ids=["from a terminal", "to the command alone"])
@pytest.mark.parametrize("command", ["stimuli", "stimuli --workers 2", "extract", "check", "plot"])
def test_ctrl_c_ends_it_with_one_line(tmp_path, extracted, subject, command, whole_group):
    action = command.partition(" ")[0]
    out = tmp_path / "out"
    arguments = {
        "stimuli": ["stimuli", subject.root, "--out", out, "--image-size", 6],
        "extract": ["extract", subject.root, "--subject", 1, "--roi", "V1", "--out", out / "x.h5"],
        "check": ["check", subject.root],
        "plot": ["plot", extracted, "--root", subject.root, "--out", out],
    }[action] + (["--workers", 2] if "--workers" in command else [])
    begun = tmp_path / "third-step"
    status, seconds, said = interrupt(["nsd", *arguments], begun.exists, whole_group=whole_group, cwd=tmp_path)
    assert status == 130
    assert said.strip().startswith(f"neuroalign nsd {action}: stopped") and len(said.strip().splitlines()) == 1
    assert seconds < 10  # two seconds, on a machine that does nothing else
    if action == "stimuli":
        done = json.loads((out / "progress.json").read_text())["crc32"]
        assert len(done) >= 2, "what was done is kept"
    if action == "extract":
        assert len(list((out / ".x.h5.parts").iterdir())) == 2, "what was done is kept"


def test_session_numbers():
    assert _sessions("1-3,7") == [1, 2, 3, 7]
    with pytest.raises(SystemExit):
        main(["nsd", "extract", "x", "--subject", "1", "--roi", "V1", "--out", "y", "--sessions", "all"])


def test_sessions_that_run_backwards(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["nsd", "extract", "x", "--subject", "1", "--roi", "V1", "--out", "y", "--sessions", "1,5-3"])
    assert stopped.value.code == 2 and "5-3 runs backwards: write 3-5" in capsys.readouterr().err


def test_help_needs_nothing_heavy():
    code = "import sys; sys.argv = ['neuroalign', 'nsd', '--help']\ntry:\n import neuroalign.__main__ as m; m.main()\n" \
           "except SystemExit: print(','.join(sys.modules))"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "rich"} & set(out.rpartition("\n")[0].rpartition("\n")[2].split(","))
