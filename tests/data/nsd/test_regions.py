"""Regions by name, label, expression and mask."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroalign.data import NSDError, read_nsd
from neuroalign.data.nsd import ATLASES, REGIONS, NSDPaths
from neuroalign.data.nsd.regions import named, parse, read_colour_table, terms_of
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.voxels import find_voxels
from tests.data.nsd import tree_writer


def mask_of(planted, roi, subject=1, space="func1pt8mm"):
    paths = NSDPaths(planted.root, subject, space=space)
    voxels = find_voxels(Tree(planted.root), paths, named(roi))
    if voxels.affine is None:
        mask = np.zeros(sum(voxels.shape), bool)
        mask[voxels.index[:, 1] + voxels.index[:, 0] * voxels.shape[0]] = True
        return mask
    mask = np.zeros(voxels.shape, bool)
    mask[tuple(voxels.index.T)] = True
    return mask


@pytest.mark.parametrize("space", ["func1pt8mm", "func1mm", "fsaverage", "nativesurface"])
def test_every_label_of_every_atlas(planted, space):
    for atlas, names in tree_writer.ATLASES.items():
        labels = planted.labels[1, space, atlas]
        np.testing.assert_array_equal(mask_of(planted, atlas, space=space), labels > 0)
        for number, name in list(enumerate(names, 1))[:25]:
            if (labels == number).any():
                np.testing.assert_array_equal(mask_of(planted, f"{atlas}:{name}", space=space), labels == number)
                np.testing.assert_array_equal(mask_of(planted, f"{atlas}:{number}", space=space), labels == number)


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_named_regions_lie_within_nsdgeneral(planted, space):
    kastner, general = (planted.labels[1, space, a] for a in ("Kastner2015", "nsdgeneral"))
    for name, numbers in REGIONS.items():
        np.testing.assert_array_equal(mask_of(planted, name, space=space), np.isin(kastner, numbers) & (general > 0))
    assert (np.isin(kastner, (1, 2)) & (general <= 0)).any(), "the tree should hold voxels of V1 outside nsdgeneral"


def test_unions_and_intersections(planted):
    label = {a: planted.labels[1, "func1pt8mm", a] for a in ("Kastner2015", "streams", "nsdgeneral")}
    general = label["nsdgeneral"] > 0
    ventral = label["streams"] == 5
    np.testing.assert_array_equal(mask_of(planted, "streams:ventral & nsdgeneral"), ventral & general)
    np.testing.assert_array_equal(
        mask_of(planted, "(Kastner2015:V2v|V1d | V4) & streams:early|midventral"),
        (np.isin(label["Kastner2015"], (2, 3)) | (label["Kastner2015"] == 7) & general)
        & np.isin(label["streams"], (1, 2)),
    )
    np.testing.assert_array_equal(mask_of(planted, "V1|V2"), mask_of(planted, "V1") | mask_of(planted, "V2"))


def test_a_label_that_one_atlas_has_needs_no_atlas(planted):
    np.testing.assert_array_equal(mask_of(planted, "PPA"), mask_of(planted, "floc-places:PPA"))
    with pytest.raises(ValueError, match="stands in several atlases: say Kastner2015:hV4 or prf-visualrois:hV4"):
        parse("hV4")


ITEMS = st.sampled_from(["V1", "PPA", "streams:early", "floc-faces", "Kastner2015:1|2"])


@given(st.lists(ITEMS, min_size=1, max_size=4), st.sampled_from("&|"))
def test_parsing_keeps_every_part(items, operator):
    terms = terms_of(parse(f" {operator} ".join(items)))
    assert [t.atlas for t in terms] == [{"PPA": "floc-places"}.get(i, i.partition(":")[0]) for i in items]
    assert terms_of(parse(operator.join(f"({item})" for item in items))) == terms


def test_brackets_say_what_comes_first(planted):
    a, b, c = (mask_of(planted, name) for name in ("V1", "V4", "streams:early"))
    np.testing.assert_array_equal(mask_of(planted, "(V1 | V4) & streams:early"), (a | b) & c)
    np.testing.assert_array_equal(mask_of(planted, "V4 | (V1 & streams:early)"), b | (a & c))
    np.testing.assert_array_equal(mask_of(planted, "streams:early|midventral & (V1|V4)"), a | b)
    np.testing.assert_array_equal(mask_of(planted, "((V1))"), a)
    for mixed in ("V1 | V4 & streams:early", "V4 & V1 | V4"):
        with pytest.raises(ValueError, match=r"mixes '\|' and '&': say which comes first with brackets"):
            parse(mixed)


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ("v1", "unknown roi 'v1'; did you mean 'V1'"),
        ("V1 & ", "has an empty part"),
        ("streams:", "must be atlas:label"),
        ("streams:ventrall", "unknown label of streams 'ventrall'; did you mean 'ventral'"),
        ("streams:0", "labels count from 1"),
        ([], "roi is empty"),
        ("(V1 | V2", "a bracket is not closed"),
        ("V1) & V2", "is one bracket too many"),
        ("mask.nii.gz & nsdgeneral", "a mask's file stands alone"),
    ],
)
def test_bad_expressions(planted, roi, message):
    with pytest.raises(ValueError, match=message):
        read_nsd(planted.root, 1, roi=roi)


def test_what_is_no_region(planted):
    for roi in (None, 3, [np.ones((11, 10, 9)), "V1"]):
        with pytest.raises(TypeError, match="roi is a name or expression"):
            read_nsd(planted.root, 1, roi=roi)
    with pytest.raises(ValueError, match="a surface's mask is one array"):
        read_nsd(planted.root, 1, roi={"mine": np.ones((2, 290))}, space="fsaverage")
    listed = read_nsd(planted.root, 1, roi={"early": ["V1", "V2"]}, sessions=[1])
    assert listed.num_voxels == read_nsd(planted.root, 1, roi="V1|V2", sessions=[1]).num_voxels


def test_an_unknown_atlas_lists_those_there(planted):
    with pytest.raises(FileNotFoundError, match=r"atlases there: .*'Kastner2015'.*did you mean 'streams'"):
        read_nsd(planted.root, 1, roi="stream:early")


def test_an_atlas_of_the_users_own(small):
    paths = NSDPaths(small.root, 2)
    own = nibabel.load(paths.roi("streams"))
    nibabel.save(own, paths.roi("mine"))
    np.testing.assert_array_equal(mask_of(small, "mine:5", 2), mask_of(small, "streams:5", 2))


def test_names_come_from_the_colour_table(small):
    table = small.root / "nsddata/freesurfer/subj02/label/floc-places.mgz.ctab"
    table.write_text("0 Unknown\n1 RSC 255 0 0 0\n2 OPA 0 255 0 0\n3 PPA 0 0 255 0\n")
    np.testing.assert_array_equal(
        mask_of(small, "floc-places:OPA", 2), small.labels[2, "func1pt8mm", "floc-places"] == 2
    )
    assert read_colour_table("0 Unknown\n\n# comment\n12 TO2\n") == {"TO2": 12}
    for path in small.root.glob("nsddata/freesurfer/*/label/*.ctab"):
        path.unlink()
    np.testing.assert_array_equal(
        mask_of(small, "floc-places:OPA", 2), small.labels[2, "func1pt8mm", "floc-places"] == 1
    )
    with pytest.raises(ValueError, match=r"HCP_MMP1.mgz.ctab, which is missing here: fetch it, or give numbers"):
        read_nsd(small.root, 2, roi="HCP_MMP1:FFC")
    np.testing.assert_array_equal(mask_of(small, "HCP_MMP1:18", 2), small.labels[2, "func1pt8mm", "HCP_MMP1"] == 18)


def test_our_tables_are_those_of_an_independent_writer():
    for atlas, names in ATLASES.items():
        if names:
            assert names == {name: number for number, name in enumerate(tree_writer.ATLASES[atlas], 1)}


def test_masks_of_ones_own(planted, tmp_path):
    labels = planted.labels[1, "func1pt8mm", "streams"]
    reference = read_nsd(planted.root, 1, roi="streams:ventral", sessions=[1])
    mask = labels == 5
    affine = nibabel.load(NSDPaths(planted.root, 1).roi("streams")).affine
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "mine.nii.gz")
    np.save(tmp_path / "mine.npy", mask)
    for roi in (mask, tmp_path / "mine.nii.gz", str(tmp_path / "mine.npy"), {"mine": mask}):
        r = read_nsd(planted.root, 1, roi=roi, sessions=[1])
        np.testing.assert_array_equal(r.values, reference.values)
    assert set(read_nsd(planted.root, 1, roi=tmp_path / "mine.nii.gz", sessions=[1]).roi) == {"mine"}
    on_surface = planted.labels[1, "fsaverage", "streams"] == 5
    r = read_nsd(planted.root, 1, roi={"ventral": on_surface}, space="fsaverage", sessions=[1])
    np.testing.assert_array_equal(
        r.values, read_nsd(planted.root, 1, roi="streams:ventral", space="fsaverage", sessions=[1]).values
    )


def test_masks_that_dont_fit(planted, tmp_path):
    with pytest.raises(
        NSDError, match=r"the mask has shape \(3, 3, 3\); in this subject and space it must be \(11, 10, 9\)"
    ):
        read_nsd(planted.root, 1, roi=np.ones((3, 3, 3)))
    with pytest.raises(NSDError, match="no voxel above 0"):
        read_nsd(planted.root, 1, roi=np.zeros((11, 10, 9)))
    nibabel.save(nibabel.Nifti1Image(np.ones((11, 10, 9), np.uint8), np.eye(4)), tmp_path / "elsewhere.nii.gz")
    with pytest.raises(NSDError, match="lies elsewhere than this subject's volume"):
        read_nsd(planted.root, 1, roi=tmp_path / "elsewhere.nii.gz")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_nsd(planted.root, 1, roi="absent.nii.gz")


def test_a_region_without_voxels_in_a_subject(small):
    paths = NSDPaths(small.root, 2)
    image = nibabel.load(paths.roi("floc-places"))
    labels = np.asarray(image.dataobj).copy()
    labels[labels == 2] = 0
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), paths.roi("floc-places"))
    with pytest.raises(
        NSDError, match=r"subject 2 has no voxel of floc-places:PPA .*floc-places has voxels of OPA, RSC"
    ):
        read_nsd(small.root, 2, roi="floc-places:PPA")


def test_names_of_what_was_asked_for():
    assert list(named(["V1", "streams:early"])) == ["V1", "streams:early"]
    assert list(named({"early": "V1|V2"})) == ["early"]
    assert list(named(np.ones(3))) == ["mask"]
    assert list(named("dir/mine.nii.gz")) == ["mine"]


def test_own_names_for_regions(planted):
    r = read_nsd(planted.root, 1, roi={"early": "V1|V2|V3", "late": "TO"}, sessions=[1])
    assert set(r.roi) == {"early", "late"}
    assert r.select(roi="late").num_voxels == mask_of(planted, "TO").sum()
