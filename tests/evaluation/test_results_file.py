"""Files that a measurement goes on from: damage, other images and other settings are errors, never other accuracies."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import PGD, robustness_curve
from neuroalign.evaluation.results_file import read_results, write_results


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 6, 4)).eval()


MODEL, IMAGES = network(), torch.rand(24, 3, 4, 6, generator=torch.Generator().manual_seed(1))
LABELS = MODEL(IMAGES).argmax(1)


def curve(path, images=IMAGES, batch=8, **options):
    batches = list(zip(images.split(batch), LABELS.split(batch)))
    return robustness_curve(MODEL, batches, PGD(steps=3), [0.01, 0.02], checkpoint=path, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "pgd.csv"
    return curve(path), path.read_bytes()


def without_checksum(content):
    head, _, rows = content.partition(b"\n")
    settings = json.loads(head[2:])
    rest = {k: v for k, v in settings.items() if k not in ("rows", "crc32")}
    return b"# " + json.dumps(rest).encode() + b"\n" + rows


def test_rows_and_checksum_stand_in_the_first_line(written):
    head = json.loads(written[1].partition(b"\n")[0][2:])
    assert head["rows"] == 24 and len(head["crc32"]) == 8


def test_damage_anywhere_is_refused_or_harmless(written, tmp_path):
    expected, content = written
    path, rng, refused, said = tmp_path / "pgd.csv", np.random.default_rng(0), 0, []
    digits = [i for i, c in enumerate(content) if chr(c).isdigit()]
    mutations = [content[:end] for end in rng.integers(0, len(content), 25).tolist()]
    for i, place in enumerate(rng.choice(digits, 25).tolist()):
        mutations.append(content[:place] + b"%d" % ((content[place] - 48 + 1 + i % 9) % 10) + content[place + 1 :])
    for place in rng.integers(0, 8 * len(content), 25).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        mutations.append(bytes(changed))
    lines = content.splitlines(keepends=True)
    mutations += [b"".join(lines[:i] + lines[i + 1 :]) for i in range(0, len(lines), 6)]
    mutations += [content + lines[-1], b"", content.replace(b"\n", b"\r\n")]
    for mutation in mutations:
        path.write_bytes(mutation)
        try:
            found = curve(path)
        except ValueError as error:
            refused += 1
            said.append(str(error))
        else:
            pd.testing.assert_frame_equal(found.images, expected.images)
    assert refused >= len(mutations) - 1
    assert all(str(path) in text and ("measure again" in text or "delete it" in text) for text in said)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(",1,0\n", ",1,\n", "blank cells"), (",1,0\n", ",2,0\n", "other than 0 and 1"),
     ("clean", "clear", "no column 'clean'"), (",1,", ",one,", "no numbers")],
)  # fmt: skip
def test_cells_of_files_without_a_checksum_are_looked_at(written, tmp_path, old, new, message):
    content = without_checksum(written[1])
    (tmp_path / "older.csv").write_bytes(content)
    assert curve(tmp_path / "older.csv").images.equals(written[0].images)
    head, _, rows = content.decode().partition("\n")
    assert old in rows
    (tmp_path / "older.csv").write_text(f"{head}\n{rows.replace(old, new)}")
    with pytest.raises(ValueError, match=rf"older.csv is damaged: .*({message}).*; remove it and measure again"):
        curve(tmp_path / "older.csv")


def test_a_folder_in_place_of_results(tmp_path):
    (tmp_path / "pgd.csv").mkdir()
    with pytest.raises(OSError, match=r"pgd.csv is a folder"):
        curve(tmp_path / "pgd.csv")


@pytest.mark.parametrize("change", ["mirrored", "upside down", "channels", "one pixel"])
def test_other_images_of_the_same_mean_are_noticed(tmp_path, change):
    curve(tmp_path / "pgd.csv")
    images, last = IMAGES.clone(), slice(16, None)  # of the first ones the logits are compared, too
    if change == "one pixel":
        images[20, 0, 1, 1], images[20, 0, 1, 2] = IMAGES[20, 0, 1, 2], IMAGES[20, 0, 1, 1]
    else:
        images[last] = IMAGES[last].flip({"mirrored": 3, "upside down": 2, "channels": 1}[change])
    torch.testing.assert_close(images.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)))
    with pytest.raises(ValueError, match="holds results of other images or labels"):
        curve(tmp_path / "pgd.csv", images)


def test_rounding_of_another_machine_is_let_pass(tmp_path):
    before = curve(tmp_path / "pgd.csv")
    noise = 1e-7 * torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(2))
    after = curve(tmp_path / "pgd.csv", (IMAGES + noise).clamp(0, 1))
    pd.testing.assert_frame_equal(after.table(), before.table())


def test_infinite_distances_and_settings_with_nan_come_back(tmp_path):
    table = pd.DataFrame({"stimulus": [3], "label": [0], "clean": [1], "pgd distance": [np.inf]})
    write_results(tmp_path / "a.csv", table, {"eps": [float("nan")]})
    found = read_results(tmp_path / "a.csv", {"eps": [float("nan")]}, distances=("pgd distance",))
    pd.testing.assert_frame_equal(found, table)
    with pytest.raises(ValueError, match="another model, other perturbations or other settings"):
        read_results(tmp_path / "a.csv", {"eps": [1.0]}, distances=("pgd distance",))
