"""What a session costs is timed once, part by part as plans ask for it, and never at the price of a deadlock."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from tests.conftest import tiny
from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.internals.session import load
from workbench.probe.contract import Work
from workbench.runs import calibration, plan
from workbench.runs.calibration import Calibration, calibrate


class Planned(MeanLogits):
    """Says the work it is told."""

    def __init__(self, work: Work) -> None:
        self.told = work

    def work(self, session, config):
        return [self.told]


@pytest.fixture
def fresh():
    return load(tiny("llama"))


def test_the_machine_is_timed_once_for_a_session(fresh):
    assert calibrate(fresh) is calibrate(fresh)
    whole = calibrate(fresh, statistics=True, generation=True)
    assert calibrate(fresh) is calibrate(fresh, statistics=True) is calibrate(fresh, generation=True) is whole


def test_only_what_is_asked_for_is_timed_and_what_was_known_stays(fresh):
    plain = calibrate(fresh)
    assert plain.per_step is None and plain.per_pair_with_statistics is None
    watched = calibrate(fresh, statistics=True)
    assert watched.per_pair_with_statistics >= watched.per_pair and watched.per_step is None
    whole = calibrate(fresh, generation=True)
    assert whole.per_step >= whole.per_token > 0
    parts = ("per_pass", "per_token", "per_pair", "per_logit", "per_cached_byte", "per_figure")
    assert all(getattr(plain, name) == getattr(whole, name) for name in parts)
    assert whole.per_pair_with_statistics == watched.per_pair_with_statistics


@pytest.mark.parametrize(
    ("work", "timed"),
    [
        (Work(1, 1, 8), set()),
        (Work(1, 1, 8, statistics=True), {"per_pair_with_statistics"}),
        (Work(1, 1, 8, generated=2), {"per_step"}),
    ],
)
def test_a_plan_has_timed_what_its_work_asks_for(fresh, work, timed):
    probe = Planned(work)
    made = plan.make_plan(probe, fresh, probe.Config())
    assert {"per_pair_with_statistics", "per_step"} & made.calibration.keys() == timed
    assert None not in made.calibration.values() and made.seconds > 0


def test_who_has_the_turn_of_a_session_can_plan_it_and_others_while_another_thread_waits_to():
    held, other = load(tiny("llama")), load(tiny("gpt2"))
    planned: list[Calibration] = []

    def notebook() -> None:
        with held.lock:
            page = threading.Thread(target=calibrate, args=(held,), daemon=True)
            page.start()
            while not held.waiting:
                time.sleep(0.001)
            planned.extend(calibrate(session) for session in (held, other))

    thread = threading.Thread(target=notebook, daemon=True)
    thread.start()
    thread.join(60)
    assert len(planned) == 2, "the two threads wait for each other"
    assert calibrate(held) is planned[0]


def test_a_model_in_a_type_that_the_kernels_do_not_serve_is_timed_too():
    cost = calibrate(load(tiny("llama", torch.float64)), statistics=True)
    assert cost.per_pair_with_statistics == cost.per_pair > 0


def test_a_model_whose_context_is_shorter_than_the_passes_is_timed_too():
    session = load(tiny("gpt2", n_positions=24))
    assert calibration._lengths(session.shape) == (6, 12)
    cost = calibrate(session, generation=True)
    assert cost.per_step >= cost.per_token > 0 and cost.per_logit >= 0
