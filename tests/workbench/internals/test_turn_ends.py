"""What ends a turn is gathered from every place that says so."""

from __future__ import annotations

from typing import Any

import pytest

import workbench as wb
from tests.conftest import tiny
from tests.workbench.letters import letters
from workbench.internals.turn_ends import turn_ends

ENDED = "{% for m in messages %}<u>{{ m.content }}{% if m.role == 'assistant' %}<a>{% endif %}{% endfor %}"


def tokenizer(end: str | None = None, template: str | None = None) -> Any:
    made: Any = letters(template=template)
    made.eos_token = end
    return made


def model(generation: Any = None, config: Any = None) -> Any:
    made = tiny("llama")
    made.generation_config.eos_token_id = generation
    made.config.eos_token_id = config
    return made


@pytest.mark.parametrize(
    ("generation", "config", "end", "template", "expected"),
    [
        (2, 2, None, None, (2,)),
        ([2, 7], 2, None, None, (2, 7)),
        (None, 5, None, None, (5,)),
        (7, None, "<s>", None, (1, 7)),
        (None, None, "<s>", None, (1,)),
        (7, None, None, ENDED, (3, 7)),
        (None, None, None, "{{ messages[0].content }}", ()),
        (7, None, None, "{{ raise_exception('no roles') }}", (7,)),
    ],
)
def test_every_place_counts(
    generation: Any, config: Any, end: str | None, template: str | None, expected: tuple[int, ...]
) -> None:
    assert turn_ends(model(generation, config), tokenizer(end, template)) == expected


def test_generation_ends_there_and_the_record_says_where() -> None:
    plain = wb.load((model(), tokenizer()))
    said = plain.generate("abc", 12).rows()[0]
    assert len(said) == 12 and plain.info.ends == []
    end = said[4]
    first = said.index(end)
    session = wb.load((model(generation=end), tokenizer()))
    assert session.generate("abc", 12).rows()[0] == said[: first + 1] and session.info.ends == [end]
    assert session.generate("abc", 12, stop=()).rows()[0] == said
