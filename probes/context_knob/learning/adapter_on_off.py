"""Which adapter a run of this probe puts into the model by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.internals.adapter_switch import AdapterArms, with_adapter
from workbench.models.adapters import adapters
from workbench.models.registered import DEFAULT

if TYPE_CHECKING:
    from workbench.internals.session import Session

SHIPPED = "context-knob"
"""The name of the adapter and of the direction that ship for the default model."""


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
    with with_adapter(session, wanted_adapter(session, asked)) as both:
        yield both
