"""A study in a bucket: results travel through it, whatever process or machine makes them."""

import shutil

import pytest

from neuroalign.study.engines import engine
from neuroalign.study.fingerprints import fingerprint
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import all_stages
from neuroalign.study.running import run_stages
from tests.study.tiny_stages import tree, values


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A bucket on the loopback, which every process of the test finds by its environment."""
    pytest.importorskip("s3fs")
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NEUROALIGN_CACHE": str(tmp_path / "here"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs(tmp_path.name.replace("_", "-"))
    yield f"s3://{tmp_path.name.replace('_', '-')}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_a_study_in_a_bucket(bucket, tmp_path):
    folder = StudyFolder(f"{bucket}/one")
    with engine("local", workers=1) as local:
        assert run_stages(tree(2), folder, local).complete
    shutil.rmtree(tmp_path / "here")  # as on another machine
    assert folder.done(all_stages(tree(2))) == {stage.key for stage in all_stages(tree(2))}
    again = run_stages(tree(2), folder, engine("serial"))
    assert not again.done and len(again.found) == 4
    assert values(folder, tree(2)) == {"last": "3.0\n"}
    import s3fs

    listed = s3fs.S3FileSystem().find(f"{bucket}/one")
    assert len(listed) == 8 and sum(path.endswith("/stage.json") for path in listed) == 4


def test_a_changed_object_has_another_fingerprint(bucket):
    import s3fs

    store = s3fs.S3FileSystem()
    store.pipe_file(f"{bucket}/responses.csv", b"0.5")
    before = fingerprint(f"{bucket}/responses.csv")
    store.pipe_file(f"{bucket}/responses.csv", b"0.6")
    assert fingerprint(f"{bucket}/responses.csv") != before
    assert fingerprint(f"{bucket}/no.csv") == "absent"


def test_a_bucket_that_does_not_answer_is_an_error_that_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NEUROALIGN_CACHE", str(tmp_path))
    with pytest.raises(ImportError, match=r"nosuchkind://\*\*\*@host/study can't be opened"):
        StudyFolder("nosuchkind://me:pw12@host/study").done([])
