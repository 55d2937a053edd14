"""Texts of the project's own: a haystack without meaning to a question, and needles to hide in it."""

from .haystack import Haystack, fill, read_haystack, synthetic_haystack
from .needles import Needle, make_needles, read_needles

__all__ = [
    "Haystack",
    "fill",
    "read_haystack",
    "synthetic_haystack",
    "Needle",
    "make_needles",
    "read_needles",
]
