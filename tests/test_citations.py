"""References: every entry is BibTeX, everything that can be used has one, and a run's records name what it used."""

import ast
import json
import random
import re
import unicodedata
from pathlib import Path

import pytest
import torch

import neuroalign
from neuroalign.citations import bibtex, keys_of, list_references
from neuroalign.citations.sources import ATTACKS, CLASSES, MEASURES, SUITES, TOPICS, all_names
from neuroalign.evaluation import robustness_suite
from neuroalign.losses import MEASURES as REGISTERED
from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS
from neuroalign.perturbations.listing import ATTACKS as OURS

PACKAGE = Path(neuroalign.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"
REQUIRED = {
    "article": {"author", "title", "year"}, "book": {"author", "title", "year"}, "misc": {"year"},
    "inproceedings": {"author", "title", "year"}, "software": {"author", "title"}, "techreport": {"author", "title", "year"},
}  # fmt: skip


def parse(text):
    """Entries by key: their kind and fields. A reader of BibTeX's grammar, brace by brace."""
    entries, place = {}, 0
    while (place := text.find("@", place)) >= 0:
        opening = text.index("{", place)
        kind, comma = text[place + 1 : opening], text.index(",", opening)
        key, place, fields = text[opening + 1 : comma], comma + 1, {}
        while True:
            match = re.compile(r"\s*(\w+)\s*=\s*\{").match(text, place)
            if not match:
                break
            depth, end = 1, match.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            assert match[1] not in fields, (key, match[1])
            fields[match[1]] = text[match.end() : end - 1]
            place = re.compile(r"\s*,?").match(text, end).end()
        assert re.compile(r"\s*\}").match(text, place), f"{key} isn't closed: {text[place : place + 40]!r}"
        assert key not in entries, f"{key} comes twice"
        entries[key] = (kind, fields)
    return entries


ENTRIES = parse((PACKAGE / "citations/references.bib").read_text(encoding="utf-8"))


def test_every_entry_is_bibtex():
    assert len(ENTRIES) > 60 and list(ENTRIES) == list(list_references())
    for key, (kind, fields) in ENTRIES.items():
        assert REQUIRED[kind] <= set(fields), key
        assert all(value.strip() and value.count("{") == value.count("}") for value in fields.values()), key
        assert key == "neuroalign" or key.endswith(fields["year"]), key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "2405.02564")), key
        assert ("eprint" in fields) == ("archiveprefix" in fields), key


def test_the_reader_of_this_test_sees_a_broken_entry():
    with pytest.raises((AssertionError, IndexError)):
        parse("@article{a2020,\n  title = {An {open brace},\n  year = {2020}\n}\n")
    with pytest.raises(AssertionError, match="comes twice"):
        parse("@misc{a2020,\n  year = {2020}\n}\n" * 2)


def test_every_measure_and_attack_has_its_sources():
    """A new measure or attack fails here until `neuroalign/citations/sources.py` names its sources, or () for none."""
    ours = {name for name, measure in REGISTERED.items() if measure.function.__module__.startswith("neuroalign.")}
    assert set(MEASURES) == ours
    assert set(ATTACKS) == {attack.__name__ for attack in OURS}
    assert all(keys for keys in ATTACKS.values())


def test_every_name_leads_to_entries():
    for table in (MEASURES, ATTACKS, CLASSES, TOPICS):
        for name, keys in table.items():
            assert set(keys) <= set(ENTRIES), name
    assert all(hasattr(neuroalign, name) or name in ("OddOneOutGuidance", "RandomFourierFeatures") for name in CLASSES)
    folded = [name.casefold() for table in (MEASURES, ATTACKS, CLASSES, TOPICS) for name in table]
    for name in folded:  # a class and a measure of one name have the same references
        found = {keys for t in (MEASURES, ATTACKS, CLASSES, TOPICS) for n, keys in t.items() if n.casefold() == name}
        assert len(found) == 1, (name, found)


@pytest.mark.parametrize("name", ["fast", "standard", "paper"])
def test_suites_name_what_they_run(name):
    suite = robustness_suite(name, (3, 32, 32))
    run = {type(attack).__name__ for attack, _ in suite.attacks} - {"BrendelBethge"}
    run |= {"corruptions"} if suite.corruptions else set()
    run |= {type(t).__name__ for t in suite.transforms if type(t).__name__ in CLASSES}
    assert set(SUITES[name]) == run | {"masking"}
    assert COMMON_CORRUPTIONS


def plain(text):
    text = re.sub(r"\{\\(?:\W?)(\w+)\}", r"\1", text)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return text.lower().replace("bjoerck", "bjorck")


def sources():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                for match in re.finditer(r"^Source:(.*?)(?=\n\n|\Z)", ast.get_docstring(node) or "", re.S | re.M):
                    yield path.relative_to(PACKAGE), " ".join(match[1].split())


def test_every_source_of_a_docstring_is_an_entry():
    """Each year in a "Source:" line is that of an entry whose first author, or arXiv number, stands in the line too."""
    found, missing = 0, []
    for path, text in sources():
        for year in re.findall(
            r"(?<![\d.:-])(?:19|20)\d\d(?![\d.:-])|\b(?:19|20)\d\d(?=[.;,:)]|$)", re.sub(r"\d{4}\.\d{5}", "", text)
        ):
            found += 1
            matching = [
                key for key, (_, fields) in ENTRIES.items()
                if fields.get("year") == year and plain(fields.get("author", "?")).split(",")[0].strip("{} ") in plain(text)
            ]  # fmt: skip
            if not matching:
                missing.append((str(path), year, text))
        for number in re.findall(r"\d{4}\.\d{5}", text):
            if not any(fields.get("eprint") == number for _, fields in ENTRIES.values()):
                missing.append((str(path), number, text))
    assert found > 80 and not missing, missing


def test_bibtex():
    assert list(parse(bibtex())) == ["neuroalign", "shao2024"]
    assert f"version = {{{neuroalign.__version__}}}" in bibtex()
    assert list(parse(bibtex("PGD", "cka", "nsd", "madry2018"))) == [
        "madry2018",
        "kornblith2019",
        "murphy2024",
        "allen2022",
    ]
    assert set(parse(bibtex(*all_names().keys() - {"pearson", "cosine", "gaussian_nll", "poisson_nll"}))) <= set(
        ENTRIES
    )
    with pytest.raises(ValueError, match="unknown reference 'madri2018'; did you mean 'madry2018'"):
        bibtex("madri2018")
    with pytest.raises(ValueError, match="'pearson' is a textbook formula"):
        bibtex("pearson")


def test_a_study(tmp_path):
    keys = keys_of(EXAMPLES / "studies/v1_v4.yaml")
    assert keys[:2] == ["neuroalign", "shao2024"]
    assert {"madry2018", "cowley2023", "henaff2021", "krizhevsky2009", "holm1979", "page1963", "chung2018"} <= set(keys)
    assert not {"allen2022", "goodfellow2015", "hendrycks2019", "zhang2019", "alpaydin1998"} & set(keys)
    assert "alpaydin1998" in keys_of(EXAMPLES / "studies/simulated.yaml")
    import yaml

    settings = yaml.safe_load((EXAMPLES / "studies/v1_v4.yaml").read_text())
    (tmp_path / "study.json").write_text(json.dumps({"study": settings, "versions": {"nsd": "1"}, "command": "PGD()"}))
    assert set(keys_of(tmp_path)) == set(keys)


def test_a_training_and_an_evaluation(tmp_path):
    (tmp_path / "fit/version_0").mkdir(parents=True)
    config = (EXAMPLES / "configs/predict_v4.yaml").read_text() + "\nother: !!python/name:os.system\n"
    (tmp_path / "fit/version_0/config.yaml").write_text(config)
    assert keys_of(tmp_path / "fit") == ["neuroalign", "shao2024", "allen2022"]
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/record.json").write_text(json.dumps({"suite": "mine", "attacks": {"a": "FGSM('linf')"}}))
    assert keys_of(tmp_path / "eval")[2:] == ["goodfellow2015"]
    record = {"suite": "mine", "attacks": {"a": "FGSM('linf')"}, "corruptions": [], "masking": {"passed": True}}
    (tmp_path / "eval/record.json").write_text(json.dumps(record))
    assert keys_of(tmp_path / "eval")[2:] == ["athalye2018", "carlini2019", "goodfellow2015"]
    (tmp_path / "eval/record.json").write_text(json.dumps({"suite": "mine", "attacks": {"a": "FGSM('linf')"}}))
    assert keys_of(tmp_path) == ["neuroalign", "shao2024", "goodfellow2015", "allen2022"]
    (tmp_path / "eval/record.json").write_text(json.dumps({"suite": "fast"}))
    assert keys_of(tmp_path / "eval")[2:] == ["madry2018", "hendrycks2019", "athalye2018", "carlini2019"]


def test_folders_that_say_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        keys_of(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds none of study\.json, study\.yaml, record\.json, config\.yaml"):
        keys_of(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ValueError, match=r"record\.json is no JSON"):
        keys_of(tmp_path)
    (tmp_path / "record.json").unlink()
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"config\.yaml is no YAML"):
        keys_of(tmp_path)


@pytest.mark.parametrize("name", ["network.safetensors", "task.ckpt"])
def test_a_flipped_byte_in_a_run_is_told(tmp_path, name):
    """A name with another letter would lose its reference without a word."""
    path, draws = tmp_path / name, random.Random(0)
    network = neuroalign.GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8))
    if name.endswith(".ckpt"):
        torch.save({"state_dict": network.state_dict(), "hyper_parameters": {"network": network.config}}, path)
    else:
        network.save(path)
    data, keys = path.read_bytes(), keys_of(path)
    told = same = 0
    for place in draws.sample(range(3000), 60):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << draws.randrange(8)]) + data[place + 1 :])
        try:
            assert keys_of(path) == keys  # a byte between the parts of a checkpoint holds nothing
        except ValueError as error:
            told += name in str(error)
        else:
            same += 1
    assert keys and told > 30 and told + same == 60
