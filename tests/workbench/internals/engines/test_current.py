"""Every engine reads the model as it is now, whatever was done to its modules since the engine was made."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import workbench as wb
from tests.conftest import tiny
from workbench.errors import SiteError, WorkbenchError
from workbench.internals.engines.hf import HfEngine

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
ENGINES = ("hf", "transformerlens", "nnsight")
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}


def own_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits


def agree(session: wb.Session, model: Any) -> bool:
    expected = own_logits(model)
    return all(torch.allclose(session.logits(IDS, engine=name), expected, atol=1e-4) for name in ENGINES)


def two_adapters() -> Any:
    torch.manual_seed(0)
    model = get_peft_model(tiny("llama"), LoraConfig(**LORA), adapter_name="first")
    model.add_adapter("second", LoraConfig(**LORA))
    model.set_adapter("first")
    return model.eval()


def test_adapters_that_are_switched_merged_and_turned_off() -> None:
    model = two_adapters()
    with wb.load(model) as session:
        held = {name: session.engine(name) for name in ENGINES}
        assert agree(session, model)
        first = own_logits(model)
        model.set_adapter("second")
        second = own_logits(model)
        assert not torch.allclose(first, second, atol=1e-2) and agree(session, model)
        # an engine that someone holds on to follows too
        assert all(torch.allclose(each.logits(IDS), second, atol=1e-4) for each in held.values())
        with model.disable_adapter():
            assert agree(session, model)
        model.merge_adapter()
        assert agree(session, model)
        model.unmerge_adapter()
        assert torch.allclose(session.logits(IDS), second, atol=1e-4)


def put_lora_in(model: Any) -> None:
    get_peft_model(model, LoraConfig(**LORA)).eval()


def swap_mlp(model: Any) -> None:
    model.model.layers[1].mlp = type(model.model.layers[1].mlp)(model.config).eval()


def new_scale(model: Any) -> None:
    for block in model.model.layers:
        block.self_attn.scaling *= 3


def new_weight(model: Any) -> None:
    model.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.randn(40, 24))


@pytest.mark.parametrize("change", [put_lora_in, swap_mlp, new_scale, new_weight])
def test_what_is_done_to_the_modules_after_the_engines_were_made(change: Callable[[Any], None]) -> None:
    torch.manual_seed(1)
    model = tiny("llama")
    with wb.load(model) as session:
        before = own_logits(model)
        assert agree(session, model)
        change(model)
        assert not torch.allclose(own_logits(model), before, atol=1e-3)
        assert agree(session, model)


def test_a_library_object_that_has_gone_stale_says_so() -> None:
    model = two_adapters()
    session = wb.load(model)
    bridge, traced = session.bridge, session.nnsight
    model.set_adapter("second")
    with pytest.raises(WorkbenchError, match="has changed since"):
        bridge(torch.tensor([IDS]))
    with pytest.raises(Exception, match="has changed since"), traced.trace(torch.tensor([IDS])):
        pass
    expected = own_logits(model)
    assert torch.allclose(session.bridge(torch.tensor([IDS]), return_type="logits"), expected, atol=1e-4)


def test_a_hook_of_the_users_acts_on_plain_hooks_and_is_refused_where_a_copy_would_miss_it() -> None:
    model = tiny("llama")
    session = wb.load(model)
    session.logits(IDS, engine="nnsight")
    handle = model.model.layers[1].mlp.register_forward_hook(lambda module, args, output: output * 3)
    expected = own_logits(model)
    assert torch.allclose(session.logits(IDS), expected, atol=1e-5)
    for engine in ("transformerlens", "nnsight"):
        with pytest.raises(WorkbenchError, match=r"a forward hook on model\.layers\.1\.mlp.*use the engine 'hf'"):
            session.logits(IDS, engine=engine)
    assert "a forward hook on model.layers.1.mlp" in session.info.state[0]
    handle.remove()
    assert agree(session, model) and session.info.state == []


def test_a_site_that_a_hook_makes_untrue_names_the_hook() -> None:
    model = tiny("llama")
    model.model.layers[1].register_forward_hook(lambda module, args, output: output * 3)
    session = wb.load(model)
    assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-5)
    with pytest.raises(SiteError, match=r"a forward hook on model\.layers\.1 .*may be why"):
        session.capture(IDS, "mlp_out.1")


def test_nothing_is_built_anew_where_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    session = wb.load(tiny("llama"))
    for name in ENGINES:
        session.engine(name)
        built = type(session.engine(name).engine)
        monkeypatch.setattr(built, "_build", lambda self: pytest.fail("built again"))
    for name in ENGINES:
        session.capture(IDS, ["pattern.1", "z.0"], engine=name, logits=True)
        session.generate(IDS, 2, engine=name)


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows when the engine of plain hooks looks at a model's layers anew."""
    built, made = HfEngine._build, [0]

    def counted(self: HfEngine) -> None:
        made[0] += 1
        built(self)

    monkeypatch.setattr(HfEngine, "_build", counted)
    return made


def test_an_adapter_that_is_switched_off_and_on_is_looked_at_once_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = two_adapters(), count_builds(monkeypatch)
    session = wb.load(model)
    looked: list[Any] = []
    for _ in range(3):
        seen = []
        for off in (False, True):
            with model.disable_adapter() if off else nullcontext():
                assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-4)
                generated = session.generate(IDS, 2, stop=[]).ids
                assert torch.equal(generated[:, :1], own_logits(model)[:, -1].argmax(-1, keepdim=True))
                seen.append(session.hooked.architecture)
        assert seen[0] is not seen[1] and (not looked or all(a is b for a, b in zip(looked, seen, strict=True)))
        looked = seen
    assert made == [2]
    model.set_adapter("second")
    assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-4)
    assert made == [3]


def test_no_module_that_was_taken_out_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = tiny("llama"), count_builds(monkeypatch)
    session = wb.load(model)
    taken_out = weakref.ref(model.model.layers[1].mlp)
    swap_mlp(model)
    assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-4) and made == [2]
    gc.collect()
    assert taken_out() is None
