"""The version of the package, in a module of its own so that every other one can record it."""

__all__: list[str] = []

__version__ = "0.1.0"
