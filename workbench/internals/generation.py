"""Generation token by token, with edits, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .cached_passes import caching, check_edits, check_frequencies
from .edits import Edit, Frame
from .engines.base import Engine, Inputs
from .hooks import edit_hooks, known
from .tokens import TokenBatch


@dataclass(frozen=True, eq=False)
class Generated:
    """What was generated: ids `[batch, position]`, right-padded with 0, and how many each row has, `[batch]`."""

    prompt: TokenBatch
    ids: Tensor
    lengths: Tensor
    stopped: Tensor
    """Whether a row ended with a stop token (which is its last one), bool `[batch]`."""

    def rows(self) -> list[list[int]]:
        """The generated ids of each row."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]

    @property
    def whole(self) -> TokenBatch:
        """Each prompt with what was generated after it."""
        return TokenBatch.of([prompt + new for prompt, new in zip(self.prompt.rows(), self.rows(), strict=True)])


def generate(
    engine: Engine,
    tokens: TokenBatch,
    max_new_tokens: int,
    edits: Sequence[Edit] = (),
    stop: Sequence[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Generated:
    """Generate up to `max_new_tokens` a row, greedily, or by sampling at a temperature above 0 from the given seed.

    `stop` are the token ids that end a row (None: those of the model's generation configuration; empty: never). Edits
    act on the prompt, on generated tokens or on both, as each says. Tokens are reported one by one, and the work can be
    cancelled between them. Rows of different lengths give what each gives alone. A model that cannot go on from a
    cache, or whose frequencies change with the length, runs the whole text for every token, and without edits.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is at least 1, not {max_new_tokens}")
    if temperature < 0:
        raise UsageError(f"temperature is 0 for greedy, or more, not {temperature}")
    ends = torch.tensor(sorted(_stops(engine) if stop is None else stop), dtype=torch.int64)
    going = _Going(known(engine, tokens), max_new_tokens, ends, temperature, torch.Generator().manual_seed(seed))
    progress = progress or Reporter()
    engine.check(edit.site for edit in edits)
    check_frequencies(engine, tokens.lengths, int(tokens.lengths.max()) + max_new_tokens)
    border = engine.architecture.length_dependent
    beyond = border is not None and tokens.width + max_new_tokens > border
    with torch.no_grad():
        if beyond or caching(engine).why is not None:
            if edits:
                why = caching(engine).why
                if beyond:
                    why = f"beyond {border} tokens {engine.architecture.length_reason} depend on the length of the text"
                raise UsageError(
                    f"edits cannot be made while this model generates: {why}; edit one run of a whole text"
                )
            _whole(engine, going, progress)
        else:
            check_edits(engine, edits)
            _cached(engine, going, edits, progress)
    return going.ended()


@dataclass(eq=False)
class _Going:
    """The rows of one generation as they grow."""

    tokens: TokenBatch
    most: int
    ends: Tensor
    temperature: float
    sampler: torch.Generator

    def __post_init__(self) -> None:
        batch = self.tokens.batch
        self.new = torch.zeros(batch, self.most, dtype=torch.int64)
        self.lengths = torch.zeros(batch, dtype=torch.int64)
        self.running = torch.ones(batch, dtype=torch.bool)

    def take(self, logits: Tensor, step: int) -> Tensor:
        """Choose each row's next token, `[batch]`, from the logits `[batch, vocabulary]`."""
        chosen = _choose(logits.float().cpu(), self.temperature, self.sampler)
        self.new[self.running, step] = chosen[self.running]
        self.lengths += self.running
        self.running &= ~torch.isin(chosen, self.ends)
        return chosen

    def ended(self) -> Generated:
        return Generated(self.tokens, self.new[:, : int(self.lengths.max())], self.lengths, ~self.running)


def _cached(engine: Engine, going: _Going, edits: Sequence[Edit], progress: Reporter) -> None:
    """Token by token against a cache, rows padded on the left."""
    tokens = going.tokens
    frame = Frame(tokens, left=tokens.padded)
    taps = edit_hooks(engine, edits, frame)
    cache = engine.new_cache()
    pads = tokens.width - tokens.lengths.cpu()
    ids = torch.stack([row.roll(int(pad)) for row, pad in zip(tokens.ids.cpu(), pads, strict=True)])
    mask = torch.arange(tokens.width) >= pads[:, None] if tokens.padded else None
    positions = (torch.arange(tokens.width) - pads[:, None]).clamp(min=0)
    last = torch.tensor([tokens.width - 1])
    for step in progress.steps(range(going.most), "tokens"):
        logits = engine.run(Inputs(ids, mask, positions, cache), taps, logits=last)
        assert logits is not None
        ids = going.take(logits[:, -1], step)[:, None]
        if not going.running.any():
            break
        frame.generating = True
        last = torch.tensor([0])
        positions = (tokens.lengths.cpu() + step)[:, None]
        if mask is not None:
            mask = torch.cat([mask, torch.ones(tokens.batch, 1, dtype=torch.bool)], dim=1)


def _whole(engine: Engine, going: _Going, progress: Reporter) -> None:
    """Every token from a run of the whole text, for models that cannot go on from a cache."""
    rows = going.tokens.rows()
    for step in progress.steps(range(going.most), "tokens"):
        batch = TokenBatch.of(rows)
        columns = batch.columns([-1])
        logits = engine.run(Inputs(batch.ids), logits=columns.unique())
        assert logits is not None
        chosen = going.take(batch.at_columns(logits, columns)[:, 0], step)
        if not going.running.any():
            break
        rows = [[*row, int(token)] for row, token in zip(rows, chosen, strict=True)]


def _choose(logits: Tensor, temperature: float, sampler: torch.Generator) -> Tensor:
    """The next token of each row, `[batch]`, from the logits `[batch, vocabulary]`."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=sampler)[:, 0]


def _stops(engine: Engine) -> set[int]:
    """The ids that end a text according to the model."""
    settings = getattr(engine.model, "generation_config", None) or engine.model.config
    ends = getattr(settings, "eos_token_id", None)
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
