"""What a session says of its model is of the model as it is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from tests.workbench.letters import letters
from workbench.internals import session_checks


def train(model: Any) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.tensor([[3, 1, 4, 1]])).logits[0, -1, 5].backward()
    optimiser.step()
    optimiser.zero_grad()


def zeroed(model: Any) -> None:
    for block in model.model.layers:
        block.self_attn.q_proj.weight.data.mul_(0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (train, "fingerprint"),
        (zeroed, "fingerprint"),
        (lambda model: model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()}), "fingerprint"),
        (lambda model: setattr(model.config, "rms_norm_eps", 0.5), "config_sha256"),
        (lambda model: setattr(model.model.layers[0].self_attn, "scaling", 0.1), "state_sha256"),
        (lambda model: setattr(model.model.layers[0].mlp, "act_fn", torch.nn.ReLU()), "state_sha256"),
        (lambda model: setattr(model.generation_config, "eos_token_id", [2, 7]), "ends"),
    ],
)
def test_a_model_that_changes_has_another_identity(change: Callable[[Any], object], field: str) -> None:
    model = tiny("llama")
    session = wb.load((model, letters()))
    first = session.info.model_dump()
    assert session.info.model_dump() == first
    change(model)
    second = session.info.model_dump()
    assert [name for name in first if first[name] != second[name]] == [field]


def test_what_no_sample_shows_is_read_when_a_record_begins() -> None:
    model = tiny("llama")
    session = wb.load(model)
    first = session.info.fingerprint
    model.lm_head.weight.data.view(-1)[1] += 1
    assert session.identified().fingerprint != first


def test_a_tokenizer_that_changes_is_noticed() -> None:
    tokenizer: Any = letters()
    session = wb.load((tiny("llama"), tokenizer))
    first = session.info.tokenizer_sha256
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert session.info.tokenizer_sha256 != first


def test_the_self_check_is_made_again_once_the_model_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    session = wb.load(model)
    assert all(check.passed for check in session_checks.cached_checks(session))
    made: list[int] = []
    own = session_checks.check
    monkeypatch.setattr(session_checks, "check", lambda *given: made.append(1) or own(*given))
    session_checks.cached_checks(session)
    assert made == []
    zeroed(model)
    session_checks.cached_checks(session)
    assert made == [1]
    model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: output * 2)
    (told,) = (check for check in session_checks.cached_checks(session) if check.name == session_checks.EAGER)
    assert not told.passed and "a forward hook on model.layers.0.mlp" in told.detail


def test_a_larger_vocabulary_is_known_at_once() -> None:
    model = tiny("llama")
    session = wb.load(model)
    model.resize_token_embeddings(70)
    session.logits([3, 1, 4])
    assert session.shape.vocabulary == 70 and session.logits([69]).shape == (1, 1, 70)
