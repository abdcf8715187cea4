"""The imports that the pages show above an example."""

import pytest
from example_imports import imports_for, show, unknown_names  # docs/_extensions

import neuroalign
from neuroalign.evaluation import masking
from neuroalign.functional import cka


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = torch.rand(3)\nx.sum()", ["torch"]),
        ("import torch\ntorch.rand(3)", []),
        ("[len(each) for each in folders]", ["folders"]),
        ("def f(x):\n    return x + shift\nf(2)", ["shift"]),
        ("class Mine(nn.Module):\n    def forward(self, x):\n        return torch.relu(x)", ["nn", "torch"]),
        ("(lambda x: np.abs(x))(3)", ["np"]),
    ],
)
def test_unknown_names(source, names):
    assert sorted(unknown_names(source)) == names


def test_statements_come_from_where_users_import_and_in_the_usual_order():
    example = ">>> PGD(); Path(); masking_report(nn, pd, linear_cka); math.pi"
    vars_of_module = {"PGD": neuroalign.PGD, "Path": __import__("pathlib").Path, "linear_cka": cka.linear_cka}
    module = type(masking)("somewhere")
    vars(module).update(vars_of_module, masking_report=masking.masking_report, math=__import__("math"))
    assert imports_for(example, module) == [
        "import math",
        "from pathlib import Path",
        "import pandas as pd",
        "from torch import nn",
        "from neuroalign import PGD, masking_report",
        "from neuroalign.functional import linear_cka",
    ]


def test_statements_keep_to_the_page():
    module = type(masking)("somewhere")
    names = [name for name in neuroalign.__all__ if name.isidentifier()][:30]
    vars(module).update({name: getattr(neuroalign, name) for name in names})
    found = imports_for(">>> " + "; ".join(names), module)
    assert found and max(map(len, found)) <= 84


def test_a_name_that_nobody_knows_is_told():
    with pytest.raises(NameError, match="uses 'predictr', which it doesn't import"):
        imports_for(">>> predictr(3)", masking)


def test_they_stand_above_the_first_example_of_a_page():
    lines = [
        "Title.",
        "",
        "Example:",
        "    >>> x = torch.zeros(2, 2)",
        "    >>> linear_cka(x, x)",
        "",
        "    >>> torch.ones(1)",
    ]
    show(None, "function", "neuroalign.functional.linear_cka", cka.linear_cka, None, lines)
    assert lines[2:6] == [
        "Example:",
        "    >>> import torch",
        "    >>> from neuroalign.functional import linear_cka",
        "    >>> x = torch.zeros(2, 2)",
    ]
    text = ["No example."]
    show(None, "function", "neuroalign.functional.linear_cka", cka.linear_cka, None, text)
    assert text == ["No example."]
