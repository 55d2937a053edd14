"""Plans: counted passes, times that hold, and a budget that refuses with something to do."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import torch

from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.formatting import byte_size, parse_size
from workbench.probe.contract import Work
from workbench.records.record import Plan
from workbench.runs import calibration, execute, plan, prepare
from workbench.runs.calibration import Calibration


class Planned(MeanLogits):
    """Says the work it is told."""

    def __init__(self, *works: Work) -> None:
        self.works = works

    def work(self, session, config) -> Sequence[Work]:
        return self.works


def made(session, *works: Work, memory: int | None = None) -> Plan:
    probe = Planned(*works)
    return plan.make_plan(probe, session, probe.Config(), memory)


def test_passes_add_up_and_costs_grow_with_the_work(session):
    assert made(session, Work(3, 2, 8), Work(4, 1, 8)).passes == 7
    small = made(session, Work(3, 2, 8))
    for larger in (
        Work(6, 2, 8),
        Work(3, 4, 8),
        Work(3, 2, 32),
        Work(3, 2, 8, generated=5),
        Work(3, 2, 8, backward=True),
    ):
        assert made(session, larger).seconds > small.seconds
    for larger in (Work(3, 4, 8), Work(3, 2, 32), Work(3, 2, 8, backward=True)):
        assert made(session, larger).bytes > small.bytes
    assert made(session, Work(3, 2, 8, layers=0.5)).seconds < small.seconds
    assert made(session, Work(6, 2, 8)).bytes == small.bytes
    assert 0 < made(session).seconds < small.seconds


def test_pairs_of_positions_cost_more_with_their_statistics(session, monkeypatch):
    cost = Calibration(1.0, 0.0, 0.01, 0.0, 0.0, 0.0, per_pair_with_statistics=0.03)
    monkeypatch.setitem(calibration._calibrations, session, cost)
    plain, watched = (made(session, Work(3, 2, 8, statistics=asked)).seconds for asked in (False, True))
    assert watched - plain == pytest.approx(3 * 2 * 8 * 8 * 0.02)


def test_weights_are_counted_once(session):
    held, width = plan.weights(session)
    parameters = {parameter.data_ptr(): parameter.numel() for parameter in session.model.parameters()}
    assert held == 4 * sum(parameters.values()) and width == 4
    assert made(session, Work(1, 1, 8, logits=0)).bytes > held


def test_logits_are_most_of_the_memory_of_a_long_pass(session):
    vocabulary = session.shape.vocabulary
    whole, last = (made(session, Work(1, 2, 40, logits=logits)).bytes for logits in (None, 1))
    assert whole - last == 2 * 39 * vocabulary * 8


def test_a_run_over_budget_is_refused_with_settings_that_fit(session, at):
    class Long(MeanLogits):
        def work(self, session, config):
            return [Work(config.n, 1, config.length)]

    enough = made(session, Work(1, 1, 64)).bytes
    prepared = prepare.prepare(Long(), session, "quick", 0, {"length": 200_000}, memory=enough)
    with pytest.raises(plan.OverBudget) as refused:
        execute.execute(prepared, at / "runs")
    assert not (at / "runs").exists() and refused.value.exit_status == 1
    found = plan.smaller_settings(Long(), session, prepared.config, enough)
    assert found and all(one.bytes <= enough for one in found) and refused.value.smaller == tuple(found)
    first = found[0]
    assert first.setting == "length" and f"length={first.value} ({byte_size(first.bytes)})" in str(refused.value)
    assert "--" not in str(refused.value)
    smaller = prepare.prepare(Long(), session, "quick", 0, {"length": first.value}, memory=enough)
    assert smaller.plan.bytes == first.bytes
    plan.refuse_over_budget(smaller.probe, session, smaller.config, smaller.plan)


def test_a_budget_below_the_weights_names_nothing_that_would_not_fit(session):
    prepared = prepare.prepare("mean-logits", session, memory=1000)
    with pytest.raises(plan.OverBudget, match="no smaller setting of this probe fits"):
        plan.refuse_over_budget(prepared.probe, session, prepared.config, prepared.plan)


def test_one_refusal_is_told_in_the_words_of_whoever_asked():
    changes = [plan.SmallerSetting("length", 64, 2**20), plan.SmallerSetting("preset", "smoke", 2**10)]
    refused = plan.OverBudget(3 * 2**20, 2 * 2**20, changes)
    assert str(refused) == (
        "this run needs about 3 MiB of memory and may take 2 MiB; it would fit with length=64 (1 MiB) or "
        "preset='smoke' (1 KiB); or allow it more memory"
    )
    assert (
        refused.told(lambda one: f"--{one.setting}", "x")
        == f"{refused.needs()}; it would fit with --length (1 MiB) or --preset (1 KiB); or x"
    )
    assert refused.needs("a probe") == "a probe needs about 3 MiB of memory and may take 2 MiB"


def test_the_default_budget_is_a_share_of_what_is_free(session):
    import psutil

    free = psutil.virtual_memory().available
    assert 0.5 * free < made(session, Work(1, 1, 8)).budget < free


@pytest.mark.parametrize(("text", "count"), [("8GiB", 8 * 2**30), ("1.5 M", 3 * 2**19), ("2000", 2000), ("7kb", 7168)])
def test_sizes_are_read(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "many", "-1", "5 parsecs", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


WORKS = (
    Work(2, 1, 64),
    Work(1, 1, 512),
    Work(1, 4, 128),
    Work(1, 1, 1024, logits=1),
    Work(1, 1, 64, generated=16, logits=1),
    Work(1, 4, 64, generated=8, logits=1),
)


def took(session, work: Work) -> float:
    ids = [[(7 * index + row) % 40_000 + 100 for index in range(work.length)] for row in range(work.batch)]
    start = time.perf_counter()
    for _ in range(work.passes):
        if work.generated:
            session.generate(ids, work.generated, stop=[])
        else:
            session.logits(ids, None if work.logits is None else [-1])
    return time.perf_counter() - start


@pytest.fixture
def one_thread():
    """Threads that wait for each other on a busy machine make times that nothing could foretell."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.model
@pytest.mark.usefixtures("one_thread")
def test_times_on_the_default_model_are_within_a_factor_of_two(default_model):
    """The machine may be busy with other things at either moment: then the middle one of three attempts counts."""
    ratios: dict[Work, list[float]] = {work: [] for work in WORKS}
    for _ in range(3):
        calibration._calibrations.pop(default_model, None)
        for work in WORKS:
            planned = made(default_model, work).seconds - made(default_model).seconds  # the model's part alone
            ratios[work].append(planned / took(default_model, work))
        middle = {work: sorted(found)[len(found) // 2] for work, found in ratios.items()}
        if all(0.5 < ratio < 2 for ratio in middle.values()):
            return
    pytest.fail("\n".join(f"{work}: planned/took {found}" for work, found in ratios.items()))
