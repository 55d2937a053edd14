"""Generation token by token, with edits, on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .edits import EditLike, Frame, refuse_learning
from .engines.base import Inputs
from .prepared_edits import prepared
from .step_reader import StepReader
from .tokens import TokenBatch

if TYPE_CHECKING:
    from .captured import Captured
    from .hooked_model import HookedModel
    from .site_patterns import SiteLike


@dataclass(frozen=True, eq=False)
class Generated:
    """What was generated: ids `[batch, position]`, right-padded with 0, and how many each row has, `[batch]`."""

    prompt: TokenBatch
    ids: Tensor
    lengths: Tensor
    stopped: Tensor
    """Whether a row ended with a stop token (which is its last one), bool `[batch]`."""
    seen: Captured | None = None
    """What was read at the asked sites, where each token was chosen: `[batch, step, …]`, zero after a row's end."""

    def rows(self) -> list[list[int]]:
        """The generated ids of each row."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]

    @property
    def whole(self) -> TokenBatch:
        """Each prompt with what was generated after it."""
        return TokenBatch.of([prompt + new for prompt, new in zip(self.prompt.rows(), self.rows(), strict=True)])


def generate(
    hooked: HookedModel,
    tokens: TokenBatch,
    max_new_tokens: int,
    edits: EditLike = (),
    stop: Sequence[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Reporter | None = None,
    sites: SiteLike | Sequence[SiteLike] = (),
) -> Generated:
    """Generate up to `max_new_tokens` a row, greedily, or by sampling at a temperature above 0 from the given seed.

    `stop` are the token ids that end a row (None: those of the model's generation configuration; empty: never). Edits
    act on the prompt, on generated tokens, on some steps or on all, as each says. `sites` are read, as edited, at the
    token after which each new one was chosen: the last of the prompt for the first, then the generated ones; for
    pattern and scores keys count positions of each row. Tokens are reported one by one, and the work can be cancelled
    between them. Rows of different lengths give what each gives alone.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens is at least 1, not {max_new_tokens}")
    if temperature < 0:
        raise UsageError(f"temperature is 0 for greedy, or more, not {temperature}")
    engine, progress = hooked.engine, progress or Reporter()
    ends = torch.tensor(sorted(_stops(hooked) if stop is None else stop), dtype=torch.int64)
    sampler = torch.Generator().manual_seed(seed)
    refuse_learning(edits, "generation")
    frame = Frame(hooked.known(tokens), left=tokens.padded)
    ready = prepared(hooked, edits, frame)
    reader = StepReader(hooked, sites, frame)
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
            moved = ready.positions(ids.shape[1])
            inputs = Inputs(ids, mask, positions if moved is None else moved, cache)
            logits = engine.run(inputs, [*ready.taps, *reader.taps(int(last))], logits=last)
            assert logits is not None
            chosen = _choose(logits[:, -1].float().cpu(), temperature, sampler)
            new[running, step] = chosen[running]
            lengths += running
            running &= ~torch.isin(chosen, ends)
            if not running.any():
                break
            frame.generating, frame.step = True, step
            last = torch.tensor([0])
            ids = chosen[:, None]
            if tokens.padded:
                assert mask is not None
                mask = torch.cat([mask, torch.ones(tokens.batch, 1, dtype=torch.bool)], dim=1)
                positions = (tokens.lengths.cpu() + step)[:, None]
    return Generated(tokens, new[:, : int(lengths.max())], lengths, ~running, reader.captured(lengths))


def _choose(logits: Tensor, temperature: float, sampler: torch.Generator) -> Tensor:
    """The next token of each row, `[batch]`, from the logits `[batch, vocabulary]`."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=sampler)[:, 0]


def _stops(hooked: HookedModel) -> set[int]:
    """The ids that end a text according to the model."""
    settings = getattr(hooked.engine.model, "generation_config", None) or hooked.engine.model.config
    ends = getattr(settings, "eos_token_id", None)
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
