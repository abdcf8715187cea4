"""To and from xarray and NetCDF."""

import dataclasses
import sys

import numpy as np
import pytest

xarray = pytest.importorskip("xarray", reason="xarray (the extra 'xarray') is not installed")

from neuroalign.data import Responses  # noqa: E402


@pytest.fixture
def responses():
    rng = np.random.default_rng(0)
    return Responses.from_arrays(
        rng.standard_normal((6, 4)),
        stimulus=[0, 0, 1, 1, 2, 2],
        session=[1, 2, 1, 2, 1, 2],
        roi=["V1", "V1", "V4", "V4"],
        noise_ceiling=[0.1, 0.2, 0.3, 0.4],
        shared=[True, True, False, False, False, False],
        info={"dataset": "test", "stimulus_id": ["car", "face", "house"]},
    ).zscore_sessions()


def test_there_and_back(responses, tmp_path):
    pytest.importorskip("h5netcdf", reason="h5netcdf (the extra 'xarray') is not installed")
    responses = dataclasses.replace(
        responses,
        behaviour={"reaction_time": np.arange(6, dtype=np.float32)},
        maps={"R2": np.arange(4, dtype=np.float32)},
    )
    assembly = responses.to_xarray()
    assert assembly.coords["stimulus_id"].values.tolist() == ["car", "car", "face", "face", "house", "house"]
    assembly.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with xarray.open_dataarray(tmp_path / "a.nc", engine="h5netcdf") as stored:
        for again in (Responses.from_xarray(assembly), Responses.from_xarray(stored.load())):
            for name in ("values", "stimulus", "session", "roi", "noise_ceiling", "shared"):
                np.testing.assert_array_equal(getattr(again, name), getattr(responses, name))
            np.testing.assert_array_equal(again.behaviour["reaction_time"], responses.behaviour["reaction_time"])
            np.testing.assert_array_equal(again.maps["R2"], responses.maps["R2"])
            assert again.info == responses.info and again.history == responses.history
            with pytest.raises(ValueError, match="z-scored within sessions already"):
                again.zscore_sessions()


def test_an_assembly_as_others_write_it(responses):
    """A time bin, neuroids first, ids in words, levels of an index."""
    data = np.random.default_rng(1).standard_normal((4, 6, 1))
    assembly = xarray.DataArray(
        data,
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "stimulus_id": ("presentation", ["b", "a", "b", "a", "c", "c"]),
            "repetition": ("presentation", [0, 0, 1, 1, 0, 1]),
            "region": ("neuroid", ["IT"] * 4),
            "neuroid_id": ("neuroid", [f"n{i}" for i in range(4)]),
        },
    ).set_index(presentation=["stimulus_id", "repetition"], neuroid=["neuroid_id", "region"])
    r = Responses.from_xarray(assembly)
    assert r.stimulus.tolist() == [1, 0, 1, 0, 2, 2] and r.info["stimulus_id"] == ["a", "b", "c"]
    np.testing.assert_allclose(r.values, data[:, :, 0].T, rtol=1e-6)
    assert set(r.roi) == {"IT"}


def test_numbers_stay_numbers():
    assembly = xarray.DataArray(
        np.zeros((3, 2)), dims=("presentation", "neuroid"), coords={"stimulus_id": ("presentation", [46002, 7, 7])}
    )
    assert Responses.from_xarray(assembly).stimulus.tolist() == [46002, 7, 7]


def test_what_is_no_assembly(monkeypatch):
    with pytest.raises(TypeError, match=r"takes an xarray.DataArray; got ndarray"):
        Responses.from_xarray(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="has the axes presentation and neuroid; got"):
        Responses.from_xarray(xarray.DataArray(np.zeros((2, 2, 3)), dims=("presentation", "neuroid", "time_bin")))
    with pytest.raises(ValueError, match="has no stimulus_id"):
        Responses.from_xarray(xarray.DataArray(np.zeros((2, 2)), dims=("presentation", "neuroid")))
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'neuroalign\[xarray\]'"):
        Responses.from_arrays(np.zeros((2, 2))).to_xarray()


def assembly_of(ids, **coords):
    return xarray.DataArray(
        np.arange(6.0).reshape(3, 2),
        dims=("presentation", "neuroid"),
        coords={"stimulus_id": ("presentation", ids), **coords},
    )


@pytest.mark.parametrize("ids", [np.array([4.0, 7.0, 4.0]), np.array([4, 7, 4], dtype=object)])
def test_whole_numbers_of_any_type_are_numbers(ids):
    r = Responses.from_xarray(assembly_of(ids))
    assert r.stimulus.tolist() == [4, 7, 4] and "stimulus_id" not in r.info


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array(["a", None, "b"], dtype=object), r"stimulus_id of row 1 \(from 0\) is (None|nan)"),
        (np.array(["a", np.nan, "b"], dtype=object), r"stimulus_id of row 1 \(from 0\) is nan"),
        (np.array(["a", "", "b"]), r"stimulus_id of row 1 \(from 0\) is ''"),
        (np.array([1.0, np.nan, 2.0]), r"stimulus_id must be whole numbers; that of row 1 \(from 0\) is missing"),
        (np.array([1.0, 1.5, 2.0]), r"that of row 1 \(from 0\) is 1.5"),
    ],
)
def test_ids_with_a_gap(ids, message):
    with pytest.raises(ValueError, match=message):
        Responses.from_xarray(assembly_of(ids))


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ({"session": ("presentation", ["s1", "s1", "s2"])}, r"session must be whole numbers; got text, such as 's1'"),
        (
            {"session": ("presentation", [1, np.nan, 2])},
            r"session must be whole numbers; that of row 1 \(from 0\) is missing",
        ),
        ({"repetitions": ("presentation", [1, 0, 1])}, "repeats count the trials of a row, at least 1; row 1 has 0"),
        ({"noise_ceiling": ("neuroid", [0.5, 55.0])}, r"that of voxel 1 is 55 \(divide per cent by 100"),
        ({"shared": ("presentation", ["True", "False", "True"])}, "shared must be true or false"),
        ({"region": ("neuroid", np.array(["V4", np.nan], dtype=object))}, r"roi of voxel 1 \(from 0\) is missing"),
    ],
)
def test_coordinates_that_mean_nothing(coords, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Responses.from_xarray(assembly_of([1, 2, 3], **coords))


def test_complex_values():
    with pytest.raises(TypeError, match="must be real numbers, NaN where missing; got complex numbers"):
        Responses.from_xarray(1j * assembly_of([1, 2, 3]))
