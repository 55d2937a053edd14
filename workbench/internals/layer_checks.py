"""The check at load: what each layer of a model is, found on a run of it and served only where it is verified.

Four short runs in float32, up to the last block: with the model's own attention, with the attention seam (block by
block on the same inputs), with all positions 0, where rotation does nothing, and with edits at what was found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WorkbenchError
from . import attention, check_text, confirmed_heads, layer_places
from .architectures import Architecture, Layer, ModuleSite, Shape, bare, put, view
from .block_stack import Stack, check_causal_class, find_stack
from .layer_kinds import length_dependent, masked_kind, mixer, seen_kind
from .layer_places import norm, same
from .observed_run import BlockRun, run_blocks
from .own_attention import own_attention
from .sites import MAP_KINDS

SEAM_KINDS = ("q_rot", "k_rot", *MAP_KINDS)
HEAD_KINDS = ("q", "k", "v", "z", *SEAM_KINDS)
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
        rows = check_text.ids(base, count)
        stack, _ = find_stack(base, rows)
        found = _Examined(base, stack, rows, lowered)
        found.install()
        return found.architecture()


class _Examined:
    """The runs of one model, and what they tell."""

    def __init__(self, model: nn.Module, stack: Stack, rows: Tensor, lowered: dict[str, int]) -> None:
        self.model, self.stack, self.rows, self.lowered = model, stack, rows, lowered
        self.arguments = {"input_ids": rows[:1], "use_cache": False}
        self.runs = self._run()
        self.refused: str | None = None
        """Why the seam is not in the model."""

    def _run(self, change: Any = None, seam: Any = None, **arguments: Any) -> list[BlockRun]:
        return run_blocks(self.model, self.stack.blocks, {**self.arguments, **arguments}, change, seam)

    def install(self) -> None:
        """Set the model's attention to the seam, unless some block then computes something else."""
        config: Any = self.model.config
        before = config._attn_implementation
        if before == attention.NAME:
            return
        if (users := own_attention(self.model)) is not None:
            self.refused = f"the model computes with {users}, which is kept and is not looked into"
            return
        own = self.runs

        def as_before(layer: int, path: str, side: str, _: Tensor) -> Tensor | None:
            return own[layer].given if side == "given" and not path else None

        try:
            self.model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
            runs = self._run(as_before)
        except attention.Unsupported as error:
            self.refused = str(error)
        except Exception as error:
            self.refused = f"its attention is not made for another implementation ({type(error).__name__}: {error})"
        else:
            self.refused = self._differs(runs, before)
            if self.refused is None and not any(run.calls for run in runs):
                self.refused = "its attention does not go through transformers' attention interface"
            if self.refused is None:
                self.runs = runs
                return
        self.model.set_attn_implementation(before)  # type: ignore[operator]
        if before != "eager" and not any(run.softmaxes for run in own):
            self._eagerly(before, as_before)

    def _eagerly(self, before: str, as_before: Any) -> None:
        """Set the model's attention to its eager form, whose weights can be read, unless that computes something else."""
        try:
            self.model.set_attn_implementation("eager")  # type: ignore[operator]
            # some classes cannot be switched, though their code asks the configuration at every call
            self.model.config._attn_implementation = "eager"  # type: ignore[union-attr]
            runs = self._run(as_before)
        except Exception as error:
            self.refused = f"{self.refused}, and it has no eager form ({type(error).__name__})"
        else:
            if not any(run.softmaxes for run in runs) or (why := self._differs(runs, before)) is None:
                self.runs = runs if any(run.softmaxes for run in runs) else self.runs
                if self.runs is runs:
                    return
            else:
                self.refused = f"{self.refused}, and {why.replace('this attention', 'its eager form')}"
        self.model.set_attn_implementation(before)  # type: ignore[operator]
        self.model.config._attn_implementation = before  # type: ignore[union-attr]

    def _differs(self, runs: list[BlockRun], before: str) -> str | None:
        for layer, (own, run) in enumerate(zip(self.runs, runs, strict=True)):
            if own.given is None or own.gave is None or run.gave is None:
                continue
            added = norm(own.gave - own.given) if own.gave.shape == own.given.shape else norm(own.gave)
            if not same(run.gave, own.gave, added, norm(own.gave)):
                return f"in block {layer}, its own attention ({before}) computes something that this attention does not"
        return None

    # ------------------------------------------------------------------------------------------------ layers

    def architecture(self) -> Architecture:
        """What the runs tell, with only those kinds that an edited run confirms."""
        config: Any = self.model.config.get_text_config()
        zero = self._at_position_zero()
        layers = [self._layer(index, None if zero is None else zero[index]) for index in range(len(self.runs))]
        layers = self._shared(layers)
        layers = self._confirmed(layers)
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
            vocabulary=config.vocab_size,
            context=_setting(config, "max_position_embeddings") or None,
            d_value=max((layer.d_value for layer in attending), default=0),
        )
        border, reason = length_dependent(config), "the frequencies of its rotation"
        if border is None and any(layer.kind == "indexed" for layer in layers) and not self._prefix_holds():
            border, reason = min(check_text.reaches(self.model).values(), default=1), "the keys that its index chooses"
        return Architecture(
            config.model_type, shape, self.stack.path, self.stack.norm, tuple(layers), absent, border, reason
        )

    def _prefix_holds(self) -> bool:
        """Whether a shorter text gives what the same tokens give in a longer one."""
        for count in (self.rows.shape[1] * 2 // 3, self.rows.shape[1] - 3):
            shorter = self._run(input_ids=self.rows[:1, :count])
            for own, run in zip(self.runs, shorter, strict=True):
                if own.gave is None or run.gave is None or own.gave.ndim != 3:
                    return False
                if not same(run.gave, own.gave[:, :count], norm(own.gave[:, :count])):
                    return False
        return True

    def _layer(self, index: int, zero: BlockRun | None) -> Layer:
        run, block = self.runs[index], self.stack.blocks[index]
        pre, post = run.given, run.gave
        assert pre is not None and post is not None
        several = pre.shape[:2] != self.arguments["input_ids"].shape or pre.ndim != 3 or post.shape != pre.shape
        places = {} if several else {"resid_pre": ModuleSite("", "input"), "resid_post": ModuleSite("", "output")}
        if index == 0 and not several:
            places["embed"] = ModuleSite("", "input")
        absent: dict[str, str] = self._several_streams(index) if several else {}
        known: dict[str, Any] = {}
        path = run.calls[0].path if run.calls else None
        if len(run.calls) == 1:
            here, why, known = self._attention(index, zero)
            places |= here
            absent |= why
            kind, told = known.pop("kind"), ""
        elif self._own(index) is not None:
            path = self._own(index)
            assert path is not None
            here, why, known = self._weights(index, path, zero)
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
            rows = self.arguments["input_ids"].numel()
            streams = max(1, pre.numel() // (rows * pre.shape[-1]))
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
        rows = self.arguments["input_ids"].shape
        why = (
            f"what enters block {index} has the shape {list(given.shape)} and not [batch, position, d_model] with "
            f"{rows[1]} positions: this model passes on several residual streams at once"
        )
        kinds = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_pre", "mlp_post")
        return dict.fromkeys(kinds, why)

    def _attention(
        self, index: int, zero: BlockRun | None
    ) -> tuple[dict[str, ModuleSite], dict[str, str], dict[str, Any]]:
        run, block = self.runs[index], self.stack.blocks[index]
        at = run.calls[0]
        call, output = at.call, at.output
        assert output is not None
        seam = ModuleSite(at.path, "attention")
        places, absent = dict.fromkeys(SEAM_KINDS, seam), {}
        paths = layer_places.linears(block, run, at.path)
        every = torch.arange(call.q.shape[2], device=call.q.device)[None]
        mixed = attention.mixed(attention.pattern(call, every), call.v)
        if not same(mixed, output, norm(output)):
            why = f"in layer {index}, the pattern times the values is not the output of its attention"
            absent |= dict.fromkeys(HEAD_KINDS, why)
            return {}, absent, self._known(index)
        if call.k.shape[2] != call.q.shape[2]:
            why = f"in layer {index}, attention sees {call.k.shape[2]} keys for {call.q.shape[2]} tokens: they are not the tokens"
            absent |= dict.fromkeys(HEAD_KINDS, why)
            return {}, absent, self._known(index)
        out = layer_places.output_of_heads(run, paths, output)
        places["z"] = out or seam
        if call.sinks is not None:
            del places["scores"]
            absent["scores"] = (
                f"in layer {index} a learned sink joins the softmax, so scores do not tell the pattern; read the pattern"
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
        for part in "qk":
            heads = getattr(call, part)
            place = None
            if zero is not None and len(zero.calls) == 1:
                place = layer_places.projected(
                    zero, [p for p in paths if p in zero.outputs], getattr(zero.calls[0].call, part), True
                )
            options = [place] if place is not None else layer_places.guessed(run, paths, part, at, value)
            taken = {id(places.get("q"))}
            options = [
                option
                for option in options
                if id(option) not in taken and not _overlaps(option, places.get("q" if part == "k" else "v"))
            ]
            if options and options[0].columns is not None and options[0].columns.index.shape[0] == heads.shape[1]:
                places[part] = options[0]
            else:
                absent[part] = (
                    f"in layer {index}, no projection gives what becomes the {'queries' if part == 'q' else 'keys'} of its heads"
                )
        return places, absent, self._known(index)

    def _own(self, index: int) -> str | None:
        """The module that has attention of the model's own making in a block."""
        found = self.runs[index].softmaxes
        tokens = self.arguments["input_ids"].shape[1]
        if self.refused is None or len(found) != 1 or found[0][2].shape[2:] != (tokens, tokens):
            return None
        return found[0][0]

    def _weights(
        self, index: int, path: str, zero: BlockRun | None
    ) -> tuple[dict[str, ModuleSite], dict[str, str], dict[str, Any]]:
        """What attention of the model's own making tells: its weights, and the heads that they confirm."""
        run, block = self.runs[index], self.stack.blocks[index]
        weights = run.softmaxes[0][2]
        found = confirmed_heads.places(block, run, zero, path)
        found |= dict.fromkeys(MAP_KINDS, ModuleSite(path, "weights"))
        absent = {
            part: f"in layer {index}, no projection was found that the attention weights confirm as {part}"
            for part in "qkvz"
            if part not in found
        }
        absent |= dict.fromkeys(("q_rot", "k_rot"), f"{self.refused}: queries and keys as it uses them pass no module")
        kind, reach = seen_kind(weights > 0, self.lowered)
        value = found.get("v")
        kv_heads, size = value.columns.index.shape if value is not None and value.columns is not None else (0, 0)
        heads = weights.shape[1]
        d_head = found["q"].columns.index.shape[1] if "q" in found and found["q"].columns is not None else size
        known = {
            "kind": kind,
            "heads": heads,
            "kv_heads": kv_heads or heads,
            "d_head": d_head,
            "d_value": size,
            "reach": reach,
        }
        return found, absent, known

    def _known(self, index: int) -> dict[str, Any]:
        """What the call of attention tells of a layer."""
        run, block = self.runs[index], self.stack.blocks[index]
        call = run.calls[0].call
        kind, reach = masked_kind(call, self.lowered)
        if any(name.endswith("A_log") for name, _ in block.named_parameters()):
            kind = "parallel mixture"
        source = None
        for before in range(index - 1, -1, -1):
            theirs = self.runs[before].calls
            if len(theirs) == 1 and theirs[0].call.k.shape == call.k.shape and torch.equal(theirs[0].call.k, call.k):
                source = before
        return {
            "kind": kind, "heads": call.q.shape[1], "kv_heads": call.k.shape[1], "d_head": call.q.shape[3],
            "d_value": call.v.shape[3], "reach": reach, "scale": call.scaling, "softcap": call.softcap,
            "learned_sinks": call.sinks is not None, "kv_source": source,
        }  # fmt: skip

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
                f"block {index} multiplies what {found.attention} and {found.mlp} give by {found.factor:.6g} before it adds "
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

    def _at_position_zero(self) -> list[BlockRun] | None:
        """The run with every position 0, None where the model takes no positions."""
        zeros = torch.zeros_like(self.arguments["input_ids"])
        try:
            # with a mask, so that equal positions are not taken for the beginnings of many texts
            return self._run(position_ids=zeros, attention_mask=torch.ones_like(zeros))
        except Exception:
            return None  # positions of another form; what needs this run is then found in another way or refused

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

    # ------------------------------------------------------------------------------------------------ edits

    def _confirmed(self, layers: list[Layer]) -> list[Layer]:
        """The layers without kinds whose edit does not do what it should: a second row of the batch is edited."""
        pair = self.rows[:1].repeat(2, 1)
        generator = torch.Generator().manual_seed(2)
        runs = self.runs

        def noise(like: Tensor) -> Tensor:
            size = like.float().square().mean().sqrt().clamp(min=1e-6)
            return size * torch.randn(like.shape, generator=generator).to(like)

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
                    part[..., -1, :] += 2 * noise(part[..., -1, :])
                else:
                    part += noise(part)
                put(new[1:], place, part)
                if place.side == "stream":
                    value.copy_(new)
                    new = None
            return new

        try:
            edited = self._run(change, input_ids=pair)
        except Exception as error:
            why = f"an edited run of this model ended in {type(error).__name__}: {error}"
            kinds = ("q", "k", "attn_out", "mlp_out", "resid_mid")
            return [layer.without({kind: why for kind in kinds if kind in layer.places}) for layer in layers]
        return [layer.without(self._unconfirmed(layer, edited[layer.index])) for layer in layers]

    def _unconfirmed(self, layer: Layer, run: BlockRun) -> dict[str, str]:
        refused = {}
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
                why = (
                    f"in block {layer.index}, edits of what is added do not change what leaves the block as they should"
                )
                refused |= {kind: why for kind in ("attn_out", "mlp_out", "resid_mid") if kind in layer.places}
        return refused


def _rescaled(heads: Tensor, edited: Tensor) -> bool:
    """Whether all heads `[head, position, d]` of a position were multiplied by one number."""
    factor = (heads * edited).sum(dim=(0, 2), keepdim=True) / heads.square().sum(dim=(0, 2), keepdim=True).clamp(
        min=1e-30
    )
    return same(heads * factor, edited, norm(edited), share=1e-3)


def _overlaps(place: ModuleSite, other: ModuleSite | None) -> bool:
    """Whether two places share columns of one module's output."""
    if other is None or place.module != other.module or place.columns is None or other.columns is None:
        return False
    return bool(torch.isin(place.columns.index, other.columns.index).any())


def _setting(config: Any, name: str) -> int:
    """A whole number of the configuration, 0 where it has none or another for each layer."""
    try:
        value = getattr(config, name, None)
    except Exception:
        return 0
    return value if type(value) is int else 0


__all__ = ["HEAD_KINDS", "SEAM_KINDS", "WorkbenchError", "examine", "replace"]
