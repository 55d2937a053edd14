"""Reports of runs: one description, and a writer for each format."""

from .blocks import Report, Section
from .report import build
from .write import FORMATS, format_of, write

__all__ = ["Report", "Section", "build", "FORMATS", "format_of", "write"]
