"""From a prompt, as people write it, to token ids, and back to text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union

from ..errors import UsageError
from .chat_text import chat_text
from .tokens import TokenBatch, TokensLike

if TYPE_CHECKING:
    from torch import Tensor

Prompt = Union[str, Sequence[str], TokensLike]  # noqa: UP007 - "TokensLike" holds names that exist for checkers only
"""A text, texts, ids of one row, rows of ids, an id tensor `[batch, position]`, or `TokenBatch`."""
Ids = Union["Tensor", Sequence[int]]
Boundary = Literal["exact", "common"]
"""What to do where a token reaches from a prompt into its answer: refuse, or begin the answer with that token."""


class Asked(NamedTuple):
    """The token ids of a prompt, and those of one answer after it."""

    prompt: list[int]
    answer: list[int]


class Prompts:
    """Reads prompts for one model; safe with threads."""

    def __init__(self, tokenizer: Any, vocabulary: Callable[[], int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        # A tokenizer's padding and truncation are its state: two threads in it at once make it fail.
        self._lock = threading.Lock()

    def tokens(self, prompt: Prompt, chat: bool = False) -> TokenBatch:
        """Token ids of a prompt: a text as the tokenizer makes them, with `chat` as a user's turn in its template.

        A template that writes the date is told that of the run at work, and today's outside of a run.

        Raises `UsageError` for an empty prompt, for ids outside the vocabulary, and for what is no prompt.
        """
        texts = _texts(prompt)
        if texts is None:
            if chat:
                raise UsageError("chat=True puts a text into the chat template; token ids are taken as they are")
            return self._known(_rows(prompt))
        rows = [self._encode(text, chat) for text in texts]
        if not rows or not all(rows):
            raise UsageError("the prompt is empty: give at least one token")
        return self._known(rows)

    def answer(self, prompt: str, answer: str, chat: bool = False, boundary: Boundary = "exact") -> Asked:
        """The tokens of a text and of an answer right after it, as the tokenizer makes them of both together.

        The answer's tokens are those after the prompt's own. Where a token reaches across the boundary there are none
        such: `exact` refuses, `common` ends the prompt where both still have the same tokens, so that the answer
        begins with the end of the prompt. Raises `UsageError`.
        """
        alone, whole = self._encode(prompt, chat), self._encode(prompt, chat, answer)
        same = next(
            (n for n, (a, b) in enumerate(zip(alone, whole, strict=False)) if a != b), min(len(alone), len(whole))
        )
        if same < len(alone) and boundary == "exact":
            raise UsageError(
                f"the answer {answer!r} changes the tokens of its prompt, which ends with {prompt[-12:]!r}: move white "
                "space to the answer's beginning, give both as token ids, or boundary='common'"
            )
        if same == 0 or same == len(whole):
            raise UsageError(f"the answer {answer!r} has no tokens of its own after {prompt[-12:]!r}")
        self._known([whole])
        return Asked(whole[:same], whole[same:])

    def text(self, ids: Ids) -> str:
        """The text of one row of ids, special tokens included."""
        with self._lock:
            return self._needed().decode(_plain(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def text_tokens(self, ids: Ids) -> list[str]:
        """The text of each token by itself, for display; the id where there is no tokenizer."""
        plain = _plain(ids)
        if self._tokenizer is None:
            return [str(token) for token in plain]
        return [self._piece(token) for token in plain]

    def _piece(self, token: int) -> str:
        text = self.text([token])
        with self._lock:
            raw = self._tokenizer.convert_ids_to_tokens(token)
        # SentencePiece drops the space before the first word of what it decodes.
        return " " + text if isinstance(raw, str) and raw.startswith("▁") and not text.startswith(" ") else text

    def _encode(self, text: str, chat: bool, after: str = "") -> list[int]:
        """The ids of a text, or of its chat template, and of what stands right after it."""
        tokenizer = self._needed()
        with self._lock:
            if not chat:
                return list(tokenizer(text + after, verbose=False)["input_ids"])
            if not getattr(tokenizer, "chat_template", None):
                raise UsageError("this model's tokenizer has no chat template; leave chat out")
            turn = [{"role": "user", "content": text}]
            whole = chat_text(tokenizer, turn, add_generation_prompt=True)
            return list(tokenizer(whole + after, add_special_tokens=False, verbose=False)["input_ids"])

    def _needed(self) -> Any:
        if self._tokenizer is None:
            raise UsageError("this model has no tokenizer: give token ids instead of text")
        return self._tokenizer

    def _known(self, rows: TokensLike) -> TokenBatch:
        tokens = TokenBatch.of(rows)
        highest = int(tokens.ids.max())
        if highest >= (size := self._vocabulary()):
            raise UsageError(f"token id {highest} is outside the vocabulary; ids are 0 to {size - 1}")
        return tokens


def _texts(prompt: Prompt) -> list[str] | None:
    """The texts of a prompt, or None if it is not made of text."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, (list, tuple)) and any(isinstance(part, str) for part in prompt):
        if not all(isinstance(part, str) for part in prompt):
            raise UsageError("a prompt is either texts or token ids, not both")
        return list(prompt)
    return None


def _rows(prompt: Any) -> TokensLike:
    if isinstance(prompt, TokenBatch):
        return prompt
    if hasattr(prompt, "tolist") and hasattr(prompt, "ndim"):
        if prompt.ndim not in (1, 2):
            raise UsageError(f"an id tensor has the axes [batch, position] or [position], not {prompt.ndim} axes")
        prompt = prompt.tolist()
    if not isinstance(prompt, (list, tuple)):
        raise UsageError(f"a prompt is a text, texts, token ids or rows of token ids, not {type(prompt).__name__}")
    return prompt


def _plain(ids: Ids) -> list[int]:
    plain = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if not isinstance(plain, list):
        plain = [plain]
    if not all(isinstance(token, int) for token in plain):
        raise UsageError("text of one row at a time: give a list of token ids")
    return plain
