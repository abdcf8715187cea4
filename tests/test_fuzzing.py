"""Damaged files of every kind that the package reads: the right value, or one error that names the file. No hang.

Of files that carry checksums (ours, gzip, zip, PyTorch's) another value than the right one is a failure. Of the rest it can't
be told, but an error must still be clean: a ValueError or OSError of ours or of Python, with the name of the file or its
folder in it.
"""

import contextlib
import io
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from neuroalign import (
    PGD,
    CategoryManifolds,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictor,
    robustness_curve,
)
from neuroalign.__main__ import main
from neuroalign.commands.inputs import open_images, open_model
from neuroalign.data import (
    CachedImages,
    Responses,
    cache_nsd_stimuli,
    extract_nsd,
    load_digits,
    read_nifti,
    read_nsd,
    read_recording,
    write_simulated_nsd,
)
from neuroalign.evaluation import Suite, evaluate_suite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="an alarm for readers that hang is POSIX"),
]

CONFIG = Path(__file__).parents[1] / "examples/configs/predict_v4.yaml"
LIMIT = 60  # seconds a file may take, on a busy machine
ARRAY = np.random.default_rng(0).standard_normal((12, 7)).astype(np.float32)
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3)).eval()
nn.init.orthogonal_(MODEL[1].weight, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    BATCHES = [(IMAGES, MODEL(IMAGES).argmax(1))]
SUITE = Suite("mine", ((PGD(steps=2), (0.02,)),), masking_eps=0.02, masking_images=4)


@dataclass(frozen=True)
class Reader:
    """How a kind of file is made, damaged and read.

    Attributes:
        make: Writes it into an empty folder.
        file: The file that is damaged; "*" stands for what varies.
        load: From the folder to a value.
        checked: Whether it carries a checksum.
        tries: Mutations.
    """

    make: Callable[[Path], None]
    file: str
    load: Callable[[Path], Any]
    checked: bool = False
    tries: int = 17


def tree(container):
    def make(folder):
        images, labels = load_digits()
        write_simulated_nsd(folder / "nsd", images[:250], labels[:250], regions=("V4",), num_voxels=6, sessions=1,
                            container=container)  # fmt: skip

    return make


def nsd(folder):
    found = read_nsd(folder / "nsd", 1, roi="V4")
    return [found.values, found.stimulus, found.noise_ceiling, found.voxel_index, *found.behaviour.values()]


def fields(responses):
    return [responses.values, responses.stimulus, responses.session, responses.roi]


def extracted(folder):
    tree("hdf5")(folder)
    extract_nsd(folder / "nsd", folder / "V4.h5", 1, roi="V4", progress=False)


def cached(folder):
    tree("hdf5")(folder)
    cache_nsd_stimuli(folder / "nsd", folder / "cache", image_size=4, rows=range(20), progress=False)


def cache(folder):
    images = CachedImages(folder / "cache")
    return [images.rows, images[images.rows]]


def manifolds(folder):
    labels = torch.arange(60) % 3
    CategoryManifolds.from_features(torch.randn(60, 5), labels).save(folder / "m.safetensors")


def predictor(folder):
    NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8)).save(folder / "p.safetensors")


def task(folder):
    import lightning as L

    made = GuidedClassificationTask(GuidedNetwork("small_resnet", 4, image_shape=(3, 8, 8)))
    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(made)
    trainer.save_checkpoint(folder / "last.ckpt")


def state(module):
    return [value.numpy() for _, value in sorted(module.state_dict().items())]


def curve(folder):
    found = robustness_curve(MODEL, BATCHES, PGD(steps=2), [0.02, 0.05], checkpoint=folder / "pgd.csv")
    return [found.images.to_numpy()]


def suite(folder):
    return [evaluate_suite(MODEL, BATCHES, SUITE, out=folder / "out").attacks.select_dtypes("number").to_numpy()]


def recording(name):
    def make(folder):
        table = pd.DataFrame(ARRAY).assign(stimulus=np.arange(12) // 2)
        match name.rpartition(".")[2]:
            case "csv":
                table.to_csv(folder / name, index=False)
            case "tsv":
                table.to_csv(folder / name, index=False, sep="\t")
            case "npy":
                np.save(folder / name, ARRAY)
            case "npz":
                np.savez(folder / name, responses=ARRAY)
            case "mat":
                savemat(folder / name, {"responses": ARRAY}, do_compression=True)
            case "h5":
                with h5py.File(folder / name, "w") as file:
                    file["responses"] = ARRAY

    return Reader(make, name, lambda folder: fields(read_recording(folder / name)), checked=name.endswith("npz"))


def nifti(name):
    def make(folder):
        nibabel.save(nibabel.Nifti1Image(ARRAY.reshape(3, 4, 7), np.eye(4)), folder / name)

    mask = nibabel.Nifti1Image(np.ones((3, 4, 7), np.uint8), np.eye(4))
    return Reader(make, name, lambda folder: fields(read_nifti(folder / name, mask)), checked=name.endswith("gz"))


def pictures(suffix):
    def make(folder):
        for name in ("cat", "dog"):
            (folder / "images" / name).mkdir(parents=True)
            pixels = np.random.default_rng(len(name)).integers(0, 255, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"1.{suffix}")

    def load(folder):
        data = open_images(str(folder / "images"), 8)
        return [data[i]["image"].numpy() for i in range(len(data))]

    return Reader(make, f"images/cat/1.{suffix}", load)


def data(folder):
    np.savez(folder / "images.npz", images=IMAGES.numpy(), labels=np.arange(12) % 3)


def load_data(folder):
    found = open_images(str(folder / "images.npz"), 4)
    return [np.asarray(found.image), found.columns["label"].numpy()]


def configuration(folder):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            main(["fit", "--config", str(folder / "c.yaml"), "--print_config"])
        except SystemExit as end:
            if end.code:
                raise
    return [printed.getvalue()]


READERS = {
    "responses": Reader(lambda f: Responses.from_arrays(ARRAY).save(f / "r.h5"), "r.h5",
                        lambda f: fields(Responses.load(f / "r.h5")), checked=True, tries=33),
    "extracted file": Reader(extracted, "V4.h5", lambda f: fields(Responses.load(f / "V4.h5")), checked=True, tries=22),
    "manifolds": Reader(manifolds, "m.safetensors", lambda f: state(CategoryManifolds.load(f / "m.safetensors")),
                        checked=True, tries=33),
    "predictor": Reader(predictor, "p.safetensors", lambda f: state(NeuralPredictor.load(f / "p.safetensors")),
                        checked=True, tries=22),
    "checkpoint, library": Reader(
        task, "last.ckpt", lambda f: state(GuidedClassificationTask.load_from_checkpoint(f / "last.ckpt")),
        checked=True, tries=22),
    "checkpoint, command": Reader(task, "last.ckpt", lambda f: state(open_model(str(f / "last.ckpt"))[0]), checked=True,
                                  tries=22),
    "robustness results": Reader(curve, "pgd.csv", curve, checked=True, tries=55),
    "suite record": Reader(suite, "out/record.json", suite, tries=11),
    "suite part": Reader(suite, "out/parts/*.csv", suite, checked=True, tries=6),
    "cached images": Reader(cached, "cache/images.npy", cache, checked=True),
    "cached rows": Reader(cached, "cache/rows.npy", cache),
    "cache index": Reader(cached, "cache/index.json", cache),
    **{f"recording {n}": recording(f"r.{n}") for n in ("csv", "tsv", "npy", "npz", "mat", "h5")},
    "nii": nifti("v.nii"),
    "nii.gz": nifti("v.nii.gz"),
    "nsd regions": Reader(tree("hdf5"), "nsd/nsddata/ppdata/subj01/func1pt8mm/roi/Kastner2015.nii.gz", nsd, checked=True),
    "nsd ncsnr": Reader(tree("hdf5"), "nsd/nsddata_betas/**/ncsnr.nii.gz", nsd, checked=True),
    "nsd design": Reader(tree("hdf5"), "nsd/nsddata/**/nsd_expdesign.mat", nsd),
    "nsd behaviour": Reader(tree("hdf5"), "nsd/nsddata/ppdata/subj01/behav/responses.tsv", nsd),
    "nsd betas hdf5": Reader(tree("hdf5"), "nsd/nsddata_betas/**/betas_session01.hdf5", nsd),
    "nsd betas nii.gz": Reader(tree("nii.gz"), "nsd/nsddata_betas/**/betas_session01.nii.gz", nsd, checked=True, tries=11),
    "png": pictures("png"),
    "jpg": pictures("jpg"),
    "--data npz": Reader(data, "images.npz", load_data, checked=True),
    "configuration": Reader(lambda f: shutil.copy(CONFIG, f / "c.yaml"), "c.yaml", configuration, tries=6),
}  # fmt: skip


def mutations(content: bytes, tries: int, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Damage as disks, transfers and editors do it; the kinds in turn."""
    size = len(content)

    def flip(bits):
        changed = bytearray(content)
        for place in rng.integers(0, 8 * size, bits).tolist():
            changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    def blocks(num):
        length = int(rng.integers(1, max(2, min(4096, size // 4))))
        return [slice(b, b + length) for b in sorted(rng.integers(0, max(1, size - length), num).tolist())]

    def zero():
        (block,) = blocks(1)
        return content[: block.start] + bytes(len(content[block])) + content[block.stop :]

    def duplicate():
        (block,) = blocks(1)
        return content[: block.stop] + content[block.start :]

    def swap():
        first, second = blocks(2)
        changed = bytearray(content)
        changed[first], changed[second] = content[second], content[first]
        return bytes(changed)

    kinds: dict[str, Callable[[], bytes]] = {
        "a flipped bit": lambda: flip(1), "8 flipped bits": lambda: flip(8), "64 flipped bits": lambda: flip(64),
        "cut": lambda: content[: int(rng.integers(0, size))], "a zeroed block": zero, "a block twice": duplicate,
        "two blocks swapped": swap, "appended": lambda: content + rng.bytes(int(rng.integers(1, 600))),
        "empty": lambda: b"", "random bytes": lambda: rng.bytes(size),
        "another file": lambda: b"name,value\nvoxels,3\n" * 20 if rng.integers(2) else Path(torch.__file__).read_bytes(),
    }  # fmt: skip
    for i in range(tries):
        kind = list(kinds)[i % len(kinds)]
        yield kind, kinds[kind]()


class Hang(BaseException):
    """Not an Exception, so that no reader makes an error of its own of it."""


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def equal(found: Any, expected: Any) -> bool:
    if len(found) != len(expected):
        return False
    return all(
        np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype
        and np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f") for a, b in zip(found, expected)
    )  # fmt: skip


def fault_of(error: BaseException, names: set[str], printed: str) -> str:
    """What is wrong with an error; "" for nothing."""
    if isinstance(error, SystemExit):  # a command: a message, and an exit code that says so
        return "" if error.code not in (0, None) and (printed or str(error.code)) else "exit without a word"
    kind = type(error)
    ours = kind.__module__.partition(".")[0] == "neuroalign"
    clean = kind is ValueError or (issubclass(kind, OSError) and kind.__module__ == "builtins")
    if not ((ours and issubclass(kind, (ValueError, OSError))) or clean):
        return f"raw {kind.__name__}"
    return "" if any(name in str(error) for name in names) else "the file isn't named"


@pytest.mark.parametrize("name", READERS)
def test_damage_gives_the_right_value_or_a_clean_error(name, tmp_path):
    reader = READERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.make(tmp_path)
        (path,) = tmp_path.glob(reader.file)
        content, expected = path.read_bytes(), reader.load(tmp_path)
        rng = np.random.default_rng(sum(map(ord, name)))
        tried, failures = {"right": 0, "refused": 0, "other value": 0}, []
        for number, (kind, mutation) in enumerate(mutations(content, reader.tries, rng)):
            path.write_bytes(mutation)
            where = f"{number} ({kind})"
            printed = io.StringIO()
            try:
                with alarm(), contextlib.redirect_stderr(printed):
                    found = reader.load(tmp_path)
            except Hang:
                failures.append(f"{where}: hangs")
            except (Exception, SystemExit) as error:
                fault = fault_of(error, {path.name, str(path.parent)}, printed.getvalue())
                tried["refused"] += not fault
                if fault:
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    failures.append(
                        f"{where}: {fault}: {str(error)[:120]!r} at {Path(last.filename).name}:{last.lineno}"
                    )
            else:
                same = equal(found, expected)
                tried["right" if same else "other value"] += 1
                if not same and reader.checked:
                    failures.append(f"{where}: another value, in silence")
            path.write_bytes(content)
    held = reader.tries - len(failures)
    print(f"{name}: {held} of {reader.tries} held, {tried}")
    assert not failures, f"{name}: {held} of {reader.tries} held, {tried}; failed:\n" + "\n".join(failures)


def test_there_are_500_mutations():
    assert sum(reader.tries for reader in READERS.values()) >= 500
