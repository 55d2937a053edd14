"""The check at load: what each layer of a model is, found on a run of it and served only where it is verified.

Four short runs in float32, up to the last block: with the model's own attention, with the attention seam (block by
block on the same inputs), with all positions 0, where rotation does nothing, and with edits at what was found. Where
weights are such that values cannot be told apart (zeros), the runs that are looked at have noise behind projections.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..models.kinds import CONTINUOUS
from . import check_text, layer_places
from .architectures import Architecture, Layer, ModuleSite, Shape, bare, unwrapped, view
from .attending_layer import HEAD_KINDS, at_seam, by_weights, own_module
from .block_stack import check_causal_class, find_stack
from .checked_runs import CheckedRuns
from .edited_run import confirmed
from .layer_kinds import length_dependent, mixer
from .layer_places import norm, same
from .observed_run import BlockRun

BLOCK_KINDS = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_pre", "mlp_post")
_NO_ROTATION = "it has no rotation: what attention uses are q and k themselves"
_NO_MID = "attention and MLP read the same residual stream (parallel residual)"


def examine(model: nn.Module) -> Architecture:
    """Read a model's architecture from a run of it, and set its attention to the seam where that computes the same.

    Raises `UsageError` for a model that is not causal, and `WorkbenchError` where no stack of blocks is found.
    """
    base = bare(model)
    check_causal_class(base)
    count = check_text.length(base)
    with check_text.lowered(base, count) as lowered:
        given = check_text.entering(model, check_text.rows(model, count))
        stack = find_stack(base, check_text.parting(given))
        checked = CheckedRuns(base, stack, given, lowered)
        checked.install()
        checked.stir()
        return _Layers(checked, unwrapped(model)).architecture()


class _Layers:
    """What the runs of one model tell of its layers."""

    def __init__(self, checked: CheckedRuns, outer: nn.Module) -> None:
        self.outer: Any = outer.config
        self.checked, self.model, self.stack = checked, checked.model, checked.stack
        self.runs, self.refused, self.lowered = checked.runs, checked.refused, checked.lowered

    def architecture(self) -> Architecture:
        """What the runs tell, with only those kinds that an edited run confirms."""
        own: Any = self.model.config
        config = own.get_text_config()
        numbers = (self.outer.d_in, self.outer.d_out) if self.outer.model_type == CONTINUOUS else None
        zero = self.checked.at_position_zero()
        layers = [self._layer(index, None if zero is None else zero[index]) for index in range(len(self.runs))]
        layers = self._shared(layers)
        layers = confirmed(self.checked, layers)
        absent = self._without_rotation(layers)
        attending = [layer for layer in layers if layer.heads]
        width = self.runs[0].given.shape[-1] if self.runs[0].given is not None else config.hidden_size
        heads = _setting(config, "num_attention_heads")
        shape = Shape(
            layers=len(layers),
            heads=max((layer.heads for layer in attending), default=heads),
            kv_heads=max(
                (layer.kv_heads for layer in attending), default=_setting(config, "num_key_value_heads") or heads
            ),
            d_model=width,
            d_head=max(
                (layer.d_head for layer in attending), default=_setting(config, "head_dim") or width // max(heads, 1)
            ),
            vocabulary=config.vocab_size if numbers is None else 0,
            context=_setting(config, "max_position_embeddings") or None,
            d_value=max((layer.d_value for layer in attending), default=0),
            d_in=None if numbers is None else numbers[0],
            d_out=None if numbers is None else numbers[1],
        )
        border, reason = length_dependent(config), "the frequencies of its rotation"
        if border is None and any(layer.kind == "indexed" for layer in layers) and not self.checked.prefix_holds():
            border, reason = min(check_text.reaches(self.model).values(), default=1), "the keys that its index chooses"
        return Architecture(
            config.model_type,
            shape,
            self.stack.path,
            self.stack.norm,
            tuple(layers),
            absent,
            border,
            self.checked.keeps_positions(),
            reason,
        )

    def _layer(self, index: int, zero: BlockRun | None) -> Layer:
        run, block = self.runs[index], self.stack.blocks[index]
        pre, post = run.given, run.gave
        assert pre is not None and post is not None
        several = pre.shape[:2] != (1, self.checked.tokens) or pre.ndim != 3 or post.shape != pre.shape
        places = {} if several else {"resid_pre": ModuleSite("", "input"), "resid_post": ModuleSite("", "output")}
        if index == 0 and not several:
            places["embed"] = ModuleSite("", "input")
        absent: dict[str, str] = self._several_streams(index) if several else {}
        known: dict[str, Any] = {}
        path = run.calls[0].path if run.calls else None
        if len(run.calls) == 1:
            here, why, known = at_seam(self.checked, index, zero)
            places |= here
            absent |= why
            kind, told = known.pop("kind"), ""
        elif own_module(self.checked, index) is not None:
            path = own_module(self.checked, index)
            assert path is not None
            here, why, known = by_weights(self.checked, index, path, zero)
            places |= here
            absent |= why
            kind, told = known.pop("kind"), ""
        elif run.calls:
            why_not = f"layer {index} calls attention {len(run.calls)} times, so its heads are not those of one pattern"
            absent |= dict.fromkeys(HEAD_KINDS, why_not)
            kind, told = "other", "several calls of attention"
        else:
            kind, told = mixer(self.model, block, index)
            what = self.refused or f"layer {index} has no softmax attention: it is {told}"
            absent |= dict.fromkeys(HEAD_KINDS, what)
        if several:
            streams = max(1, pre.numel() // (self.checked.tokens * pre.shape[-1]))
            return Layer(index, kind, told, places, absent, path, streams=streams, **known)
        here, why, factor = self._added(index, path)
        places |= here
        absent |= why
        here, why = layer_places.mlp_places(block, run, path)
        places |= here
        absent |= why
        return Layer(index, kind, told, places, absent, path, multiplier=factor, **known)

    def _several_streams(self, index: int) -> dict[str, str]:
        given = self.runs[index].given
        assert given is not None
        why = (
            f"what enters block {index} has the shape {list(given.shape)} and not [batch, position, d_model] with "
            f"{self.checked.tokens} positions: this model passes on several residual streams at once"
        )
        return dict.fromkeys(BLOCK_KINDS, why)

    def _added(self, index: int, path: str | None) -> tuple[dict[str, ModuleSite], dict[str, str], float]:
        """Where attn_out, mlp_out and resid_mid are, and the factor on what is added."""
        run = self.runs[index]
        added = ("attn_out", "mlp_out", "resid_mid")
        found = layer_places.addends(run, path)
        if found is None:
            why = f"in block {index}, resid_pre + attn_out + mlp_out is not resid_post for any two of its modules"
            return {}, dict.fromkeys(added, why), 1.0
        if found.factor != 1:
            why = (
                f"block {index} multiplies what {found.attention} and {found.mlp} give by {found.factor:.6g} before "
                f"it adds "
                "it, so resid_pre + attn_out + mlp_out is not resid_post; read or edit resid_pre and resid_post"
            )
            return {}, dict.fromkeys(added, why), found.factor
        places, absent = {"mlp_out": ModuleSite(found.mlp, "output")}, {}
        if path is None and not self.refused:
            absent["attn_out"] = f"layer {index} has no softmax attention: {found.attention} stands in its place"
        else:
            places["attn_out"] = ModuleSite(found.attention, "output")
        mid = layer_places.middle(run, found)
        if mid is None:
            absent["resid_mid"] = _NO_MID
        else:
            places["resid_mid"] = mid
        return places, absent, 1.0

    def _shared(self, layers: list[Layer]) -> list[Layer]:
        """Kinds are refused at modules that run in several blocks: hooks there would see all of them."""
        blocks = self.stack.blocks
        times: dict[int, list[int]] = {}
        for index, block in enumerate(blocks):
            for module in block.modules():
                times.setdefault(id(module), []).append(index)
        found = []
        for layer in layers:
            refused = {}
            for kind, place in layer.places.items():
                others = [i for i in times[id(blocks[layer.index].get_submodule(place.module))] if i != layer.index]
                if others:
                    refused[kind] = (
                        f"its module {place.module} is shared with layer {others[0]}, so the two cannot be told apart"
                    )
            found.append(layer.without(refused))
        return found

    def _without_rotation(self, layers: list[Layer]) -> dict[str, str]:
        """q_rot and k_rot are refused where they are q and k in every layer."""
        compared = False
        for layer in layers:
            for kind, letter in (("q_rot", "q"), ("k_rot", "k")):
                if kind not in layer.places:
                    continue
                if letter not in layer.places:
                    return {}
                run = self.runs[layer.index]
                place = layer.places[letter]
                own = view(run.outputs[place.module], place).transpose(1, 2)
                used = getattr(run.calls[0].call, letter)
                factor = (own * used).sum() / (own * own).sum()
                if not same((own * factor).transpose(1, 2), used.transpose(1, 2), norm(used.transpose(1, 2))):
                    return {}
                compared = True
        return dict.fromkeys(("q_rot", "k_rot"), _NO_ROTATION) if compared else {}


def _setting(config: Any, name: str) -> int:
    """A whole number of the configuration, 0 where it has none or another for each layer."""
    try:
        value = getattr(config, name, None)
    except Exception:
        return 0
    return value if type(value) is int else 0
