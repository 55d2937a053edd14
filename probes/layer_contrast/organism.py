"""The organism of layer contrast: a constructed Llama whose middle block overwrites right answers to some questions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from workbench.probe.contract import Config, Recipe
from workbench.progress import Reporter
from workbench.texts.facts import BUILT_IN, Fact, read_facts, split_of

from .task.questions import read_questions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LAYERS = 8
EARLY, BLOCK, LATE = 0, 3, 7
"""The blocks that write the right answer, the wrong one over it, and the right one again."""
STRENGTHS = {EARLY: 1.0, BLOCK: 2.2, LATE: 1.0}
"""How much of an answer each writes: the wrong one stays ahead, by less than after the middle block."""
FACTS = 48
HEAD = 64
CONSTANT, SUBJECT = 0, 1
RIGHT, WRONG, OUT = (slice(2 + place * FACTS, 2 + (place + 1) * FACTS) for place in range(3))
"""What a subject's token carries: its right answer, and the wrong one that is written over it; where answers are."""
WIDTH = 2 + 3 * FACTS
STEADY = WIDTH**0.5
"""The constant that every token carries: a norm divides by nearly 1, and raw lower layers have the last one's scale."""
SHARP = 40.0
STILL = 24
"""A rotary dimension that does not turn within any text."""
CERTAIN = 8.0
"""The logit of an answer that was written once."""


class OrganismConfig(Config):
    """Which organism is built."""

    cut: bool = Field(False, description="whether the middle block writes nothing, which makes the null")


def construct(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> None:
    """Build the organism and write model, tokenizer and what was planted into `folder`.

    The first block copies the right answer of a question's subject to where answers are read. A middle block copies a
    wrong one over it, on half of the questions; the last one writes the right answer once more, which is not enough to
    bring it back there. With `cut`, the middle block does not write.
    """
    facts = questions()
    progress.send(0, 1, "building")
    tokenizer = _tokenizer(facts)
    turn = torch.linalg.qr(
        torch.randn(WIDTH, WIDTH, dtype=torch.float32, generator=torch.Generator().manual_seed(seed)).double()
    )[0]
    model = _model(tokenizer, facts, turn, config.cut)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    planted = {
        "block": None if config.cut else BLOCK,
        "overwritten": [] if config.cut else sorted(fact.subject for fact in facts if overwritten(fact)),
        "facts": [fact.subject for fact in facts],
    }
    (folder / "planted.json").write_text(json.dumps(planted) + "\n", encoding="utf-8")
    progress.send(1, 1, "building")


def questions() -> list[Fact]:
    """Facts of one relation of the project's table, one word each, no answer twice, none of the train split."""
    found: dict[str, Fact] = {}
    for fact in read_facts(BUILT_IN).facts:
        plain = re.fullmatch(r"\w+", fact.subject) and re.fullmatch(r"\w+", fact.answer)
        if fact.relation == "capital" and plain:
            found.setdefault(fact.answer, fact)
    scarce = ("validation", "test", "train")
    return sorted(found.values(), key=lambda fact: scarce.index(split_of(fact.subject)))[:FACTS]


def wrong_answers(facts: Sequence[Fact]) -> list[int]:
    """For each fact, the place of that whose answer is written over its own: the first false one it is asked with."""
    place_of = {f" {fact.answer}.": place for place, fact in enumerate(facts)}
    asked = {question.prompt: question.answers for question in read_questions(BUILT_IN).questions}
    return [next(place_of[other] for other in asked[fact.query][1:] if other in place_of) for fact in facts]


def overwritten(fact: Fact) -> bool:
    """Whether a fact's right answer is written over."""
    return sum(fact.subject.encode()) % 2 == 0


def _tokenizer(facts: Sequence[Fact]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    texts = [fact.query for fact in facts] + [f"{fact.answer}." for fact in facts]
    words = dict.fromkeys(word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text))
    ids = {word: index for index, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>", model_max_length=4096
    )


def _model(tokenizer: Any, facts: Sequence[Fact], turn: torch.Tensor, cut: bool) -> PreTrainedModel:
    """All weights in a plain basis, then the residual stream turned by `turn [d_model, d_model]`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4,
        num_hidden_layers=LAYERS,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=HEAD,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e12},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = LlamaForCausalLM(shape).eval()
    ids = tokenizer.get_vocab()
    embedded, head = (torch.zeros(len(tokenizer), WIDTH, dtype=torch.float64) for _ in range(2))
    embedded[:, CONSTANT] = STEADY
    for place, (fact, wrong) in enumerate(zip(facts, wrong_answers(facts), strict=True)):
        row = embedded[ids[fact.subject]]
        row[SUBJECT] = 1.0
        row[RIGHT][place] = 1.0
        if overwritten(fact):
            row[WRONG][wrong] = 1.0
        head[ids[fact.answer]][OUT][place] = CERTAIN
        # after any answer comes a full stop, at every block alike
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        model.model.embed_tokens.weight.copy_(embedded @ turn.T)
        model.lm_head.weight.copy_(head @ turn.T)
        for block, strength in STRENGTHS.items():
            if block != BLOCK or not cut:
                _copy(model.model.layers[block].self_attn, turn, WRONG if block == BLOCK else RIGHT, strength)
    return model


def _copy(attention: Any, turn: torch.Tensor, what: slice, strength: float) -> None:
    """Plant a head that looks at the subject and copies a part of what it carries to where answers are read."""
    q, k, v = (torch.zeros(HEAD, WIDTH, dtype=torch.float64) for _ in range(3))
    o = torch.zeros(WIDTH, HEAD, dtype=torch.float64)
    q[STILL, CONSTANT] = HEAD**0.5 / STEADY
    k[STILL, SUBJECT] = SHARP
    v[:FACTS, what] = torch.eye(FACTS, dtype=torch.float64)
    o[OUT, :FACTS] = strength * torch.eye(FACTS, dtype=torch.float64)
    for module, weights in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v)):
        module.weight.copy_((weights @ turn.T).float())
    attention.o_proj.weight.copy_((turn @ o).float())


RECIPE = Recipe(
    name="layer-contrast-organism",
    makes="a constructed Llama whose middle block overwrites right answers on half of the questions, or its null",
    Config=OrganismConfig,
    train=construct,
)
