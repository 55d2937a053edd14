"""A TransformerBridge whose attention is the model's own: O(tokens) memory, and TransformerLens' hook names still fire.

The standard bridge computes attention anew, with a query × key matrix in every layer whatever is asked for. Here the
model's attention runs through the seam, and the hook points that lie inside attention are fired from what passes there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import AttentionBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from ...errors import UsageError, WorkbenchError
from .. import attention
from ..architectures import Architecture, ModuleSite, view
from ..sites import Site
from . import hook_values
from .base import Hook

if TYPE_CHECKING:
    from torch import nn
    from transformer_lens.model_bridge import TransformerBridge

PARTS = ("q", "k", "v")
_OWN = ("qkv", *PARTS, "o", "q_norm", "k_norm")
"""What TransformerLens calls the modules inside a model's attention."""


def build(
    model: nn.Module, architecture: Architecture, tokenizer: Any = None, native: bool = True
) -> TransformerBridge:
    """Wrap a model, whose modules are rewritten in place; with `native`, its attention stays its own where it can.

    The tokenizer is for texts given to the bridge itself: it is copied, and gives the tokens that it gives everywhere
    else, without the BOS that TransformerLens would put before them.

    Raises `WorkbenchError` if TransformerLens has no adapter for the architecture.
    """
    kind, own = type(model).__name__, model.config._attn_implementation  # type: ignore[union-attr]
    try:
        bridge = build_bridge_from_module(
            model,
            kind,
            hf_config=model.config,
            tokenizer=_prepared(tokenizer),
            model_name=getattr(model, "name_or_path", "") or kind,
            post_adapter_hook=partial(_keep_attention, architecture=architecture) if native else None,
        )
    except Exception as error:  # its adapters fail in many ways on what they were not made for
        told = " ".join(str(error).split())[:300]
        raise WorkbenchError(
            f"TransformerLens cannot wrap {kind} ({told}); use the engine 'hf' or 'nnsight'"
        ) from error
    # the standard bridge needs the mask that eager attention is given; some adapters set that by themselves
    model.set_attn_implementation(own if is_native(bridge) else "eager")  # type: ignore[operator]
    bridge.cfg.default_prepend_bos = bridge.cfg.tokenizer_prepends_bos
    return bridge


def _prepared(tokenizer: Any) -> Any:
    """A copy that TransformerLens takes as it is: it would load anew, from the Hub, one that does not add BOS."""
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return None
    copied = copy.deepcopy(tokenizer)
    copied.init_kwargs.update(name_or_path=getattr(tokenizer, "name_or_path", "") or "local", add_bos_token=True)
    return copied


def is_native(bridge: TransformerBridge) -> bool:
    """Whether the bridge runs the model's own attention."""
    return all(isinstance(getattr(block, "attn", None), NativeAttention) for block in bridge.blocks)


def _keep_attention(adapter: Any, architecture: Architecture) -> None:
    """Put `NativeAttention` in the place of the adapter's attention, if it is made of the modules that we know."""
    inside = adapter.component_mapping["blocks"].submodules
    modules = set(inside["attn"].submodules) if "attn" in inside else set()
    fused = {"qkv", "o"} <= modules and set(PARTS) <= set(architecture.places)
    alike = all(
        _same_place(layer.places.get(part), architecture.places.get(part))
        for layer in architecture.layers
        for part in PARTS
    )
    at_seam = all((place := layer.places.get("scores")) and place.side == "attention" for layer in architecture.layers)
    if at_seam and alike and (fused or {*PARTS, "o"} <= modules):
        inside["attn"] = NativeAttention(inside["attn"], architecture)


def _same_place(place: ModuleSite | None, other: ModuleSite | None) -> bool:
    """Whether a kind is in the same columns of the same module in two layers."""
    if place is None or other is None or place.columns is None or other.columns is None:
        return place is other
    return place.module == other.module and torch.equal(place.columns.index, other.columns.index)


class NativeAttention(AttentionBridge):
    """The model's own attention under TransformerLens' names.

    Fires `hook_rot_q`, `hook_rot_k` `[batch, position, head, d_head]` and `hook_attn_scores` (masked), `hook_pattern`
    `[batch, head, query, key]` where something hangs on them; what a hook returns takes effect. Where queries, keys and
    values come from one projection, `hook_q`, `hook_k`, `hook_v` and `W_Q`, `W_K`, `W_V` are views of its parts.
    """

    def __init__(self, standard: AttentionBridge, architecture: Architecture) -> None:
        fused = "qkv" in standard.submodules
        own = {
            name: module
            for name, module in standard.submodules.items()
            if name in _OWN and not (fused and name in PARTS)
        }
        super().__init__(
            standard.name,
            standard.config,
            submodules=own,
            maintain_native_attention=True,
            requires_position_embeddings=standard.requires_position_embeddings,
            requires_attention_mask=True,
            fused_qkv=fused,
        )
        self._architecture = architecture
        self._fused = fused
        self._watchers: list[attention.Watcher] = []
        if fused:
            self.property_aliases = {}
            for part in PARTS:
                setattr(self, f"hook_{part}", HookPoint())

    @contextmanager
    def watched(self, watcher: attention.Watcher) -> Iterator[None]:
        """Show every call of this attention, as the hooks left it, to a watcher until the block ends."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model's attention gives, with the hook points fired on the way."""
        own = self.original_component
        assert own is not None
        names = ("hook_rot_q", "hook_rot_k", "hook_attn_scores", "hook_pattern")
        with ExitStack() as stack:
            if self._watchers or any(map(self._hooked, names)):
                stack.enter_context(attention.watching({own: self._at_seam}))
            if self._fused and any(self._hooked(f"hook_{part}") for part in PARTS):
                stack.callback(self.qkv.hook_out.register_forward_hook(self._at_projection).remove)
            return super().forward(*args, **kwargs)

    def _hooked(self, name: str) -> bool:
        point = self._modules.get(name)
        return isinstance(point, HookPoint) and point.has_hooks()

    def _fire(self, name: str, value: Tensor) -> Tensor | None:
        """What a hook point makes of a value; None if that is the value itself."""
        new = getattr(self, name)(value)
        return None if new is value else new

    def _fire_heads(self, name: str, value: Tensor) -> Tensor | None:
        """The same for `[batch, position, head, d_head]`: these points are fired with heads before positions."""
        new = self._fire(name, value.transpose(1, 2))
        return None if new is None else new.transpose(1, 2)

    def _at_projection(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Fire the points of the parts of one projection; its output with replaced parts, or None."""
        new = {part: self._fire(f"hook_{part}", self._part(output, part)) for part in PARTS}
        if all(value is None for value in new.values()):
            return None
        written = output.clone()
        for part, value in new.items():
            if value is not None:
                self._part(written, part).copy_(value)
        return written

    def _part(self, passing_through: Tensor, part: str) -> Tensor:
        return view(passing_through, self._architecture.places[part])

    def _at_seam(self, call: attention.Call) -> Tensor | None:
        for kind, name in (("q_rot", "hook_rot_q"), ("k_rot", "hook_rot_k")):
            if self._hooked(name):
                hook_values.at_attention(call, Hook(Site(kind, 0), partial(self._fire_heads, name)), cached=True)
        for watcher in self._watchers:
            watcher(call)
        if self._hooked("hook_attn_scores") or self._hooked("hook_pattern"):
            return self._at_maps(call)
        return None

    def _at_maps(self, call: attention.Call) -> Tensor | None:
        """Fire the points of the whole query × key maps; attention's output if one of them was replaced."""
        queries, keys = call.q.shape[2], call.k.shape[2]
        if queries > 1 and keys > attention.LONG:
            raise UsageError(
                f"hook_attn_scores and hook_pattern are maps of {queries} × {keys} for each head, refused above "
                f"{attention.LONG} tokens; name the hooks you want in names_filter, or capture 'pattern' at positions"
            )
        if call.edited is not None:
            raise UsageError(
                "hook_attn_scores and hook_pattern do not go with edits of attention: take the hooks off, or leave the "
                "edits out"
            )
        logits, mask = attention.scores(call), call.visible(0, queries)
        if mask is not None:
            lowest = torch.finfo(logits.dtype).min
            logits = logits.masked_fill(~mask, lowest) if mask.dtype == torch.bool else logits + mask
        scores = self._fire("hook_attn_scores", logits)
        weights = (logits if scores is None else scores).softmax(-1, dtype=torch.float32).to(call.v.dtype)
        pattern = self._fire("hook_pattern", weights)
        if scores is None and pattern is None:
            return None
        values = call.v.repeat_interleave(call.q.shape[1] // call.v.shape[1], dim=1)
        return ((weights if pattern is None else pattern) @ values).transpose(1, 2)

    def _weight(self, part: str) -> Tensor:
        """A part of the one projection's weight, `[head, d_model, d_head]`."""
        from torch import nn

        weight = self.qkv.original_component.weight
        rows = weight.T if isinstance(self.qkv.original_component, nn.Linear) else weight
        return self._part(rows, part).transpose(0, 1)

    def _bias(self, part: str) -> Tensor | None:
        bias = getattr(self.qkv.original_component, "bias", None)
        return None if bias is None else self._part(bias, part)


def _accessor(letter: str, part: str, of_fused: str) -> property:
    """`W_Q` and its kind: TransformerLens' own where the projections are separate, a part of the one otherwise."""
    name = f"{letter}_{part.upper()}"
    own = getattr(AttentionBridge, name).fget

    def get(self: NativeAttention) -> Tensor | None:
        return getattr(self, of_fused)(part) if self._fused else own(self)

    return property(get)


for _part in PARTS:
    setattr(NativeAttention, f"W_{_part.upper()}", _accessor("W", _part, "_weight"))
    setattr(NativeAttention, f"b_{_part.upper()}", _accessor("b", _part, "_bias"))
