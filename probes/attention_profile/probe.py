"""Where every head looks, at any length: exact attention statistics without the query × key matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from workbench.errors import UsageError
from workbench.probe.contract import Outcome, Probe, RunContext, Work

from .config import PRESETS, AttentionProfileConfig
from .texts import Text, Texts, load

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.progress import Reporter


class AttentionProfile(Probe[AttentionProfileConfig]):
    """Entropy, distance, and shares of attention on sinks, recent tokens and segments, of every head and query bin."""

    name = "attention-profile"
    question = "At any length: where does every head look?"
    method = "exact attention statistics, computed with the output of each layer and without the query × key matrix"
    Config = AttentionProfileConfig
    presets = PRESETS
    papers: ClassVar = ()

    def unsuitable(self, session: Session) -> str | None:
        if session.tokenizer is None:
            return "it has no tokenizer"
        if "pattern" not in session.hooked.kinds:
            return "its attention does not pass a place where it can be seen"
        return None

    def work(self, session: Session, config: AttentionProfileConfig) -> Sequence[Work]:
        length = config.length or load(config, session, np.random.default_rng(0)).length
        last = session.shape.layers - 1 if config.layers is None else max(config.layers)
        # a pass ends after the last layer's attention, and makes no logits
        share = min((last + 0.99) / session.shape.layers, 0.99)
        passes = (config.n if config.length else 1) * (2 if config.control == "shuffled" else 1)
        return [Work(passes, 1, length, layers=share, statistics=True)]

    def run(self, session: Session, config: AttentionProfileConfig, context: RunContext) -> Outcome:
        from .findings import Parts, outcome
        from .parity import difference

        texts = load(config, session, context.rng("texts"))
        _check_positions(session, texts)
        _check_rows(config, texts)
        apart = difference(session, texts.texts[0].ids)

        def measure(text: Text, name: str, stage: str, brief: bool) -> xr.Dataset:
            return context.stage(name, lambda: _measure(session, text, config, context.progress, stage, brief))

        measured, shuffled = [], []
        for index, text in enumerate(texts.texts):
            stage = f"text {index + 1} of {len(texts.texts)}"
            measured.append(measure(text, f"text-{index}", stage, brief=False))
            if config.control == "shuffled":
                other = _shuffled(text, context.rng(f"shuffle {index}"))
                shuffled.append(measure(other, f"shuffled-{index}", f"{stage}, shuffled", brief=True))
        return outcome(Parts(texts, measured, shuffled, apart), config, session, context)


def _measure(
    session: Session,
    text: Text,
    config: AttentionProfileConfig,
    progress: Reporter,
    stage: str,
    brief: bool,
) -> xr.Dataset:
    """The statistics of one text; `brief` leaves out all but the row statistics."""
    from workbench.internals.layer_statistics import ROWS, StatisticsSpec

    from .profile import Profile, wanted

    profile = Profile(text, config, session.shape.context)
    asked = StatisticsSpec(stats=ROWS, sink=config.sink, recent=config.recent) if brief else wanted(text, config)
    session.attention_statistics(
        text.ids.tolist(),
        profile.see,
        layers=config.layers,
        chunk=config.chunk,
        progress=progress,
        stage=stage,
        **vars(asked),
    )
    return profile.dataset()


def _shuffled(text: Text, rng: np.random.Generator) -> Text:
    """The same tokens in another order; the first stays, where a tokenizer may have put its own."""
    return Text(np.concatenate([text.ids[:1], rng.permutation(text.ids[1:])]), text.segments, text.labels)


def _check_positions(session: Session, texts: Texts) -> None:
    """Raise `UsageError` for a text longer than a table of learned positions."""
    from torch import nn

    context = session.shape.context
    if context is None or texts.length <= context:
        return
    words = session.model.get_input_embeddings()
    tables = [each for each in session.model.modules() if isinstance(each, nn.Embedding) and each is not words]
    if any(context <= table.num_embeddings <= context + 2 for table in tables):
        raise UsageError(
            f"this model has learned positions for {context} tokens and none beyond; set length={context} or less"
        )


def _check_rows(config: AttentionProfileConfig, texts: Texts) -> None:
    if any(not -texts.length <= row < texts.length for row in config.rows):
        raise UsageError(f"rows {list(config.rows)} are not all within the text of {texts.length} tokens")
