"""An adapter put into a session's model for a while, and switched on and off: the arms of any probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..models.adapters import attach_adapter, rewrites_weights
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

    With None it is the adapter that the model carries already, if any. Raises `UsageError` for one that does not fit,
    and for one that changes the model's own weights.

        with with_adapter(session, "adapter/context-knob") as arms:
            with arms.without() as plain:
                before = plain.logits(prompt)
            after = arms.session.logits(prompt)
    """
    if name is None:
        yield AdapterArms(session, session.info.adapter)
        return
    if rewrites_weights(name):
        raise UsageError(
            f"the adapter {name} begins by taking a part out of the model's weights, so it cannot be switched off: "
            "open the model with it as its adapter instead"
        )
    with session.lock, as_before(session.model):
        info = attach_adapter(session.model, name).info
        # engines may hold on to the modules that an adapter replaces, so they are built anew
        yield AdapterArms(load(session.model, session.engine_name, tokenizer=session.tokenizer), info)


@contextmanager
def as_before(model: Any) -> Iterator[None]:
    """Adapters put into a model until the block ends are taken out then; modes and gradients are as before.

    Raises `UsageError` for a model that carries an adapter already: it would be taken out with the others.
    """
    if held := _tuned(model):
        raise UsageError(
            f"the model carries an adapter already (at {held[0].name}): take it out, or go on without another"
        )
    wanting = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
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
        for module, training in modes:
            module.training = training


class _Tuned(NamedTuple):
    name: str
    module: Any


def _tuned(model: Any) -> list[_Tuned]:
    """The modules that an adapter has replaced, by their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [_Tuned(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
