"""A report of a made-up study with everything that it can have, written once."""

import pytest

from neuroalign.study.tables import write_tables
from tests.study.finished import finish, study_of
from tests.study.test_comparing import better


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    study = study_of(about="First paragraph.\n\nSecond paragraph.", note="The effect is planted.", seeds=[0, 1, 2])
    plan, folder = finish(study, root / "stages", better, num_images=100)
    return write_tables(plan, folder, root / "out", command="neuroalign study run digits.yaml")
