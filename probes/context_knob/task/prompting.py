"""From an item to the token ids that a model is asked with, and from an answer to its ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from workbench.internals.chat_text import chat_text
from workbench.texts.facts import Item

if TYPE_CHECKING:
    from workbench.internals.session import Session

Intent = Literal["instruction", "float", "none"]
INTENTS: dict[Intent, tuple[str, str]] = {
    "instruction": (
        "Instruction: Ignore the context in answering the query.\n",
        "Instruction: Only consider the context in answering the query.\n",
    ),
    "float": ("Context weight: 0.00\n", "Context weight: 1.00\n"),
    "none": ("", ""),
}
"""The line that tells the intent: from the prior, and from the context."""
ASKED = "Answer the query considering the context."
BARE = "Answer the query."


class Prompter:
    """Writes prompts for one model: in its chat template where it has one, as plain text otherwise.

    With `begun`, the answer begins with the query, so that the model has only to complete it: small models repeat it
    otherwise. Without, they answer from the beginning of their turn, as in the published code.
    """

    def __init__(self, session: Session, begun: bool = True) -> None:
        self._session = session
        self.chat = bool(getattr(session.tokenizer, "chat_template", None))
        self.begun = begun

    def bare(self, query: str, answer: str = "") -> list[int]:
        """The query without any context, as ids: what the model knows by heart."""
        return [*self._ids([(BARE, "system"), (f"Query: {query}", "user")], query), *self.blank(answer)]

    def alone(self, query: str, answer: str = "") -> list[int]:
        """The query as plain text that goes on with its answer, as ids."""
        return [*self._session.tokenizer(query)["input_ids"], *self._blank(self._continued(answer))]

    def ask(
        self, item: Item, from_context: bool, intent: Intent = "instruction", shots: Sequence[Item] = ()
    ) -> list[int]:
        """An item under an intent, as ids; each of `shots` is shown before it with both of its answers."""
        turns = [(ASKED, "system")]
        for shot in shots:
            for way in (False, True):
                begin = f"{shot.query} " if self.begun else ""
                turns += [(_question(shot, way, intent), "user"), (f"{begin}{shot.answer(way)}", "assistant")]
        ids = self._ids([*turns, (_question(item, from_context, intent), "user")], item.query)
        return [*ids, *self.blank(item.prior)]

    def answer(self, text: str) -> list[int]:
        """The ids of an answer where a prompt has ended."""
        ids = self._whole(text)
        return ids[len(self._blank(ids)) :]

    def blank(self, text: str) -> list[int]:
        """A space that is a token of its own before this answer, as some tokenizers have it before digits.

        It ends the prompt, so that an answer's first token tells it from others.
        """
        return self._blank(self._whole(text)) if text else []

    def _whole(self, text: str) -> list[int]:
        if self.chat and not self.begun:
            return list(self._session.tokenizer(text, add_special_tokens=False)["input_ids"])
        return self._continued(text)

    def _continued(self, text: str) -> list[int]:
        return list(self._session.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]) if text else []

    def _blank(self, ids: list[int]) -> list[int]:
        return ids[:1] if len(ids) > 1 and not self._session.tokenizer.decode(ids[:1]).strip() else []

    def writes(self, ids: Sequence[int]) -> bool:
        """Whether ids stand for a text, with no token among them for what the tokenizer does not know."""
        return bool(ids) and self._session.tokenizer.unk_token_id not in ids

    def _ids(self, turns: Sequence[tuple[str, str]], query: str) -> list[int]:
        tokenizer = self._session.tokenizer
        begin = query if self.begun else ""
        if not self.chat:
            named = {"system": "{}\n\n", "user": "{}\nAnswer:", "assistant": " {}\n\n"}
            text = "".join(named[role].format(content) for content, role in turns)
            return tokenizer(f"{text} {begin}" if begin else text)["input_ids"]
        messages = [{"role": role, "content": content} for content, role in turns]
        try:
            text = chat_text(tokenizer, messages, add_generation_prompt=True)
        except Exception:  # templates raise what they like for a role they do not have: the system text goes first then
            first = f"{turns[0][0]}\n\n{turns[1][0]}"
            messages = [{"role": "user", "content": first}, *messages[2:]]
            text = chat_text(tokenizer, messages, add_generation_prompt=True)
        return tokenizer(text + begin, add_special_tokens=False)["input_ids"]


def _question(item: Item, from_context: bool, intent: Intent) -> str:
    return f"Context: {item.context}\n{INTENTS[intent][from_context]}Query: {item.query}"
