"""A user's model is borrowed for each run and given back after it: its mode, its attention function, and the process's.

While a run lasts the model is in evaluation mode and its attention goes through the workbench's function; autocast,
inference mode and another default device are off, and what `torch.compile` made of it is passed over. Before and after,
the model is as its user left it: it can be trained, or looked at with other tools, between two calls.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from ..errors import UsageError
from .architectures import bare
from .module_state import compiled, modules_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import nn

E = TypeVar("E", bound="DataclassInstance")
Implementations = Sequence[tuple[Any, "str | None"]]
"""Configurations inside a model, each with the name of its attention implementation."""


class _Loan:
    """What was changed on a model while it is borrowed; several threads may borrow one model at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.borrowers = 0
        self.before: Implementations = ()
        self.training: list[nn.Module] = []

    def take(self, model: nn.Module, implementations: Implementations) -> None:
        with self.lock:
            training = [module for module in modules_of(model) if module.training]
            for module in training:
                module.training = False
            self.training += training
            if not self.borrowers:
                self.before = [(config, config._attn_implementation_internal) for config, _ in implementations]
                _implement(implementations)
            self.borrowers += 1

    def give_back(self) -> None:
        with self.lock:
            self.borrowers -= 1
            if not self.borrowers:
                for module in self.training:
                    module.training = True
                _implement(self.before)
                self.training, self.before = [], ()


_loans: WeakKeyDictionary[nn.Module, _Loan] = WeakKeyDictionary()
_making = threading.Lock()


def _loan(model: nn.Module) -> _Loan:
    with _making:
        return _loans.setdefault(bare(model), _Loan())


@contextmanager
def borrowed(model: nn.Module, implementations: Implementations = ()) -> Iterator[None]:
    """The model as it is read, with these attention implementations; as its user left it when the block ends.

    The gradient mode of the caller stays.
    """
    loan = _loan(model)
    with ExitStack() as stack:
        stack.enter_context(plain_torch(next(model.parameters()).device.type))
        if compiled(model):
            import torch

            stack.enter_context(torch.compiler.set_stance("force_eager"))
        loan.take(model, implementations)
        try:
            yield
        finally:
            loan.give_back()


@contextmanager
def plain_torch(device: str = "cpu") -> Iterator[None]:
    """Autocast, inference mode and another default device are off, and the gradient mode is the caller's."""
    import torch

    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            gradients = torch.is_grad_enabled()
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(gradients))
        for kind in {"cpu", device} - {"meta"}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def differentiable(model: nn.Module, edits: Sequence[E]) -> list[E]:
    """Edits whose tensors can take part in gradients, as those made under `torch.inference_mode()` cannot.

    Raises `UsageError` for a model that was made there: its weights are such tensors.
    """
    import torch

    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UsageError(
            "this model was made under torch.inference_mode(), so torch takes no gradients through its weights: make "
            "it outside of that block"
        )

    def ordinary(value: Any) -> Any:
        return value.clone() if isinstance(value, torch.Tensor) and value.is_inference() else value

    with torch.inference_mode(False):
        return [replace(each, **{name: ordinary(value) for name, value in vars(each).items()}) for each in edits]


def implementations(model: nn.Module) -> list[tuple[Any, str | None]]:
    """Every configuration that decides the attention of some module, with its implementation as the user left it."""
    loan = _loan(model)
    with loan.lock:
        before = {id(config): implementation for config, implementation in loan.before}
        return [(each, before.get(id(each), each._attn_implementation_internal)) for each in _configs(model)]


def is_borrowed(model: nn.Module) -> bool:
    """Whether a run of the model is going on."""
    return _loan(model).borrowers > 0


def _implement(settings: Implementations) -> None:
    for config, implementation in settings:
        config._attn_implementation_internal = implementation


def _configs(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    waiting = [config for module in modules_of(model) if (config := vars(module).get("config")) is not None]
    while waiting:
        config = waiting.pop()
        if id(config) not in found and hasattr(config, "_attn_implementation_internal"):
            found[id(config)] = config
            inner = (getattr(config, name, None) for name in getattr(config, "sub_configs", ()))
            waiting += [each for each in inner if each is not None]
    return list(found.values())
