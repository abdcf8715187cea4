"""The names in tables and figures of ``neuroalign evaluate`` are explained part by part."""

import pytest

from neuroalign.commands.attack_names import explained
from neuroalign.evaluation import robustness_suite


@pytest.mark.parametrize(
    ("name", "stronger"), [("fast", False), ("standard", False), ("paper", False), ("paper", True)]
)
def test_every_part_of_every_name_in_our_suites_is_explained(name, stronger):
    names = [attack.name for attack, _ in robustness_suite(name, (3, 32, 32), stronger=stronger).attacks]
    lines = explained([*names, "worst case, linf"])
    told = {line.partition(": ")[0] for line in lines}
    for each in names:
        rest = each
        for part in sorted(told, key=len, reverse=True):
            rest = rest.replace(part, "")
        assert not rest.strip("-"), each
    assert len(told) == len(lines) and lines[-1].startswith("worst case, linf: ")


def test_norms_follow_attacks_and_what_is_not_ours_is_left_out():
    lines = explained(["pgd20-linf-margin+ce-cosine", "fgsm-l2", "my own"])
    assert [line.partition(":")[0] for line in lines] == ["fgsm", "pgd20", "linf", "l2", "margin+ce", "cosine"]
    assert "pgd20: projected gradient descent, 20 steps" in lines
    assert explained(["mine"]) == []
