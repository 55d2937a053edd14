"""A model is as it has to be while it is read, and as its user left it before and after."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError, WorkbenchError
from workbench.internals.borrowing import borrowed, implementations

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
ENGINES = ("hf", "transformerlens", "nnsight")


def own_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits


def dropping(**changes: Any) -> Any:
    return tiny("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5, **changes)


@pytest.mark.parametrize("engine", ENGINES)
def test_training_mode_is_left_for_each_call_and_given_back(engine: str) -> None:
    model = dropping()
    expected = own_logits(model)
    model.train()
    model.transformer.h[1].eval()
    modes = [module.training for module in model.modules()]
    with wb.load(model, engine) as session:
        for _ in range(2):
            assert torch.allclose(session.logits(IDS), expected, atol=1e-4)
            assert [module.training for module in model.modules()] == modes
        seen = session.capture(IDS, "resid_post.1")["resid_post.1"]
        patched = session.logits(IDS, edits=[wb.edits.patch("resid_post.1", seen)])
        assert torch.allclose(patched, expected, atol=1e-4)
        first, second = (session.generate(IDS, 4).rows() for _ in range(2))
        assert first == second
    assert [module.training for module in model.modules()] == modes


def test_the_mode_is_given_back_after_an_error_too() -> None:
    model = dropping().train()
    session = wb.load(model)

    def fails(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no objective")

    with pytest.raises(RuntimeError, match="no objective"):
        session.gradients(IDS, "resid_post.0", fails)
    assert model.training and model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_function_stays_the_users(attention: str) -> None:
    model = tiny("llama")
    model.set_attn_implementation(attention)
    with wb.load(model) as session:
        assert session.info.attention == "workbench (sdpa)"
        session.capture(IDS, "pattern.1")
        assert model.config._attn_implementation == attention
        model.set_attn_implementation("eager")
        maps = model(torch.tensor([IDS]), output_attentions=True).attentions
        seen = session.capture(IDS, "pattern.1")["pattern.1"]
        assert torch.allclose(seen, maps[1], atol=1e-5)
    assert model.config._attn_implementation == "eager"


def test_two_borrowers_of_one_model_do_not_take_it_from_each_other() -> None:
    model = tiny("llama").train()
    setting = [(config, "workbench") for config, _ in implementations(model)]
    with borrowed(model, setting):
        with borrowed(model, setting):
            assert not model.training and model.config._attn_implementation == "workbench"
        assert not model.training and model.config._attn_implementation == "workbench"
        assert [name for _, name in implementations(model)] == ["sdpa"]
    assert model.training and model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("engine", ENGINES)
def test_autocast_and_inference_mode_change_nothing(engine: str) -> None:
    session = wb.load(tiny("llama"), engine)
    expected = session.logits(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(session.logits(IDS), expected)
    with torch.inference_mode():
        assert torch.equal(session.logits(IDS), expected)
        assert torch.is_inference_mode_enabled()


def test_gradients_inside_inference_mode_are_those_outside() -> None:
    session = wb.load(tiny("llama"))
    direction = torch.arange(24.0)

    def asked(direction: torch.Tensor) -> torch.Tensor:
        edits = [wb.edits.project("resid_post.0", direction, 1.0)]
        return session.gradients(IDS, "resid_pre.0", lambda logits: logits[0, -1, 7], edits)["resid_pre.0"]

    expected = asked(direction)
    with torch.inference_mode():
        assert torch.equal(asked(direction.clone()), expected)


def test_a_model_made_under_inference_mode_is_read_and_refuses_gradients() -> None:
    expected = wb.load(tiny("llama")).logits(IDS)
    with torch.inference_mode():
        model = tiny("llama")
    session = wb.load(model)
    assert torch.equal(session.logits(IDS), expected)
    with pytest.raises(UsageError, match="inference_mode"):
        session.gradients(IDS, "resid_post.0", lambda logits: logits.sum())


def test_another_default_device_changes_nothing() -> None:
    session = wb.load(tiny("llama"))
    expected = session.logits(IDS)
    with torch.device("meta"):
        found = session.logits(IDS)
        statistics = session.attention_statistics(IDS)[1].entropy
        generated = session.generate(IDS, 3).rows()
    assert torch.equal(found, expected) and generated == session.generate(IDS, 3).rows()
    assert torch.equal(statistics, session.attention_statistics(IDS)[1].entropy)


class TestCompiled:
    """What `torch.compile` made of a model is passed over; where it hides modules it is refused."""

    def test_a_model_compiled_in_place(self) -> None:
        model = tiny("llama")
        session = wb.load(model)
        expected = session.capture(IDS, ["z.1", "pattern.0"], logits=True)
        model.compile(backend="eager")
        model.model.layers[0].compile(backend="eager")
        found = session.capture(IDS, ["z.1", "pattern.0"], logits=True)
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert session.attention_statistics(IDS)[1].entropy.isfinite().all()
        assert "torch.compile" in session.info.state[0]

    def test_a_wrapped_model_is_taken_without_its_wrapper(self) -> None:
        model = tiny("llama")
        session = wb.load(torch.compile(model, backend="eager"))
        assert session.model is model
        assert torch.equal(session.capture(IDS, "z.1")["z.1"], wb.load(tiny("llama")).capture(IDS, "z.1")["z.1"])

    def test_a_wrapped_block_is_refused_by_name(self) -> None:
        model = tiny("llama")
        session = wb.load(model)
        model.model.layers[1] = torch.compile(model.model.layers[1], backend="eager")
        with pytest.raises(WorkbenchError, match=r"model\.layers\.1 is wrapped by torch\.compile"):
            session.logits(IDS)


def test_the_process_is_left_as_it_was() -> None:
    model = tiny("llama")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    told = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    with wb.load(model) as session:
        for engine in ENGINES:
            session.logits(IDS, engine=engine)
        session.generate(IDS, 2, temperature=1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()) == told


@pytest.mark.parametrize("engine", ENGINES)
def test_hooks_and_gradients_are_as_they_were_after_a_session(engine: str) -> None:
    model = tiny("llama")
    model.lm_head.weight.requires_grad_(False)
    seen: list[str] = []
    if engine == "hf":
        model.model.layers[0].register_forward_hook(lambda *_: seen.append("own"))

    def told() -> list[Any]:
        hooks = [[list(vars(each)[name]) for name in vars(each) if name.endswith("_hooks")] for each in model.modules()]
        return [hooks, [(id(each), each.requires_grad, each.grad) for each in model.parameters()]]

    before = told()
    with wb.load(model, engine) as session:
        session.capture(IDS, ["z.1", "pattern.0"], edits=[wb.edits.set("z.0.1", 0.0)])
        session.gradients(IDS, "resid_post.0", lambda logits: logits[0, -1, 3])
        session.attention_statistics(IDS)
        assert told() == before
    assert told() == before
    assert bool(seen) is (engine == "hf")
