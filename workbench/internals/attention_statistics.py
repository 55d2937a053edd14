"""Run a model over a text of any length with exact attention statistics, layer by layer, in memory that grows with T.

The model runs on the kernels' attention: output and statistics of a layer come from one call, are handed over, and are
forgotten before the next layer. Nothing that is query × key exists at any time; logits only of positions asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import SiteError, UsageError
from ..kernels import AttentionStats
from ..progress import Reporter
from . import attention, pattern_statistics
from .architectures import bare
from .cache_checks import checked
from .call_statistics import attend
from .edits import EditLike, Frame, refuse_learning
from .engines.base import Engine, Hook, Inputs
from .hooks import edit_hooks, known
from .layer_statistics import ChunkAccumulator, LayerChunk, Request, StatisticsSpec
from .sites import Site
from .tokens import TokenBatch, TokensLike

OnLayer = Callable[[LayerChunk], None]


def attention_statistics(
    engine: Engine,
    tokens: TokensLike,
    wanted: StatisticsSpec | None = None,
    see: OnLayer | None = None,
    *,
    layers: Sequence[int] | None = None,
    chunk: int | None = None,
    edits: EditLike = (),
    logits_at: Sequence[int] | None = None,
    progress: Reporter | None = None,
    stage: str = "layers",
) -> StatisticsByLayer:
    """Run the model over a text and compute exact statistics of the attention of `layers` (None: all).

    Each layer's statistics go to `see` as soon as they are there, on the model's device, and are kept nowhere; without
    `see` they are returned by layer, on the CPU. Rows of padding are zero. With `chunk`, that many tokens go in at a
    time, against a growing cache of keys and values: `see` then gets every layer once a chunk, rows of a chunk are
    final, its columns are to be added up.
    With `logits_at`, the run goes on to the end, and the result has the logits at these positions.

    Raises `UsageError` for layers or rows that do not exist, for statistics that do not go together, and above 4096
    tokens on an engine whose attention is a query × key matrix.
    """
    batch = known(engine, tokens)
    request = (wanted or StatisticsSpec()).of(batch)
    chosen = _layers(engine, layers)
    if chunk is not None and (chunk < 1 or edits or logits_at is not None):
        raise UsageError("chunk is the tokens that go in at once, 1 or more, and goes without edits and logits")
    border = engine.architecture.length_dependent
    if chunk is not None and chunk < batch.width:
        if border is not None and batch.width > border:
            raise UsageError(
                f"beyond {border} tokens {engine.architecture.length_reason} depend in {engine.architecture.name} "
                f"on the "
                "length of the text, so pieces of it are not what the whole is; leave chunk out"
            )
        if (why := checked(engine).pieces) is not None:
            raise UsageError(f"chunk cannot be used: {why}; leave it out")
    columns = None if logits_at is None else batch.columns(logits_at)
    refuse_learning(edits, "attention_statistics")
    collected = ChunkAccumulator(batch.width)
    steps = range(0, batch.width, chunk or batch.width)
    recorder = Recorder(request, see or collected.add, len(chosen) * len(steps), progress, stage)
    hooks = edit_hooks(engine, edits, Frame(batch))
    whole: bool | Tensor = False if columns is None else columns.unique()
    with torch.no_grad():
        at_seam = uses_custom_attention(engine, chosen)
        if chunk is not None and not at_seam:
            raise UsageError(
                f"chunk needs attention that passes the seam; the engine {engine.name!r} reads the weights of "
                f"{engine.architecture.name}, which are made of a whole text; leave chunk out"
            )
        if at_seam:
            out = _native(engine, batch, recorder, chosen, steps, hooks, whole, cached=chunk is not None)
        else:
            out = _by_pattern(engine, batch, recorder, chosen, hooks, whole)
    if recorder.done < recorder.total:
        raise SiteError(f"the engine {engine.name!r} ran, and attention passed the seam in some layers only")
    return StatisticsByLayer(collected.merged(), None if out is None else batch.at_columns(out, columns).cpu())


class StatisticsByLayer(dict[int, AttentionStats]):
    """Statistics by layer; logits `[batch, position, vocabulary]` where they were asked for, otherwise None."""

    def __init__(self, statistics: Mapping[int, AttentionStats], logits: Tensor | None) -> None:
        super().__init__(statistics)
        self.logits = logits


@dataclass
class Recorder:
    """Hands a layer's statistics over as the model runs, and tells how far it is."""

    request: Request
    see: OnLayer
    total: int
    progress: Reporter | None = None
    stage: str = "layers"
    start: int = 0
    """Position of the first query that goes in."""
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def watcher(self, layer: int) -> attention.Watcher:
        """What stands at the attention of a layer: it computes the output, and the statistics with it."""

        def watch(call: attention.Call) -> Tensor:
            output, part = attend(call, self.request, layer, self.start)
            self.hand_over(part)
            return output

        return watch

    def hand_over(self, part: LayerChunk) -> None:
        self.see(part)
        self.done += 1
        if self.progress is not None:
            elapsed = time.monotonic() - self.began
            self.progress.send(self.done, self.total, self.stage, elapsed / self.done * (self.total - self.done))


def uses_custom_attention(engine: Engine, layers: Sequence[int] | None = None) -> bool:
    """Whether this engine's attention passes the seam, in all layers that have attention or in those named."""
    architecture = engine.architecture
    chosen = architecture.layers_with("pattern") if layers is None else layers
    at_seam = all(architecture.place(Site("pattern", layer)).side == "attention" for layer in chosen)
    return engine.implementation == attention.NAME and bool(chosen) and at_seam


def attention_modules(engine: Engine, layers: Sequence[int]) -> dict[int, nn.Module]:
    """The module at whose attention the seam is, by layer."""
    model = bare(engine.model)
    found = {layer: engine.architecture.module(model, Site("pattern", layer)) for layer in layers}
    # TransformerLens' bridge stands in the place of the module that it keeps and calls
    return {layer: getattr(module, "original_component", module) for layer, module in found.items()}


@contextmanager
def recording(engine: Engine, recorder: Recorder, layers: Sequence[int]) -> Iterator[None]:
    """Whatever runs the model in this block has its attention in `layers` computed by the kernels, with statistics."""
    modules = attention_modules(engine, layers)
    with attention.watching({module: recorder.watcher(layer) for layer, module in modules.items()}):
        yield


def _native(
    engine: Engine,
    batch: TokenBatch,
    recorder: Recorder,
    layers: Sequence[int],
    steps: range,
    hooks: Sequence[Hook],
    logits: bool | Tensor,
    cached: bool,
) -> Tensor | None:
    cache = engine.new_cache() if cached else None
    # the run ends after the last block that is asked for; where a block has no one stream, after the last of all
    whole = "resid_post" not in engine.architecture.layers[layers[-1]].places
    ends = [] if whole else [Hook(Site("resid_post", layers[-1]), lambda _: None)]
    if whole and logits is False:
        logits = torch.tensor([0])
    with recording(engine, recorder, layers):
        for start in steps:
            ids = batch.ids[:, start : start + steps.step]
            positions = torch.arange(start, start + ids.shape[1]).expand(len(ids), -1) if cached else None
            recorder.start = start
            out = engine.run(Inputs(ids, None, positions, cache), [*hooks, *ends], logits=logits)
    return out


def _by_pattern(
    engine: Engine,
    batch: TokenBatch,
    recorder: Recorder,
    layers: Sequence[int],
    hooks: Sequence[Hook],
    logits: bool | Tensor,
) -> Tensor | None:
    shape = engine.architecture.shape
    if batch.width > attention.LONG:
        size = shape.heads * batch.width**2 * 4 / 1e9
        raise UsageError(
            f"the engine {engine.name!r} computes attention as a matrix of query × key, {size:.1f} GB a layer at "
            f"{batch.width} tokens; above {attention.LONG} tokens take an engine with native attention, such as 'hf'"
        )

    def hook(layer: int) -> Hook:
        def see(pattern: Tensor) -> None:
            of_layer = engine.architecture.layers[layer]
            recorder.hand_over(LayerChunk(layer, 0, pattern_statistics.statistics(pattern, recorder.request, of_layer)))

        return Hook(Site("pattern", layer), see)

    engine.check(Site("pattern", layer) for layer in layers)
    return engine.run(Inputs(batch.ids), [*hooks, *map(hook, layers)], logits=logits)


def _layers(engine: Engine, layers: Sequence[int] | None) -> list[int]:
    architecture = engine.architecture
    chosen = list(range(architecture.shape.layers)) if layers is None else sorted(set(layers))
    if not chosen:
        raise UsageError("layers is empty; give the layers to look at, or None for all")
    if layers is None and "pattern" in architecture.kinds:
        having = architecture.layers_with("pattern")
        if missing := [layer for layer in chosen if layer not in having]:
            raise SiteError(
                f"layers {', '.join(map(str, missing))} of {architecture.name} have no attention pattern "
                f"({architecture.reason(Site('pattern', missing[0]))}); give layers={having}"
            )
    engine.check(Site("pattern", layer) for layer in chosen)
    return chosen


__all__ = [
    "StatisticsByLayer",
    "LayerChunk",
    "Recorder",
    "StatisticsSpec",
    "attention_modules",
    "attention_statistics",
    "uses_custom_attention",
    "recording",
]
