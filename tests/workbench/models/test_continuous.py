"""A model without a vocabulary: read, edited, differentiated, planned and recorded as every other model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.conftest import relative
from workbench.errors import SiteError, UsageError
from workbench.internals import edits, session_checks
from workbench.internals.engine_checks import differences, some_sites, tolerance
from workbench.internals.session import Session, load
from workbench.models.continuous import ContinuousModel
from workbench.probe.contract import Work
from workbench.runs import plan
from workbench.runs.calibration import calibrate

ROWS = [torch.randn(n, 5, generator=torch.Generator().manual_seed(n), dtype=torch.float64).float() for n in (9, 4, 6)]
_HEADS = {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_layer": 3, "n_embd": 24, "n_head": 4, "n_positions": 24}),
    "llama": ("LlamaConfig", {**_HEADS, "num_key_value_heads": 2, "max_position_embeddings": 24}),
    "gpt_neox": ("GPTNeoXConfig", {**_HEADS, "max_position_embeddings": 24}),
}


def numbers(name: str = "gpt2", d_out: int = 2, dtype: torch.dtype = torch.float32) -> ContinuousModel:
    """A model of numbers with random weights, the same at every call."""
    import transformers

    kind, settings = CONFIGS[name]
    model = ContinuousModel.of(getattr(transformers, kind)(**settings), 5, d_out).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in filter(lambda each: each.requires_grad, model.parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.2 * noise if parameter.ndim == 1 else 0.25 * noise)
    return model.to(dtype)


@pytest.fixture(scope="module", params=list(CONFIGS))
def session(request: pytest.FixtureRequest) -> Session:
    return load(numbers(request.param))


def plainly(model: ContinuousModel, row: Tensor, layer: int) -> dict[str, Tensor]:
    """What passes in the model on one row, by plain hooks."""
    seen: dict[str, Tensor] = {}
    stack = {"gpt2": "transformer.h", "llama": "model.layers", "gpt_neox": "gpt_neox.layers"}
    block = model.causal.get_submodule(f"{stack[model.causal.config.model_type]}.{layer}")

    def before(_: Any, args: Any) -> None:
        seen[f"resid_pre.{layer}"] = args[0].clone()

    def after(_: Any, __: Any, output: Any) -> None:
        seen[f"resid_post.{layer}"] = (output[0] if isinstance(output, tuple) else output).clone()

    handles = [block.register_forward_pre_hook(before), block.register_forward_hook(after)]
    with torch.no_grad():
        seen["logits"] = model(row[None]).logits
    for handle in handles:
        handle.remove()
    return seen


def test_sites_and_output_are_the_models_own(session: Session) -> None:
    assert session.shape.vocabulary == 0 and session.shape.context == 24
    assert (session.shape.d_in, session.shape.d_out, session.shape.outputs) == (5, 2, 2)
    seen = session.capture(ROWS, ["resid_pre.1", "resid_post.1", "z.2.3", "pattern.0"], logits=True)
    assert seen.logits is not None and seen.logits.shape == (3, 9, 2)
    for i, row in enumerate(ROWS):
        for name, expected in plainly(session.model, row, 1).items():
            found = seen.logits if name == "logits" else seen[name]
            assert relative(found[i : i + 1, : len(row)], expected) <= 1e-5, name
            assert not found[i, len(row) :].any()
    at_ends = session.logits(ROWS, positions=[-1, 0])
    torch.testing.assert_close(at_ends[1, 0], seen.logits[1, 3], rtol=1e-5, atol=1e-6)
    whole = session.model(ROWS[0][None]).logits.detach()
    torch.testing.assert_close(session.logits(ROWS[0]), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(session.logits(ROWS[0].tolist()), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(session.logits(ROWS[0].numpy()[None].astype(np.float64)), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ("transformerlens", "nnsight"))
def test_other_engines_agree(session: Session, name: str) -> None:
    reference, other = session.engine("hf"), session.engine(name)
    assert other.kinds == reference.kinds
    sites = some_sites(reference)
    change = [edits.add("z.1.2", 0.4, positions=[-1]), edits.project("resid_post.0", torch.ones(24))]
    for asked in ({}, {"edits": change}):
        worst = differences(reference.capture(ROWS, sites, **asked), other.capture(ROWS, sites, **asked), sites)
        for kind, value in worst.items():
            assert value <= tolerance(kind, session.model), (kind, value)
    assert all(check.passed for check in session_checks.check(session))
    assert relative(other.logits(ROWS, edits=change), other.logits(ROWS)) > 1e-2

    def objective(logits: Tensor) -> Tensor:
        return logits[0, -1, 1].square()

    asked = ["embed", "z.1", "resid_post.1"]
    expected, found = reference.gradients(ROWS, asked, objective), other.gradients(ROWS, asked, objective)
    for site in asked:
        torch.testing.assert_close(found[site], expected[site], rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in session.model.parameters())


@pytest.mark.parametrize("name", ("gpt2", "llama"))
def test_gradients_of_what_goes_in_are_those_of_finite_differences(name: str) -> None:
    from tests.conftest import _norms_in_float64

    model = numbers(name, dtype=torch.float64)
    _norms_in_float64(model)
    session, row = load(model), ROWS[0].double()

    def objective(logits: Tensor) -> Tensor:
        return logits[0, -1].square().sum()

    entering = session.gradients(row, "embed", objective)["embed"][0]
    found = entering @ model.read_in.weight.detach()
    turn = torch.randn(row.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    up, down = (objective(session.logits(row + step * turn)) for step in (1e-6, -1e-6))
    torch.testing.assert_close((found * turn).sum(), (up - down) / 2e-6, rtol=1e-6, atol=1e-9)


def test_statistics_and_the_lens(session: Session) -> None:
    pattern = session.capture(ROWS, "pattern.1")["pattern.1"]
    entropy = -(pattern * pattern.clamp(min=1e-30).log()).sum(-1)
    found = session.attention_statistics(ROWS, stats=("entropy",))
    real = session.tokens(ROWS).attention_mask[:, None]
    torch.testing.assert_close(found[1].entropy, entropy.where(real, 0), rtol=1e-4, atol=1e-5)
    in_pieces = session.attention_statistics(ROWS[:1], stats=("entropy",), chunk=4)
    torch.testing.assert_close(in_pieces[1].entropy, found[1].entropy[:1], rtol=1e-4, atol=1e-5)
    last = session.lens(ROWS, ["resid_post.2", "resid_post.0"])
    torch.testing.assert_close(last["resid_post.2"], session.logits(ROWS), rtol=1e-5, atol=1e-6)
    one = session.lens(ROWS, "resid_post.0", [1])["resid_post.0"]
    torch.testing.assert_close(one, last["resid_post.0"][..., [1]])


def test_the_record_tells_the_models_apart(tmp_path: Path) -> None:
    model = numbers()
    session = load(model)
    info = session.info
    assert info.dtype == "float32" and info.tokenizer_sha256 is None and info.attention == "workbench (sdpa)"
    assert info.fingerprint == load(numbers()).info.fingerprint
    other = numbers()
    with torch.no_grad():
        other.read_in.bias[0] += 1e-3
    assert load(other).info.fingerprint != info.fingerprint
    assert load(numbers(d_out=1)).info.config_sha256 != info.config_sha256
    model.save_pretrained(tmp_path / "numbers")
    again = load(tmp_path / "numbers")
    assert again.info.fingerprint == info.fingerprint and again.info.config_sha256 == info.config_sha256
    assert torch.equal(again.logits(ROWS), session.logits(ROWS))
    assert again.tokenizer is None and "5 and 2 numbers a position" in again._repr_mimebundle_()["text/plain"]


def test_a_run_is_planned() -> None:
    session = load(numbers())
    cost = calibrate(session, statistics=True, generation=True)
    assert all(value >= 0 for value in vars(cost).values()) and cost.per_step > 0
    _, width = plan.weights(session)
    once = plan._bytes(session, Work(1, 4, 9, logits=9), width)
    assert plan._bytes(session, Work(1, 8, 9, logits=9), width) == 2 * once
    with pytest.raises(UsageError, match=r"does not suit .*: it has no tokenizer"):
        wb.run("attention-profile", session, preset="smoke")


def test_an_adapter_on_it_is_seen_by_every_engine() -> None:
    import peft

    lora = peft.LoraConfig(r=4, target_modules=["c_attn", "read_in"], init_lora_weights=False)
    model = peft.get_peft_model(numbers(), lora).eval()
    session = load(model)
    with torch.no_grad():
        expected = model(values=ROWS[0][None]).logits
        plain = numbers()(ROWS[0][None]).logits
    assert relative(expected, plain) > 1e-2
    for name in ("hf", "nnsight", "transformerlens"):
        assert relative(session.engine(name).logits([ROWS[0]]), expected) <= 1e-5, name


def test_what_needs_a_vocabulary_is_refused(session: Session) -> None:
    for says, call in (
        ("no vocabulary, so no generation: it gives numbers", lambda: session.generate(ROWS, 3)),
        ("no generation", lambda: wb.streams.generate([wb.streams.Stream(session, ROWS)], lambda x, _: x[0], 3)),
        ("no vocabulary, so no answers", lambda: session.answer_logprobs(ROWS, [[1]])),
        ("no log-probabilities", lambda: session.lens(ROWS, "embed", log_probs=True)),
        ("takes no text: give values [batch, position, 5]", lambda: session.logits("text")),
        ("so no texts and no tokens", lambda: session.tokens("text", chat=True)),
        ("so no texts and no tokens", lambda: session.text([3])),
        ("so no texts and no tokens", lambda: session.text_tokens([3])),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert says in str(raised.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (torch.zeros(2, 3, 4), r"row 0 has the shape \[3, 4\]; give values \[batch, position, 5\]"),
        ([ROWS[0], torch.zeros(0, 5)], r"row 1 has the shape \[0, 5\]"),
        ([[1, 2, 3]], r"row 0 has the shape \[1, 3\]"),
        (torch.full((1, 2, 5), float("nan")), "row 0 has a value that is not a finite number"),
        (["a", "b"], "no rows of numbers"),
        ([], "takes no text"),
        (3.0, "takes no text"),
    ],
)
def test_what_is_no_values_is_refused(values: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(numbers()).logits(values)


def test_values_are_not_for_a_language_model_and_positions_are_checked(session: Session) -> None:
    from tests.conftest import tiny

    batch = session.tokens(ROWS)
    assert session.tokens(batch) is batch
    with pytest.raises(UsageError, match="this model takes token ids"):
        load(tiny("llama")).engine("hf").logits(batch)
    with pytest.raises(UsageError, match="position 5 is outside row 1, which has 4"):
        session.logits(ROWS, positions=[5])
    with pytest.raises(SiteError, match="no layer 3"):
        session.capture(ROWS, "resid_post.3")
    for sizes in ((0, 1), (5, True), (2.5, 1)):
        with pytest.raises(UsageError, match="is a whole number from 1 on"):
            ContinuousModel.of(session.model.config.text_config, *sizes)


@pytest.mark.parametrize("kind", (torch.bfloat16, torch.float64))
def test_plain_numbers_are_as_precise_whatever_the_default_type(kind: torch.dtype) -> None:
    session = load(numbers())
    expected = session.logits(ROWS[0].tolist())
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        assert torch.equal(session.logits(ROWS[0].tolist()), expected)
    finally:
        torch.set_default_dtype(before)
