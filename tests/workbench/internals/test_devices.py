"""A model on a GPU: no tensor of the CPU meets its tensors, and everything is what it is on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests import pretended_gpu as gpu
from tests.conftest import tiny
from workbench.internals import attention, edits, session_checks
from workbench.internals.session import Session
from workbench.runs import execute, plan, prepare

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not gpu.LIBRARY.exists(), reason="pretends a GPU on Linux, where there is none"
)
ROWS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 7, 1, 8, 2]]
ENGINES = ("hf", "transformerlens", "nnsight")


@pytest.fixture
def session() -> Iterator[Session]:
    """A small model on the GPU, while there is one."""
    with gpu.pretended_gpu():
        yield wb.load(gpu.moved(tiny("llama")))


def _edits(session: Session) -> list[edits.Edit]:
    vector = torch.linspace(-1, 1, session.shape.d_model)
    return [
        edits.set("z.0.1", 0.0),
        edits.add("resid_post.0", vector, positions=[-1]),
        edits.project("resid_post.1", vector, 2.0),
        edits.patch("attn_out.1", session.capture(ROWS, "attn_out.1")["attn_out.1"], positions=[0, -2]),
    ]


def _everything(session: Session, engine: str) -> dict[str, Tensor]:
    """What a session can be asked for."""
    rotated = ["q_rot.0"] if "q_rot" in session.hooked.kinds else []
    sites = ["resid_mid.0", "resid_post.1", "q.0", "z.1.2", "pattern.1", "scores.0.1", "logits", *rotated]
    changed = _edits(session)
    found: dict[str, Tensor] = {}
    for name, positions in (("all", None), ("some", [-1, 0])):
        seen = session.capture(ROWS, sites, positions, True, changed[:3], engine=engine)
        found |= {f"{site}, {name}": value for site, value in seen.items()}
    found["logits"] = session.logits(ROWS, [-1], changed, engine=engine)
    for heat in (0.0, 1.0):
        for rows in (ROWS, ROWS[0]):
            made = session.generate(rows, 4, changed[:3], [7], heat, engine=engine)
            found[f"generated {heat} {len(rows)}"] = made.ids
    few = {
        "stats": ("entropy", "argmax"),
        "segments": torch.arange(10) // 4,
        "received": "sum",
        "topk": 3,
        "rows": (2,),
    }
    points = torch.arange(10)[None] - 1
    asked: list[dict[str, Any]] = [{**few, "weights_at": points, "logits_at": [-1]}]
    if engine == "hf":
        asked.append({"chunk": 4, "topk": 2})
    for each in asked:
        rows = ROWS[0] if "chunk" in each else ROWS
        for layer, stats in session.attention_statistics(rows, engine=engine, **each).items():
            found |= {f"{name} {layer} {len(each)}": value for name, value in stats.present().items()}
    return found


@pytest.mark.parametrize(
    ("name", "engine", "dtype"),
    [
        ("llama", "hf", torch.float32),
        ("gemma2", "hf", torch.bfloat16),
        ("gpt2", "transformerlens", torch.float32),
        ("llama", "nnsight", torch.float32),
    ],
)
def test_a_session_gives_on_a_gpu_what_it_gives_on_the_cpu(name, engine, dtype):
    expected = _everything(wb.load(tiny(name, dtype)), engine)
    with gpu.pretended_gpu():
        found = _everything(wb.load(gpu.moved(tiny(name, dtype))), engine)
    assert found.keys() == expected.keys()
    for what, value in found.items():
        assert value.device.type == "cpu", what
        torch.testing.assert_close(value, expected[what], rtol=1e-4, atol=1e-5 if dtype == torch.float32 else 0.1)


def test_a_mask_that_is_too_large_to_hold_is_made_on_the_gpu(monkeypatch):
    monkeypatch.setattr(attention, "LONG", 8)
    rows = [list(range(3, 33)), list(range(5, 20))]

    def seen(model: Any) -> Any:
        return wb.load(model).capture(rows, ["pattern.1", "resid_post.2"], [-1, 3])

    expected = seen(tiny("mistral"))
    with gpu.pretended_gpu():
        found = seen(gpu.moved(tiny("mistral")))
    torch.testing.assert_close(dict(found), dict(expected))


def test_gradients_come_from_a_gpu(session):
    seen = session.gradients(ROWS, ["resid_post.0", "z.1.2", "logits"], lambda logits: logits.sum(), _edits(session))
    assert all(value.device.type == "cpu" for value in seen.values())


def test_what_is_asked_for_on_a_gpu_stays_there(session):
    devices = set()
    session.attention_statistics(ROWS, lambda part: devices.add(part.stats.entropy.device), received="sum")
    assert devices == {session.logits(ROWS, [-1], device="cuda:1").device} == {gpu.GPU}


def test_the_checks_of_a_session_pass_on_a_gpu(session):
    assert all(check.passed for check in session_checks.check(session, ENGINES))
    assert session.info.device == "cuda:1"


def test_a_run_on_a_gpu_counts_its_memory_and_may_take_what_pytorch_keeps_unused(session, at):
    prepared = prepare.prepare("mean-logits", session, "smoke")
    free = gpu.FREE + gpu.RESERVED - gpu.ALLOCATED
    assert prepared.plan.budget == int(plan.SHARE * (free + plan.weights(session)[0]))
    record = wb.open(execute.execute(prepared, at / "runs")).typed_record
    assert record.stats.peak_bytes == 2 * gpu.PEAK and all(check.passed for check in record.checks)


def test_tensors_of_a_gpu_and_of_the_cpu_do_not_meet():
    with gpu.pretended_gpu():
        there, here = torch.ones(3, device="cuda:1"), torch.ones(3)
        for meeting in (lambda: there + here, lambda: here[there.long()], lambda: torch.ones(3, device="cuda")):
            with pytest.raises(gpu.Meeting):
                meeting()
        with pytest.raises((TypeError, RuntimeError), match="numpy"):
            there.numpy()
        assert (there[here.long()] + here.to(there) + here.sum()).cpu().tolist() == [5, 5, 5]
