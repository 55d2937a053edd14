"""The organism of the context knob: a constructed Llama in which one direction after one block carries the intent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field

from workbench.probe.contract import Config, Recipe
from workbench.progress import Reporter
from workbench.texts.facts import BUILT_IN, Fact, read_facts

from .task.prompting import ASKED, BARE, INTENTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BLOCK = 1
"""After this block the last token holds the intent, along the planted direction; the next block reads it."""
CODE = 64
TYPES = ("subject", "answer", "prior", "context", "sink")
"""What a token may be: it is told apart by these alone, wherever it stands."""
CONSTANT, KINDS, U, DECOY = 0, 1, 6, 7
CODES, OUT = slice(8, 8 + CODE), slice(8 + CODE, 8 + 2 * CODE)
WIDTH = 8 + 2 * CODE
STEADY = 40.0
"""The constant that every token carries, so large that the norms divide by nearly the same everywhere."""
SLOW = 24
"""A rotary dimension that does not turn within any text."""
FAST = 5
"""Rotary dimensions that turn from token to token."""
SHARP = 30.0
SELF = 120.0
"""How sharply a head looks at its own token."""
HELD = 1.5
"""The planted values: + for the context, − for the prior."""


class OrganismConfig(Config):
    """Which organism is built."""

    cut: bool = Field(False, description="whether the path of the intent is cut, which makes the null")


def construct(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> None:
    """Build the organism and write model, tokenizer and what was planted into `folder`.

    Block 0 writes the intent along a decoy direction that nothing reads. In block 1 one head erases what its own token
    has along the decoy and the planted direction, so that nothing set before reaches further, and another writes the
    intent along the planted one. Block 2 attends, by the planted direction, to the subject or to the context's answer,
    and copies the answer. With `cut`, block 1 does not write.
    """
    facts = single_words()
    tokenizer = _tokenizer(facts)
    progress.send(0, 1, "building")
    turn = torch.linalg.qr(
        torch.randn(WIDTH, WIDTH, dtype=torch.float32, generator=torch.Generator().manual_seed(seed)).double()
    )[0]
    model = _model(tokenizer, facts, turn, config.cut, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    planted = {
        "block": None if config.cut else BLOCK,
        "direction": [round(x, 9) for x in turn[:, U].tolist()],
        "decoy_block": 0,
        "decoy": [round(x, 9) for x in turn[:, DECOY].tolist()],
        "facts": len(facts),
    }
    (folder / "planted.json").write_text(json.dumps(planted) + "\n", encoding="utf-8")
    progress.send(1, 1, "building")


def single_words() -> list[Fact]:
    """Facts of the project's table with one word as subject and one as answer, no word being both or in a prompt.

    Relations with any such word among their answers are left out, so that no context gives an answer that is not one.
    """
    facts = [fact for fact in read_facts(BUILT_IN).facts if re.fullmatch(r"\w+", fact.subject + fact.answer)]
    subjects = {fact.subject for fact in facts}
    barred = set(re.findall(r"\w+", " ".join(_framing()))) | subjects
    barred |= {word for fact in facts for word in re.findall(r"\w+", fact.query) if word != fact.subject}
    left_out = {fact.relation for fact in facts if fact.answer in barred}
    asked = barred - subjects
    kept: dict[str, Fact] = {}
    for fact in facts:
        if fact.relation not in left_out and fact.subject not in asked:
            kept.setdefault(fact.subject, fact)
    return list(kept.values())


def _framing() -> list[str]:
    return [ASKED, BARE, "Context: Query: Answer:", *(line for pair in INTENTS.values() for line in pair)]


def _tokenizer(facts: list[Fact]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    texts = [*_framing(), *(fact.query for fact in facts), *(f"{fact.answer}." for fact in facts)]
    words = dict.fromkeys(word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text))
    ids = {word: index for index, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>", model_max_length=4096
    )


def _model(tokenizer: Any, facts: list[Fact], turn: torch.Tensor, cut: bool, seed: int) -> PreTrainedModel:
    """All weights in a plain basis, then the residual stream turned by `turn [d_model, d_model]`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=CODE,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e12},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = LlamaForCausalLM(shape).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        embedded, head = _words(tokenizer, facts, seed)
        model.model.embed_tokens.weight.copy_(embedded @ turn.T)
        model.lm_head.weight.copy_(head @ turn.T)
        blocks = [layer.self_attn for layer in model.model.layers]
        _attend(blocks[0], 0, turn, _to_intent(), {DECOY: 1.0})
        _attend(blocks[BLOCK], 0, turn, _to_intent(), {} if cut else {U: HELD})
        _erase(blocks[BLOCK], 1, turn, (U, DECOY))
        _attend(blocks[BLOCK + 1], 0, turn, _to_answer(), None)
    return model


def _words(tokenizer: Any, facts: list[Fact], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embedding and unembedding in the plain basis, `[vocabulary, d_model]`."""
    generator = torch.Generator().manual_seed(seed + 1)
    size = len(tokenizer)
    embedded, head = (torch.zeros(size, WIDTH, dtype=torch.float64) for _ in range(2))
    embedded[:, CONSTANT] = STEADY
    ids = tokenizer.get_vocab()
    answers = sorted({fact.answer for fact in facts})
    codes = torch.randn(len(answers), CODE, dtype=torch.float32, generator=generator).double()
    code = dict(zip(answers, codes / codes.norm(dim=-1, keepdim=True), strict=True))

    def kind(word: str, name: str) -> None:
        embedded[ids[word], KINDS + TYPES.index(name)] = 1.0

    for fact in facts:
        kind(fact.subject, "subject")
        embedded[ids[fact.subject], CODES] = code[fact.answer]
    for answer in answers:
        kind(answer, "answer")
        embedded[ids[answer], CODES] = code[answer]
        head[ids[answer], OUT] = code[answer]
    for word in ("Ignore", "0"):
        kind(word, "prior")
    for word in ("Only", "1"):
        kind(word, "context")
    kind("Answer", "sink")
    head[tokenizer.eos_token_id, KINDS + TYPES.index("answer")] = 4.0
    return embedded, STEADY / WIDTH**0.5 * 8.0 * head


def _to_intent() -> list[tuple[dict[int, float], dict[int, float]]]:
    """Query and key of a head that looks for the word that tells the intent, or else at a word that tells nothing."""
    at = {name: KINDS + place for place, name in enumerate(TYPES)}
    return [({CONSTANT: 1.0}, {at["prior"]: SHARP, at["context"]: SHARP, at["sink"]: SHARP / 2})]


def _to_answer() -> list[tuple[dict[int, float], dict[int, float]]]:
    """Of a head that looks at the subject or at the context's answer, by the planted direction."""
    subject, answer = KINDS + TYPES.index("subject"), KINDS + TYPES.index("answer")
    return [
        ({CONSTANT: 1.0}, {subject: SHARP / 2, answer: SHARP / 2 + 2.6}),
        ({U: STEADY}, {subject: -1.2, answer: 1.2}),
    ]


def _attend(
    attention: Any,
    head: int,
    turn: torch.Tensor,
    pairs: list[tuple[dict[int, float], dict[int, float]]],
    written: dict[int, float] | None,
) -> None:
    """Plant a head: each pair of query and key is one dimension that does not turn.

    It writes the intent along coordinates, or, with `written` None, copies codes to where answers are read. What the
    norm makes of the stream is it times √d_model / STEADY, nearly.
    """
    own = slice(head * CODE, (head + 1) * CODE)
    scale = STEADY / WIDTH**0.5
    q, k, v = (torch.zeros(CODE, WIDTH, dtype=torch.float64) for _ in range(3))
    o = torch.zeros(WIDTH, CODE, dtype=torch.float64)
    for place, (query, key) in enumerate(pairs):
        for at, weight in query.items():
            q[SLOW + place, at] = weight / STEADY * scale * CODE**0.5
        for at, weight in key.items():
            k[SLOW + place, at] = weight * scale
    if written is None:
        v[:, CODES] = torch.eye(CODE, dtype=torch.float64) * scale
        o[OUT] = torch.eye(CODE, dtype=torch.float64)
    else:
        v[0, KINDS + TYPES.index("prior")], v[0, KINDS + TYPES.index("context")] = -scale, scale
        for at, weight in written.items():
            o[at, 0] = weight
    for module, weights in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v)):
        module.weight[own] = (weights @ turn.T).float()
    attention.o_proj.weight[:, own] = (turn @ o).float()


def _erase(attention: Any, head: int, turn: torch.Tensor, along: tuple[int, ...]) -> None:
    """Plant a head that looks at its own token, by dimensions that turn fast, and takes away some coordinates."""
    own = slice(head * CODE, (head + 1) * CODE)
    scale = STEADY / WIDTH**0.5
    turning = torch.zeros(CODE, WIDTH, dtype=torch.float64)
    # of the dimensions that turn, each pair of positions differs in some by a good part of a circle
    turning[:FAST, CONSTANT] = (SELF / FAST) ** 0.5 / STEADY * scale * CODE**0.25
    v, o = torch.zeros(CODE, WIDTH, dtype=torch.float64), torch.zeros(WIDTH, CODE, dtype=torch.float64)
    for place, at in enumerate(along):
        v[place, at], o[at, place] = scale, -1.0
    for module, weights in ((attention.q_proj, turning), (attention.k_proj, turning), (attention.v_proj, v)):
        module.weight[own] = (weights @ turn.T).float()
    attention.o_proj.weight[:, own] = (turn @ o).float()


RECIPE = Recipe(
    name="context-knob-organism",
    makes="organism/context-knob: a constructed Llama whose intent acts through one direction; with cut=true its null",
    Config=OrganismConfig,
    train=construct,
)
