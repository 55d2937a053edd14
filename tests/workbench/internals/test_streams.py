"""Generation from several streams, against plain generation and against whole passes without a cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.conftest import TINY, build, tiny
from workbench.errors import Cancelled, UsageError
from workbench.internals import edits
from workbench.internals.session import Session, load
from workbench.internals.streams import Mix, Stream, contrast, generate
from workbench.progress import Progress, Reporter

from ..letters import letters

LONG = [[5, 17, 3, 44, 9, 58, 23, 31, 7], [8, 30, 41, 6], [27, 3, 19, 50, 33, 14]]
SHORT = [[9, 58], [41, 6, 12], [33]]


@pytest.fixture(scope="module")
def session() -> Session:
    return load(tiny("llama"))


@pytest.fixture(scope="module")
def amateur() -> Session:
    return load(tiny("gpt2"))


def first(logits: Sequence[Tensor], before: Tensor) -> Tensor:
    return logits[0]


Read = Callable[[list[int]], Tensor]


def plainly(read: Sequence[Read], mix: Mix, rows: Sequence[Any], count: int) -> list[list[int]]:
    """What a mix says, row by row, each token from whole passes over the texts so far."""
    said = []
    for texts in zip(*rows, strict=True):
        made: list[int] = []
        for _ in range(count):
            logits = [each([*text, *made]) for each, text in zip(read, texts, strict=True)]
            made.append(int(mix([one[None] for one in logits], torch.tensor([made])).argmax()))
        said.append(made)
    return said


def last(session: Session, **options: Any) -> Read:
    return lambda ids: session.logits([ids], [-1], **options)[0, 0].float()


@pytest.mark.parametrize("name", list(TINY))
def test_a_mix_that_returns_the_first_stream_is_plain_generation(name: str, amateur: Session) -> None:
    session = load(tiny(name))
    plain = session.generate(LONG, 5, stop=[])
    found = generate([Stream(session, LONG), Stream(amateur, SHORT), Stream(session, SHORT)], first, 5, stop=[])
    assert found.rows() == plain.rows() and found.whole.rows() == plain.whole.rows()
    other = session.generate(SHORT, 5, stop=[]).rows()
    second = generate([Stream(session, LONG), Stream(session, SHORT)], lambda logits, _: logits[1], 5, stop=[])
    assert second.rows() == other != plain.rows()


@pytest.mark.parametrize("name", ("hf", "transformerlens", "nnsight"))
def test_a_contrast_is_what_whole_passes_give(session: Session, amateur: Session, name: str) -> None:
    change = [edits.set("z.1.2", 0.5)]
    streams = [Stream(session, LONG, engine=name), Stream(amateur, SHORT), Stream(session, LONG, change, engine=name)]
    mix = contrast([2.0, -0.6, -0.4], plausibility=0.05)
    found = generate(streams, mix, 6, stop=[]).rows()
    read = [last(session), last(amateur), last(session, edits=change)]
    assert found == plainly(read, mix, (LONG, SHORT, LONG), 6)
    assert found != session.generate(LONG, 6, stop=[]).rows()


def test_the_lens_of_middle_layers_takes_part(session: Session) -> None:
    sites = ["resid_post.0", "embed", "final_norm"]
    mix = contrast([1.0, -0.5, -0.3, 0.1], plausibility=0.1)
    for norm in (True, False):

        def read(ids: list[int], norm: bool = norm) -> list[Tensor]:
            seen = session.lens([ids], sites, positions=[-1], through="norm" if norm else "raw")
            return [last(session)(ids), *(seen[site][0, 0] for site in sites)]

        said = []
        for row in LONG:
            made: list[int] = []
            for _ in range(4):
                logits = [one[None] for one in read([*row, *made])]
                made.append(int(mix(logits, torch.tensor([made])).argmax()))
            said.append(made)
        assert generate([Stream(session, LONG, sites=sites, norm=norm)], mix, 4, stop=[]).rows() == said


def test_what_was_chosen_before_is_handed_over(session: Session) -> None:
    def without_repeats(logits: Sequence[Tensor], before: Tensor) -> Tensor:
        return logits[0].scatter(-1, before, -math.inf)

    found = generate([Stream(session, LONG)], without_repeats, 8, stop=[]).rows()
    assert all(len(set(row)) == 8 for row in found)
    read = [last(session)]
    assert found == plainly(read, without_repeats, (LONG,), 8)


def test_sampling_by_the_seed_and_rows_that_end(session: Session) -> None:
    streams = [Stream(session, LONG), Stream(session, SHORT)]
    mix = contrast([1.0, -0.2])
    one, same, other = (generate(streams, mix, 12, stop=[], temperature=1.0, seed=seed).rows() for seed in (4, 4, 5))
    assert one == same != other
    drawn = session.generate(LONG, 12, stop=[], temperature=1.0, seed=4).rows()
    assert generate(streams, first, 12, stop=[], temperature=1.0, seed=4).rows() == drawn
    stop = [one[0][2], one[1][5]]
    ended = generate(streams, mix, 12, stop=stop, temperature=1.0, seed=4)
    for row, whole in zip(ended.rows(), one, strict=True):
        end = next((at + 1 for at, token in enumerate(whole) if token in stop), 12)
        assert row == whole[:end]


def test_the_contrast_is_the_formula_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    expert, other = (torch.randn(3, 11, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    mixed = contrast([1.5, -0.5], plausibility=0.2)([expert, other], torch.zeros(3, 0))
    for row in range(3):
        p = [math.exp(x) / sum(math.exp(y) for y in expert[row].tolist()) for x in expert[row].tolist()]
        q = [math.exp(x) / sum(math.exp(y) for y in other[row].tolist()) for x in other[row].tolist()]
        for token in range(11):
            expected = 1.5 * math.log(p[token]) - 0.5 * math.log(q[token]) if p[token] >= 0.2 * max(p) else -math.inf
            assert float(mixed[row, token]) == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(
        contrast([1.0, -1.0])([expert, expert + 2.0], torch.zeros(3, 0)), torch.zeros_like(expert)
    )
    alone = contrast([1.0], plausibility=1.0)([expert], torch.zeros(3, 0))
    assert torch.equal(alone.argmax(-1), expert.argmax(-1)) and int((alone > -math.inf).sum()) == 3


def test_progress_and_an_end_on_request(session: Session) -> None:
    events: list[Progress] = []
    streams = [Stream(session, LONG), Stream(session, SHORT)]
    generate(streams, first, 3, stop=[], progress=Reporter(events.append))
    assert [(event.done, event.total, event.stage) for event in events] == [(n, 3, "tokens") for n in range(4)]
    reporter = Reporter(lambda event: reporter.cancelled.set() if event.done == 1 else None)
    with pytest.raises(Cancelled):
        generate(streams, first, 3, stop=[], progress=reporter)
    assert session.lock.acquire() is None  # nobody holds the session any more
    session.lock.release()


def test_two_threads_with_the_same_sessions_the_other_way_round(session: Session, amateur: Session) -> None:
    streams = [Stream(session, LONG), Stream(amateur, SHORT)]
    expected = [generate(order, first, 4, stop=[]).rows() for order in (streams, streams[::-1])]
    found: dict[int, list[Any]] = {0: [], 1: []}

    def work(which: int) -> None:
        for _ in range(4):
            found[which].append(generate(streams[:: 1 - 2 * which], first, 4, stop=[]).rows())

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert found == {0: [expected[0]] * 4, 1: [expected[1]] * 4}


class TestVocabularies:
    def test_tables_of_logits_may_differ_in_length_for_one_tokenizer(self) -> None:
        small = load(tiny("llama"), tokenizer=letters())
        large = load(tiny("llama", vocab_size=70), tokenizer=letters())
        mix = contrast([1.0, -0.3])
        found = generate([Stream(small, ["abc"]), Stream(large, ["b"])], mix, 4, stop=[]).rows()
        read = [last(small), lambda ids: last(large)(ids)[:61]]
        assert found == plainly(read, mix, ([[10, 11, 12]], [[11]]), 4)
        bare = load(tiny("llama", vocab_size=70))
        with pytest.raises(UsageError, match="vocabularies of different sizes: 61, 70"):
            generate([Stream(small, [[3]]), Stream(bare, [[3]])], first, 2)

    def test_another_tokenizer_is_refused(self) -> None:
        other = letters()
        other.add_tokens(["zz"])  # type: ignore[attr-defined]
        streams = [Stream(load(tiny("llama"), tokenizer=each), ["abc"]) for each in (letters(), other)]
        with pytest.raises(UsageError, match="stream 1 has another vocabulary than stream 0"):
            generate(streams, first, 2)


@pytest.mark.parametrize(
    ("streams", "mix", "says"),
    [
        ([], first, "at least one stream"),
        ([{}, {"prompt": SHORT[:2]}], first, "same number of prompts; here they have 3, 2"),
        (
            [{}],
            lambda logits, before: logits[0][0],
            r"mix returns logits \[3, 61\], \[batch, vocabulary\], and not \[61\]",
        ),
        ([{}], lambda logits, before: None, "and not NoneType"),
        ([{}], lambda logits, before: logits[0] * math.nan, "not numbers"),
        ([{}], lambda logits, before: logits[0] - math.inf, "−inf for every token"),
        ([{}], contrast([1.0, 2.0]), "2 weights for 1 logits"),
        ([{"sites": ["z.1"]}], first, "'z.1' is not in the residual stream"),
        ([{"sites": ["resid_post.9"]}], first, "no layer 9"),
        ([{"prompt": [[61]]}], first, "outside the vocabulary"),
    ],
)
def test_what_is_wrong_is_said(session: Session, streams: list[dict[str, Any]], mix: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        generate([Stream(session, **{"prompt": LONG, **each}) for each in streams], mix, 2)


def test_wrong_contrasts_and_counts_are_refused(session: Session) -> None:
    for weights, plausibility in (([], None), ([math.nan], None)):
        with pytest.raises(UsageError, match="weights are numbers"):
            contrast(weights, plausibility)
    for plausibility in (0.0, 1.5, -1.0):
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            contrast([1.0], plausibility)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        wb.streams.generate([Stream(session, LONG)], first, 0)


def test_a_model_that_cannot_go_on_from_a_cache_is_refused() -> None:
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "eos_token_id": 2}
    with pytest.raises(UsageError, match="mamba cannot go on token by token in a stream"):
        generate([Stream(load(build("Mamba", sizes)), LONG)], first, 2)
