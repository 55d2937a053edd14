"""The knob for a session: the one that ships for its model, or the one that a run found, with the values of its arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import UsageError
from workbench.internals.projection import unit

from .knob import Knob, knobs, load
from .learned import read

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.probe.live_view import FinishedRun


def shipped(model: str) -> str | None:
    """The name of the knob that ships for a model."""
    return next((name for name in knobs() if load(name).model == model), None)


def knob_for_session(session: Session, run: FinishedRun | None = None) -> Knob:
    """The knob that fits a session: of a run on its model, or the shipped one; its values are those for the session's
    model with its adapter or without.

    Raises `UsageError` if there is none.
    """
    info = session.info
    arm = "plain" if info.adapter is None else "adapter"
    if run is not None:
        return _of_run(run, info.id, arm)
    name = shipped(info.id)
    if name is None:
        raise UsageError(
            f"no knob ships for {info.id}; learn one with `workbench run context-knob --model {info.id}`, "
            "and give that run"
        )
    found = read(name)
    knob = found.knob(arm if arm in found.stretch else next(iter(found.stretch)), info.id)
    return Knob(knob.direction, knob.layer, knob.prior, knob.context, knob.model, found.natural)


def _of_run(run: FinishedRun, model: str, arm: str) -> Knob:
    """The direction of a run; its values are the ends of the curve that the run drew, a third of the way inwards."""
    record = run.typed_record
    if record.probe != "context-knob" or record.model.id != model:
        raise UsageError(f"run {run.id} is of {record.probe} on {record.model.id}, and holds no knob for {model}")
    direction, data = run.tensors.get("direction"), run.data
    if direction is None or "curve" not in data.children:
        raise UsageError(f"run {run.id} holds no direction; it ended as {record.status!r}: run it again")
    arms = list(data["curve"].children)
    set_to = data[f"curve/{arm if arm in arms else arms[0]}"].to_dataset()["set_to"].values
    middle, half = float(set_to[0] + set_to[-1]) / 2, float(set_to[-1] - set_to[0]) / 3
    natural = tuple(float(value) for value in data.attrs["natural"])
    layer = int(data.attrs["layer"])
    return Knob(unit(direction.float()), layer, middle - half, middle + half, model, (natural[0], natural[1]))
