"""A key that stands twice in a mapping of YAML."""

import pytest
import yaml

from neuroalign.yaml_files import UniqueKeys


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 1", "x: {a: 1, a: 2}", "- b: 1\n  b: 1"])
def test_a_key_twice(text):
    with pytest.raises(yaml.YAMLError, match="stands there twice"):
        yaml.load(text, UniqueKeys)


def test_a_key_over_one_of_an_anchor():
    text = "base: &base {lr: 1, size: 2}\nmine: {<<: *base, lr: 3}"
    assert yaml.load(text, UniqueKeys) == yaml.safe_load(text)
