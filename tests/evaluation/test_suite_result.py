"""A suite's folder that holds something else, or a damaged record, is refused before anything is attacked."""

import json

import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import PGD
from neuroalign.evaluation import Suite, evaluate_suite, weights_hash
from neuroalign.evaluation.suite_result import SuiteResult

SUITE = Suite("mine", ((PGD(steps=2), (0.02,)),), masking_eps=0.02, masking_images=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "record.json is damaged: it is no JSON; remove it"), ('{"suite": "mi', "record.json is damaged: it is no JSON"),
     (b"\xff\xfe", "record.json is damaged"), ("[" * 50_000, "record.json is damaged: it is no JSON"),
     ("[3]", "record.json is damaged: it is no record of a suite"), ("{}", "it is no record of a suite"),
     ({"suite": "fast"}, "out holds the suite 'fast', not 'mine': name another folder as out"),
     ({"seed": 1}, "out holds the seed 1, not 0"),
     ({"weights_sha256_16": "0" * 16}, "out holds the weights_sha256_16 '0000000000000000', not")],
    ids=str,
)  # fmt: skip
def test_records_of_something_else(tmp_path, content, message):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    if isinstance(content, dict):
        right = {"suite": "mine", "seed": 0, "weights_sha256_16": weights_hash(model)}
        content = json.dumps({**right, **content})
    (tmp_path / "out").mkdir()
    path = tmp_path / "out/record.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        evaluate_suite(model, [(torch.rand(4, 3, 2, 2), torch.zeros(4).long())], SUITE, out=tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["record.json"]


def test_a_folder_in_place_of_a_record_and_a_file_in_place_of_the_folder(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    (tmp_path / "out/record.json").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for out, message in (("out", "record.json is a folder"), ("file", "file is a file, where a folder is wanted")):
        with pytest.raises(OSError, match=message):
            evaluate_suite(model, [], SUITE, out=tmp_path / out)


def test_a_table_that_this_run_does_not_make_goes(tmp_path):
    table, none = pd.DataFrame({"accuracy": [1.0]}), pd.DataFrame()
    masking = type("Masking", (), {"table": none})()
    first = SuiteResult(table, table, none, {}, masking, None, {})
    second = SuiteResult(table, none, none, {}, masking, None, {})
    images = {"perturbation": [], "stimulus": [], "label": [], "threshold": [], "distance": []}
    for result in (first, second):
        object.__setattr__(result, "per_image", lambda: pd.DataFrame(images))
        result.save(tmp_path)
        assert (tmp_path / "corruptions.csv").exists() == (result is first)
    assert (tmp_path / "attacks.csv").exists() and (tmp_path / "record.json").exists()
