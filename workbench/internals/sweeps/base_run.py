"""The run without edits, kept so that the runs of cells go on from it and compute only what is theirs.

A cell enters as a row of the batch at the first block that it changes, with the residual stream that the kept run has
there, and only with the tokens from the first edited one on: before it, the kept keys and values serve. Cells that
enter at later blocks join the batch there, so each block's weights are used once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import bare
from ..edits import Frame
from ..engines.base import Engine, Inputs
from ..forward_arguments import first, first_input, with_input
from ..tokens import TokenBatch
from .cells import Cell, row_hooks


class CannotResume(Exception):
    """Blocks that cannot be entered in the middle."""


@dataclass
class BaseRun:
    """What one run of one row of tokens keeps: each block's input and output, keys and values.

    streams: `[1, position, d_model]` by block. outputs: what each block gave, as it gave it. kept: keys and values that
    went into the cache, by layer, `[1, kv_head, position, d]`; empty where cells cannot go on from them.
    """

    engine: Engine
    tokens: TokenBatch
    streams: list[Tensor] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    kept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, engine: Engine, tokens: TokenBatch, prefix: bool) -> BaseRun:
        """Run the tokens once; with `prefix`, keys and values are kept too. Raises `CannotResume`."""
        found = cls(engine, tokens)
        cache = found._recording() if prefix else None

        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            value, _name = first_input(args, kwargs)
            if value is None or value.ndim != 3 or value.shape[:2] != tokens.ids.shape[:2]:
                raise CannotResume("a block is given no stream [batch, position, d_model]")
            found.streams.append(value.detach().clone())

        def after(_: nn.Module, args: Any, output: Any) -> None:
            found.outputs.append(output)

        with ExitStack() as stack, torch.no_grad():
            for block in found._blocks:
                stack.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
                stack.callback(block.register_forward_hook(after).remove)
            engine.run(Inputs(tokens.ids, cache=cache), logits=torch.tensor([tokens.width - 1]))
        if len(found.streams) != len(found._blocks):
            raise CannotResume("a block runs more than once")
        if prefix and sorted(found.kept) != list(range(len(found._blocks))):
            raise CannotResume("a block keeps no keys and values")
        return found

    def run(
        self, cells: Sequence[Cell], columns: Tensor | None, start: int = 0, check: Callable[[], None] | None = None
    ) -> Tensor | None:
        """The logits `[cell, column, vocabulary]` of cells that change no position before `start`.

        Without `columns` the run ends with the last edit. `check` is called at every block.
        """
        layers = len(self._blocks)
        order = sorted(range(len(cells)), key=lambda place: cells[place].entry(layers))
        sorted_cells = [cells[place] for place in order]
        entries = [cell.entry(layers) for cell in sorted_cells]
        rows = [sum(entry <= layer for entry in entries) for layer in range(layers)]
        frame = Frame(self.tokens, start=start)
        positions = torch.arange(start, self.tokens.width)[None] if start else None
        inputs = Inputs(self.tokens.ids[:, start:], None, positions, self._cache(start, rows) if start else None)
        with self._entering(rows, start, check), torch.no_grad():
            asked = False if columns is None else columns - start
            found = self.engine.run(inputs, row_hooks(sorted_cells, frame), logits=asked)
        if found is None:
            return None
        return found[torch.tensor(order, device=found.device).argsort()]

    @property
    def _blocks(self) -> list[nn.Module]:
        return list(bare(self.engine.model).get_submodule(self.engine.architecture.blocks).children())

    @contextmanager
    def _entering(self, rows: Sequence[int], start: int, check: Callable[[], None] | None) -> Iterator[None]:
        """Blocks without a row are passed over, and rows join the batch where they enter."""

        def joining(layer: int) -> Callable[..., Any]:
            new = rows[layer] - (rows[layer - 1] if layer else 0)

            def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
                if check is not None:
                    check()
                if not new:
                    return None
                value, name = first_input(args, kwargs)
                assert value is not None
                joined = self.streams[layer][:, start:].to(value.device).expand(new, -1, -1)
                whole = joined.clone() if new == rows[layer] else torch.cat([value, joined])
                return with_input(args, kwargs, name, whole)

            return before

        with ExitStack() as stack:
            for layer, block in enumerate(self._blocks):
                if rows[layer]:
                    stack.callback(block.register_forward_pre_hook(joining(layer), with_kwargs=True).remove)
                else:
                    stack.enter_context(_passed_over(block, self.outputs[layer]))
            yield

    def _recording(self) -> Any:
        """An empty cache that writes down the keys and values it is handed."""
        cache = self.engine.new_cache()
        own = cache.update

        def update(keys: Tensor, values: Tensor, layer: int, *args: Any, **kwargs: Any) -> Any:
            self.kept[layer] = keys.detach(), values.detach()
            return own(keys, values, layer, *args, **kwargs)

        cache.update = update
        return cache

    def _cache(self, start: int, rows: Sequence[int]) -> Any:
        """A cache of the tokens before `start`, in each layer for the rows that it has there."""
        cache = self.engine.new_cache()
        for layer, (keys, values) in self.kept.items():
            cache.update(keys[..., :start, :], values[..., :start, :], layer)
            held = cache.layers[layer]
            count = max(rows[layer], 1)
            held.keys, held.values = (each.expand(count, -1, -1, -1) for each in (held.keys, held.values))
        return cache


@contextmanager
def _passed_over(block: nn.Module, gave: Any) -> Iterator[None]:
    """A block that hands on what it is given, in the form in which it gives its output."""
    own = vars(block).get("forward")

    def forward(*args: Any, **kwargs: Any) -> Any:
        value, _ = first_input(args, kwargs)
        return value if isinstance(gave, Tensor) else type(gave)([value, *gave[1:]])

    if not isinstance(gave, Tensor) and (not isinstance(gave, (tuple, list)) or first(gave) is None):
        raise CannotResume("a block gives no tensor")
    block.forward = forward
    try:
        yield
    finally:
        if own is None:
            del block.forward
        else:
            block.forward = own
