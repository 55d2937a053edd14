"""The command `workbench`, also as `python -m workbench`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong use."""
    from .cli import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(main())
