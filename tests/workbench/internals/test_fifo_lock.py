"""A session among threads: each gets its own answer in its turn, and a cancel or a failure gives the turn back."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from tests.workbench.letters import letters
from workbench.errors import Cancelled, UsageError
from workbench.internals.engines import ENGINES
from workbench.internals.fifo_lock import FifoRLock
from workbench.progress import Progress, Reporter


@pytest.fixture(scope="module")
def session() -> Iterator[wb.Session]:
    with wb.load((tiny("llama"), letters())) as session:
        yield session


@pytest.mark.parametrize("engine", list(ENGINES))
def test_thirty_captures_of_three_threads_are_all_right(engine: str) -> None:
    session = wb.load(tiny("llama"), engine=engine)
    random_ids = random.Random(3)
    prompts = [[random_ids.randrange(61) for _ in range(random_ids.randrange(4, 9))] for _ in range(30)]
    sites = ["resid_post.1", "z.2", "q_rot.0"]
    expected = [session.capture(prompt, sites) for prompt in prompts]
    assert len({float(seen["resid_post.1"].sum()) for seen in expected}) == 30
    right: list[int] = []
    begin = threading.Barrier(3)

    def work(first: int) -> None:
        begin.wait()
        for number in range(first, 30, 3):
            seen = session.capture(prompts[number], sites)
            if all(torch.equal(seen[site], expected[number][site]) for site in sites):
                right.append(number)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(right) == list(range(30))


def test_threads_are_served_in_the_order_they_came() -> None:
    turns, served = FifoRLock(), []

    def work(number: int) -> None:
        with turns:
            served.append(number)

    threads = []
    with turns, turns:
        for number in range(8):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            until(lambda number=number: turns.waiting == number + 1)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == list(range(8)) and turns.waiting == 0
    with pytest.raises(RuntimeError):
        turns.release()


def test_who_waits_and_who_works_can_be_cancelled(session: wb.Session) -> None:
    reporter = Reporter()
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            session.capture("abc", "z.1", progress=reporter)
        except Cancelled as error:
            outcome.append(error)

    with session.lock:
        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: session.waiting == 1)
        reporter.cancelled.set()
        thread.join(5)
        assert len(outcome) == 1 and session.waiting == 0

    running = Reporter()

    def stop_at_third(event: Progress) -> None:
        if event.stage == "tokens" and event.done == 3:
            running.cancelled.set()

    running.listener = stop_at_third
    with pytest.raises(Cancelled):
        session.generate("abc", 50, stop=(), progress=running)
    assert session.capture("abc", "z.1")["z.1"].shape == (1, 3, 4, 8), "the session goes on after a cancel"


def test_a_failing_call_gives_its_turn_back(session: wb.Session) -> None:
    with pytest.raises(UsageError):
        session.capture("abc", "z.1", positions=[9])
    thread = threading.Thread(target=session.logits, args=("abc",))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def until(true: object, seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)
