"""Values go back to the voxels they came from."""

import nibabel
import numpy as np
import pytest
import torch

from neuroalign.data import Responses, read_nsd, save_map, to_surface, to_volume
from neuroalign.data.nsd import NSDPaths
from tests.data.nsd.tree_writer import write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("maps") / "tree", subjects=(2,), spaces=("func1pt8mm", "fsaverage"))


def test_a_volume_agrees_with_the_file_it_came_from(tree):
    r = read_nsd(tree.root, 2, roi="nsdgeneral")
    stored = nibabel.load(NSDPaths(tree.root, 2).beta_folder / "ncsnr.nii.gz")
    image = to_volume(r, r.maps["ncsnr"])
    np.testing.assert_array_equal(image.affine, stored.affine)
    inside = np.zeros(image.shape, bool)
    inside[tuple(r.voxel_index.T)] = True
    np.testing.assert_array_equal(image.get_fdata()[inside], stored.get_fdata()[inside])
    assert np.isnan(image.get_fdata()[~inside]).all()


def test_a_surface_agrees_with_the_files_it_came_from(tree, tmp_path):
    r = read_nsd(tree.root, 2, roi="nsdgeneral", space="fsaverage")
    written = save_map(r, torch.from_numpy(r.maps["ncsnr"]), tmp_path / "ncsnr.gii")
    assert [p.name for p in written] == ["lh.ncsnr.gii", "rh.ncsnr.gii"]
    for side, hemisphere, file in zip(to_surface(r, r.maps["ncsnr"]), ("lh", "rh"), written, strict=True):
        stored = nibabel.load(NSDPaths(tree.root, 2, space="fsaverage").beta_folder / f"{hemisphere}.ncsnr.mgh")
        stored = stored.get_fdata().ravel()
        inside = tree.labels[2, "fsaverage", "nsdgeneral"] > 0
        inside = inside[:300] if hemisphere == "lh" else inside[300:]
        np.testing.assert_allclose(side[inside], stored[inside], rtol=1e-6)
        assert np.isnan(side[~inside]).all()
        np.testing.assert_array_equal(nibabel.load(file).darrays[0].data, side)


def test_files_are_written_whole(tree, tmp_path):
    r = read_nsd(tree.root, 2, roi="V1")
    for name in ("a.nii.gz", "a.nii"):
        (file,) = save_map(r, r.noise_ceiling, tmp_path / name)
        np.testing.assert_array_equal(nibabel.load(file).get_fdata(), to_volume(r, r.noise_ceiling).get_fdata())
    assert {p.name for p in tmp_path.iterdir()} == {"a.nii.gz", "a.nii"}


def test_what_does_not_fit(tree, tmp_path):
    volume = read_nsd(tree.root, 2, roi="V1")
    surface = read_nsd(tree.root, 2, roi="V1", space="fsaverage")
    n = volume.num_voxels
    with pytest.raises(ValueError, match=rf"there are {n} voxels, but values of shape \(3,\)"):
        to_volume(volume, np.ones(3))
    with pytest.raises(ValueError, match="name no place in a volume"):
        to_volume(surface, np.ones(surface.num_voxels))
    with pytest.raises(ValueError, match="name no vertices"):
        to_surface(volume, np.ones(n))
    with pytest.raises(ValueError, match=r"written as .nii"):
        save_map(volume, np.ones(n), tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"written as .gii"):
        save_map(surface, np.ones(surface.num_voxels), tmp_path / "x.nii")
    twice = read_nsd(tree.root, 2, roi=["V1", "Kastner2015:V1v|V1d"])
    to_volume(twice, twice.noise_ceiling)
    with pytest.raises(ValueError, match="a voxel of two regions has two different values"):
        to_volume(twice, np.arange(twice.num_voxels))
    with pytest.raises(ValueError, match="name no place in a volume"):
        to_volume(Responses.from_arrays(np.ones((2, 3))), np.ones(3))
