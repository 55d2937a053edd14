"""The knob: one direction after one block, with the values that stand for the prior and for the context.

`load("context-knob").apply(session, "context").generate(prompt, 8)` is the shipped one on the default model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from workbench.errors import UsageError
from workbench.files import draft
from workbench.internals import edits
from workbench.internals.edits import Edit
from workbench.internals.projection import unit

if TYPE_CHECKING:
    from workbench.internals.generation import Generated
    from workbench.internals.prompts import Prompt
    from workbench.internals.session import Session


WEIGHTS, SETTINGS = "direction.safetensors", "knob.json"
Named = Literal["prior", "context"]


@dataclass(frozen=True, eq=False)
class Knob:
    """A direction of length one `[d_model]` after a block; prior and context are the values along it.

    `model` names the model it was learnt on, in words. `natural` are the mean values under the two intents, prior
    first, where they are known; those that steer may lie further apart.
    """

    direction: Tensor
    layer: int
    prior: float
    context: float
    model: str = ""
    natural: tuple[float, float] | None = None

    @property
    def site(self) -> str:
        return f"resid_post.{self.layer}"

    def value(self, value: float | Named) -> float:
        """A value along the direction, where `prior` and `context` stand for the knob's own."""
        if isinstance(value, str):
            if value not in ("prior", "context"):
                raise UsageError(f"the knob is set to a number, 'prior' or 'context', not {value!r}")
            return self.prior if value == "prior" else self.context
        return float(value)

    def edits(self, value: float | Named | Tensor) -> list[Edit]:
        """The edits that set it: at the last token of the prompt, then at every generated one.

        A tensor `[batch, 1]` sets each prompt to a value of its own.
        """
        at = value if isinstance(value, Tensor) else self.value(value)
        return [
            edits.project(self.site, self.direction, at, positions=[-1], during="prompt"),
            edits.project(self.site, self.direction, at, during="generation"),
        ]

    def apply(self, session: Session, value: float | Named) -> Steered:
        """The model with the knob set: a number, or `prior` or `context`.

        Raises `UsageError` if the direction does not fit the model.
        """
        self.check(session)
        return Steered(session, self, self.value(value))

    def check(self, session: Session) -> None:
        """Raise `UsageError` if the direction does not fit the model."""
        shape = session.shape
        if self.direction.shape != (shape.d_model,) or not 0 <= self.layer < shape.layers:
            raise UsageError(
                f"this knob has {len(self.direction)} numbers after block {self.layer}; the model has "
                f"{shape.d_model} and blocks 0 to {shape.layers - 1}"
            )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from workbench.html_table import bundle

        facts = [
            ("where", f"one direction of {len(self.direction)} numbers at {self.site}"),
            ("value for the prior", f"{self.prior:.3g}"),
            ("value for the context", f"{self.context:.3g}"),
            ("learnt on", self.model),
        ]
        return bundle("Knob between prior and context", facts=facts)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into a folder as safetensors and JSON."""
        from safetensors.torch import save_file

        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        settings = {"layer": self.layer, "prior": self.prior, "context": self.context, "model": self.model}
        with draft(path / SETTINGS) as told, draft(path / WEIGHTS) as weights:
            save_file({"direction": self.direction.float().contiguous()}, weights)
            told.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Steered:
    """A session with a knob set to a value; the session itself is left as it is."""

    session: Session
    knob: Knob
    at: float

    def generate(self, prompt: Prompt, max_new_tokens: int, edits: Sequence[Edit] = (), **how: Any) -> Generated:
        """Generate with the knob set; everything else as `Session.generate`."""
        return self.session.generate(prompt, max_new_tokens, [*edits, *self.knob.edits(self.at)], **how)

    def logits(self, prompt: Prompt, edits: Sequence[Edit] = (), **how: Any) -> Tensor:
        """The logits after the prompt's last token, `[batch, 1, vocabulary]`, with the knob set."""
        return self.session.logits(prompt, [-1], [*edits, *self.knob.edits(self.at)], **how)


def knobs() -> dict[str, Path]:
    """The knobs that ship with the package, by name."""
    root = Path(str(files("workbench.data"))) / "directions"
    found = sorted(root.iterdir()) if root.is_dir() else []
    return {each.name: each for each in found if (each / SETTINGS).is_file() and (each / WEIGHTS).is_file()}


def load(name: str | os.PathLike[str]) -> Knob:
    """A shipped knob by its name, or one that was saved in a folder.

    Raises `UsageError` for what is no knob.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    shipped = knobs()
    folder = shipped.get(os.fspath(name), Path(name))
    listed = f"; shipped are: {', '.join(shipped)}" if shipped else ""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        direction = load_file(folder / WEIGHTS)["direction"]
        layer, prior, context = int(settings["layer"]), float(settings["prior"]), float(settings["context"])
    except OSError:
        raise UsageError(f"no knob {os.fspath(name)!r}: give a folder with {SETTINGS} and {WEIGHTS}{listed}") from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(f"{folder} holds no knob that can be read: {error}") from None
    if direction.ndim != 1 or not bool(torch.isfinite(direction).all()) or not float(direction.norm()) > 0:
        raise UsageError(f"{folder} holds no direction: one finite vector that is not zero is needed")
    return Knob(unit(direction.float()), layer, prior, context, str(settings.get("model", "")))
