"""What the stages of a study do: a file for each kind, settings and earlier results in, files out."""

__all__: list[str] = []
