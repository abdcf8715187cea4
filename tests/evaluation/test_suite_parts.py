"""Parts of evaluations that failed don't block the next one; parts of those that were stopped are kept."""

import pytest
import torch
from torch import nn

from neuroalign import PGD
from neuroalign.evaluation import Suite, evaluate_suite
from neuroalign.evaluation.suite_parts import SET_ASIDE

SUITE = Suite("mine", ((PGD(steps=2), (0.02,)),), masking_eps=0.02, masking_images=4)


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


def batches(seed, then=None):
    """Two batches that the classifier gets right; with ``then``, an error in place of the second."""
    model, generator = classifier(), torch.Generator().manual_seed(seed)
    for k in range(2):
        if k and then is not None:
            raise then
        images = torch.rand(4, 3, 2, 2, generator=generator)
        yield {"image": images, "label": model(images).argmax(1), "stimulus": torch.arange(4 * k, 4 * k + 4)}


class Loader:
    def __init__(self, *given):
        self.given = given

    def __iter__(self):
        return batches(*self.given)


def run(loader, out, said=None):
    return evaluate_suite(classifier(), loader, SUITE, out=out, report=None if said is None else said.append)


def test_a_run_that_failed_does_not_block_other_images(tmp_path):
    for _ in range(2):  # a second time there is an older folder of such parts
        with pytest.raises(ValueError, match="an image is broken"):
            run(Loader(0, ValueError("an image is broken")), tmp_path / "out")
        assert "broken" in (tmp_path / "out/parts/failed.txt").read_text()
        said = []
        found = run(Loader(1), tmp_path / "out", said)
        assert any("an earlier run that failed" in line for line in said)
        assert len(found.curves["pgd2-linf-margin-cosine"].images) == 8
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert {"record.json", "parts", SET_ASIDE} <= names
        assert not (tmp_path / "out/parts/failed.txt").exists()
        (tmp_path / "out/record.json").unlink()
        for path in (tmp_path / "out/parts").iterdir():
            path.unlink()


def test_a_run_that_failed_goes_on_with_the_same_images(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="broken"):
        run(Loader(0, ValueError("broken")), tmp_path / "out")
    attacked, search = [], PGD.search

    def counting(self, classifier, images, *rest, **keywords):
        attacked.append(len(images))
        return search(self, classifier, images, *rest, **keywords)

    monkeypatch.setattr(PGD, "search", counting)
    monkeypatch.setattr("neuroalign.evaluation.suite_result.measure_smoothness", lambda *_: None)
    monkeypatch.setattr("neuroalign.evaluation.suite_result.check_masking", lambda *_, **__: None)
    with pytest.raises(AttributeError):  # both results that are left out here belong into the record
        run(Loader(0), tmp_path / "out")
    assert attacked == [4]
    assert not (tmp_path / "out" / SET_ASIDE).exists()


def test_a_run_that_was_stopped_is_kept_and_the_message_says_what_to_do(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Loader(0, KeyboardInterrupt()), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()}
    assert before
    with pytest.raises(
        ValueError, match=r"other images or labels: name another folder as out \(--out\), or remove .*parts if"
    ):
        run(Loader(1), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/parts").iterdir()} == before
    run(Loader(0), tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"name another folder as out .*, or remove .*out if"
    ):  # the finished one as well
        run(Loader(1), tmp_path / "out")


def test_a_network_that_gets_nothing_right_is_told_before_an_attack(tmp_path, monkeypatch):
    monkeypatch.setattr(PGD, "search", None)
    wrong = [{"image": b["image"], "label": (b["label"] + 1) % 3} for b in batches(0)]
    with pytest.raises(ValueError, match=r"none of the 8 images right.*do the labels fit it"):
        run(wrong, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
