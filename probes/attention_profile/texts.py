"""The texts of a run: token ids of one length, and the segment that each token lies in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.errors import UsageError
from workbench.internals.chat_text import chat_text
from workbench.records.record import DataUse
from workbench.texts.data_files import DataFile, read_file
from workbench.texts.haystack import SYNTHETIC, read_haystack
from workbench.texts.pieces import Piece, encode, from_document, needle_pieces

from .config import AttentionProfileConfig

if TYPE_CHECKING:
    from workbench.internals.session import Session

KEYS = {"equal": "text", "paragraphs": "text", "turns": "messages", "documents": "documents"}
"""The field of a JSON line that a kind of segment is read from."""


@dataclass(frozen=True)
class Text:
    """One text: ids `[position]`, the segment of each token (-1: none), and the segments' names."""

    ids: np.ndarray
    segments: np.ndarray
    labels: tuple[str, ...]


class Encoded(NamedTuple):
    """A text before it is cut to length: ids, the piece of each token, and the pieces' names."""

    ids: np.ndarray
    pieces: np.ndarray
    labels: list[str]


@dataclass
class Texts:
    """The texts of a run, where they come from, and what was left out."""

    texts: list[Text]
    source: str
    sha256: str
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def length(self) -> int:
        """Tokens of each text."""
        return len(self.texts[0].ids)

    @property
    def same_segments(self) -> bool:
        """Whether the segments of all texts have the same names."""
        return all(text.labels == self.texts[0].labels for text in self.texts)

    def use(self) -> DataUse:
        return DataUse(
            name=self.source,
            sha256=self.sha256,
            n_used=len(self.texts),
            n_dropped=sum(self.dropped.values()),
            reasons=dict(self.dropped),
        )


def load(config: AttentionProfileConfig, session: Session, rng: np.random.Generator) -> Texts:
    """The texts that the settings name, cut to their length.

    Raises `UsageError` for a file that cannot be used, and if no text is long enough.
    """
    if config.data == SYNTHETIC or config.segments == "needle":
        haystack = read_haystack(config.data)
        made: Iterator[Encoded] = (
            _generated(config, session, rng, index) for index in range(config.n if config.length else 1)
        )
        found = Texts([], haystack.name, haystack.sha256)
    else:
        file = read_file(config.data, "data", f"a text file, JSON lines, or {SYNTHETIC!r}")
        found = Texts([], file.name, file.sha256)
        made = _from_file(config, session, file)
    wanted = config.n if config.length else 1
    for encoded in made:
        if len(found.texts) == wanted:
            break
        length = config.length or len(encoded.ids)
        if len(encoded.ids) < length or length < 2:
            found.dropped[f"shorter than {length} tokens"] += 1
            continue
        found.texts.append(_cut(encoded, length, config))
    if not found.texts:
        raise UsageError(
            f"data {config.data!r} holds no text of {config.length or 2} tokens; set a smaller length, or null for all"
        )
    return found


def _generated(config: AttentionProfileConfig, session: Session, rng: np.random.Generator, index: int) -> Encoded:
    """A text from a haystack's sentences, with a needle in it where that is asked for."""
    if config.length is None:
        raise UsageError(f"data {config.data!r} with segments {config.segments!r} needs a length in tokens")
    if config.segments == "turns" or config.segments == "documents":
        raise UsageError(
            f"{SYNTHETIC!r} has no {config.segments}; give a file of JSON lines with {KEYS[config.segments]!r}"
        )
    haystack = read_haystack(config.data)
    if config.segments == "needle":
        depth = (index + 0.5) / config.n
        pieces = needle_pieces(session.tokenizer, haystack, config.length, depth, rng)
        return Encoded(*pieces)
    sentences: list[str] = []
    stream = haystack.sentences(rng)
    while True:
        sentences.extend(islice(stream, config.length // 4 + 8))
        paragraphs = [" ".join(sentences[at : at + 5]) for at in range(0, len(sentences), 5)]
        named = [Piece(_short(text), text) for text in paragraphs]
        encoded = Encoded(*from_document(session.tokenizer, named, "\n\n"))
        if len(encoded.ids) >= config.length:
            return encoded


def _from_file(config: AttentionProfileConfig, session: Session, file: DataFile) -> Iterator[Encoded]:
    """Texts of a file: windows of a plain one, or one for each JSON line."""
    if not config.data.endswith((".jsonl", ".json")):
        if config.segments in ("turns", "documents"):
            raise UsageError(f"a plain text has no {config.segments}; give JSON lines with {KEYS[config.segments]!r}")
        yield from _windows(encode(session.tokenizer, _paragraphs(file.text)), config, session)
        return
    for number, given in file.json_lines():
        yield _from_line(given, file, number, config, session)


def _from_line(given: Any, file: DataFile, number: int, config: AttentionProfileConfig, session: Session) -> Encoded:
    key, where = KEYS[config.segments], f", line {number}"
    value = given.get(key) if isinstance(given, dict) else None
    if key == "text" and isinstance(value, str):
        return Encoded(*encode(session.tokenizer, _paragraphs(value)))
    if key == "documents" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return Encoded(*from_document(session.tokenizer, [Piece(_short(each), each) for each in value], "\n\n"))
    if key == "messages" and isinstance(value, list):
        return Encoded(*encode(session.tokenizer, _turns(value, file, where, session.tokenizer), special=False))
    kind = {"text": "a text", "documents": "a list of texts", "messages": "a list of messages"}[key]
    raise file.refuse(f"segments {config.segments!r} reads an object whose {key!r} is {kind} from each line", where)


def _turns(messages: Sequence[Any], file: DataFile, where: str, tokenizer: Any) -> list[Piece]:
    """What each message adds to the chat template's text."""
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError("this model's tokenizer has no chat template; take other segments than 'turns'")
    try:
        whole = [chat_text(tokenizer, messages[: count + 1]) for count in range(len(messages))]
        roles = [str(message["role"]) for message in messages]
    except Exception as error:
        raise file.refuse(f"the chat template does not take these messages ({error})", where) from None
    starts = ["", *whole]
    if not all(after.startswith(before) for before, after in pairwise(starts)):
        raise file.refuse("this chat template rewrites earlier messages, so turns have no place of their own", where)
    return [
        Piece(f"{index + 1} {role}", after[len(before) :])
        for index, (role, (before, after)) in enumerate(zip(roles, pairwise(starts), strict=True))
    ]


def _paragraphs(text: str) -> list[Piece]:
    """Paragraphs as blank lines part them; joined, they are the text."""
    parts = re.split(r"(?<=\n)[ \t]*\n(?=[ \t]*\S)", text)
    whole: list[Piece] = []
    at = 0
    for index, part in enumerate(parts):
        end = len(text) if index == len(parts) - 1 else text.index(parts[index + 1], at + len(part))
        whole.append(Piece(_short(part), text[at:end]))
        at = end
    return whole


def _windows(
    whole: tuple[np.ndarray, np.ndarray, list[str]], config: AttentionProfileConfig, session: Session
) -> Iterator[Encoded]:
    """Windows of a long text, evenly spread; each begins with what the tokenizer puts before a text."""
    ids, pieces, labels = whole
    if config.length is None:
        yield Encoded(ids, pieces, labels)
        return
    start = encode(session.tokenizer, [Piece("", "")])[0]
    before = len(start) if np.array_equal(ids[: len(start)], start) else 0
    body = config.length - before
    available = (len(ids) - before) // body
    if not available:
        yield Encoded(ids, pieces, labels)
        return
    count = min(config.n, available)
    stride = (len(ids) - before) // count
    for index in range(count):
        at = before + index * stride
        yield Encoded(
            np.concatenate([ids[:before], ids[at : at + body]]),
            np.concatenate([np.full(before, pieces[at]), pieces[at : at + body]]),
            labels,
        )


def _cut(encoded: Encoded, length: int, config: AttentionProfileConfig) -> Text:
    """The first tokens, with segments numbered from 0 and joined until there are few enough."""
    ids, pieces = encoded.ids[:length], encoded.pieces[:length]
    count = config.max_segments
    if config.segments == "equal":
        count = min(count, length)
        segments = np.arange(length) * count // length
        return Text(ids, segments, tuple(f"{index + 1}/{count}" for index in range(count)))
    present, segments = np.unique(pieces, return_inverse=True)
    labels = [encoded.labels[piece] for piece in present]
    if len(present) > count:
        middles = np.array([np.flatnonzero(segments == index).mean() for index in range(len(present))])
        _, joined = np.unique((middles * count / length).astype(int), return_inverse=True)
        firsts = [int(np.flatnonzero(joined == index)[0]) for index in range(joined.max() + 1)]
        sizes = np.bincount(joined)
        labels = [
            labels[first] + (f" (+{size - 1})" if size > 1 else "") for first, size in zip(firsts, sizes, strict=True)
        ]
        segments = joined[segments]
    return Text(ids, segments, tuple(labels))


def _short(text: str, most: int = 32) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
