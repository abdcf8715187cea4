"""Commands of the command line, a file each. Only the standard library is imported before one runs."""
