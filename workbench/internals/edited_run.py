"""The check of edits: a second row of the batch is edited at what was found, and must change as it should."""

from __future__ import annotations

import torch
from torch import Tensor

from .architectures import Layer, put, view
from .checked_runs import CheckedRuns
from .layer_places import norm, same
from .observed_run import BlockRun


def confirmed(checked: CheckedRuns, layers: list[Layer]) -> list[Layer]:
    """The layers without kinds whose edit does not do what it should: a second row of the batch is edited."""
    generator = torch.Generator().manual_seed(2)
    runs = checked.runs

    def noise(like: Tensor, layer: int) -> Tensor:
        size, stream = like.float().square().mean().sqrt(), runs[layer].given
        if stream is not None and not size > 0:  # a module that gives nothing for this text
            size = 0.1 * stream.float().square().mean().sqrt()
        return size.clamp(min=1e-6) * torch.randn(like.shape, generator=generator).to(like)

    def change(layer: int, path: str, side: str, value: Tensor) -> Tensor | None:
        if not path and side == "given":
            whole = runs[layer].given
            if whole is None or value.numel() != 2 * whole.numel():
                return None
            batch = next(
                axis for axis, (one, two) in enumerate(zip(whole.shape, value.shape, strict=True)) if one != two
            )
            return whole.repeat_interleave(2, dim=batch)
        new = None
        for kind in ("q", "k", "attn_out", "mlp_out", "resid_mid"):
            place = layers[layer].places.get(kind)
            if place is None or place.module != path or value.shape[0] != 2:
                continue
            if side != ("given" if place.side == "stream" else "gave"):
                continue
            new = value.clone() if new is None else new
            part = view(new[1:], place).clone()
            if kind in "qk":
                part[..., -1, :] += 2 * noise(part[..., -1, :], layer)
            else:
                part += noise(part, layer)
            put(new[1:], place, part)
            if place.side == "stream":
                value.copy_(new)
                new = None
        return new

    try:
        edited = checked.run(change, **checked.rows(2))
    except Exception as error:
        why = f"an edited run of this model ended in {type(error).__name__}: {error}"
        kinds = ("q", "k", "attn_out", "mlp_out", "resid_mid")
        return [layer.without({kind: why for kind in kinds if kind in layer.places}) for layer in layers]
    return [layer.without(_unconfirmed(layer, edited[layer.index])) for layer in layers]


def _unconfirmed(layer: Layer, run: BlockRun) -> dict[str, str]:
    refused: dict[str, str] = {}
    for part in ("q", "k"):
        if part in layer.places and len(run.calls) == 1:
            heads = getattr(run.calls[0].call, part)
            changed = (heads[1] - heads[0]).double().square().sum(dim=(1, 2)).sqrt()
            size = heads[0].double().norm() + 1e-30
            others = changed[:-1] > 1e-5 * size
            if bool(others.any()) and _rescaled(heads[0][:-1], heads[1][:-1]):
                others = others & False  # one norm over all heads: each of the others is made longer or shorter
            if not bool(changed[-1] > 1e-3 * size / len(changed)) or bool(others.any()):
                refused[part] = f"in layer {layer.index}, an edit of one head there does not change that head alone"
    if {"attn_out", "mlp_out"} <= set(layer.places) and run.given is not None and run.gave is not None:
        attn, mlp = (run.outputs.get(layer.places[kind].module) for kind in ("attn_out", "mlp_out"))
        if attn is None or mlp is None or attn.shape[0] != 2:
            return refused | dict.fromkeys(("attn_out", "mlp_out", "resid_mid"), "it did not run in an edited run")
        pre = run.given
        if mid := layer.places.get("resid_mid"):
            pre = run.inputs[mid.module] - attn
        delta = norm(run.gave - run.given)
        if not same((pre + attn + mlp)[1:], run.gave[1:], delta[1:], (norm(pre) + norm(run.gave))[1:]):
            why = f"in block {layer.index}, edits of what is added do not change what leaves the block as they should"
            refused |= {kind: why for kind in ("attn_out", "mlp_out", "resid_mid") if kind in layer.places}
    return refused


def _rescaled(heads: Tensor, edited: Tensor) -> bool:
    """Whether all heads `[head, position, d]` of a position were multiplied by one number."""
    factor = (heads * edited).sum(dim=(0, 2), keepdim=True) / heads.square().sum(dim=(0, 2), keepdim=True).clamp(
        min=1e-30
    )
    return same(heads * factor, edited, norm(edited), share=1e-3)
