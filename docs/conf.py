"""Sphinx configuration."""

import neuroalign

project = "neuroalign"
author = "The neuroalign developers"
release = version = neuroalign.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Shapes", "returns_style"), ("Source", "notes")]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
html_theme = "furo"
html_title = "neuroalign"
napoleon_use_ivar = True  # fields of a NamedTuple are documented once
