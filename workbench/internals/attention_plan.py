"""The attention edits of one run: which heads of which layers they change, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import SiteError, UsageError
from . import attention
from .attention_edits import AttentionEdit
from .attention_rules import FAR, Rule, rule, sees_nothing
from .edit_frame import Frame
from .edited_heads import of_heads
from .engines.base import Engine
from .fixed_weights import FixedWeights
from .position_edits import PositionEdit
from .rotation import positions_of, rotation
from .sites import Site

if TYPE_CHECKING:
    from .attention import Call

Pair = tuple[Tensor, Tensor]


@dataclass(eq=False)
class AttentionPlan:
    """Attention edits with the tokens that they act on."""

    edits: tuple[AttentionEdit, ...]
    frame: Frame
    engine: Engine
    _rules: dict[tuple[object, ...], Rule] = field(default_factory=dict)
    _pass: tuple[object, ...] = ()

    @property
    def layers(self) -> list[int]:
        """The layers with an edit."""
        architecture = self.engine.architecture
        return [
            layer
            for layer in range(architecture.shape.layers)
            if any(edit.heads_in(layer, architecture) for edit in self.edits)
        ]

    def rules(self, layer: int, queries: int, keys: int, device: torch.device) -> list[tuple[tuple[int, ...], Rule]]:
        """The heads of a layer that share a rule, and the rule, in the pass that the frame tells."""
        frame = self.frame
        if (now := (frame.generating, frame.step, frame.start)) != self._pass:
            self._pass = now
            self._rules.clear()
        by_edits: dict[tuple[int, ...], list[int]] = {}
        acting = [index for index, edit in enumerate(self.edits) if frame.acts(edit.during)]
        named = {index: set(self.edits[index].heads_in(layer, self.engine.architecture)) for index in acting}
        for head in range(self.engine.architecture.heads("pattern", layer)):
            chosen = tuple(index for index in acting if head in named[index])
            if chosen:
                by_edits.setdefault(chosen, []).append(head)
        return [(tuple(heads), self._rule(chosen, queries, keys, device)) for chosen, heads in by_edits.items()]

    def _rule(self, chosen: tuple[int, ...], queries: int, keys: int, device: torch.device) -> Rule:
        key = (chosen, queries, keys, device)
        if key not in self._rules:
            self._rules[key] = rule([self.edits[index] for index in chosen], self.frame, queries, keys, device)
        return self._rules[key]

    def placed(self, layer: int, rule: Rule, call: Call) -> tuple[Pair, Pair | None]:
        """Queries and keys at the positions that they are to have, and those for far keys."""
        at = rule.placement
        if at is None:
            return (call.q, call.k), None
        turn = rotation(positions_of(self.engine), layer, self.engine.architecture.name)
        at = replace(at, **{name: value.to(call.q.device) for name, value in vars(at).items() if _tensor(value)})
        near = (turn.moved(call.q, at, at.new, rule.start), turn.moved(call.k, at, at.new, rule.key_start))
        if at.far_query is None or at.far_key is None:
            return near, None
        return near, (
            turn.moved(call.q, at, at.far_query, rule.start),
            turn.moved(call.k, at, at.far_key, rule.key_start),
        )

    def fixed(self, layer: int, edit: FixedWeights, rule: Rule, call: Call, heads: tuple[int, ...]) -> Pair:
        """Another run's queries and keys of some heads in the columns of this pass."""
        assert not isinstance(edit.to, str)
        frame = rule.frame
        whole = []
        for seen, first, count in zip(
            edit.to[layer], (rule.start, rule.key_start), (call.q.shape[2], call.k.shape[2]), strict=True
        ):
            laid = seen.to(call.q).transpose(1, 2).expand(frame.tokens.batch, -1, -1, -1)
            if frame.left:
                rows = zip(laid, frame.pads.tolist(), strict=True)
                laid = torch.stack([row.roll(pad, dims=1) for row, pad in rows])
            whole.append(laid[:, :, first : first + count])
        part = of_heads(replace(call, q=whole[0], k=whole[1], v=whole[1]), heads)
        return part.q, part.k

    def check(self) -> None:
        """Raise before anything runs: `SiteError` for what is not there, `UsageError` for what cannot be computed."""
        if not self.edits:
            return
        architecture, tokens = self.engine.architecture, self.frame.tokens
        for edit in self.edits:
            edit.check(architecture)
            if isinstance(edit, FixedWeights) and edit.lengths is not None:
                self._check_lengths(edit, tokens.lengths.tolist())
        layers = self.layers
        self._check_seam(layers)
        for layer in layers:
            moves = [e for e in self.edits if isinstance(e, PositionEdit) and e.heads_in(layer, architecture)]
            if moves:
                rotation(positions_of(self.engine), layer, architecture.name)
        for frame in self._frames():
            trial = AttentionPlan(self.edits, frame, self.engine)
            count = 1 if frame.generating else tokens.width
            seen: set[int] = set()
            for layer in layers:
                window = window_of(self.engine, layer)
                for _, one in trial.rules(layer, count, frame.before + count, torch.device("cpu")):
                    if (key := hash((id(one), window))) not in seen:
                        seen.add(key)
                        _check_visible(one, window)

    def _check_seam(self, layers: Sequence[int]) -> None:
        """Raise `SiteError` where attention does not pass the seam, at which it is edited."""
        engine, architecture = self.engine, self.engine.architecture
        if "pattern" not in engine.kinds():
            engine.check([Site("pattern", layer) for layer in layers[:1] or [0]])
        elsewhere = [layer for layer in layers if architecture.place(Site("pattern", layer)).side != "attention"]
        if engine.implementation != attention.NAME or elsewhere:
            raise SiteError(
                f"the engine {engine.name!r} reads the attention of {architecture.name} where it cannot be edited; "
                + ("take the engine 'hf'" if engine.name != "hf" else f"layers: {', '.join(map(str, elsewhere))}")
            )

    def _frames(self) -> list[Frame]:
        """The passes in which edits act, as far as they differ: the prompt, and each one's first step of generation."""
        tokens, left = self.frame.tokens, self.frame.left
        steps = {
            0 if isinstance(edit.during, str) else edit.during if isinstance(edit.during, int) else min(edit.during)
            for edit in self.edits
            if edit.during != "prompt"
        }
        return [Frame(tokens, left), *(Frame(tokens, left, generating=True, step=step) for step in sorted(steps))]

    @staticmethod
    def _check_lengths(edit: FixedWeights, lengths: list[int]) -> None:
        given = list(edit.lengths or ())
        if given != lengths and not (len(given) == 1 and set(lengths) == set(given)):
            raise UsageError(
                f"weights are those of a run with {_listed(given)} tokens, and this prompt has {_listed(lengths)}: "
                "they can be fixed only where the prompts have the same length"
            )


def window_of(engine: Engine, layer: int) -> int:
    """How many tokens back a layer sees: its window, `FAR` where it has none."""
    found = engine.architecture.layers[layer]
    return found.reach if found.kind == "window" and found.reach is not None else FAR


def _check_visible(rule: Rule, window: int) -> None:
    """Raise `UsageError` for a query that the edits, and the model's window, leave nothing to see."""
    keys = torch.arange(rule.key_class.shape[1])
    real = keys + rule.key_start >= rule.frame.pads[:, None]
    for row in range(len(rule.query_class)):
        for number in rule.query_class[row].unique().tolist():
            if not rule.edited[number]:
                continue
            allowed = rule.sees[number][rule.key_class[row]] & real[row]
            sinks = allowed & rule.sinks[number][rule.key_class[row]]
            before, sinks_before = (torch.nn.functional.pad(one.cumsum(0), (1, 0)) for one in (allowed, sinks))
            queries = (rule.query_class[row] == number).nonzero()[:, 0]
            end = queries + rule.start - rule.key_start + 1
            least = (end - window).clamp(min=0)
            near = (end - min(window, rule.window[number])).clamp(min=0)
            seen = before[end] - before[near] + (sinks_before[near] - sinks_before[least]).clamp(min=0)
            if (seen == 0).any():
                raise sees_nothing(rule, row, int(queries[int((seen == 0).nonzero()[0, 0])]))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:6])) + (" …" if len(numbers) > 6 else "")


def _tensor(value: object) -> bool:
    return isinstance(value, Tensor)
