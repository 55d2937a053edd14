"""Generation token by token, with edits, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .edits import Edit, Frame
from .engines.base import Engine, Inputs
from .hooks import edit_hooks, known
from .tokens import TokenBatch, stop_tokens


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
    cancelled between them. Rows of different lengths give what each gives alone.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is at least 1, not {max_new_tokens}")
    if temperature < 0:
        raise UsageError(f"temperature is 0 for greedy, or more, not {temperature}")
    progress = progress or Reporter()
    ends = torch.tensor(sorted(stop_tokens(engine.model) if stop is None else stop), dtype=torch.int64)
    sampler = torch.Generator().manual_seed(seed)
    frame = Frame(known(engine, tokens), left=tokens.padded)
    taps = edit_hooks(engine, edits, frame)
    cache = engine.new_cache()
    pads = tokens.width - tokens.lengths.cpu()
    ids = torch.stack([row.roll(int(pad)) for row, pad in zip(tokens.ids.cpu(), pads, strict=True)])
    mask = torch.arange(tokens.width) >= pads[:, None] if tokens.padded else None
    positions = (torch.arange(tokens.width) - pads[:, None]).clamp(min=0) if tokens.padded else None
    new = torch.zeros(tokens.batch, max_new_tokens, dtype=torch.int64)
    lengths = torch.zeros(tokens.batch, dtype=torch.int64)
    running = torch.ones(tokens.batch, dtype=torch.bool)
    last = torch.tensor([tokens.width - 1])
    with torch.no_grad():
        for step in progress.steps(range(max_new_tokens), "tokens"):
            logits = engine.run(Inputs(ids, mask, positions, cache), taps, logits=last)
            assert logits is not None
            chosen = _choose(logits[:, -1].float().cpu(), temperature, sampler)
            new[running, step] = chosen[running]
            lengths += running
            running &= ~torch.isin(chosen, ends)
            if not running.any():
                break
            frame.generating = True
            last = torch.tensor([0])
            ids = chosen[:, None]
            if tokens.padded:
                assert mask is not None
                mask = torch.cat([mask, torch.ones(tokens.batch, 1, dtype=torch.bool)], dim=1)
                positions = (tokens.lengths.cpu() + step)[:, None]
    return Generated(tokens, new[:, : int(lengths.max())], lengths, ~running)


def _choose(logits: Tensor, temperature: float, sampler: torch.Generator) -> Tensor:
    """The next token of each row, `[batch]`, from the logits `[batch, vocabulary]`."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=sampler)[:, 0]
