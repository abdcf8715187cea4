"""Tables as they come: each is read as its writer meant it, or refused by a sentence that names the file and the place."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.data import Responses, read_recording
from neuroalign.data.tables import read_table

PLAIN = b"stimulus,v1,v2\n4,1.5,2.5\n4,3,4\n7,5,6\n"
VALUES, STIMULI = [[1.5, 2.5], [3, 4], [5, 6]], [4, 4, 7]
TEXT = PLAIN.decode()


def read(tmp_path, content, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_recording(path, **options)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PLAIN, "t.csv"),
        (PLAIN, "T.CSV"),
        (TEXT.encode("utf-8-sig"), "bom.csv"),
        (TEXT.encode("utf-16"), "utf16.csv"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "big_endian.csv"),
        (TEXT.encode("utf-32"), "utf32.csv"),
        (TEXT.replace("\n", "\r\n"), "dos.csv"),
        (TEXT.replace("\n", "\r"), "mac.csv"),
        (TEXT.replace("\n", "\n\n"), "blank_lines.csv"),
        (TEXT.replace(",", "\t"), "tabs.tsv"),
        (TEXT.replace(",", "\t"), "tabs.csv"),
        (PLAIN, "commas.tsv"),
        (TEXT.replace(",", ";").replace(".", ","), "semicolons.csv"),
        (TEXT.replace(",", ";"), "semicolons_and_points.csv"),
        (TEXT.replace(",", ", "), "spaces.csv"),
        (TEXT.replace("stimulus", "Stimulus "), "capital.csv"),
        (TEXT.replace("stimulus", '"stimulus"').replace("1.5", '"1.5"'), "quoted.csv"),
        (TEXT.replace("4,", "4.0,").replace("7,", "7.0,"), "whole_floats.csv"),
        ("v1,stimulus,v2\n1.5,4,2.5\n3,4,4\n5,7,6\n", "in_the_middle.csv"),
        ("stimulus,10432,10433\n4,1.5,2.5\n4,3,4\n7,5,6\n", "voxels_by_number.csv"),
        ("stimulus,v1,v1\n4,1.5,2.5\n4,3,4\n7,5,6\n", "one_name_twice.csv"),
    ],
)
def test_read_as_it_was_meant(tmp_path, content, name):
    r = read(tmp_path, content, name)
    np.testing.assert_array_equal(r.values, np.float32(VALUES))
    assert r.stimulus.tolist() == STIMULI


@pytest.mark.parametrize("write", [
    lambda table, path: table.to_csv(path),
    lambda table, path: (table.to_csv(path), pd.read_csv(path).to_csv(path)),  # a second one, "Unnamed: 0"
    lambda table, path: table.set_axis(range(1, len(table) + 1)).to_csv(path),  # as R counts
])  # fmt: skip
@pytest.mark.parametrize("columns", [["v1", "v2"], [0, 1]])
def test_the_index_of_to_csv_is_no_voxel(tmp_path, write, columns):
    write(pd.DataFrame(VALUES, columns=columns), tmp_path / "t.csv")
    with pytest.warns(
        UserWarning, match=r"t\.csv: its first column has no name and counts the rows.*index=False"
    ) as caught:
        r = read_recording(tmp_path / "t.csv")
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(r.values, np.float32(VALUES))


def test_missing_values_stay_missing(tmp_path):
    r = read(tmp_path, "v1,v2\n1,\n,4\n5,NA\n7,nan\n")
    np.testing.assert_array_equal(r.values, np.float32([[1, np.nan], [np.nan, 4], [5, np.nan], [7, np.nan]]))


def test_names_of_images_are_numbered_and_kept(tmp_path):
    content = "stimulus,v1,v2\ncat.png,1.5,2.5\ncar.png,3,4\ncat.png,5,6\n"
    r = read(tmp_path, content)
    assert r.stimulus.tolist() == [1, 0, 1] and r.info["stimulus_id"] == ["car.png", "cat.png"]
    average = r.average_repeats()
    np.testing.assert_array_equal(average.values, [[3, 4], [3.25, 4.25]])
    average.save(tmp_path / "r.h5")
    again = Responses.load(tmp_path / "r.h5")
    assert [again.info["stimulus_id"][i] for i in again.stimulus] == ["car.png", "cat.png"]
    assert again.split(["cat.png"])[1].values.tolist() == [[3.25, 4.25]]
    np.save(tmp_path / "a.npy", np.float32(VALUES))
    given = read_recording(tmp_path / "a.npy", stimulus=["cat.png", "car.png", "cat.png"])
    assert given.stimulus.tolist() == [1, 0, 1] and given.info["stimulus_id"] == ["car.png", "cat.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("stimulus,v1\n", "holds nothing below its first row"),
        ("0.5,1.5\n2,3\n", r"the first row, 0\.5, 1\.5, \.\.\., should name the columns, but holds numbers"),
        ("3,5\n2,3\n", "should name the columns"),
        ("stimulus,0.5\n2,3\n", "should name the columns"),
        ("cat.png,1,2\ndog.png,3,4\n", r"columns \['cat.png'\] are not numbers"),
        ("stimulus,v1\n1,2\n,4\n", r"stimulus must be whole numbers; that of row 1 \(from 0\) is missing"),
        ("stimulus,v1\n1,2\n1.5,4\n", r"row 1 \(from 0\) is 1.5"),
        ("stimulus,v1\n0.2,2\n0.7,4\n", r"row 0 \(from 0\) is 0.2"),
        ("stimulus,v1\na,2\n,4\n", r"stimulus of row 1 \(from 0\) is nan, where others have a name"),
        (f"stimulus,v1\n1,2\n{2**63},4\n", r"row 1 \(from 0\) is 9223372036854775808"),
        ("stimulus,session,v1\n1,1.5,2\n", r"session must be whole numbers; that of row 0"),
        ("stimulus,session,v1\n1,ses-01,2\n", r"session must be whole numbers; got text, such as 'ses-01' \(number them"),
        ("stimulus,stimulus,v1\n1,2,3\n", "2 columns 'stimulus'"),
        ("stimulus,Stimulus,v1\n1,2,3\n", "2 columns 'stimulus'"),
        ("v1,v2\n1,2\n3\n", r"line 3 has 1 cells, where others have 2: was it cut\?"),
        ("v1,v2\n1,2\n\n3\n", "line 4 has 1 cells"),
        ("v1,v2\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("v1,v2\n1,2,3\n3,4,5\n", "the first row has 2 names, but the second 3 cells"),
        ("v1,v2\n1,2,\n3,4,\n", "the first row has 2 names, but the second 3 cells"),
        ("v1,v2,\n1,2,\n3,4,\n", "column 3 has no name"),
        (",v1\n46002,2\n7,4\n", "column 1 has no name.*is named 'stimulus'"),
        (",v1\ncat.png,2\ndog.png,4\n", "column 1 has no name"),
        ("v1,v2\n1,2\n3,4x\n", r"columns \['v2'\] are not numbers; .*row 1 \(from 0\) of it holds '4x'"),
        ("v1,v2\n1,2\n3,1+2j\n", r"holds '1\+2j'"),
        ('v1,v2\n1,2\n3,"1,5"\n', r"holds '1,5'; numbers are written like 1\.5"),
        ("v1;v2\n1;1.234,5\n2;3,5\n", r"holds '1\.234,5'"),
        ("v1,v2\n1,2\n3,-1e300\n", r"has infinite values .*the first at \(1, 1\)\), or such that float32 can't hold"),
        ("v1,v2\n1,2\n3,1e999\n", r"has infinite values .*the first at \(1, 1\)"),
        ("v1,v2\n,\n,\n", "every value is NaN: nothing was recorded"),
        ("stimulus\n1\n2\n", r"has no column of a voxel; it has \['stimulus'\]"),
        ("trial,v1\n1,2\n2,3\n", r"columns \['trial'\] describe the rows, and would be read as voxels"),
        ("stimulus_id,v1\n1,2\n2,3\n", r"columns \['stimulus_id'\] describe the rows.*'stimulus'"),
        ('v1,v2\n1,"2\n3,4\n', "can't be read as a table"),
        ("naïve,v1\n1,2\n".encode("latin-1"), "is no UTF-8 text"),
        (TEXT.encode("utf-16-le"), "is no text .*UTF-16 without its mark"),
        (b"PK\x03\x04\x00\x00rest of a spreadsheet", "is no text .is it a spreadsheet"),
        (b"\x1f\x8b\x08abc\xff", "is no UTF-8 text"),
    ],
)  # fmt: skip
def test_refused_by_name_and_place(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "t.csv") in str(caught.value)


def test_rows_that_are_no_stimuli(tmp_path):
    with pytest.raises(
        ValueError, match="of a table the rows are stimuli and the columns voxels; got axes='voxel stimulus'"
    ):
        read(tmp_path, PLAIN, axes="voxel stimulus")
    with pytest.raises(ValueError, match="some stimulus has several rows, so they are no averages"):
        read(tmp_path, PLAIN, averaged=True)
    assert len(read(tmp_path, PLAIN.replace(b"4,3", b"5,3"), averaged=True)) == 3


def test_cells_over_several_lines_and_folders(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('name,v1,v2\n"a\nb",1,\nc,2,3\n')
    assert read_table(path)["v1"].tolist() == [1, 2]
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no file .*d\.csv"):
        read_recording(tmp_path / "d.csv")


def test_a_wide_table_of_several_kinds_is_what_numpy_reads(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 30)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 4] = np.arange(40)
    pd.DataFrame(values, columns=[f"v{i}" for i in range(30)]).to_csv(tmp_path / "t.csv", index=False)
    expected = np.genfromtxt(tmp_path / "t.csv", delimiter=",", skip_header=1, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(read_recording(tmp_path / "t.csv").values, expected)


def test_identities_with_leading_zeros_are_names(tmp_path):
    """As numbers, "001" and "1" would be one image."""
    (tmp_path / "a.csv").write_text("stimulus,v1\n001,1\n1,2\n01,3\n")
    found = read_recording(tmp_path / "a.csv")
    assert found.info["stimulus_id"] == ["001", "01", "1"] and found.stimulus.tolist() == [0, 2, 1]
    for text, expected in (("3", 3), ("0", 0), ("10", 10), (" 7 ", 7)):
        (tmp_path / "b.csv").write_text(f"stimulus;v1\n{text};1,5\n{text};2,5\n")
        assert read_recording(tmp_path / "b.csv").stimulus.tolist() == [expected] * 2
