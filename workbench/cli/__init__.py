"""The command line: results on stdout, progress and one-line errors on stderr."""

from .app import main

__all__ = ["main"]
