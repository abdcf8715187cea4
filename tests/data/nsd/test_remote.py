"""NSD behind a URL: an object store on the loopback, with broken connections and closed doors."""

import json
import logging

import h5py
import numpy as np
import pytest

pytest.importorskip("moto", reason="moto (of the extra 'tests') serves the bucket")
pytest.importorskip("s3fs", reason="s3fs (of the extra 'cloud') is not installed")

from neuroalign.data import NSDDataModule, NSDError, NSDImages, Responses, extract_nsd, open_nsd, read_nsd
from neuroalign.data.nsd import NSDPaths
from neuroalign.data.nsd.remote import RemoteTree
from tests.data.nsd.object_store import BUCKET, object_store
from tests.data.nsd.tree_writer import write_tree

URL = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    logging.getLogger("werkzeug").setLevel("ERROR")
    tree = write_tree(tmp_path_factory.mktemp("remote") / "tree", subjects=(2,))
    with object_store(tree.root) as (endpoint, faults, client):
        yield tree, endpoint, faults, client


@pytest.fixture
def remote(store, tmp_path):
    """Options of access to the store, whose faults are off at the start."""
    _, endpoint, faults, _ = store
    faults.cut = faults.deny = None
    faults.sent = 0
    return {
        "accept_terms": True,
        "download_folder": tmp_path / "cache",
        "confirm": True,
        "storage_options": {"anon": True, "client_kwargs": {"endpoint_url": endpoint}},
    }


def test_the_terms_come_first():
    for url in (URL, "https://example.org/nsd"):
        with pytest.raises(PermissionError, match=r"Data Access Agreement .* accept_terms=True \(--accept-terms\)"):
            read_nsd(url, 1, roi="V1")


@pytest.mark.parametrize("transfer", ["voxels", "files"])
def test_the_same_as_from_a_folder(store, remote, transfer):
    local = read_nsd(store[0].root, 2, roi=["V1", "streams:ventral"], maps=["ncsnr"])
    r = read_nsd(URL, 2, roi=["V1", "streams:ventral"], transfer=transfer, **remote)
    np.testing.assert_array_equal(r.values, local.values)
    np.testing.assert_array_equal(r.noise_ceiling, local.noise_ceiling)
    assert set(r.behaviour) == set(local.behaviour) and r.info["root"] == URL
    betas = list(remote["download_folder"].rglob("betas_session*"))
    assert len(betas) == (3 if transfer == "files" else 0)


def test_a_server_without_listings(store, remote):
    """Plain http, as https://natural-scenes-dataset.s3.amazonaws.com is read."""
    url = f"{store[1]}/{BUCKET}"
    r = read_nsd(url, 2, roi="V1", accept_terms=True, confirm=True, download_folder=remote["download_folder"])
    np.testing.assert_array_equal(r.values, read_nsd(store[0].root, 2, roi="V1").values)


def test_sizes_are_shown_and_confirmed_first(store, remote):
    questions = []

    def ask(question):
        questions.append(question)
        return True

    read_nsd(URL, 2, roi="V1", **{**remote, "confirm": ask})
    assert len(questions) == 2
    assert (
        questions[0].startswith("Fetch 9 region, design and behaviour files, ")
        and str(remote["download_folder"]) in questions[0]
    )
    assert questions[1] == f"Read 16 voxels from 3 files, 72 kB and the files' indices, at {URL}?"
    with pytest.raises(NSDError, match="Declined; nothing was transferred"):
        read_nsd(
            URL,
            2,
            roi="V1",
            **{**remote, "confirm": lambda q: False, "download_folder": remote["download_folder"] / "other"},
        )
    with pytest.raises(NSDError, match=r"Nothing was transferred: confirm with confirm=True \(--yes\)"):
        read_nsd(
            URL, 2, roi="V1", **{**remote, "confirm": None, "download_folder": remote["download_folder"] / "other"}
        )
    assert not list((remote["download_folder"] / "other").rglob("*.nii.gz"))


def test_nothing_is_fetched_twice(store, remote):
    faults = store[2]
    read_nsd(URL, 2, roi="V1", transfer="files", **remote)
    first = faults.sent
    assert first > 4e6
    read_nsd(URL, 2, roi="V1", transfer="files", **remote)
    assert faults.sent - first < 10_000, "only listings"
    records = json.loads((remote["download_folder"] / "transfers.json").read_text())
    name = "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5"
    assert records[name]["size"] == (store[0].root / name).stat().st_size and len(records[name]["sha256"]) == 64


def test_only_the_wanted_voxels_cross_the_network(store, remote, tmp_path):
    """A file of 40 MB, of which 20 voxels are read: their chunks and a share of the index."""
    _, _, faults, client = store
    path = tmp_path / "large.hdf5"
    shape = (750, 30, 30, 30)
    with h5py.File(path, "w") as f:
        f.create_dataset(
            "betas", data=np.random.default_rng(0).integers(-999, 999, shape, "int16"), chunks=(750, 1, 1, 1)
        )
    client.put_object(Bucket=BUCKET, Key="nsddata/large.hdf5", Body=path.read_bytes(), ACL="public-read")
    tree = open_nsd(URL, **remote)
    faults.sent = 0
    places = np.random.default_rng(1).integers(0, 30, (20, 3))
    values = tree.columns(tree.root / "nsddata/large.hdf5", "betas", places, check=lambda shape, dtype: None)
    with h5py.File(path) as f:
        np.testing.assert_array_equal(values, np.stack([f["betas"][:, z, y, x] for z, y, x in places], 1))
    assert faults.sent < 0.15 * path.stat().st_size
    assert tree.transferred == pytest.approx(faults.sent, rel=0.05)


def test_broken_connections(store, remote, monkeypatch):
    """Each is tried again after a longer wait, and a file goes on where it was."""
    tree, _, faults, _ = store
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    local = read_nsd(tree.root, 2, roi="V1")
    for transfer in ("files", "voxels"):
        faults.cut = (r"session02\.hdf5", 3)
        options = {**remote, "download_folder": remote["download_folder"] / transfer}
        r = read_nsd(URL, 2, roi="V1", transfer=transfer, **options)
        np.testing.assert_array_equal(r.values, local.values)
        assert faults.cut[1] == 0


def test_resumed_after_a_break(store, remote, monkeypatch):
    tree = store[0]
    monkeypatch.setattr("neuroalign.data.nsd.remote.BLOCK", 200_000)
    path = "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session01.hdf5"
    options = {
        **remote,
        "storage_options": {**remote["storage_options"], "config_kwargs": {"retries": {"max_attempts": 1}}},
    }
    broken = RemoteTree(URL, retries=0, **options)
    blocks = []
    block = RemoteTree._block

    def breaks(self, remote, start, end):
        if len(blocks) == 4:
            raise ConnectionError("gone")
        blocks.append(start)
        return block(self, remote, start, end)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteTree, "_block", breaks)
        with pytest.raises(NSDError, match=r"can't be fetched after 1 tries .* What arrived is kept"):
            broken.fetch([broken.root / path])
    assert not (broken.root / path).exists()
    starts = []
    monkeypatch.setattr(RemoteTree, "_block", lambda self, r, a, b: starts.append(a) or block(self, r, a, b))
    fresh = RemoteTree(URL, **options)
    fresh.fetch([fresh.root / path])
    assert starts[0] == 4 * 200_000, "the first four blocks are not fetched again"
    assert (fresh.root / path).read_bytes() == (tree.root / path).read_bytes()
    assert not list(fresh.root.rglob("*.part"))


def test_closed_doors(store, remote):
    store[2].deny = r"session03\.hdf5"
    with pytest.raises(PermissionError, match=r"betas_session03.hdf5: access denied \(403\). The file may be withheld"):
        read_nsd(URL, 2, roi="V1", **remote)
    read_nsd(URL, 2, roi="V1", sessions=[1, 2], **remote)


def test_a_damaged_arrival_is_refused(store, remote, monkeypatch):
    block = RemoteTree._block
    monkeypatch.setattr(RemoteTree, "_block", lambda self, r, a, b: block(self, r, a, b)[::-1])
    tree = open_nsd(URL, **remote)
    with pytest.raises(NSDError, match="arrived damaged"):
        tree.fetch([NSDPaths(tree.root, 2).roi("streams")])
    assert not NSDPaths(tree.root, 2).roi("streams").exists()


def test_a_file_replaced_on_the_server(store, remote, monkeypatch):
    client = store[3]
    tree = open_nsd(URL, **remote)
    key = "nsddata/notes.txt"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"first" * 100, ACL="public-read")
    tree.fetch([tree.root / key])
    client.put_object(Bucket=BUCKET, Key=key, Body=b"second" * 100, ACL="public-read")
    fresh = open_nsd(URL, **remote)
    fresh.server.filesystem().invalidate_cache()
    fresh.fetch([fresh.root / key])
    assert (fresh.root / key).read_bytes() == b"second" * 100
    block = RemoteTree._block

    def replaced(self, remote, start, end):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"third!" * 100, ACL="public-read")
        self.server.filesystem().invalidate_cache()
        return block(self, remote, start, end)

    client.put_object(Bucket=BUCKET, Key=key, Body=b"again" * 100, ACL="public-read")
    monkeypatch.setattr(RemoteTree, "_block", replaced)
    again = open_nsd(URL, **remote)
    again.server.filesystem().invalidate_cache()
    with pytest.raises(NSDError, match="was replaced on the server while it was fetched"):
        again.fetch([again.root / key])


@pytest.mark.slow
def test_images_and_extraction_and_batches(store, remote, tmp_path):
    tree = store[0]
    rows = tree.rows(2)[:20]
    np.testing.assert_array_equal(NSDImages(URL, **remote)[rows], NSDImages(tree.root)[rows])
    out = extract_nsd(URL, tmp_path / "x.h5", 2, roi="V1", **remote)
    np.testing.assert_array_equal(Responses.load(out).values, read_nsd(tree.root, 2, roi="V1").values)
    access = {k: v for k, v in remote.items() if k != "accept_terms"}
    data = NSDDataModule(URL, 2, "V1", accept_terms=True, access=access, cache=tmp_path / "data", image_size=4)
    local = NSDDataModule(tree.root, 2, "V1")
    data.prepare_data()
    data.setup()
    local.setup()
    np.testing.assert_allclose(data.train_responses.values, local.train_responses.values, atol=1e-6)


def test_what_is_not_there(store, remote):
    with pytest.raises(FileNotFoundError, match="no betas at"):
        read_nsd(URL, 3, roi="V1", **remote)
    with pytest.raises(FileNotFoundError, match=r"no file .*mine.nii.gz; atlases there: .*'streams'"):
        read_nsd(URL, 2, roi="mine:1", **remote)
    with pytest.raises(ValueError, match="unknown transfer 'voxel'; did you mean 'voxels'"):
        open_nsd(URL, **{**remote, "transfer": "voxel"})


def test_a_server_that_cannot_be_reached(tmp_path, monkeypatch):
    """Not taken for a tree without files."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    endpoint = {"anon": True, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    for url, options in (("http://127.0.0.1:9/nsd", None), (URL, endpoint)):
        with pytest.raises(NSDError, match="can't be fetched after 2 tries"):
            read_nsd(url, 2, roi="V1", accept_terms=True, download_folder=tmp_path, retries=1, storage_options=options)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs the extra 'cloud': pip install 'neuroalign\[cloud\]'"):
        open_nsd(URL, accept_terms=True)
