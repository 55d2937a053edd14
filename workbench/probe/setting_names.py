"""Names of settings that mean the same in every probe, and what the workbench does with each."""

from __future__ import annotations

RESERVED = ("preset", "seed", "engine", "runs", "progress")
"""Names that no setting may have, because running uses them."""
FILES = ("data", "haystack")
"""Settings that take a text of the visitor's own, in every probe that has them."""
FIRST = (*FILES, "n", "length", "layers", "heads")
"""Settings that a form shows at once; the others are folded away."""
CHEAPER = ("length", "n", "batch", "batch_size")
"""Settings that make a run smaller, the ones that save the most memory first."""
