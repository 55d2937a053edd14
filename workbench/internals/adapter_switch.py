"""An adapter put into a session's model for a while, and switched on and off: the arms of any probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.adapters import attach_adapter
from .session import load

if TYPE_CHECKING:
    from ..records.record import AdapterInfo
    from .session import Session


@dataclass(frozen=True)
class AdapterArms:
    """A session whose model may carry an adapter that can be switched."""

    session: Session
    adapter: AdapterInfo | None

    @contextmanager
    def without(self) -> Iterator[Session]:
        """The model without its adapter until the block ends."""
        layers = [] if self.adapter is None else _tuned(self.session.model)
        for layer in layers:
            layer.module.enable_adapters(False)
        try:
            yield self.session
        finally:
            for layer in layers:
                layer.module.enable_adapters(True)


@contextmanager
def with_adapter(session: Session, name: str | None) -> Iterator[AdapterArms]:
    """The session's model with an adapter by name in it, taken out again when the block ends.

    With None it is the adapter that the model carries already, if any. Raises `UsageError` for one that does not fit.

        with with_adapter(session, "adapter/context-knob") as arms:
            with arms.without() as plain:
                before = plain.logits(prompt)
            after = arms.session.logits(prompt)
    """
    if name is None:
        yield AdapterArms(session, session.info.adapter)
        return
    with session.lock, _as_before(session.model):
        info = attach_adapter(session.model, name)
        # engines may hold on to the modules that an adapter replaces, so they are built anew
        yield AdapterArms(load(session.model, session.engine_name, tokenizer=session.tokenizer), info)


@contextmanager
def _as_before(model: Any) -> Iterator[None]:
    """Take out any adapter that was put in meanwhile, and let the same weights want gradients as before."""
    wanting = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for layer in _tuned(model):
            parent, _, child = layer.name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.module.get_base_layer())
        for name in ("peft_config", "_hf_peft_config_loaded"):
            vars(model).pop(name, None)
        for parameter, wanted in wanting:
            parameter.requires_grad_(wanted)


class _Tuned(NamedTuple):
    name: str
    module: Any


def _tuned(model: Any) -> list[_Tuned]:
    """The modules that an adapter has replaced, by their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [_Tuned(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
