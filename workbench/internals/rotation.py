"""How each layer rotates queries and keys by position, found out by running the model at two sets of positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .architectures import bare
from .engines.base import Engine, Hook, Inputs
from .sites import Site
from .values import example

if TYPE_CHECKING:
    from .architectures import Architecture
    from .position_edits import Placement

_PLACES = ((0, 1, 2, 3, 4, 5, 6, 7), (1, 3, 4, 5, 7, 8, 9, 11))
_CHANGING = ("dynamic", "longrope")
"""Kinds of rotation whose frequencies depend on how long the text is."""


_known: WeakKeyDictionary[Engine, tuple[Architecture, Positions]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of one layer: frequencies `[frequency]` in radians a position, on the first entries of a head.

    Entry i turns with entry i + n ("halves", n frequencies) or with the next one ("pairs").
    """

    frequencies: Tensor
    layout: Literal["halves", "pairs"]

    def turned(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """x `[batch, head, token, d]` turned by angles `[batch, token, frequency]`."""
        count = len(self.frequencies)
        work = torch.promote_types(x.dtype, torch.float32)
        head = x[..., : 2 * count].to(work)
        cosine, sine = cosine[:, None].to(head), sine[:, None].to(head)
        if self.layout == "halves":
            a, b = head[..., :count], head[..., count:]
            new = torch.cat([a * cosine - b * sine, b * cosine + a * sine], dim=-1)
        else:
            a, b = head[..., ::2], head[..., 1::2]
            new = torch.stack([a * cosine - b * sine, b * cosine + a * sine], dim=-1).flatten(-2)
        return torch.cat([new.to(x.dtype), x[..., 2 * count :]], dim=-1)

    def angles(self, old: Tensor, new: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine `[batch, token, frequency]` of what is to be turned from positions old to new.

        Each angle is a float32 product, as the model makes it: what it turned by is undone exactly.
        """
        own = self.frequencies.float()
        was = (old.to(own)[..., None] * own).double()
        is_now = (new.to(own)[..., None] * frequencies.to(own)).double()
        turn = is_now - was
        return turn.cos(), turn.sin()

    def moved(self, x: Tensor, placement: Placement, new: Tensor, start: int) -> Tensor:
        """Queries or keys `[batch, head, token, d]` of the columns from `start` on, moved to `new [batch, column]`."""
        stop = start + x.shape[2]
        frequencies = placement.frequencies(self.frequencies)
        return self.turned(x, *self.angles(placement.own[:, start:stop], new[:, start:stop], frequencies))


@dataclass(frozen=True, eq=False)
class Positions:
    """What positions do in a model: the rotation by layer, None where there is none, or added to the embedding."""

    rotations: tuple[Rotation | None, ...]
    learned: bool
    refused: str | None = None

    @property
    def only_learned(self) -> bool:
        """Whether positions are learned and added to the embedding, and nothing is rotated."""
        return self.refused is None and self.learned and not any(self.rotations)


def positions_of(engine: Engine) -> Positions:
    """What positions do in the model behind an engine, found out in two runs of eight tokens, once a model.

    Every block is given the same residual stream in both, so its queries differ by their rotation alone.
    """
    engine.refresh()
    of, found = _known.get(engine, (None, None))
    if found is None or of is not engine.architecture:
        found = _found(engine)
        _known[engine] = engine.architecture, found
    return found


def _found(engine: Engine) -> Positions:
    architecture, model = engine.architecture, bare(engine.model)
    kind = _changing(model)
    if kind is not None:
        return Positions((), False, f"its rotation is {kind!r}, whose frequencies change with the length of the text")
    first, second = (_run(engine, places) for places in _PLACES)
    learned = not torch.equal(first[0], second[0])
    candidates = _frequencies(model)
    found: list[Rotation | None] = []
    for layer in range(architecture.shape.layers):
        if layer not in first[1]:
            found.append(None)
            continue
        before, after = first[1][layer], second[1][layer]
        if _close(before, after):
            found.append(None)
            continue
        tried = [Rotation(one, layout) for one in candidates for layout in ("halves", "pairs")]
        right = next((one for one in tried if _explains(one, before, after)), None)
        if right is None:
            return Positions((), learned, f"how layer {layer} rotates its queries by position is not known here")
        found.append(right)
    return Positions(tuple(found), learned)


def rotation(positions: Positions, layer: int, name: str) -> Rotation:
    """The rotation of a layer; raises `UsageError` where there is none."""
    if positions.refused is not None:
        raise UsageError(f"{name} cannot be asked for other positions: {positions.refused}")
    found = positions.rotations[layer]
    if found is not None:
        return found
    rotated = [str(at) for at, one in enumerate(positions.rotations) if one is not None]
    if rotated:
        raise UsageError(
            f"layer {layer} of {name} does not rotate by position; the layers that do: {', '.join(rotated)}"
        )
    if positions.learned:
        raise UsageError(
            f"{name} adds learned positions to its embeddings and rotates nothing: its positions can be moved for all "
            "layers and heads together, by whole numbers (shift_positions, step_positions, set_positions)"
        )
    raise UsageError(f"{name} does not rotate queries and keys by position, so there are no other positions to give")


def _run(engine: Engine, places: tuple[int, ...]) -> tuple[Tensor, dict[int, Tensor]]:
    """The embeddings, and the queries of every layer on one residual stream, at these positions."""
    shape = engine.architecture.shape
    generator = torch.Generator().manual_seed(5)
    fixed = torch.randn(1, len(places), shape.d_model, generator=generator)
    embedded: list[Tensor] = []
    queries: dict[int, Tensor] = {}

    def keep(layer: int) -> Hook:
        return Hook(Site("q_rot", layer), lambda whole: queries.__setitem__(layer, whole.detach().clone()))

    hooks = [Hook(Site("embed"), lambda whole: embedded.append(whole.detach().clone()))]
    layers_with = engine.architecture.layers_with
    hooks += [Hook(Site("resid_pre", layer), lambda whole: fixed.to(whole)) for layer in layers_with("resid_pre")]
    hooks += [keep(layer) for layer in layers_with("q_rot")]
    ids = torch.arange(len(places))[None] % max(shape.vocabulary, 1)
    given = ids if shape.d_in is None else torch.stack(example(shape.d_in, [len(places)]))
    with torch.no_grad():
        engine.run(Inputs(given, torch.ones_like(ids, dtype=torch.bool), torch.tensor([places])), hooks, logits=False)
    return embedded[0], queries


def _frequencies(model: nn.Module) -> list[Tensor]:
    """Every set of frequencies among the model's buffers."""
    found: list[Tensor] = []
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq") and buffer.ndim == 1 and not any(torch.equal(buffer, one) for one in found):
            found.append(buffer.detach())
    return found


def _explains(rotation: Rotation, before: Tensor, after: Tensor) -> bool:
    """Whether turning from the one set of positions to the other gives the queries `[1, token, head, d]` there."""
    if 2 * len(rotation.frequencies) > before.shape[-1]:
        return False
    old, new = (torch.tensor([places], device=before.device) for places in _PLACES)
    turn = rotation.angles(old, new, rotation.frequencies)
    return _close(rotation.turned(before.transpose(1, 2), *turn).transpose(1, 2), after)


def _close(found: Tensor, expected: Tensor) -> bool:
    bound = max(1e-4, 16 * torch.finfo(expected.dtype).eps)
    return bool((found - expected).double().norm() <= bound * expected.double().norm())


def _changing(model: nn.Module) -> str | None:
    """The kind of rotation, where its frequencies depend on the length of the text."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [one for one in settings.values() if isinstance(one, dict)] if isinstance(settings, dict) else []
    for one in (settings, *nested):
        kind = one.get("rope_type") or one.get("type") if isinstance(one, dict) else None
        if kind in _CHANGING:
            return str(kind)
    return None
