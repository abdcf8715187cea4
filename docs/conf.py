"""Sphinx configuration: ``python -m sphinx -n -W docs docs/_build``. Nothing needs the internet."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

import links  # noqa: E402
import notebooks  # noqa: E402

import neuroalign  # noqa: E402

project = "neuroalign"
author = copyright = "The neuroalign developers"
release = version = neuroalign.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
    "example_imports",
    "links",
    "notebooks",
    "overview",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_extensions", "gallery/*.ipynb", "gallery/*.py"]
intersphinx_mapping = links.write_inventories(HERE / "_build/inventories")
intersphinx_timeout = 5
templates_path = ["_templates"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Shapes", "returns_style"), ("Source", "notes")]
napoleon_use_ivar = True  # fields of a NamedTuple are documented once
autosummary_generate = True
autosummary_imported_members = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
# A class's page has the methods of our own bases too, but not those of these.
FOREIGN = """ABC, BaseException, BaseModel, BasePredictionWriter, Callback, CheckpointHooks, DataFrame, DataHooks,
DataLoader, Dataset, DistributedSampler, Enum, Exception, Generic, HyperparametersMixin, LightningDataModule,
LightningModule, Metric, ModelHooks, ModelHubMixin, Module, Protocol, Sampler, Sequential, ValueError,
_DeviceDtypeModuleMixin, dict, object, str, tuple"""
autosummary_context = {"foreign": " ".join(FOREIGN.split())}
html_theme = "furo"
html_title = f"neuroalign {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = [("pages.js", {"defer": "defer"})]
maximum_signature_line_length = 70
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/0\d_",
    "ignore_pattern": r"^(?!0\d_)",
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
    "first_notebook_cell": notebooks.FIRST_CELL,
    # pyplot's figures, and those that our plots return
    "image_scrapers": ["returned_figures"],
    "ignore_repr_types": r"matplotlib\.figure",  # a figure is shown; its name says no more
    "abort_on_example_error": True,
    "min_reported_time": 5,
    "remove_config_comments": True,
    "show_signature": False,
}
