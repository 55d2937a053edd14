"""A check at load, on a short prompt, that what is found at each place is what its kind says."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .. import attention
from ..architectures import Architecture, bare, read_in_of, unwrapped
from ..sites import MAP_KINDS, Site
from ..values import example
from .base import Engine, Hook, Inputs

SEAM_KINDS = ("q_rot", "k_rot", *MAP_KINDS)
_PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)


def install_attention(model: nn.Module) -> str | None:
    """Set the model's attention to the seam, and say why that cannot be done, in which case nothing is changed.

    The logits of a short prompt must be those of the attention that the model had.
    """
    given, model = _given(model), bare(model)
    before = model.config._attn_implementation  # type: ignore[union-attr]
    if before == attention.NAME:
        return None
    with torch.no_grad():
        expected = model(**given, use_cache=False).logits
        model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
        if model.config._attn_implementation != attention.NAME:  # type: ignore[union-attr]
            return "its attention does not go through transformers' attention interface"
        try:
            found = model(**given, use_cache=False).logits
        except attention.Unsupported as error:
            why = str(error)
        else:
            if _same(found, expected, expected.norm(dim=-1), 1e-4):
                return None
            why = f"its attention is not that of transformers' sdpa with a softcap (its own is {before!r})"
    model.set_attn_implementation(before)  # type: ignore[operator]
    return why


def verified(engine: Engine) -> Architecture:
    """The engine's architecture without the kinds that fail the check, each with the reason.

    In every block resid_pre + attn_out (+ mlp_out) must be resid_mid (and resid_post), the values that attention uses
    must be v, and its output must be z and the pattern times the values.
    """
    found = engine.architecture
    reached: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    seen: dict[tuple[str, int], Tensor] = {}
    kinds = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post", "q", "k", "v", "z")

    def keep(kind: str, layer: int) -> Hook:
        return Hook(Site(kind, layer), lambda whole: seen.__setitem__((kind, layer), whole.clone()))

    def watch(call: attention.Call) -> Tensor:
        output = attention.attend(call)
        every = torch.arange(call.q.shape[2], device=call.q.device).expand(len(call.q), -1)
        groups = call.q.shape[1] // call.v.shape[1]
        mixed = attention.pattern(call, every) @ call.v.repeat_interleave(groups, dim=1)
        reached.append((call.q.transpose(1, 2), call.v.transpose(1, 2), output, mixed.transpose(1, 2)))
        return output

    layers = range(found.shape.layers)
    taps = [keep(kind, layer) for kind in kinds if kind in found.places for layer in layers]
    seam = found.places.get("q_rot") or found.places.get("scores")
    base = bare(engine.model)
    modules = [base.get_submodule(f"{found.blocks}.{layer}.{seam.module}") for layer in layers] if seam else []
    with torch.no_grad(), attention.watching(dict.fromkeys(modules, watch)):
        engine.run(Inputs(_prompt(engine.model)), taps)
    refused = dict(_sums(seen, found.shape.layers))
    if len(reached) != len(modules):
        why = "its attention does not go through transformers' attention interface"
        return found.without({**refused, **dict.fromkeys(SEAM_KINDS, why)})
    for layer, (query, value, output, mixed) in enumerate(reached):
        refused |= _heads(seen, layer, query, value, output)
        if not _same(mixed, output, output.norm(dim=-1), 1e-4):
            refused |= dict.fromkeys(MAP_KINDS, f"in block {layer}, the pattern times the values is not z")
    return found.without(refused)


def _sums(seen: dict[tuple[str, int], Tensor], layers: int) -> Iterator[tuple[str, str]]:
    """Kinds of the residual stream that do not add up in some block."""
    for layer in range(layers):
        parts = {kind: tensor for (kind, at), tensor in seen.items() if at == layer}
        pre, post, attn, mlp, mid = map(parts.get, ("resid_pre", "resid_post", "attn_out", "mlp_out", "resid_mid"))
        if pre is None or post is None:
            return
        size = pre.norm(dim=-1) + post.norm(dim=-1)
        if attn is None or mlp is None or not _same(pre + attn + mlp, post, size):
            why = f"in block {layer}, resid_pre + attn_out + mlp_out is not resid_post"
            yield from ((kind, why) for kind in ("attn_out", "mlp_out", "resid_mid") if kind in parts)
        elif mid is not None and not _same(pre + attn, mid, size):
            yield "resid_mid", f"in block {layer}, resid_pre + attn_out is not what was found there"


def _heads(
    seen: dict[tuple[str, int], Tensor], layer: int, query: Tensor, value: Tensor, output: Tensor
) -> dict[str, str]:
    """Kinds of the heads of one block that are not what its attention uses."""
    refused = {}
    for kind, used in (("v", value), ("z", output)):
        tensor = seen.get((kind, layer))
        if tensor is not None and (tensor.shape != used.shape or not _same(tensor, used, used.norm(dim=-1))):
            refused[kind] = f"in block {layer}, what was found there is not what attention uses"
    for kind, used in (("q", query), ("k", value)):
        tensor = seen.get((kind, layer))
        if tensor is not None and tensor.shape[:3] != used.shape[:3]:
            refused[kind] = f"in block {layer}, what was found there has other heads than attention uses"
    return refused


def _same(found: Tensor, expected: Tensor, size: Tensor, share: float = 0.0) -> bool:
    """Whether every token's difference is rounding: at most `share`, or 16 times the dtype's precision, of `size`."""
    bound = max(share, 16 * torch.finfo(expected.dtype).eps) * size.double()
    return bool(((found - expected).double().norm(dim=-1) <= bound + 1e-12).all())


def _given(model: nn.Module) -> dict[str, Tensor]:
    """The short prompt as the causal model's forward takes it."""
    read_in = read_in_of(model)
    if read_in is None:
        return {"input_ids": _prompt(model)}
    with torch.no_grad():
        return {"inputs_embeds": read_in(_prompt(model))}


def _prompt(model: nn.Module) -> Tensor:
    """A few tokens that every vocabulary has, or values, where the model takes them in."""
    parameter = next(model.parameters())
    if read_in_of(model) is not None:
        values = example(unwrapped(model).config.d_in, [len(_PROMPT)])[0]  # type: ignore[union-attr, arg-type]
        return values[None].to(parameter)
    size = bare(model).config.get_text_config().vocab_size  # type: ignore[operator, union-attr]
    return torch.tensor([[token % size for token in _PROMPT]], device=parameter.device)
