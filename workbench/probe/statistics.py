"""Intervals and tests under the name by which probes import them; see `workbench.statistics`."""

from ..statistics import *  # noqa: F403
