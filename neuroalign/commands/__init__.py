"""Commands of the command line, one file per command. Only the standard library is imported before one runs."""

__all__: list[str] = []
