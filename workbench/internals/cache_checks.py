"""A check, once an engine, that runs which go on from a cache give what the model computes over the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import UsageError
from . import attention, check_text
from .architectures import Architecture, bare
from .cached_prompts import fill
from .edits import EditLike, divided, listed
from .engines.base import Engine, Inputs
from .sites import Site
from .stream_end import stream_end

if TYPE_CHECKING:
    from .edits import Edit

_NEW, _PADDED = 3, 7
"""Tokens that are run one by one in the check, and columns of padding before its second row."""
_SHARED, _ENDS, _AFTER = (3, 1, 4), ((1, 5, 9, 2, 6, 5), (3, 5)), (8, 9)
"""Two prompts that begin alike, of two lengths, and what follows each."""


class Checked(NamedTuple):
    """Whether a text may be run in pieces and prompts in parts, and how.

    pieces: why tokens may not go on from a cache, None where they may. why: why kept prompts may not be branched, None
    where they may. padding_between: whether padding may stand between what prompts have in common and the rest of each.
    alone: whether even whole texts must be run one by one. unkept: layers whose keys and values, as attention uses
    them, are not what the cache keeps, so that an edit of them is forgotten at the next token.
    """

    pieces: str | None
    why: str | None
    padding_between: bool
    alone: bool = False
    unkept: frozenset[int] = frozenset()


_made: WeakKeyDictionary[Engine, list[tuple[Architecture, Checked]]] = WeakKeyDictionary()
_KEPT = 2
"""Verdicts that are kept for an engine: two, as for a model with its adapter and without."""


def checked(engine: Engine) -> Checked:
    """The verdict on a model, from its configuration and from short texts that are run both ways.

    It is made the first time, and again once the model's modules are others.
    """
    engine.refresh()
    made = _made.setdefault(engine, [])
    for of, found in made:
        if of is engine.architecture:
            return found
    found = _check(engine)
    _made[engine] = [*made, (engine.architecture, found)][-_KEPT:]
    return found


def check_edits(engine: Engine, edits: EditLike) -> None:
    """Raise `UsageError` for edits that a cache would forget, or that a run without one cannot place."""
    if not listed(edits):
        return
    found = checked(engine)
    if found.pieces is not None:
        raise UsageError(
            f"edits cannot be made while this model generates: {found.pieces}; edit one run of a whole text"
        )
    if forgotten := forgets(engine, edits):
        raise UsageError(
            f"'{forgotten.site}' cannot be edited while {engine.architecture.name} generates: its cache does not keep "
            "keys and values as attention uses them, so the edit would be forgotten at the next token; edit one run "
            "of a whole text, or a site before them"
        )


def forgets(engine: Engine, edits: EditLike) -> Edit | None:
    """The first edit of what the cache does not keep, None where it keeps all."""
    for edit in divided(edits, engine.architecture)[0]:
        assert isinstance(edit.site, Site)
        if edit.site.kind not in ("k_rot", "v"):
            continue
        at_seam = engine.architecture.place(edit.site).side == "attention"
        if at_seam and edit.site.layer in checked(engine).unkept:
            return edit
    return None


class _Differs(Exception):
    pass


def _check(engine: Engine) -> Checked:
    border = engine.architecture.length_dependent
    count = check_text.SHORT if border is None else max(min(check_text.SHORT, border), _PADDED + _NEW + 2)
    with torch.no_grad(), engine.as_it_is(), check_text.lowered(bare(engine.model), count):
        pieces, unkept = _in_pieces(engine, count)
        if border is not None:
            changes = f"{engine.architecture.length_reason} depend on the length of the text"
            return Checked(pieces, changes, False, alone=True, unkept=unkept)
        why, between = _branched(engine)
    return Checked(pieces, why, between, unkept=unkept)


def _in_pieces(engine: Engine, count: int) -> tuple[str | None, frozenset[int]]:
    """Run a short text at once, and in pieces with one row padded on the left; why they differ, and what is unkept."""
    name = type(bare(engine.model)).__name__
    rows, lengths = check_text.rows(engine.model, count), (count, count - _PADDED)
    try:
        whole = [stream_end(engine, Inputs(rows[i : i + 1, : lengths[i]]))[0] for i in range(2)]
        return None, _piecewise(engine, rows, lengths, whole)
    except _Differs as error:
        return f"{name} run in pieces does not give what one run of the whole text gives ({error})", frozenset()
    except Exception as error:  # a model's own code may say anything when it is handed a cache that it does not know
        return f"{name} does not go on from a cache ({_told(error)})", frozenset()


def _piecewise(engine: Engine, rows: Tensor, lengths: tuple[int, int], whole: Sequence[Tensor]) -> frozenset[int]:
    width, pad = lengths[0] - _NEW, lengths[0] - lengths[1]
    ids = torch.stack([rows[0, :width], torch.cat([torch.zeros_like(rows[1, :pad]), rows[1, : width - pad]])])
    starts = torch.tensor([0, pad])[:, None]
    mask = torch.arange(width) >= starts
    positions = (torch.arange(width) - starts).clamp(min=0)
    calls: list[attention.Call] = []

    cache = engine.new_cache()
    with attention.watching({None: calls.append}):
        found = stream_end(engine, Inputs(ids, mask, positions, cache))
    unkept = _unkept(engine, calls, cache)
    size = max(float(ends.double().norm(dim=-1).max()) for ends in whole)
    coarse = max(2e-3, 64 * torch.finfo(whole[0].dtype).eps)

    def compare(found: Tensor, row: int, column: int, position: int) -> None:
        apart = float((found[row, column] - whole[row][position]).double().norm())
        if not apart <= coarse * size:
            raise _Differs(f"{'padded' if row else 'first'} row, token {position}: off by {apart / size:.1e}")

    compare(found, 0, -1, width - 1)
    compare(found, 1, -1, width - pad - 1)
    for step in range(_NEW):
        at = torch.tensor([width + step, width - pad + step])
        mask = torch.cat([mask, torch.ones(2, 1, dtype=torch.bool)], dim=1)
        found = stream_end(engine, Inputs(rows[torch.arange(2), at][:, None], mask, at[:, None], cache))
        compare(found, 0, -1, int(at[0]))
        compare(found, 1, -1, int(at[1]))
    return unkept


def _unkept(engine: Engine, calls: Sequence[attention.Call], cache: Any) -> frozenset[int]:
    """The layers whose call's keys or values are no memory of the cache."""
    held = [
        kept
        for layer in getattr(cache, "layers", ())
        for name in ("keys", "values")
        if isinstance(kept := getattr(layer, name, None), Tensor)
    ]
    by_module = {id(call.module): call for call in calls}
    missing = {layer.kv_source for layer in engine.architecture.layers if layer.kv_source is not None}
    for layer in engine.architecture.layers:
        if layer.attention is None or not layer.attends:
            continue
        module = bare(engine.model).get_submodule(f"{engine.architecture.blocks}.{layer.index}.{layer.attention}")
        call = by_module.get(id(getattr(module, "original_component", module)))
        used = () if call is None else (call.k, call.v)
        kept = all(any(_one_memory(one, each) for each in held) for one in used)
        if call is None or not kept or layer.kv_source is not None:
            missing.add(layer.index)
    return frozenset(missing)


def _one_memory(one: Tensor, other: Tensor) -> bool:
    try:
        return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
    except RuntimeError:  # a kind of tensor whose memory has no address
        return one is other


def _branched(engine: Engine) -> tuple[str | None, bool]:
    """Why kept prompts may not be branched, and whether padding may stand after what they have in common."""
    size = engine.architecture.shape.vocabulary
    if size == 0:
        return "it takes numbers and no tokens", False
    prompts = [[token % size for token in (*_SHARED, *end)] for end in _ENDS]
    after = torch.tensor([[token % size for token in _AFTER]])
    whole = [stream_end(engine, Inputs(torch.tensor([[*prompt, *after[0].tolist()]]))) for prompt in prompts]
    why = _differs(engine, prompts, after, whole, share=False)
    between = why is None and _by_positions(engine) and not _differs(engine, prompts, after, whole, share=True)
    return why, between


def _differs(engine: Engine, prompts: list[list[int]], after: Tensor, whole: list[Tensor], share: bool) -> str | None:
    """Why what follows prompts that were kept and branched is not what follows the whole texts; None if it is."""
    order = [1, 0, 1]
    try:
        kept = fill(engine, prompts, share).pick(order)
        ids = torch.cat([kept.last[:, None], after.expand(len(order), -1)], dim=1)
        steps = torch.arange(ids.shape[1])
        mask = torch.cat([kept.mask, torch.ones(len(order), len(steps) - 1, dtype=torch.bool)], dim=1)
        inputs = Inputs(ids, mask, (kept.lengths - 1)[:, None] + steps, kept.cache)
        found = stream_end(engine, inputs)
    except Exception as error:  # as above
        return f"it cannot go on from a cache ({_told(error)})"
    coarse = torch.finfo(found.dtype).eps > 1e-4
    for row, prompt in enumerate(order):
        expected = whole[prompt][0, -len(steps) :].double()
        apart = (found[row].double() - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-30)
        if not bool((apart <= (0.1 if coarse else 1e-3)).all()):
            return "what it computes after a cache is not what it computes over the whole text"
    return None


def _by_positions(engine: Engine) -> bool:
    """Whether every layer is plain attention that goes by position ids: in others columns of padding may count."""
    return all(
        layer.kind == "full" and "pattern" in layer.places and layer.places["pattern"].side == "attention"
        for layer in engine.architecture.layers
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
