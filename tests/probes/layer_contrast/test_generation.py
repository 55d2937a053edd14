"""Generation under a method: what it is without strength, rows whatever their batch, and the repetition penalty."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.internals.session import Session, load
from workbench.internals.streams import Stream
from workbench.probes.layer_contrast.method import methods
from workbench.probes.layer_contrast.method.layers import site_of
from workbench.probes.layer_contrast.method.mixing import Repetition, mixing
from workbench.probes.layer_contrast.reading import read

TOLD = [[5, 17, 3, 44, 9], [8, 2, 33], [7, 7, 12, 50]]
BARE = [[44, 9], [33], [12, 50]]
STATES = (1, 2)


@pytest.fixture(scope="module")
def session() -> Session:
    return load(tiny("llama", torch.float64))


def rows(session: Session, method: methods.Method, told: list, bare: list, **given: object) -> list[list[int]]:  # type: ignore[type-arg]
    streams = [Stream(session, told), Stream(session, bare)][: len(method.streams)]
    return wb.streams.generate(streams, mixing(method, **given), 6, stop=[]).rows()  # type: ignore[arg-type]


def test_no_strength_and_equal_streams_are_plain_decoding(session: Session) -> None:
    plain = session.generate(TOLD, 6, stop=[]).rows()
    assert rows(session, methods.plain(), TOLD, BARE) == plain
    assert rows(session, methods.cad(0.0), TOLD, BARE) == plain
    assert rows(session, methods.cad(2.0), TOLD, TOLD) == plain
    assert rows(session, methods.adacad(), TOLD, TOLD) == plain


def test_each_row_is_what_it_is_alone(session: Session) -> None:
    for method in (
        methods.cad(1.5),
        methods.adacad(),
        methods.ck_plug(0.3),
        replace(methods.cad(3.0), plausibility=0.2),
    ):
        together = rows(session, method, TOLD, BARE)
        alone = [rows(session, method, [told], [bare])[0] for told, bare in zip(TOLD, BARE, strict=True)]
        assert together == alone, method.name
    assert rows(session, methods.cad(8.0), TOLD, BARE) != session.generate(TOLD, 6, stop=[]).rows()


def test_lower_layers_in_generation_are_those_of_one_pass(session: Session) -> None:
    method = replace(methods.dola(STATES), plausibility=0.1)
    stream = Stream(session, TOLD, sites=[site_of(index) for index in STATES], norm=False)
    made = wb.streams.generate([stream], mixing(method, STATES), 5, stop=[]).rows()
    found = read(session, TOLD, [[row] for row in made], STATES)
    for reading, row in zip(found, made, strict=True):
        from workbench.probes.layer_contrast.method.scores import score

        assert score(method.in_generation(), {"model": reading}).best.tolist() == row


def test_what_is_read_is_what_the_model_says(session: Session) -> None:
    answers = [[[31, 7, 12], [30]], [[6, 6]], [[9], [1, 2]]]
    whole = read(session, TOLD, answers, STATES, through="norm")
    for place, (prompt, several) in enumerate(zip(TOLD, answers, strict=True)):
        at = 0
        for answer in several:
            ids = [*prompt, *answer[:-1]]
            lens = session.lens(
                ids, [str(site_of(index)) for index in STATES], positions=range(len(prompt) - 1, len(ids))
            )
            logits = session.logits(ids)[0, len(prompt) - 1 :]
            rows_of = slice(at, at + len(answer))
            torch.testing.assert_close(whole[place].logits[rows_of], logits.float(), atol=1e-5, rtol=1e-5)
            for index in STATES:
                torch.testing.assert_close(whole[place].lower(index)[rows_of], lens[str(site_of(index))][0])
            at += len(answer)
    torch.testing.assert_close(read(session, TOLD, answers)[0].logits, whole[0].logits, atol=1e-5, rtol=1e-5)


def test_the_repetition_penalty_acts_where_it_is_told_to() -> None:
    logits, other = torch.tensor([[2.0, 1.9, -1.0, 0.0]]), torch.tensor([[2.0, 1.0, -1.0, 0.0]])
    penalty = Repetition(2.0)
    changed = penalty(logits, [torch.tensor([0, 2])])
    assert changed.tolist() == [[1.0, pytest.approx(1.9), -2.0, 0.0]]
    before = torch.zeros(1, 0, dtype=torch.int64)
    method = methods.cad(1.0)
    outcomes = {}
    for on in ("mixed", "model"):
        mix = mixing(method, prompts=[[0]], repetition=Repetition(2.0, on))  # type: ignore[arg-type]
        outcomes[on] = mix([logits, other], before)
    f = 2 * logits.log_softmax(-1) - other.log_softmax(-1)
    assert outcomes["mixed"][0, 0] == pytest.approx(float(f[0, 0]) * 2)
    first = torch.tensor([[1.0, 1.9, -1.0, 0.0]])
    wanted = 2 * first.log_softmax(-1) - other.log_softmax(-1)
    torch.testing.assert_close(outcomes["model"], wanted)
