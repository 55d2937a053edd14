"""What engines of other libraries share: they run a twin of the model, whose modules they may rewrite."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ...errors import WorkbenchError
from ..architectures import Architecture, read_in_of
from ..shared_weights import clone_sharing_weights
from .base import Engine

if TYPE_CHECKING:
    from torch import nn

    from .hf import HfEngine


class TwinEngine(Engine):
    """Runs a library's own wrapper of a twin, which shares the weights of the user's model and no module with it."""

    def __init__(self, model: nn.Module, tokenizer: Any = None, plain: HfEngine | None = None) -> None:
        from .hf import HfEngine

        self.source = model
        self._tokenizer = tokenizer
        self._plain = plain or HfEngine(model)
        self.refresh()

    def _build(self) -> None:
        self._plain.refresh()
        self.architecture: Architecture = self._plain.architecture
        self.read_in = read_in_of(self.source)
        self._make_twin()
        self._wrap()
        self.refused = self._unreachable()

    def _make_twin(self) -> None:
        """Make the twin anew; raises `WorkbenchError` for a model whose modules cannot be copied."""
        try:
            self.model = clone_sharing_weights(self.source, self._plain.implementations)
        except (RuntimeError, TypeError) as error:  # a module that keeps a tensor of a graph, or a lock
            raise WorkbenchError(
                f"the engine {self.name!r} runs a copy of the modules, and those of {type(self.source).__name__} "
                f"cannot be copied ({' '.join(str(error).split())}); use the engine 'hf'"
            ) from error

    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.architecture.kinds if kind not in self.refused)

    @abstractmethod
    def _wrap(self) -> None:
        """Give the twin to the library."""

    @abstractmethod
    def _unreachable(self) -> dict[str, str]:
        """Why a kind that the model has is not served."""
