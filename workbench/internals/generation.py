"""Generation token by token, with edits, on any engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .activation_cache import ActivationCache
from .cache_checks import check_edits, checked
from .edits import EditLike, Frame, divided, listed, refuse_learning
from .engines.base import Engine, Hook, Inputs
from .hooks import check_lengths, known, prepare, refuse_without_vocabulary
from .sites import SiteLike
from .step_reader import StepReader
from .tokens import TokenBatch, stop_tokens


@dataclass(frozen=True, eq=False)
class Generated:
    """What was generated: ids `[batch, position]`, right-padded with 0, and how many each row has, `[batch]`."""

    prompt: TokenBatch
    ids: Tensor
    lengths: Tensor
    stopped: Tensor
    """Whether a row ended with a stop token (which is its last one), bool `[batch]`."""
    seen: ActivationCache | None = None
    """What was read at the asked sites, where each token was chosen: `[batch, step, …]`, zero after a row's end."""

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
    between them. Rows of different lengths give what each gives alone. A model that cannot go on from a cache, or in
    which what is said of a token changes with the length, runs the whole text for every token, without edits and sites.
    """
    refuse_without_vocabulary(engine, "generation")
    growing = Growing(
        known(engine, tokens), max_new_tokens, stop_tokens(engine.model) if stop is None else stop, temperature, seed
    )
    decoding = _decoding(engine, tokens, max_new_tokens, edits, sites)
    with torch.no_grad():
        for _ in (progress or Reporter()).steps(range(max_new_tokens), "tokens"):
            chosen = growing.take(decoding.logits())
            if growing.ended:
                break
            decoding.take(chosen)
    found = growing.generated()
    return replace(found, seen=decoding.captured(found.lengths))


def _decoding(
    engine: Engine, tokens: TokenBatch, count: int, edits: EditLike, sites: SiteLike | Sequence[SiteLike]
) -> Decoding | Recomputing:
    """Against a cache where that is right, otherwise by whole texts, which raises `UsageError` for edits and sites."""
    given = listed(edits)
    engine.check(edit.site for edit in divided(given, engine.architecture)[0])  # type: ignore[misc]
    check_lengths(engine, tokens.lengths, int(tokens.lengths.max()) + count)
    border, why = engine.architecture.length_dependent, None
    if border is not None and tokens.width + count > border:
        why = f"beyond {border} tokens {engine.architecture.length_reason} depend on the length of the text"
    why = why or checked(engine).pieces
    if why is None:
        check_edits(engine, given)
        return Decoding(engine, tokens, given, sites=sites)
    if given:
        raise UsageError(f"edits cannot be made while this model generates: {why}; edit one run of a whole text")
    if sites:
        raise UsageError(f"sites are not read while this model generates: {why}; capture them over a whole text")
    return Recomputing(engine, tokens)


class Recomputing:
    """One model in generation, every token from a run of the whole text; used as `Decoding` is."""

    def __init__(self, engine: Engine, tokens: TokenBatch) -> None:
        self._engine, self._rows = engine, tokens.rows()

    def logits(self) -> Tensor:
        """The logits after each row's last token, `[batch, vocabulary]`."""
        batch = TokenBatch.of(self._rows)
        columns = batch.columns([-1])
        found = self._engine.run(Inputs(batch.ids), logits=columns.unique())
        assert found is not None
        return batch.at_columns(found, columns)[:, 0]

    def take(self, chosen: Tensor) -> None:
        """Go on with these tokens, `[batch]`."""
        self._rows = [[*row, int(token)] for row, token in zip(self._rows, chosen, strict=True)]

    def captured(self, lengths: Tensor) -> None:
        """Nothing: no site is read here."""


class Decoding:
    """One model in generation: rows padded on the left, against a cache of their keys and values.

    `logits` runs what is new, `take` hands over the token chosen for each row. Edits see prompt and generated tokens as
    each says; `hooks` see every run, and `captured` gives `sites` at the last token of each.
    """

    def __init__(
        self,
        engine: Engine,
        tokens: TokenBatch,
        edits: EditLike = (),
        hooks: Sequence[Hook] = (),
        sites: SiteLike | Sequence[SiteLike] = (),
    ) -> None:
        refuse_learning(edits, "generation")
        self._engine, self._tokens = engine, tokens
        self._frame = Frame(tokens, left=tokens.padded)
        self._edits = prepare(engine, edits, self._frame)
        self._hooks = [*self._edits.hooks, *hooks]
        self._reader = StepReader(engine, sites, self._frame)
        self._cache = engine.new_cache()
        pads = tokens.width - tokens.lengths.cpu()
        self._ids = torch.stack([row.roll(int(pad)) for row, pad in zip(tokens.ids.cpu(), pads, strict=True)])
        self._mask = torch.arange(tokens.width) >= pads[:, None] if tokens.padded else None
        self._positions = (torch.arange(tokens.width) - pads[:, None]).clamp(min=0)
        self._steps = 0

    def logits(self) -> Tensor:
        """The logits after each row's last token, `[batch, vocabulary]`."""
        last = torch.tensor([self._ids.shape[1] - 1])
        moved = self._edits.positions(self._ids.shape[1])
        inputs = Inputs(self._ids, self._mask, self._positions if moved is None else moved, self._cache)
        found = self._engine.run(inputs, [*self._hooks, *self._reader.hooks(int(last))], logits=last)
        assert found is not None
        return found[:, -1]

    def captured(self, lengths: Tensor) -> ActivationCache | None:
        """What was read at `sites` in rows of these lengths, None where none was asked for."""
        return self._reader.captured(lengths)

    def take(self, chosen: Tensor) -> None:
        """Go on with these tokens, `[batch]`."""
        self._frame.generating, self._frame.step = True, self._steps
        self._ids = chosen[:, None]
        if self._mask is not None:
            self._mask = torch.cat([self._mask, torch.ones(len(chosen), 1, dtype=torch.bool)], dim=1)
        self._positions = (self._tokens.lengths.cpu() + self._steps)[:, None]
        self._steps += 1


class Growing:
    """The rows of a generation as they grow, token by token, until each has come to a token that ends it."""

    def __init__(
        self, prompt: TokenBatch, most: int, stop: Iterable[int], temperature: float = 0.0, seed: int = 0
    ) -> None:
        if most < 1:
            raise UsageError(f"max_new_tokens is at least 1, not {most}")
        if temperature < 0:
            raise UsageError(f"temperature is 0 for greedy, or more, not {temperature}")
        self._prompt, self._temperature = prompt, temperature
        self._stop = torch.tensor(sorted(stop), dtype=torch.int64)
        self._sampler = torch.Generator().manual_seed(seed)
        self._new = torch.zeros(prompt.batch, most, dtype=torch.int64)
        self._lengths = torch.zeros(prompt.batch, dtype=torch.int64)
        self._running = torch.ones(prompt.batch, dtype=torch.bool)
        self._step = 0

    @property
    def ids(self) -> Tensor:
        """What was chosen so far, `[batch, step]`; 0 after the end of a row."""
        return self._new[:, : self._step]

    @property
    def ended(self) -> bool:
        """Whether every row has come to its end."""
        return not bool(self._running.any())

    def take(self, logits: Tensor) -> Tensor:
        """Choose the next token of each row, `[batch]`, from the logits `[batch, vocabulary]`."""
        chosen = _choose(logits.float().cpu(), self._temperature, self._sampler)
        self._new[self._running, self._step] = chosen[self._running]
        self._lengths += self._running
        self._running &= ~torch.isin(chosen, self._stop)
        self._step += 1
        return chosen

    def generated(self) -> Generated:
        return Generated(self._prompt, self._new[:, : int(self._lengths.max())], self._lengths, ~self._running)


def _choose(logits: Tensor, temperature: float, sampler: torch.Generator) -> Tensor:
    """The next token of each row, `[batch]`, from the logits `[batch, vocabulary]`."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=sampler)[:, 0]
