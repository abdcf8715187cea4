"""BibTeX of what a model card cites."""

from __future__ import annotations

__all__: list[str] = []

_ENTRIES = {
    "shao2024": """@misc{shao2024,
  title = {Probing Human Visual Robustness with Neurally-Guided Deep Neural Networks},
  author = {Shao, Zhenan and others},
  year = {2024},
  eprint = {2405.02564},
  archivePrefix = {arXiv}
}""",
    "allen2022": """@article{allen2022,
  title = {A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence},
  author = {Allen, Emily J. and others},
  journal = {Nature Neuroscience},
  year = {2022}
}""",
}


def cited(*, nsd: bool) -> str:
    """BibTeX of the method, and of the Natural Scenes Dataset if the responses are its.

    Args:
        nsd: Whether the responses come from the Natural Scenes Dataset.

    Example:
        >>> cited(nsd=False).splitlines()[0]
        '@misc{shao2024,'
    """
    return "\n\n".join(_ENTRIES[key] for key in (("shao2024", "allen2022") if nsd else ("shao2024",)))
