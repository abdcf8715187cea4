"""Figures of an example that pyplot doesn't know: those that neuroalign's plots return."""

import weakref

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

_seen: weakref.WeakSet[Figure] = weakref.WeakSet()


def scrape(block, block_vars, gallery_conf, **options):
    """Save the figures of pyplot, then those that stand in the example's variables for the first time."""
    # pyplot's are closed, and so unknown to it, once they are saved.
    _seen.update(plt.figure(number) for number in plt.get_fignums())
    known = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    paths = []
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and value not in _seen:
            _seen.add(value)
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=100)
            paths.append(path)
    return known + figure_rst(paths, gallery_conf["src_dir"])


def _get_sg_image_scraper():
    """Found by sphinx-gallery under the module's name."""
    return scrape
