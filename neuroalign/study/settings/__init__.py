"""The parts of a study's file: what may be said in it, and what is taken where nothing is said."""

__all__: list[str] = []
