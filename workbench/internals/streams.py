"""Several streams of one generation: a function mixes their logits at every step, and the token chosen goes to all.

A stream is a prompt of a session: the same model with and without a context, a model beside a smaller one of the same
vocabulary, a model beside itself under edits. Each has its own cache. A stream may also show what its own middle layers
say, read by the lens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .cache_checks import check_edits, checked
from .edits import EditLike
from .engines.base import Hook
from .generation import Decoding, Generated, Growing
from .hooks import known, refuse_without_vocabulary
from .prompts import Prompt
from .sites import RESIDUAL_KINDS, Site, SiteLike
from .unembedding import Unembedding

if TYPE_CHECKING:
    from .engines.base import Engine
    from .session import Session
    from .tokens import TokenBatch

Mix = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Makes logits `[batch, vocabulary]` of those of the streams, in float32, and of the ids chosen before `[batch, step]`.

The streams' logits come in their order, each followed by those of its sites."""


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream: a prompt (a text, texts or ids) of a session, with edits of its own.

    sites: places of the residual stream whose unembedding is handed to the mixing function after the stream's own
    logits; through the final norm, or as they are with `norm=False`. chat, engine: as in `Session.generate`.
    """

    session: Session
    prompt: Prompt
    edits: EditLike = ()
    sites: Sequence[SiteLike] = ()
    norm: bool = True
    chat: bool = False
    engine: str | None = None


def contrast(weights: Sequence[float], plausibility: float | None = None) -> Mix:
    """The sum of log-probabilities by weights, one for each stream (and site), as in contrastive decoding.

    With `plausibility` α, only tokens count whose probability in the first stream is at least α times that of its
    likeliest token; all others get −inf. Li et al. 2023 (arXiv 2210.15097). Raises `UsageError` for wrong weights.
    """
    if not len(weights) or not all(math.isfinite(weight) for weight in weights):
        raise UsageError("weights are numbers, one for each stream and site")
    if plausibility is not None and not 0 < plausibility <= 1:
        raise UsageError(f"plausibility is a share of the likeliest token, above 0 and at most 1, not {plausibility}")

    def mix(logits: Sequence[Tensor], before: Tensor) -> Tensor:
        if len(logits) != len(weights):
            raise UsageError(f"there are {len(weights)} weights for {len(logits)} logits, those of streams and sites")
        logprobs = [each.log_softmax(-1) for each in logits]
        parts = (weight * each.to(logprobs[0]) for weight, each in zip(weights, logprobs, strict=True))
        mixed = sum(parts, torch.zeros_like(logprobs[0]))
        if plausibility is None:
            return mixed
        best = logprobs[0].max(-1, keepdim=True).values
        return mixed.masked_fill(logprobs[0] < best + math.log(plausibility), -math.inf)

    return mix


def generate(
    streams: Sequence[Stream],
    mix: Mix,
    max_new_tokens: int,
    stop: Sequence[int] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Generated:
    """Generate with the streams' logits mixed at every step; what is returned begins with the first stream's prompts.

    Every stream has the same number of rows, of any lengths. Rows end at `stop` (None: what ends a text by the first
    stream's model). Tokens are reported one by one, and the work can be cancelled between them. Sessions are held while
    it lasts: let no other thread hold one of them and wait for another.

    Raises `UsageError` for streams of different vocabularies or numbers of rows, and for a mix that returns something
    else than logits.

        contrast = wb.streams.contrast([1.5, -0.5], plausibility=0.1)
        wb.streams.generate([wb.streams.Stream(s, with_context), wb.streams.Stream(s, question)], contrast, 20)
    """
    progress = progress or Reporter()
    for stream in streams:
        refuse_without_vocabulary(stream.session.hooked.engine, "generation")
    tokens = [stream.session.tokens(stream.prompt, stream.chat) for stream in streams]
    size = _vocabulary(streams, tokens)
    with _held([stream.session for stream in streams], progress), torch.no_grad():
        running = [_Running(stream, batch) for stream, batch in zip(streams, tokens, strict=True)]
        growing = Growing(
            tokens[0], max_new_tokens, streams[0].session.ends if stop is None else stop, temperature, seed
        )
        for _ in progress.steps(range(max_new_tokens), "tokens"):
            logits = [each[..., :size] for one in running for each in one.logits()]
            chosen = growing.take(_mixed(mix, logits, growing.ids))
            if growing.ended:
                break
            for one in running:
                one.decoding.take(chosen)
    return growing.generated()


class _Running:
    """A stream in generation."""

    def __init__(self, stream: Stream, tokens: TokenBatch) -> None:
        self.engine: Engine = stream.session.engine(stream.engine or stream.session.engine_name).engine
        if (why := checked(self.engine).why) is not None:
            raise UsageError(f"{self.engine.architecture.name} cannot go on token by token in a stream: {why}")
        self._norm = stream.norm
        self._sites = [Site.parse(site) for site in stream.sites]
        for site in self._sites:
            if site.kind not in RESIDUAL_KINDS:
                raise UsageError(f"'{site}' is not in the residual stream; a lens reads: {', '.join(RESIDUAL_KINDS)}")
        self.engine.check(self._sites)
        self._unembedding = Unembedding.of(self.engine) if self._sites else None
        self._seen: dict[Site, Tensor] = {}
        hooks = [self._reader(site) for site in self._sites]
        check_edits(self.engine, stream.edits)
        self.decoding = Decoding(self.engine, known(self.engine, tokens), stream.edits, hooks)

    def _reader(self, site: Site) -> Hook:
        return Hook(site, lambda whole: self._seen.__setitem__(site, whole[:, -1].clone()))

    def logits(self) -> Iterator[Tensor]:
        """The stream's own logits `[batch, vocabulary]`, then those of its sites."""
        yield self.decoding.logits().float()
        for site in self._sites:
            assert self._unembedding is not None
            yield self._unembedding.logits(self._seen[site], norm=self._norm and site.kind != "final_norm").float()


def _mixed(mix: Mix, logits: Sequence[Tensor], before: Tensor) -> Tensor:
    """What the function makes of the logits; raises `UsageError` if that is not logits of the same shape."""
    mixed = mix(logits, before)
    if not isinstance(mixed, Tensor) or mixed.shape != logits[0].shape:
        told = list(mixed.shape) if isinstance(mixed, Tensor) else type(mixed).__name__
        raise UsageError(f"mix returns logits {list(logits[0].shape)}, [batch, vocabulary], and not {told}")
    if bool(mixed.isnan().any()) or not bool((mixed.max(-1).values > -math.inf).all()):
        raise UsageError("mix returned logits that are not numbers, or −inf for every token of a row")
    return mixed


def _vocabulary(streams: Sequence[Stream], tokens: Sequence[TokenBatch]) -> int:
    """How many logits all streams have; raises `UsageError` where the streams do not go together."""
    if not streams:
        raise UsageError("give at least one stream")
    if len({batch.batch for batch in tokens}) > 1:
        rows = ", ".join(str(batch.batch) for batch in tokens)
        raise UsageError(f"every stream has the same number of prompts; here they have {rows}")
    sizes = [stream.session.shape.vocabulary for stream in streams]
    tokenizers = [stream.session.tokenizer for stream in streams]
    first = tokenizers[0]
    known_to_all = all(tokenizer is not None for tokenizer in tokenizers)
    if known_to_all:
        words = first.get_vocab()
        for place, tokenizer in enumerate(tokenizers):
            if tokenizer is not first and tokenizer.get_vocab() != words:
                raise UsageError(f"stream {place} has another vocabulary than stream 0: its ids are other tokens")
    # a table of logits may be longer than the vocabulary, and longer in one model of a family than in another
    if len(set(sizes)) > 1 and not (known_to_all and max(first.get_vocab().values()) < min(sizes)):
        raise UsageError(f"streams have vocabularies of different sizes: {', '.join(map(str, sizes))}")
    return min(sizes)


@contextmanager
def _held(sessions: Sequence[Session], progress: Reporter) -> Iterator[None]:
    """This thread's turn with all of these sessions, taken in one order by everyone."""
    with ExitStack() as stack:
        for session in sorted({id(session): session for session in sessions}.values(), key=id):
            session.lock.acquire(progress)
            stack.callback(session.lock.release)
        yield
