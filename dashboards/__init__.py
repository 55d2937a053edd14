"""The pages that a browser shows: saved runs, their records and their figures."""

from .app import serve

__all__ = ["serve"]
