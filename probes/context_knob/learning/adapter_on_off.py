"""The same weights with and without the adapter: the two arms of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.internals.session import load
from workbench.models.adapters import adapters, attach_adapter
from workbench.models.registered import DEFAULT

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.records.record import AdapterInfo

SHIPPED = "context-knob"
"""The name of the adapter and of the direction that ship for the default model."""


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


def wanted_adapter(session: Session, asked: str) -> str | None:
    """The adapter that a run puts in by itself: with `auto`, the shipped one on the default model."""
    if session.info.adapter is not None or asked == "none":
        return None
    if asked != "auto":
        return asked
    return SHIPPED if session.info.id == DEFAULT and f"adapter/{SHIPPED}" in adapters() else None


@contextmanager
def arms(session: Session, asked: str) -> Iterator[AdapterArms]:
    """The session's model with the wanted adapter in it, taken out again when the block ends."""
    name = wanted_adapter(session, asked)
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
