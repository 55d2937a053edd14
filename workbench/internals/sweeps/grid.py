"""What every grid is: a way to lay a table over a model and prompts, and to make the edits of each of its cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..engines.base import Engine
from ..sites import Site
from .cells import Cell
from .grid_axes import Axis, Lengths

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Read:
    """What the cells of one prompt are made from, by whole site.

    base, other: what was read in the run that is edited and in the other one, `[1, position, …]`. mean: the mean over
    all tokens of all prompts of the run that is edited, without these two axes.
    """

    base: Mapping[Site, Tensor]
    other: Mapping[Site, Tensor]
    mean: Mapping[Site, Tensor]


@dataclass(frozen=True, eq=False)
class Laid:
    """A grid on a model and prompts: the axes of its table, the sites that are read, and the cells of a prompt."""

    axes: Mapping[str, Axis]
    sites: Sequence[Site]
    cells: Callable[[int, Read], Iterator[Cell]]


class Grid(ABC):
    """What a sweep edits; made by `patch`, `ablate`, `edits` and `paths`."""

    uses_other: bool = True
    """Whether values come from another run."""
    uses_mean: bool = False
    """Whether values are means over the tokens of all prompts."""
    into: ClassVar[Literal["clean", "corrupted"]] = "clean"
    """Which of two runs is edited unless told otherwise."""

    @abstractmethod
    def lay(self, engine: Engine, lengths: Lengths) -> Laid:
        """The grid on a model; raises `UsageError` or `SiteError` for what is not there."""

    @property
    @abstractmethod
    def told(self) -> str:
        """What it does to a run, in a few words."""
