"""``neuroalign cite`` prints BibTeX, and answers an unknown name in one line."""

import json

import pytest

from neuroalign.__main__ import main


def keys(text):
    return [line.split("{")[1].rstrip(",") for line in text.splitlines() if line.startswith("@")]


def test_software_and_names(capsys):
    main(["cite"])
    assert keys(capsys.readouterr().out) == ["neuroalign", "shao2024"]
    main(["cite", "pgd", "cka"])
    assert keys(capsys.readouterr().out) == ["madry2018", "kornblith2019", "murphy2024"]


def test_a_folder_and_a_name(tmp_path, capsys):
    (tmp_path / "record.json").write_text(json.dumps({"suite": "fast"}))
    main(["cite", str(tmp_path), "nsd"])
    told = capsys.readouterr()
    assert keys(told.out) == [
        "neuroalign",
        "shao2024",
        "madry2018",
        "hendrycks2019",
        "athalye2018",
        "carlini2019",
        "allen2022",
    ]
    assert told.err == "a data set of your own is yours to add\n"


def test_the_list(capsys):
    main(["cite", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 60 and any(line.startswith("madry2018 ") and "Madry et al. 2018" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pdg"], "unknown reference 'pdg'; did you mean 'pgd'"),
        (["no/such/folder"], "there is no folder no/such/folder"),
        (["pearson"], "'pearson' is a textbook formula"),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main(["cite", *words])
    told = capsys.readouterr()
    assert stopped.value.code == 2 and told.out == "" and told.err.startswith(f"neuroalign cite: {message}")
    assert told.err.count("\n") == 1
