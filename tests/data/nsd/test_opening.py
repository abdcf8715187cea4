"""Options of an NSD folder behind a URL, by their present and their former names."""

import pytest

from neuroalign.data import NSDDataModule, NSDImages, cache_nsd_stimuli, extract_nsd, open_nsd, read_nsd, read_nsd_split
from neuroalign.data.nsd.opening import with_present_names


@pytest.mark.parametrize(
    "call",
    [
        open_nsd,
        NSDImages,
        lambda root, **access: read_nsd(root, 1, roi="V1", **access),
        lambda root, **access: read_nsd_split(root, 1, **access),
        lambda root, **access: extract_nsd(root, root / "out.h5", 1, roi="V1", **access),
        lambda root, **access: cache_nsd_stimuli(root, root / "stimuli", **access),
    ],
)
def test_the_former_name_of_the_download_folder_warns(call, tmp_path):
    with (
        pytest.warns(DeprecationWarning, match="'cache' of .* is 'download_folder' now"),
        pytest.raises(FileNotFoundError, match="nsddata"),
    ):
        call(tmp_path, cache=tmp_path)


def test_a_data_module_takes_both_names(tmp_path):
    with pytest.warns(DeprecationWarning, match="'cache' of access is 'download_folder' now"):
        former = NSDDataModule(tmp_path, access={"cache": "files", "retries": 1})
    present = NSDDataModule(tmp_path, access={"download_folder": "files", "retries": 1})
    assert former.access == present.access == {"download_folder": "files", "retries": 1, "accept_terms": False}


def test_both_names_at_once_are_refused():
    with pytest.raises(TypeError, match="former name"):
        with_present_names({"cache": "a", "download_folder": "b"})
