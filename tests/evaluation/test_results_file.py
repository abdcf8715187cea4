"""Files that a measurement goes on from: damage, other images and other settings are errors, never other accuracies."""

import errno
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import PGD, robustness_curve
from neuroalign.checksums import crc32
from neuroalign.evaluation.results_file import ResultsFile


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


def lines_of(content):
    """The settings, the rows under the names of the columns, and the places of the lines that close a batch."""
    head, *rest = content.splitlines(keepends=True)
    closing = [i for i, line in enumerate(rest) if line.startswith(b"# ")]
    return json.loads(head[2:]), b"".join(line for i, line in enumerate(rest) if i not in closing), closing


def of_an_earlier_version(content, *, checksum):
    settings, rows, _ = lines_of(content)
    settings.pop("format")
    settings |= {"rows": rows.count(b"\n") - 1, "crc32": f"{crc32(rows):08x}"} if checksum else {}
    return b"# " + json.dumps(settings).encode() + b"\n" + rows


def test_each_batch_is_closed_by_its_number_of_rows_and_a_checksum(written):
    settings, rows, closing = lines_of(written[1])
    assert settings["format"] == 2 and rows.count(b"\n") == 25
    assert closing == [9, 18, 27]  # 24 images in batches of 8, under a line of names
    assert pd.read_csv(io.BytesIO(written[1]), comment="#")["stimulus"].tolist() == list(range(24))


def test_damage_anywhere_is_refused_or_harmless(written, tmp_path):
    expected, content = written
    path, rng, refused, said = tmp_path / "pgd.csv", np.random.default_rng(0), 0, []
    digits = [i for i, c in enumerate(content) if chr(c).isdigit()]
    mutations = []
    for i, place in enumerate(rng.choice(digits, 25).tolist()):
        mutations.append(content[:place] + b"%d" % ((content[place] - 48 + 1 + i % 9) % 10) + content[place + 1 :])
    for place in rng.integers(0, 8 * len(content), 25).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        mutations.append(bytes(changed))
    lines = content.splitlines(keepends=True)
    mutations += [b"".join(lines[:i] + lines[i + 1 :]) for i in range(0, len(lines), 6)]
    mutations += [content + lines[-1], b"", content.replace(b"\n", b"\r\n")]
    batch = slice(11, 20)  # the second of three: left out, and twice
    mutations += [b"".join(lines[:11] + lines[20:]), b"".join(lines[:20] + lines[batch] + lines[20:])]
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


def test_a_file_cut_anywhere_is_gone_on_from_where_its_batches_are_whole(written, tmp_path, monkeypatch):
    expected, content = written
    path, attacked = tmp_path / "pgd.csv", []
    search = PGD.search

    def noticing(self, classifier, images, labels, eps, index, start=None):
        attacked.extend(index.tolist())
        return search(self, classifier, images, labels, eps, index, start)

    monkeypatch.setattr(PGD, "search", noticing)
    lines = content.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])[[10, 19, 28]].tolist()  # of the three batches
    for end in [ends[0], ends[1], ends[2] - 1, *np.random.default_rng(0).integers(ends[0], ends[2], 12).tolist()]:
        for rest in (b"", bytes(40)):  # after a loss of power a file may end in zeros
            path.write_bytes(content[:end] + rest)
            attacked.clear()
            pd.testing.assert_frame_equal(curve(path).images, expected.images)
            assert set(attacked) == set(range(8 if end < ends[1] else 16, 24))
            assert path.read_bytes() == content, "what the killed process was writing is gone"
    # A first batch is written whole or not at all.
    for end in np.random.default_rng(1).integers(0, ends[0], 8).tolist():
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"is damaged: .*; remove it and measure again"):
            curve(path)


def test_a_kill_between_any_two_bytes_leaves_a_file_to_go_on_from(tmp_path):
    """Rows of two batches, the second cut everywhere: never a part of a batch, never an error."""
    first, second = (pd.DataFrame({"stimulus": [i, i + 1], "label": 3, "clean": [1, 0]}) for i in (0, 10))
    path, settings = tmp_path / "a.csv", {"seed": 0}
    file = ResultsFile(path, settings)
    file.add([first])
    before = path.read_bytes()
    file.add([first, second])
    content = path.read_bytes()
    assert content.startswith(before)
    for end in range(len(before), len(content)):
        path.write_bytes(content[:end])
        resumed = ResultsFile(path, settings)
        pd.testing.assert_frame_equal(resumed.read(), first)
        assert path.read_bytes() == content[:end], "reading changes nothing"
        resumed.add([first, second])
        assert path.read_bytes() == content


def test_bytes_written_grow_with_the_number_of_batches_not_its_square(tmp_path, monkeypatch):
    count, open_ = [0], Path.open

    class Counting:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            count[0] += len(content)
            return self.file.write(content)

    def counted(self, content):
        count[0] += len(content)
        with open_(self, "wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", counted)
    monkeypatch.setattr(Path, "open", lambda self, mode="r", **kw: Counting(open_(self, mode, **kw)))
    written = {}
    for num_batches in (25, 50, 100):
        path, tables = tmp_path / f"{num_batches}.csv", []
        file, count[0] = ResultsFile(path, {"seed": 0}), 0
        for i in range(num_batches):
            tables.append(pd.DataFrame({"stimulus": [1000 + 2 * i, 1001 + 2 * i], "label": 3, "clean": 1}))
            file.add(tables)
        assert count[0] == path.stat().st_size, "each byte is written once"
        written[num_batches] = count[0]
    assert written[100] - written[50] == pytest.approx(2 * (written[50] - written[25]), rel=0.01)


def test_rows_are_those_that_pandas_writes(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "stimulus": rng.integers(0, 2**62, 50),
            "clean": rng.integers(0, 2, 50).astype(np.int8),
            "margin, mean": rng.standard_normal(50) * 10.0 ** rng.integers(-300, 300, 50),
            "pgd distance": np.where(rng.random(50) < 0.5, np.inf, rng.random(50)),
        }
    )
    file = ResultsFile(tmp_path / "a.csv", {})
    file.add([table[:20]])
    file.add([table[:20], table[20:]])
    rows = [line for line in (tmp_path / "a.csv").read_text().splitlines(keepends=True) if not line.startswith("#")]
    assert "".join(rows) == table.to_csv(index=False, lineterminator="\n")


def test_columns_that_an_earlier_version_did_not_write_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    old = pd.DataFrame({"stimulus": [0, 1], "label": 3, "clean": 1})
    ResultsFile(path, {}).add([old])
    file = ResultsFile(path, {})
    file.add([file.read(), old.assign(stimulus=[2, 3], pixel_code=0.5)])
    found = ResultsFile(path, {}).read()
    assert found["stimulus"].tolist() == [0, 1, 2, 3] and "pixel_code" not in found


def test_a_file_that_another_process_changed_is_written_whole(tmp_path):
    tables = [pd.DataFrame({"stimulus": [i], "label": 3, "clean": 1}) for i in range(3)]
    mine, other = (ResultsFile(tmp_path / "a.csv", {"seed": 0}) for _ in range(2))
    mine.add(tables[:1])
    other.add([tables[2]])
    other.add([tables[2], tables[1]])
    mine.add(tables[:2])
    assert mine.read()["stimulus"].tolist() == [0, 1]
    (tmp_path / "a.csv").unlink()
    mine.add(tables)
    assert ResultsFile(tmp_path / "a.csv", {"seed": 0}).read()["stimulus"].tolist() == [0, 1, 2]


def test_a_full_disk_leaves_the_earlier_batches(tmp_path, monkeypatch):
    tables = [pd.DataFrame({"stimulus": [i], "label": 3, "clean": 1}) for i in range(2)]
    file = ResultsFile(tmp_path / "a.csv", {"seed": 0})
    file.add(tables[:1])
    before, open_ = (tmp_path / "a.csv").read_bytes(), Path.open

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, content):
            with open_(tmp_path / "a.csv", "ab") as there:
                there.write(content[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

        truncate = seek = lambda self, place: None

    monkeypatch.setattr(Path, "open", lambda *args, **kw: Full())
    with pytest.raises(OSError, match=r"no space left while writing .*a.csv; earlier batches are kept"):
        file.add(tables)
    monkeypatch.setattr(Path, "open", open_)
    assert (tmp_path / "a.csv").read_bytes() == before
    file.add(tables)
    assert file.read()["stimulus"].tolist() == [0, 1]


@pytest.mark.parametrize("checksum", [True, False], ids=["checksum in the first line", "no checksum"])
def test_a_file_of_an_earlier_version_is_gone_on_from(written, tmp_path, checksum):
    expected, content = written
    path = tmp_path / "older.csv"
    head, *lines = of_an_earlier_version(content, checksum=False).splitlines(keepends=True)
    begun = b"".join([head, *lines[:17]])  # two batches
    if checksum:
        rows = b"".join(lines[:17])
        settings = json.loads(head[2:]) | {"rows": 16, "crc32": f"{crc32(rows):08x}"}
        begun = b"# " + json.dumps(settings).encode() + b"\n" + rows
    path.write_bytes(begun)
    pd.testing.assert_frame_equal(curve(path).images, expected.images)
    assert lines_of(path.read_bytes())[0]["format"] == 2
    pd.testing.assert_frame_equal(curve(path).images, expected.images)


def test_the_checksum_of_a_file_of_an_earlier_version_is_compared(written, tmp_path):
    content = of_an_earlier_version(written[1], checksum=True)
    (tmp_path / "older.csv").write_bytes(content)
    pd.testing.assert_frame_equal(curve(tmp_path / "older.csv").images, written[0].images)
    (tmp_path / "older.csv").write_bytes(content[:-2] + b"1\n" if content[-2:] == b"0\n" else content[:-2] + b"0\n")
    with pytest.raises(ValueError, match=r"checksum.*; remove it and measure again"):
        curve(tmp_path / "older.csv")


def test_a_later_format_is_refused(written, tmp_path):
    (tmp_path / "pgd.csv").write_bytes(written[1].replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(ValueError, match="the format of another version of neuroalign: delete it"):
        curve(tmp_path / "pgd.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(",1,0\n", ",1,\n", "blank cells"), (",1,0\n", ",2,0\n", "other than 0 and 1"),
     ("clean", "clear", "no column 'clean'"), (",1,", ",one,", "not numbers")],
)  # fmt: skip
def test_cells_of_files_without_a_checksum_are_looked_at(written, tmp_path, old, new, message):
    content = of_an_earlier_version(written[1], checksum=False)
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
    ResultsFile(tmp_path / "a.csv", {"eps": [float("nan")]}).add([table])
    found = ResultsFile(tmp_path / "a.csv", {"eps": [float("nan")]}, ("pgd distance",)).read()
    pd.testing.assert_frame_equal(found, table)
    with pytest.raises(ValueError, match="another model, other perturbations or other settings"):
        ResultsFile(tmp_path / "a.csv", {"eps": [1.0]}, ("pgd distance",)).read()
