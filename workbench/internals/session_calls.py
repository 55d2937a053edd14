"""What a session can be asked: each call waits for its turn, and is served by the engine it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..progress import Reporter
from .edits import EditLike
from .generation import Generated
from .hooked_model import ActivationCache, HookedModel, SiteLike
from .prompts import Boundary, Prompt
from .tokens import TokenBatch

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from .answer_logprobs import AnswerLogprobs
    from .attention_statistics import StatisticsByLayer
    from .layer_statistics import LayerChunk
    from .lens import LensLogits, Reduce, Through
    from .sweeps.grid import Grid
    from .sweeps.metrics import MetricLike
    from .sweeps.sweep import Into, Method


class SessionCalls:
    """The calls of a `Session`: a prompt is a text, texts or token ids, and `engine` names another than its own."""

    _prompts: Any
    ends: tuple[int, ...]

    @property
    def hooked(self) -> HookedModel:
        """The model through the session's own engine."""
        raise NotImplementedError

    def _turn(
        self, prompt: Prompt, chat: bool, engine: str | None, progress: Reporter | None
    ) -> AbstractContextManager[tuple[HookedModel, TokenBatch]]:
        """The tokens of a prompt, and the model once it is this thread's turn."""
        raise NotImplementedError

    def capture(
        self,
        prompt: Prompt,
        sites: SiteLike | Sequence[SiteLike],
        positions: Sequence[int] | None = None,
        logits: bool = False,
        edits: EditLike = (),
        device: str = "cpu",
        *,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> ActivationCache:
        """Read sites in one run of the model; see `HookedModel.capture`."""
        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return hooked.capture(tokens, sites, positions, logits, edits, device, progress)

    def logits(
        self,
        prompt: Prompt,
        positions: Sequence[int] | None = None,
        edits: EditLike = (),
        device: str = "cpu",
        *,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> Tensor:
        """The model's output before the softmax, `[batch, position, vocabulary]`; see `HookedModel.logits`."""
        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return hooked.logits(tokens, positions, edits, device, progress)

    def logits_under(
        self,
        prompt: Prompt,
        edits: Mapping[str, EditLike],
        positions: Sequence[int] | None = None,
        *,
        memory: int | str | None = None,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> dict[str, Tensor]:
        """The output before the softmax under each of several edits by name, `[batch, position, vocabulary]` each.

        What the edits leave alone is run once: an edit begins at the first block and position that it changes, and
        edits run as rows of one batch, within `memory` (bytes, or such as "2GiB"). Where a model cannot be entered in
        the middle, each is a whole run. Raises `UsageError` or `SiteError` for edits that the model does not have.

        >>> cut = {"none": [], "0.1": wb.edits.set("z.0.1", 0.0), "2.1": wb.edits.set("z.2.1", 0.0)}
        >>> found = session.logits_under("marathon dolphin shop marathon", cut, positions=[-1])
        >>> list(found), found["none"].shape[:2]
        (['none', '0.1', '2.1'], torch.Size([1, 1]))
        """
        from .sweeps.logits_under import logits_under

        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return logits_under(hooked, tokens, edits, positions, memory, progress)

    def gradients(
        self,
        prompt: Prompt,
        sites: SiteLike | Sequence[SiteLike],
        objective: Callable[[Tensor], Tensor],
        edits: EditLike = (),
        logits_at: Sequence[int] | None = None,
        device: str = "cpu",
        *,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> ActivationCache:
        """The gradient at each site of a scalar objective of the logits; see `HookedModel.gradients`."""
        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return hooked.gradients(tokens, sites, objective, edits, logits_at, device, progress)

    def lens(
        self,
        prompt: Prompt,
        sites: SiteLike | Sequence[SiteLike],
        ids: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        through: Through = "norm",
        edits: EditLike = (),
        device: str = "cpu",
        *,
        log_probs: bool = False,
        reduce: Reduce | None = None,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> LensLogits:
        """Sites of the residual stream as logits, `[batch, position, vocabulary]` or `[…, id]`; see `lens.lens`."""
        from . import lens

        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return lens.lens(
                hooked, tokens, sites, ids, positions, through, edits, device,
                log_probs=log_probs, reduce=reduce, progress=progress,
            )  # fmt: skip

    def attention_statistics(
        self,
        prompt: Prompt,
        see: Callable[[LayerChunk], None] | None = None,
        *,
        layers: Sequence[int] | None = None,
        chunk: int | None = None,
        edits: EditLike = (),
        logits_at: Sequence[int] | None = None,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
        stage: str = "layers",
        **wanted: Any,
    ) -> StatisticsByLayer:
        """Exact attention statistics of a text of any length; see
        `attention_statistics.attention_statistics`, and for `wanted`
        `layer_statistics.StatisticsSpec`: stats, segments, sink, recent, received, weights_at, topk, rows."""
        from ..kernels.earlier_words import current
        from . import attention_statistics

        try:
            asked = attention_statistics.StatisticsSpec.asked(current(wanted))
        except ValueError as error:
            raise UsageError(f"attention statistics: {error}") from error
        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return attention_statistics.attention_statistics(
                hooked.engine, tokens, asked, see,
                layers=layers, chunk=chunk, edits=edits, logits_at=logits_at, progress=progress, stage=stage,
            )  # fmt: skip

    def generate(
        self,
        prompt: Prompt,
        max_new_tokens: int,
        edits: EditLike = (),
        stop: Sequence[int] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        *,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
        sites: SiteLike | Sequence[SiteLike] = (),
    ) -> Generated:
        """Generate token by token, and read `sites` at every step into `seen`; see `HookedModel.generate`.

        `stop` are the ids that end a row; None is `ends`, empty never.
        """
        stop = self.ends if stop is None else stop
        with self._turn(prompt, chat, engine, progress) as (hooked, tokens):
            return hooked.generate(tokens, max_new_tokens, edits, stop, temperature, seed, progress, sites)

    def answer_logprobs(
        self,
        prompts: Prompt,
        answers: Any,
        edits: EditLike = (),
        *,
        boundary: Boundary = "exact",
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> AnswerLogprobs:
        """The log-probability of given answers after their prompts; see `answer_logprobs.answer_logprobs`.

        To one prompt an answer or a list of them, to several prompts a list with those of each; texts or token ids. An
        answer's tokens are those that the tokenizer makes of prompt and answer together, after the prompt's own; where
        a token reaches across, `boundary` "exact" refuses and "common" lets the answer begin with it.
        """
        from . import answer_logprobs
        from .answer_prompts import questions
        from .hooks import refuse_without_vocabulary

        refuse_without_vocabulary(self.hooked.engine, "answers")
        asked = questions(self._prompts, prompts, answers, chat, boundary)
        with self._turn(asked.prompts, False, engine, progress) as (hooked, _):
            found = answer_logprobs.answer_logprobs(hooked.engine, asked.prompts, asked.answers, edits, progress)
        return found.placed(asked.places)

    def sweep(
        self,
        clean: Prompt,
        corrupted: Prompt | None,
        grid: Grid,
        metric: MetricLike,
        *,
        into: Into | None = None,
        method: Method = "run",
        memory: int | str | None = None,
        seed: int = 0,
        chat: bool = False,
        engine: str | None = None,
        progress: Reporter | None = None,
    ) -> xr.Dataset:
        """A metric under every edit of a grid, for one prompt or several, as a labelled table; nothing is run twice.

        `grid` is one of `wb.grids`, `metric` one of `wb.metrics` or a function of the logits after the prompt. `clean`
        and `corrupted` are prompts in pairs; `into` is the run that is edited (None: the corrupted one where values of
        the other are patched in, otherwise the clean one). `effect` is how much an edit changes the metric, in the mean
        over prompts with its bootstrap interval, `share` that as a share of how far the two runs are apart. `method`
        "gradient" estimates effects instead (attribution patching), "both" has them side by side with their rank
        correlation. `memory` (bytes, or such as "2GiB") bounds how many cells are run at once.

        Raises `UsageError` or `SiteError`, before anything runs, for positions that cannot be aligned, for a grid that
        the model does not have, and where not even one cell fits into the memory.
        """
        from .sweeps import sweep

        with self._turn(clean, chat, engine, progress) as (hooked, _):
            asked = sweep.prepare(hooked, self._prompts, clean, corrupted, grid, metric, into, memory, method, chat)
            return sweep.sweep(hooked, asked, method, seed, progress)
