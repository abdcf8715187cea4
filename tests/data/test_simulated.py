"""The simulated subject: the files of NSD, and a truth that is known."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from neuroalign import read_nsd, write_simulated_nsd
from neuroalign.data.nsd import REGIONS, NSDPaths
from neuroalign.data.simulated import STAGES


def test_it_says_that_it_is_simulated(subject):
    assert "imulated" in (subject.root / "SIMULATED").read_text()


def test_the_design_file_is_nsds(subject):
    design = loadmat(NSDPaths(subject.root, 1).expdesign)
    assert {k: design[k].shape for k in ("masterordering", "subjectim", "sharedix", "stimpattern")} == {
        "masterordering": (1, 30_000), "subjectim": (8, 10_000), "sharedix": (1, 1000), "stimpattern": (40, 12, 75),
    }  # fmt: skip
    assert design["masterordering"].min() == 1
    assert design["masterordering"].max() <= 10_000
    assert (design["subjectim"][:, :1000] == design["sharedix"]).all()
    assert (np.diff(design["sharedix"].astype(int)) > 0).all()
    for row in design["subjectim"]:
        assert len(set(row)) == 10_000
    assert (design["stimpattern"][0].sum(1)[:2] == [63, 62]).all()
    assert design["stimpattern"][0].sum() == 750


def test_betas_and_regions_are_nsds(subject):
    paths = NSDPaths(subject.root, 1)
    labels = nibabel.load(paths.roi("Kastner2015"))
    assert labels.get_data_dtype() == np.float64
    assert np.asarray(labels.dataobj).min() == -1
    assert len(set(labels.shape)) == 3
    import h5py

    with h5py.File(paths.session(1, "hdf5")) as f:
        assert f["betas"].dtype == np.int16
        assert f["betas"].shape == (750, *labels.shape[::-1])
        assert f["betas"].chunks == (750, 1, 1, 1)
        assert f["betas"].compression is None
    with h5py.File(paths.stimuli) as f:
        assert f["imgBrick"].shape == (73_000, 8, 8, 3)
        assert f["imgBrick"].dtype == np.uint8


def test_five_voxels_of_every_region_lie_outside_of_nsdgeneral(subject):
    paths = NSDPaths(subject.root, 1)
    labels, general = (np.asarray(nibabel.load(paths.roi(name)).dataobj) for name in ("Kastner2015", "nsdgeneral"))
    assert len(subject.signals) > 1
    for region in subject.signals:
        mine = np.isin(labels, REGIONS[region])
        assert ((general[mine] == 1).sum(), (general[mine] == 0).sum()) == (20, 5)


def test_the_behaviour_table_names_the_same_images(subject):
    table = pd.read_csv(subject.root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    r = read_nsd(subject.root, 1, roi="V1")
    assert len(table.columns) == 19
    np.testing.assert_array_equal(table["73KID"] - 1, r.stimulus)
    np.testing.assert_array_equal(table["10KID"] <= 1000, r.shared)
    assert table.groupby(["SESSION", "RUN"]).size().tolist() == [63, 62] * 18


def test_three_trials_an_image_and_a_quarter_shared(subject):
    r = read_nsd(subject.root, 1, roi="V1").average_repeats()
    assert (r.repeats == 3).all()
    assert r.shared.sum() == 187
    assert set(r.stimulus) == set(subject.stimulus)


def test_known_noise_ceilings_are_found_again(subject):
    for region in ("V1", "TO"):
        r = read_nsd(subject.root, 1, roi=region).zscore_sessions().estimate_noise_ceiling()
        ncsnr2 = subject.ncsnr[region] ** 2
        np.testing.assert_allclose(r.noise_ceiling, ncsnr2 / (ncsnr2 + 1), atol=0.1)
        assert abs(np.mean(r.noise_ceiling - ncsnr2 / (ncsnr2 + 1))) < 0.02


def test_the_hierarchy_is_one(digits, tmp_path):
    """Categories are the easier to read, the higher the region: that is what the stages are for."""
    images, labels = digits
    subject = write_simulated_nsd(
        tmp_path / "t", images[:750], labels[:750], regions=tuple(STAGES), num_voxels=40, sessions=1
    )
    y = labels[:750].numpy()

    def separability(x):
        centers = np.stack([x[y == c].mean(0) for c in range(10)])
        return ((centers[y] - x.mean(0)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()

    v1, v4, to = (separability(subject.signals[r]) for r in ("V1", "V4", "TO"))
    assert v1 < v4 < to
    assert set(subject.signals) == set(STAGES)


def test_seeds(digits, tmp_path):
    images, labels = digits

    def write(name, seed):
        root = tmp_path / name
        return write_simulated_nsd(root, images[:100], labels[:100], num_voxels=4, sessions=1, seed=seed)

    a, b, c = write("a", 0), write("b", 0), write("c", 1)
    ra, rb, rc = (read_nsd(s.root, 1, roi="V1") for s in (a, b, c))
    np.testing.assert_array_equal(ra.values, rb.values)
    assert (ra.values != rc.values).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": ("V1", "V9")}, "unknown region 'V9'"),
        ({"labels": np.zeros(3)}, "100 images but 3 labels"),
        ({"sessions": 50}, "at most 40 sessions"),
        ({"num_shared": 1001}, "1,000 shared"),
        ({"container": "mat"}, "unknown container 'mat': it must be"),
        ({"images": np.zeros((100, 8, 8, 3))}, r"\(image, 1 or 3, height, width\)"),
        ({"images": np.full((100, 3, 8, 8), 2.0)}, r"floats in \[0, 1\]"),
    ],
)
def test_refusals(tmp_path, changes, message):
    arguments = {"images": np.random.rand(100, 3, 8, 8), "labels": np.arange(100) % 5, **changes}
    with pytest.raises(ValueError, match=message):
        write_simulated_nsd(tmp_path / "t", **arguments)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_simulated_nsd(tmp_path, np.random.rand(10, 3, 8, 8), np.arange(10))
