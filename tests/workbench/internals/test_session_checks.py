"""The self-check of a session finds what is wrong, and passes what is right."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from tests.conftest import tiny
from workbench.internals import attention, session_checks
from workbench.internals.engines import Hook
from workbench.internals.session import load


def test_all_engines_and_eager_attention_agree(architecture: str) -> None:
    checks = session_checks.check(load(tiny(architecture)), ["transformerlens", "nnsight"])
    assert [check.name for check in checks] == [
        "engine transformerlens agrees with hf",
        "engine nnsight agrees with hf",
        "attention agrees with eager attention",
    ]
    assert all(check.passed for check in checks), checks
    assert all("resid_post " in check.detail and "logits " in check.detail for check in checks)


def test_only_engines_in_use_are_checked_unless_asked() -> None:
    session = load(tiny("llama"))
    assert len(session_checks.check(session)) == 1
    session.capture([[1, 2, 3]], ["resid_post.1"], engine="nnsight")
    assert next(check.name for check in session_checks.check(session)) == "engine nnsight agrees with hf"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarser_weights_have_coarser_tolerances(dtype: torch.dtype) -> None:
    checks = session_checks.check(load(tiny("llama", dtype)), ["transformerlens", "nnsight"])
    assert all(check.passed for check in checks), checks


def test_an_engine_that_reads_something_else_is_found() -> None:
    session = load(tiny("llama"))
    other = session.engine("nnsight").engine
    run = other.run

    def wrong(inputs: Any, hooks: Any = (), **options: Any) -> Any:
        def off(hook: Hook) -> Hook:
            return hook._replace(see=lambda whole: hook.see(whole * 1.001)) if hook.site.kind == "z" else hook

        return run(inputs, [off(hook) for hook in hooks], **options)

    other.run = wrong  # type: ignore[method-assign]
    check, _ = session_checks.check(session)
    assert not check.passed
    assert check.detail.startswith("beyond the tolerance: z; ")


def test_attention_that_forgets_the_window_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(tiny("mistral"))
    monkeypatch.setattr(attention.Call, "visible", lambda call, start, stop: None)
    session.engine("hf")
    plain = attention.attend

    def unmasked(call: attention.Call) -> torch.Tensor:
        call.mask = None
        return plain(call)

    monkeypatch.setattr(attention, "attend", unmasked)
    [check] = session_checks.check(session)
    assert not check.passed


def test_it_takes_little_of_the_default_models_time(default_model: Any) -> None:
    default_model.capture("warm", ["resid_post.0"])
    start = time.process_time()
    [check] = session_checks.check(default_model, ["hf"])
    assert check.passed, check
    assert time.process_time() - start < 8  # of processor time, on two cores; about 1 s of a quiet machine's


def test_a_session_remembers_until_another_engine_comes_into_use() -> None:
    session = load(tiny("llama"))
    assert session_checks.cached_checks(session) == session_checks.cached_checks(session)
    assert len(session_checks.cached_checks(session)) == 1
    session.engine("transformerlens")
    assert len(session_checks.cached_checks(session)) == 2


def test_a_small_vocabulary_is_no_obstacle() -> None:
    session = load(tiny("llama", vocab_size=7), engine="nnsight")
    assert [check.passed for check in session_checks.cached_checks(session)] == [True, True]
