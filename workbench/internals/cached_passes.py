"""Whether a model may be run in pieces, against a cache of what came before, and give what one whole run gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import UsageError
from . import attention, check_text
from .architectures import bare
from .engines.base import Engine, Inputs

if TYPE_CHECKING:
    from .edits import Edit

NEW, PADDED = 3, 7
"""Tokens that are run one by one in the check, and columns of padding before its second row."""
_known: WeakKeyDictionary[nn.Module, Caching] = WeakKeyDictionary()


class Caching:
    """What a check of cached passes found for one model.

    why: why a cache cannot be used, None where it can. unkept: layers whose keys, as attention uses them, are not what
    the cache keeps, so that an edit of them is forgotten at the next token. masked: whether padding is to be told at
    tokens that come one by one too; models without attention must not be told of it.
    """

    def __init__(self, why: str | None, unkept: frozenset[int], masked: bool = True) -> None:
        self.why, self.unkept, self.masked = why, unkept, masked


def caching(engine: Engine) -> Caching:
    """The check of this engine's model, made when it is first needed."""
    known = bare(engine.model)
    if known not in _known:
        _known[known] = _checked(engine)
    return _known[known]


def _checked(engine: Engine) -> Caching:
    """Run a short text at once, and in pieces with one row padded on the left, and compare the logits."""
    model = bare(engine.model)
    name = type(model).__name__
    border = engine.architecture.length_dependent
    count = check_text.SHORT if border is None else max(min(check_text.SHORT, border), PADDED + NEW + 2)
    with torch.no_grad(), engine.as_it_is(), check_text.lowered(model, count):
        rows = check_text.ids(model, count)
        lengths = (count, count - PADDED)
        try:
            whole = [engine.run(Inputs(rows[i : i + 1, : lengths[i]]))[0] for i in range(2)]  # type: ignore[index]
            masked = any(layer.attends for layer in engine.architecture.layers) or not engine.architecture.layers
            unkept = _in_pieces(engine, rows, lengths, whole, masked)
        except _Differs as error:
            return Caching(
                f"{name} run in pieces does not give what one run of the whole text gives ({error})", frozenset()
            )
        except Exception as error:
            told = " ".join(str(error).split())[:200]
            return Caching(f"{name} does not go on from a cache ({type(error).__name__}: {told})", frozenset())
    return Caching(None, unkept, masked)


class _Differs(Exception):
    pass


def _in_pieces(
    engine: Engine, rows: Tensor, lengths: tuple[int, int], whole: Sequence[Tensor], masked: bool
) -> frozenset[int]:
    rows = rows.cpu()
    width, pad = lengths[0] - NEW, lengths[0] - lengths[1]
    ids = torch.stack([rows[0, :width], torch.cat([torch.zeros(pad, dtype=torch.int64), rows[1, : width - pad]])])
    starts = torch.tensor([0, pad])[:, None]
    mask = torch.arange(width) >= starts
    positions = (torch.arange(width) - starts).clamp(min=0)
    calls: list[tuple[nn.Module, Tensor]] = []

    def note(call: attention.Call) -> None:
        calls.append((call.module, call.k))

    cache = engine.new_cache()
    with attention.watching({None: note}):
        found = engine.run(Inputs(ids, mask, positions, cache))
    unkept = _unkept(engine, calls, cache)
    size = max(float(logits.double().norm(dim=-1).max()) for logits in whole)
    coarse = max(2e-3, 64 * torch.finfo(whole[0].dtype).eps)

    def compare(found: Tensor | None, row: int, column: int, position: int) -> None:
        assert found is not None
        apart = float((found[row, column] - whole[row][position]).double().norm())
        if not apart <= coarse * size:
            raise _Differs(f"{'padded' if row else 'first'} row, token {position}: off by {apart / size:.1e}")

    compare(found, 0, -1, width - 1)
    compare(found, 1, -1, width - pad - 1)
    for step in range(NEW):
        at = torch.tensor([width + step, width - pad + step])
        mask = torch.cat([mask, torch.ones(2, 1, dtype=torch.bool)], dim=1)
        found = engine.run(Inputs(rows[torch.arange(2), at][:, None], mask if masked else None, at[:, None], cache))
        compare(found, 0, -1, int(at[0]))
        compare(found, 1, -1, int(at[1]))
    return unkept


def _unkept(engine: Engine, calls: Sequence[tuple[nn.Module, Tensor]], cache: Any) -> frozenset[int]:
    """The layers whose call's keys are no memory of the cache."""
    held = {
        keys.untyped_storage().data_ptr()
        for layer in getattr(cache, "layers", ())
        if isinstance(keys := getattr(layer, "keys", None), Tensor)
    }
    by_module = {id(module): keys for module, keys in calls}
    missing = {layer.kv_source for layer in engine.architecture.layers if layer.kv_source is not None}
    for layer in engine.architecture.layers:
        if layer.attention is None or not layer.attends:
            continue
        module = bare(engine.model).get_submodule(f"{engine.architecture.blocks}.{layer.index}.{layer.attention}")
        keys = by_module.get(id(getattr(module, "original_component", module)))
        if keys is None or keys.untyped_storage().data_ptr() not in held or layer.kv_source is not None:
            missing.add(layer.index)
    return frozenset(missing)


def check_edits(engine: Engine, edits: Sequence[Edit]) -> None:
    """Raise `UsageError` for edits that a cache would forget, or that a run without one cannot place."""
    found = caching(engine)
    for edit in edits:
        if found.why is not None:
            raise UsageError(
                f"edits cannot be made while this model generates: {found.why}; edit one run of a whole text"
            )
        place = engine.architecture.place(edit.site) if edit.site.kind != "final_norm" else None
        if place is None or place.side != "attention" or edit.site.kind not in ("k_rot", "v"):
            continue
        if edit.site.layer in found.unkept:
            raise UsageError(
                f"'{edit.site}' cannot be edited while {engine.architecture.name} generates: its cache does not keep keys "
                "and values as attention uses them, so the edit would be forgotten at the next token; edit one run of a "
                "whole text, or a site before them"
            )


def check_frequencies(engine: Engine, lengths: Tensor, longest: int | None = None) -> None:
    """Raise `UsageError` where frequencies of rotation depend on the length and rows of several lengths would share them.

    `longest` is how long the rows may become.
    """
    border = engine.architecture.length_dependent
    if border is None:
        return
    top = max(int(lengths.max()), longest or 0)
    if top <= border:
        return
    name = engine.architecture.name
    if int(lengths.min()) != int(lengths.max()):
        raise UsageError(
            f"beyond {border} tokens {engine.architecture.length_reason} depend in {name} on the length of the text, so rows of "
            f"{int(lengths.min())} and {int(lengths.max())} tokens would not give what each gives alone; run them one by one"
        )
