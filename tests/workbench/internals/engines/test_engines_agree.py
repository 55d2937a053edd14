"""TransformerLens and nnsight against plain hooks: the same reads, edits, generations and gradients everywhere."""

from __future__ import annotations

import gc
import threading
from typing import Any

import psutil
import pytest
import torch

from tests.conftest import TINY, tiny
from workbench.errors import SiteError
from workbench.internals import edits, engines, session_checks
from workbench.internals.hooked_model import HookedModel
from workbench.internals.session import Session, load
from workbench.internals.session_checks import differences, tolerance
from workbench.internals.sites import ENDS, KINDS, MAP_KINDS, Site

OTHERS = ("transformerlens", "nnsight")
ROWS = [[5, 17, 3, 44, 9, 58, 23, 31, 7, 12], [8, 30, 41, 6], [27, 3, 19, 50, 33, 14, 60]]


@pytest.fixture(scope="module", params=list(TINY))
def session(request: pytest.FixtureRequest) -> Session:
    return load(tiny(request.param))


def all_sites(model: HookedModel) -> list[Site]:
    layers = range(model.shape.layers)
    return [Site(kind, layer) for kind in model.kinds for layer in ([None] if kind in ENDS else layers)]


def editable(model: HookedModel) -> list[Site]:
    return [Site(k) if k in ENDS else Site(k, 1) for k in model.kinds if k not in (*MAP_KINDS, "logits")]


def nudge(model: HookedModel, site: Site) -> torch.Tensor:
    shape = model.capture([3], [site])[site].shape[2:]
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", OTHERS)
class TestAgreement:
    def test_every_site_of_a_padded_batch(self, session: Session, name: str) -> None:
        reference, other = session.engine("hf"), session.engine(name)
        assert other.kinds == reference.kinds
        sites = all_sites(reference)
        worst = differences(reference.capture(ROWS, sites), other.capture(ROWS, sites), sites)
        assert worst.keys() == set(reference.kinds)
        for kind, value in worst.items():
            assert value <= tolerance(kind, session.model), (kind, value)

    def test_one_site_at_a_time_at_positions(self, session: Session, name: str) -> None:
        reference, other = session.engine("hf"), session.engine(name)
        for site in all_sites(reference):
            asked = {"sites": [site], "positions": [-1, 0, 2]}
            found, expected = other.capture(ROWS, **asked)[site], reference.capture(ROWS, **asked)[site]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=str(site))

    def test_edits_reach_what_comes_after_them(self, session: Session, name: str) -> None:
        reference, other = session.engine("hf"), session.engine(name)
        plain = reference.logits(ROWS)
        for site in editable(reference):
            edit = edits.add(site, nudge(reference, site), positions=[-2, 1])
            read = [site, Site("resid_post", 2), Site("logits")]
            expected, found = reference.capture(ROWS, read, edits=[edit]), other.capture(ROWS, read, edits=[edit])
            assert (expected["logits"] - plain).abs().max() > 1e-4, site
            for kind, value in differences(expected, found, read).items():
                assert value <= tolerance(kind, session.model), (site, kind, value)

    def test_generation_with_edits_is_token_exact(self, session: Session, name: str) -> None:
        reference, other = session.engine("hf"), session.engine(name)
        plain = reference.generate(ROWS, 5, stop=[]).rows()
        assert other.generate(ROWS, 5, stop=[]).rows() == plain
        changed = 0
        for site in (
            site for site in editable(reference) if site.kind in ("resid_mid", "q", "k", "k_rot", "z", "mlp_post")
        ):
            edit = edits.add(site, 4 * nudge(reference, site))
            expected = reference.generate(ROWS, 5, edits=[edit], stop=[]).rows()
            assert other.generate(ROWS, 5, edits=[edit], stop=[]).rows() == expected, site
            changed += expected != plain
        assert changed >= 2

    def test_gradients(self, session: Session, name: str) -> None:
        reference, other = session.engine("hf"), session.engine(name)
        sites = [site for site in all_sites(reference) if site.kind not in MAP_KINDS]

        def objective(logits: torch.Tensor) -> torch.Tensor:
            return logits[:, 3, 7].sum() - logits[0, -1, 9]

        expected, found = reference.gradients(ROWS, sites, objective), other.gradients(ROWS, sites, objective)
        for site in sites:
            size = expected[site].flatten(2).norm(dim=-1)
            # where the objective hardly depends on a token there is only rounding: it counts by the largest token
            error = (found[site] - expected[site]).flatten(2).norm(dim=-1) / size.clamp(min=1e-2 * float(size.max()))
            assert float(size.max()) > 0, site
            assert float(error.max()) <= 5e-5, (site, float(error.max()))
        assert all(parameter.grad is None for parameter in session.model.parameters())

    def test_weights_are_in_memory_once(self, session: Session, name: str) -> None:
        own = {parameter.untyped_storage().data_ptr() for parameter in session.model.parameters()}
        other = session.engine(name).engine.model
        assert other is not session.model
        assert {parameter.untyped_storage().data_ptr() for parameter in other.parameters()} <= own

    def test_a_kind_that_is_not_there_is_refused_with_what_is(self, session: Session, name: str) -> None:
        model = session.engine(name)
        for kind in set(KINDS) - set(model.kinds):
            with pytest.raises(SiteError, match=r"there is.*resid_post"):
                model.capture(ROWS, [Site(kind, 0)])


@pytest.mark.parametrize("name", OTHERS)
def test_a_kind_the_engine_cannot_serve_is_refused_with_both_lists(name: str) -> None:
    engine = engines.build(name, tiny("llama"))
    engine.refused = {"q_rot": "for this test"}
    with pytest.raises(SiteError, match=f"'{name}' cannot serve 'q_rot'.*it serves: embed.*the model has: .*q_rot"):
        HookedModel(engine).capture(ROWS, ["q_rot.1"])


@pytest.mark.parametrize("name", OTHERS)
def test_a_tap_that_is_never_called_is_an_error(name: str) -> None:
    model = tiny("llama")
    engine = engines.build(name, model)
    block = engine.model.model.layers[1]
    (getattr(block, "original_component", None) or block).mlp = torch.nn.Identity()
    with pytest.raises(SiteError, match=r"never reached mlp_post\.1"):
        HookedModel(engine).capture(ROWS, ["mlp_post.1"])


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_tap_raises_comes_out_and_leaves_no_hook(name: str) -> None:
    class Enough(Exception):
        pass

    def see(_: torch.Tensor) -> None:
        raise Enough

    model = HookedModel(engines.build(name, tiny("qwen3")))
    expected = model.logits(ROWS)
    for site in ("resid_post.1", "k_rot.0", "pattern.2"):
        with pytest.raises(Enough):
            model.engine.run(engines.Inputs(torch.tensor([[1, 2, 3]])), [engines.Hook(Site.parse(site), see)])
    assert torch.equal(model.logits(ROWS), expected)


@pytest.mark.parametrize("name", ("hf", *OTHERS))
def test_three_threads_get_their_own_activations(name: str) -> None:
    session = load(tiny("llama"), engine=name)
    prompts = [[5, 17, 3, 44], [9, 58, 23, 31], [7, 12, 8, 30]]
    expected = [session.engine("hf").capture(prompt, ["resid_post.1"])["resid_post.1"] for prompt in prompts]
    right: list[bool] = []

    def work(index: int) -> None:
        for _ in range(10):
            found = session.capture(prompts[index], ["resid_post.1"])["resid_post.1"]
            right.append(torch.allclose(found, expected[index], rtol=1e-5, atol=1e-6))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 30


@pytest.mark.parametrize("name", OTHERS)
def test_repeated_captures_keep_no_memory(name: str) -> None:
    model = HookedModel(engines.build(name, tiny("llama", max_position_embeddings=2048, vocab_size=512)))
    prompt = [[(7 * index) % 500 for index in range(1024)]]

    def capture() -> None:
        seen: Any = model.capture(prompt, ["resid_post.2", "q.1", "pattern.0"], positions=[-1], logits=True)
        assert seen.logits is not None

    def resident() -> int:
        gc.collect()
        return psutil.Process().memory_info().rss

    for _ in range(5):
        capture()
    before = resident()
    for _ in range(20):
        capture()
    # logits of one capture are 2 MiB, a query × key map 16 MiB: keeping any of them would show
    assert resident() - before < 12 * 2**20


def test_with_an_adapter_on_the_model() -> None:
    import peft

    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    session = load(peft.get_peft_model(tiny("llama"), lora).eval())
    assert [check.passed for check in session_checks.check(session, OTHERS)] == [True, True, True]


def test_with_weights_spread_by_accelerate() -> None:
    import accelerate

    model = tiny("llama")
    layers = [f"model.layers.{layer}" for layer in range(3)]
    parts = ["model.embed_tokens", *layers, "model.norm", "model.rotary_emb", "lm_head"]
    accelerate.dispatch_model(model, dict.fromkeys(parts, "cpu"), main_device="cpu", force_hooks=True)
    assert hasattr(model.model.layers[0], "_hf_hook")
    assert [check.passed for check in session_checks.check(load(model), OTHERS)] == [True, True, True]
