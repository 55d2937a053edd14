"""Texts of every kind: lengths, segments that lie where they should, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from workbench import UsageError
from workbench.internals.session import Session
from workbench.probes.attention_profile import uniform
from workbench.probes.attention_profile.config import PRESETS, AttentionProfileConfig
from workbench.probes.attention_profile.profile import edges, scored
from workbench.probes.attention_profile.texts import Texts, load

PARAGRAPHS = [
    f"The baker walked slowly to the market. Nobody found the letter {word}." for word in ("again", "often", "rarely")
]


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load("organism/attention-profile")


def read(session: Session, seed: int = 0, **settings: Any) -> Texts:
    config = AttentionProfileConfig(**{"n": 3, "length": 40, "recent": 8, **settings})
    return load(config, session, np.random.default_rng(seed))


def test_generated_texts_have_the_length_and_differ(session: Session) -> None:
    texts = read(session)
    assert [len(text.ids) for text in texts.texts] == [40] * 3
    assert len({tuple(text.ids) for text in texts.texts}) == 3
    assert np.array_equal(read(session).texts[2].ids, texts.texts[2].ids)
    assert not np.array_equal(read(session, seed=1).texts[2].ids, texts.texts[2].ids)
    assert np.array_equal(texts.texts[0].segments, np.arange(40) * 16 // 40)
    assert texts.same_segments and texts.use().n_used == 3


def test_paragraphs_begin_at_their_first_token(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "three.txt"
    path.write_text("\n\n".join(PARAGRAPHS))
    texts = read(session, data=str(path), length=None, segments="paragraphs")
    (text,) = texts.texts
    words = session.text_tokens(text.ids.tolist())
    assert [words[at] for at in np.flatnonzero(np.diff(text.segments, prepend=-1))] == ["The"] * 3
    ends = np.flatnonzero(np.diff(text.segments, append=3))
    assert [words[at - 1] for at in ends] == ["again", "often", "rarely"]
    assert all(label.startswith("The baker") for label in text.labels)


def test_neighbouring_paragraphs_are_joined(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n\n".join(PARAGRAPHS * 4))
    (text,) = read(session, data=str(path), length=None, segments="paragraphs", max_segments=4).texts
    assert text.segments.max() == 3 and (np.diff(text.segments) >= 0).all()
    assert all("(+2)" in label for label in text.labels)
    sizes = np.bincount(text.segments)
    assert sizes.max() - sizes.min() <= 2


def test_windows_of_a_long_file_do_not_overlap(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(" ".join(f"letter basket ladder {name}" for name in ("map", "clock", "chair")) * 60)
    whole = session.tokenizer(path.read_text())["input_ids"]
    texts = read(session, data=str(path), length=100, n=4)
    assert len(texts.texts) == 4
    stride = len(whole) // 4
    for index, text in enumerate(texts.texts):
        assert text.ids.tolist() == whole[index * stride : index * stride + 100]
    assert len(read(session, data=str(path), length=100, n=99).texts) == len(whole) // 100


def test_a_needle_has_a_segment_of_its_own(session: Session) -> None:
    texts = read(session, segments="needle", length=90, n=3)
    starts = []
    for text in texts.texts:
        assert text.labels == ("before", "needle", "after", "question") and len(text.ids) == 90
        words = session.text_tokens(text.ids.tolist())
        hidden = [word for word, segment in zip(words, text.segments, strict=True) if segment == 1]
        assert hidden[0] == "The" and hidden[-1] == "." and "is" in hidden
        asked = [word for word, segment in zip(words, text.segments, strict=True) if segment == 3]
        assert asked[0] == "Question" and "What" in asked
        starts.append(int(np.flatnonzero(text.segments == 1)[0]))
    assert starts == sorted(starts) and starts[0] < starts[2]


def test_lines_of_documents_and_texts(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps({"documents": PARAGRAPHS, "text": "The baker."}) for _ in range(2)))
    texts = read(session, data=str(path), segments="documents", length=30)
    assert len(texts.texts) == 2 and all(text.segments.max() == 2 for text in texts.texts)
    texts = read(session, data=str(path), segments="equal", length=None)
    assert texts.length == 3
    with pytest.raises(UsageError, match="holds no text of 40 tokens"):
        read(session, data=str(path), segments="equal")


def test_short_lines_are_dropped_with_the_reason(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("The baker.", " ".join(PARAGRAPHS * 2))))
    use = read(session, data=str(path)).use()
    assert (use.n_used, use.n_dropped, use.reasons) == (1, 1, {"shorter than 40 tokens": 1})


def test_turns_are_what_each_message_adds(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [
        {"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), PARAGRAPHS, strict=True)
    ]
    path.write_text(json.dumps({"messages": turns}))
    with pytest.raises(UsageError, match="no chat template"):
        read(session, data=str(path), segments="turns", length=None)
    template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}\n{% endfor %}"
    session.tokenizer.chat_template = template
    try:
        (text,) = read(session, data=str(path), segments="turns", length=None).texts
    finally:
        session.tokenizer.chat_template = None
    assert text.labels == ("1 user", "2 assistant", "3 user")
    words = session.text_tokens(text.ids.tolist())
    assert [words[at + 1] for at in np.flatnonzero(np.diff(text.segments, prepend=-1))] == [":"] * 3


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("none.txt", None, {}, "No such file"),
        ("bytes.txt", b"\xff\xfe\x00", {}, "not UTF-8"),
        ("empty.txt", b"", {"length": None}, "holds no text"),
        ("short.txt", b"The baker.", {}, "holds no text of 40 tokens"),
        ("plain.txt", b"The baker.", {"segments": "turns"}, "plain text has no turns"),
        ("bad.jsonl", b"{", {}, "line 1: it is not JSON"),
        ("bad.jsonl", b'{"text": 3}', {}, "line 1: segments 'equal' reads an object whose 'text' is a text"),
        ("bad.jsonl", b'{"text": "x"}', {"segments": "documents"}, "whose 'documents' is a list of texts"),
    ],
)
def test_files_that_cannot_be_used(
    session: Session, tmp_path: Path, name: str, content: bytes | None, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read(session, data=str(path), **settings)


def test_settings_that_do_not_fit_are_refused(session: Session) -> None:
    for settings in ({"rows": (40,), "length": 40}, {"layers": ()}, {"length": 4}, {"control": "random"}):
        with pytest.raises(ValueError):
            AttentionProfileConfig(**settings)
    with pytest.raises(UsageError, match="needs a length"):
        read(session, length=None)
    with pytest.raises(UsageError, match="has no turns"):
        read(session, segments="turns")
    with pytest.raises(UsageError, match=r"leave .* for the text around the needle"):
        read(session, segments="needle", length=40)
    for preset in PRESETS.values():
        AttentionProfileConfig(**preset)


def test_bins_cover_a_text_once_and_headlines_stay_within_the_context() -> None:
    for length, bins in ((96, 8), (97, 8), (5, 32), (1, 4)):
        ends = edges(length, bins)
        assert ends[0] == 0 and ends[-1] == length and (np.diff(ends) > 0).all() and len(ends) <= bins + 1
    assert scored(100, 64) == (32, 64)
    assert scored(100, None) == (50, 100)
    assert scored(40, 64) == (20, 40)


def test_uniform_attention_by_counting() -> None:
    found = uniform.rows(30, 3, 5)
    received = np.zeros(30)
    for i in range(30):
        keys = np.arange(i + 1)
        received[: i + 1] += 1 / (i + 1)
        sinks, lately = keys < 3, (keys >= 3) & (i - keys < 5)
        assert found["sink_mass"][i] == pytest.approx(sinks.mean())
        assert found["recent_mass"][i] == pytest.approx(lately.mean())
        assert found["far_mass"][i] == pytest.approx(1 - sinks.mean() - lately.mean())
        assert found["distance"][i] == pytest.approx((i - keys).mean())
    np.testing.assert_allclose(uniform.received(30), received)
    segments = np.arange(30) // 10
    flow = uniform.flow(segments, 3)
    np.testing.assert_allclose(flow.sum(1), 1)
    assert flow[1, 1] == pytest.approx(np.mean([(i - 9) / (i + 1) for i in range(10, 20)]))
