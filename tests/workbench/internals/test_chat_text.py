"""A chat template that writes the date is told the time that the run names."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from transformers.utils import chat_template_utils

from tests.workbench.letters import TEMPLATE, letters
from workbench.internals.chat_text import chat_text, clock_at, now, reads_clock

MOMENT = datetime(2026, 3, 1, 9, 5, 7)
ASK = [{"role": "user", "content": "ab"}]


class Fixed(datetime):
    """A clock that has stopped."""

    @classmethod
    def now(cls, tz: Any = None) -> Fixed:
        return cls(2026, 3, 1, 9, 5, 7)


@pytest.mark.parametrize(
    "template",
    [
        "{{ strftime_now('%d %b %Y') }}",
        "\n  {% if strftime_now is defined %}{% set d = strftime_now('%A, %-d %B %Y %H:%M %p%%') %}{{ d }}{% endif %}",
        "{%- macro day() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ day() }} {{ messages[0].content }}",
        "{{- strftime_now('%x %X %c') | upper }}",
    ],
)
def test_it_is_what_the_template_would_have_written_at_that_time(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer: Any = letters(template=template)
    with monkeypatch.context() as patched:
        patched.setattr(chat_template_utils, "datetime", Fixed)
        expected = tokenizer.apply_chat_template(ASK, tokenize=False)
    with clock_at(MOMENT):
        assert chat_text(tokenizer, ASK) == expected
    assert reads_clock(tokenizer)


def test_other_templates_are_left_alone() -> None:
    tokenizer: Any = letters(template=TEMPLATE)
    assert not reads_clock(tokenizer) and not reads_clock(letters()) and not reads_clock(None)
    assert chat_text(tokenizer, ASK, add_generation_prompt=True) == "<u>ab<a>"


def test_the_clock_is_the_machines_again_afterwards() -> None:
    with clock_at(MOMENT):
        assert now() == MOMENT
        with clock_at(None):
            assert now().year != 1970
        assert now() == MOMENT
    assert abs((now() - datetime.now()).total_seconds()) < 5
