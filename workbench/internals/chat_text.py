"""Chat templates, and the clock that some of them read: a run names it, and a rerun reads the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any

_told: ContextVar[datetime | None] = ContextVar("chat_clock", default=None)


def chat_text(tokenizer: Any, messages: Sequence[Any], add_generation_prompt: bool = False) -> str:
    """Messages in the tokenizer's chat template; a template that writes the date is told `now()`."""
    told = {"chat_template": _clock(now()) + tokenizer.get_chat_template()} if reads_clock(tokenizer) else {}
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **told
    )


def _clock(moment: datetime) -> str:
    """The beginning of a template in which `strftime_now` tells this moment: transformers takes no other clock."""
    told = ""
    for code in (f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdHIjmMpSUwWxXyYzZfGuVFTDReh"):
        with suppress(ValueError):  # not every platform knows every code
            told += f" | replace({code!r}, {moment.strftime(code)!r})"
    return "{%- macro strftime_now(form) -%}{{ form" + told + " | replace('%%', '%') }}{%- endmacro %}\n"


def reads_clock(tokenizer: Any) -> bool:
    """Whether a tokenizer's chat template asks for the time."""
    return "strftime_now" in str(getattr(tokenizer, "chat_template", None) or "")


def now() -> datetime:
    """The time that chat templates are told: that of the run at work, otherwise this machine's, in its time zone."""
    return _told.get() or datetime.now()


@contextmanager
def clock_at(moment: datetime | None) -> Iterator[None]:
    """Chat templates are told this time until the block ends; None leaves them to the machine's clock."""
    before = _told.set(moment)
    try:
        yield
    finally:
        _told.reset(before)
