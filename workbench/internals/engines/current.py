"""What keeps an engine at the model as it is now: what it made of its modules is made anew when they change.

Where an adapter is switched off and on again, what was made of either is kept beside the other's.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...errors import WorkbenchError
from ..borrowing import Implementations, implementations
from ..module_state import Snapshot
from ..own_attention import functions

if TYPE_CHECKING:
    from torch import nn


class State:
    """The tree of a model's modules and its attention functions, as its user has left them."""

    def __init__(self, model: nn.Module) -> None:
        self.tree = Snapshot(model)
        self.implementations = implementations(model)
        self.functions = functions(self.implementations)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]

    @property
    def key(self) -> tuple[Any, ...]:
        named = tuple((id(config), name) for config, name in self.implementations)
        return self.tree.key, named, tuple(map(id, self.functions))

    def of_the_same_objects(self, other: State) -> bool:
        """Whether only settings differ, as where an adapter is switched off: either can be kept at no memory."""
        return len(self.tree.held) == len(other.tree.held) and all(map(operator.is_, self.tree.held, other.tree.held))


class Current(ABC):
    """Something that is built from a model's tree of modules, and again whenever that is another one."""

    source: nn.Module
    """The user's model."""
    implementations: Implementations = ()
    """The attention implementations under which the model runs, where they are set for each run."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Names of all that `_build` sets, where it may be taken up again when an earlier state comes back."""
    _built: State | None = None
    _earlier: tuple[State, dict[str, Any]] | None = None
    _still = 0
    _checked: Callable[[], None] = staticmethod(lambda: None)

    def refresh(self) -> None:
        """Build anew what a change of the model's modules, adapters, hooks or attention function made stale.

        Costs a look at every module. Raises `WorkbenchError` for what cannot be read through this engine.
        """
        if self._still:
            return
        now, left = State(self.source), self._built
        if now == left:
            return
        values = {name: getattr(self, name) for name in self.kept} if left is not None else {}
        if self._earlier is not None and self._earlier[0] == now:
            self._built = self._earlier[0]
            for name, value in self._earlier[1].items():
                setattr(self, name, value)
        else:
            with self.as_it_is():
                check_whole(self.source)
                self._build()
                self._checked()
            # a first run may set what a module keeps, so the state to compare with is the one after it
            self._built = State(self.source)
        again = self.kept and left is not None and left.of_the_same_objects(self._built)
        self._earlier = (left, values) if left is not None and again else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """The model as it is when the block begins, looked at once: for a call that checks and runs several times."""
        self.refresh()
        with self.as_it_is():
            yield

    def now(self) -> Self:
        """Itself, built anew if it is stale."""
        self.refresh()
        return self

    def check_with(self, check: Callable[[], None]) -> None:
        """Check what is built, now and whenever it is built anew."""
        self._checked = check
        with self.as_it_is():
            check()

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Nothing is built anew until the block ends: whoever changes the model in it takes the change back."""
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1

    @abstractmethod
    def _build(self) -> None:
        """Make everything that depends on the model's tree of modules."""


def check_whole(model: nn.Module) -> None:
    """Raise `WorkbenchError` for a part inside a wrapper of `torch.compile`, whose modules have other names."""
    for path, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule":
            raise WorkbenchError(
                f"{path or 'the model'} is wrapped by torch.compile, which hides its modules: compile in place with "
                "module.compile(), which is passed over here, or put the module itself back"
            )
