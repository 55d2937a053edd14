"""One layer with attention: where the kinds of its heads are, and what its call of attention tells of it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import attention, confirmed_heads, layer_places
from .architectures import ModuleSite, view
from .checked_runs import CheckedRuns
from .layer_kinds import masked_kind, seen_kind
from .layer_places import norm, same
from .observed_run import BlockRun
from .sites import MAP_KINDS

SEAM_KINDS = ("q_rot", "k_rot", *MAP_KINDS)
HEAD_KINDS = ("q", "k", "v", "z", *SEAM_KINDS)
Found = tuple[dict[str, ModuleSite], dict[str, str], dict[str, Any]]
"""Places of kinds, reasons for kinds that are not there, and what else is known of a layer."""


def at_seam(checked: CheckedRuns, index: int, zero: BlockRun | None) -> Found:
    """A layer whose one call of attention passes the seam."""
    run, block = checked.runs[index], checked.stack.blocks[index]
    at = run.calls[0]
    call, output = at.call, at.output
    assert output is not None
    known = _known(checked, index)
    if (why := _unread(checked, index, call, output)) is not None:
        return {}, dict.fromkeys(HEAD_KINDS, why), known
    seam = ModuleSite(at.path, "attention")
    places, absent = dict.fromkeys(SEAM_KINDS, seam), {}
    paths = layer_places.linears(block, run, at.path)
    out = layer_places.output_of_heads(run, paths, output)
    places["z"] = out or seam
    known["output_gate"] = out is None and _gated(run, paths, output)
    if call.sinks is not None:
        del places["scores"]
        absent["scores"] = f"in layer {index} a learned sink joins the softmax, so scores do not tell the pattern"
        if not checked.sinks_join:
            del places["pattern"]
            absent["pattern"] = (
                f"layer {index} has a learned sink, and its own eager attention gives weights before the sink takes "
                f"its "
                "share: which of the two is meant would not be clear"
            )
    if out is not None:
        paths = [path for path in paths if path != out.module]
    value = layer_places.projected(run, paths, call.v)
    if value is not None:
        places["v"] = value
    elif layer_places.expanded(block, run, at.path, call.v):
        places["v"] = seam  # the projection is run on all that the cache keeps, so it is no place of new tokens
    else:
        absent["v"] = f"in layer {index}, the values that attention uses are not what a projection gives"
    parts: tuple[tuple[Literal["q", "k"], str], ...] = (("q", "queries"), ("k", "keys"))
    for part, word in parts:
        place = _projection(run, zero, paths, part, value)
        other = places.get("q") if part == "k" else None
        if place is None or _overlaps(place, other) or _overlaps(place, value):
            absent[part] = f"in layer {index}, no projection gives what becomes the {word} of its heads"
        else:
            places[part] = place
    known["rotary_share"] = _rotary_share(run, places.get("q"))
    return places, absent, known


def _unread(checked: CheckedRuns, index: int, call: attention.Call, output: Tensor) -> str | None:
    """Why heads of a call cannot be told at all."""
    every = torch.arange(call.q.shape[2], device=call.q.device)[None]
    mixed = attention.mixed(attention.pattern(call, every), call.v)
    if not same(mixed, output, norm(output)):
        return f"in layer {index}, the pattern times the values is not the output of its attention"
    if call.k.shape[2] != call.q.shape[2]:
        return f"layer {index} sees {call.k.shape[2]} keys for {call.q.shape[2]} tokens: its keys are not the tokens"
    return None


def _projection(
    run: BlockRun, zero: BlockRun | None, paths: list[str], part: Literal["q", "k"], value: ModuleSite | None
) -> ModuleSite | None:
    """Where queries or keys are projected: by their values at position 0, or where a later edit is to confirm it."""
    place = None
    if zero is not None and len(zero.calls) == 1:
        there = [path for path in paths if path in zero.outputs]
        place = layer_places.projected(zero, there, getattr(zero.calls[0].call, part), factor=True)
    if place is None:
        place = next(iter(layer_places.guessed(run, paths, part, run.calls[0], value)), None)
    heads = getattr(run.calls[0].call, part).shape[1]
    if place is None or place.columns is None or place.columns.index.shape[0] != heads:
        return None
    return place


def _gated(run: BlockRun, paths: list[str], output: Tensor) -> bool:
    """Whether a projection is given the heads' output times something between 0 and 1."""
    flat = output.flatten(2)
    for path in paths:
        if run.inputs[path].shape == flat.shape:
            share = run.inputs[path] / flat.where(flat != 0, 1)
            if bool(((share > -1e-4) & (share < 1 + 1e-4)).all()):
                return True
    return False


def _rotary_share(run: BlockRun, place: ModuleSite | None) -> float | None:
    """How much of each query is rotated, None where it is not known (queries that are normed first)."""
    if place is None or place.columns is None or place.columns.even is None:
        return None
    own = view(run.outputs[place.module], place).transpose(1, 2)
    used = run.calls[0].call.q
    if own.shape != used.shape:
        return None
    apart = (own[:, :, 1:] / own[:, :, 1:].norm(dim=-1, keepdim=True)) - used[:, :, 1:] / used[:, :, 1:].norm(
        dim=-1, keepdim=True
    )
    return float((apart.abs().amax(dim=(0, 1, 2)) > 1e-4).float().mean())


def _known(checked: CheckedRuns, index: int) -> dict[str, Any]:
    """What the call of attention tells of a layer."""
    run, block = checked.runs[index], checked.stack.blocks[index]
    call = run.calls[0].call
    kind, reach = masked_kind(call, checked.lowered)
    if any(name.endswith("A_log") for name, _ in block.named_parameters()):
        kind = "parallel mixture"
    source = None
    for before in range(index - 1, -1, -1):
        theirs = checked.runs[before].calls
        if len(theirs) == 1 and theirs[0].call.k.shape == call.k.shape and torch.equal(theirs[0].call.k, call.k):
            source = before
    return {
        "kind": kind, "heads": call.q.shape[1], "kv_heads": call.k.shape[1], "d_head": call.q.shape[3],
        "d_value": call.v.shape[3], "reach": reach, "scale": call.scaling, "softcap": call.softcap,
        "learned_sinks": call.sinks is not None, "kv_source": source, "qk_norm": _qk_norm(block, run),
    }  # fmt: skip


def _qk_norm(block: nn.Module, run: BlockRun) -> Literal["head", "flat"] | None:
    """Whether queries or keys pass a norm: over each head, or over all heads together."""
    at = run.calls[0]
    heads, size = at.call.q.shape[1], at.call.q.shape[3]
    for path, output in run.outputs.items():
        if path.startswith(at.path + ".") and "Norm" in type(block.get_submodule(path)).__name__:
            if output.shape[-1] == size and output.ndim == 4:
                return "head"
            if output.shape[-1] == heads * size:
                return "flat"
    return None


def own_module(checked: CheckedRuns, index: int) -> str | None:
    """The module that has attention of the model's own making in a block."""
    found = checked.runs[index].softmaxes
    tokens = checked.tokens
    if checked.refused is None or len(found) != 1 or found[0][2].shape[2:] != (tokens, tokens):
        return None
    return found[0][0]


def by_weights(checked: CheckedRuns, index: int, path: str, zero: BlockRun | None) -> Found:
    """A layer with attention of the model's own making: its weights, and the heads that they confirm."""
    run, block = checked.runs[index], checked.stack.blocks[index]
    weights = run.softmaxes[0][2]
    found = confirmed_heads.places(block, run, zero, path)
    found |= dict.fromkeys(MAP_KINDS, ModuleSite(path, "weights"))
    absent = {
        part: f"in layer {index}, no projection was found that the attention weights confirm as {part}"
        for part in "qkvz"
        if part not in found
    }
    absent |= dict.fromkeys(("q_rot", "k_rot"), f"{checked.refused}: queries and keys as it uses them pass no module")
    kind, reach = seen_kind(weights > 0, checked.lowered)
    kv_heads, size = _sizes(found.get("v"))
    _, d_head = _sizes(found.get("q"))
    heads = weights.shape[1]
    known = {"kind": kind, "heads": heads, "kv_heads": kv_heads or heads, "d_head": d_head or size, "d_value": size}
    return found, absent, known | {"reach": reach}


def _sizes(place: ModuleSite | None) -> tuple[int, int]:
    """Heads and numbers a head at a place, 0 where it is not known."""
    if place is None or place.columns is None:
        return 0, 0
    heads, size = place.columns.index.shape
    return heads, size


def _overlaps(place: ModuleSite, other: ModuleSite | None) -> bool:
    """Whether two places share columns of one module's output."""
    if other is None or place.module != other.module or place.columns is None or other.columns is None:
        return False
    return bool(torch.isin(place.columns.index, other.columns.index).any())
