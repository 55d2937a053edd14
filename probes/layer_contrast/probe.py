"""What lower layers, an amateur, missing heads and the absent context change in a model's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from workbench.errors import UsageError
from workbench.internals.unembedding import Unembedding
from workbench.probe.contract import Outcome, Paper, Probe, RunContext, Work
from workbench.texts.facts import BUILT_IN

from .config import NONE, PRESETS, LayerContrastConfig

if TYPE_CHECKING:
    from workbench.internals.session import Session

SHORT, LONG = (8, 12), (260, 120)
"""Tokens of a prompt and of all its answers: about facts, and of TruthfulQA."""
WITH_CONTEXT = (24, 160)
"""Tokens of a prompt with its context: about facts, and of knowledge conflicts."""


class LayerContrast(Probe[LayerContrastConfig]):
    """Multiple choice and answers from context under contrasts of layers, models, heads and contexts."""

    name = "layer-contrast"
    question = "What do lower layers, an amateur, missing heads or the absent context change in the answer?"
    method = (
        "one contrast of log-probabilities with a plausibility mask, in the configurations of DoLa, SLED, ICD, "
        "LOL-style fusion, DeCoRe, CAD, AdaCAD and CK-PLUG; parameters chosen on other questions than are scored"
    )
    papers: ClassVar[Sequence[Paper]] = (
        Paper("DoLa: Decoding by Contrasting Layers Improves Factuality", "2309.03883"),
        Paper("Trusting Your Evidence: Hallucinate Less with Context-aware Decoding", "2305.14739"),
        Paper("Context-aware Decoding Reduces Hallucination in Query-focused Summarization", "2312.14335"),
        Paper("Lower Layer Matters: multi-layer fusion contrastive decoding (LOL)", "2408.08769"),
        Paper("Alleviating Hallucinations through Induced Hallucinations (ICD)", "2312.15710"),
        Paper("SLED: Self Logits Evolution Decoding", "2411.02433"),
        Paper("DeCoRe: Decoding by Contrasting Retrieval Heads", "2410.18860"),
        Paper("AdaCAD: Adaptively Decoding to Balance Conflicts", "2409.07394"),
        Paper("CK-PLUG: Fine-Grained Control of Knowledge Reliance", "2503.15888"),
    )
    Config = LayerContrastConfig
    presets = PRESETS

    def unsuitable(self, session: Session) -> str | None:
        if session.tokenizer is None:
            return "it has no tokenizer, and the questions are made of text"
        if session.shape.layers < 3:
            return "it has fewer than three blocks, so there is no lower layer to contrast with"
        if "resid_post" not in session.hooked.kinds:
            return "the residual stream after its blocks cannot be read here"
        try:
            Unembedding.of(session.hooked.engine)
        except UsageError as error:
            return str(error)
        return None

    def work(self, session: Session, config: LayerContrastConfig) -> Sequence[Work]:
        own = config.data == BUILT_IN
        prompt, answers = SHORT if own else LONG
        told = WITH_CONTEXT[0 if config.conflicts == BUILT_IN else 1]
        streams = 5 if config.heads != NONE else 3
        layers = session.shape.layers
        # lower layers are unembedded, which costs as logits at more positions do
        several = len(range(0, layers, 2))
        tried = config.n_validation * (len(config.rates) + 3) + config.n * 4
        ways = len(config.alphas) + 5
        return [
            Work((config.n + config.n_validation) * streams, 1, prompt + answers, logits=answers),
            Work(tried, 1, 1, logits=several * answers, layers=0.01),
            Work(config.n, 1, prompt, logits=layers),
            _rows(config.n_conflicts_validation * 2 * len(config.alphas), told, config.tokens),
            _rows(2 * config.n_conflicts * 2 * ways, told, config.tokens),
            Work(config.damage * streams, 1, 80, logits=40),
        ]

    def run(self, session: Session, config: LayerContrastConfig, context: RunContext) -> Outcome:
        from .stages import run

        return run(session, config, context)


def _rows(rows: int, length: int, generated: int) -> Work:
    """Passes over rows of prompts, as many at once as they are run."""
    return Work(math.ceil(rows / 24), min(rows, 24), length, generated=generated, logits=1)
