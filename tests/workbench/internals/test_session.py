"""A session: prompts of every form, threads in order, cancel, engines on the same weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from tests.workbench.letters import TEMPLATE, letters
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.internals.engines import ENGINES
from workbench.internals.tokens import TokenBatch


@pytest.fixture(scope="module")
def session() -> Iterator[wb.Session]:
    with wb.load((tiny("llama"), letters(template=TEMPLATE))) as session:
        yield session


def test_prompts_of_every_form(session: wb.Session) -> None:
    forms = ["abc", ["abc"], [10, 11, 12], (10, 11, 12), [[10, 11, 12]], torch.tensor([10, 11, 12])]
    forms += [torch.tensor([[10, 11, 12]]), torch.tensor([10, 11, 12]).numpy(), TokenBatch.of([10, 11, 12])]
    assert all(session.tokens(form).rows() == [[10, 11, 12]] for form in forms)
    batch = session.tokens(["a", "bcd"])
    assert batch.lengths.tolist() == [1, 3] and batch.rows() == [[10], [11, 12, 13]]
    assert session.tokens([[1], [2, 3]]).rows() == [[1], [2, 3]]


def test_a_text_is_tokenised_as_the_tokenizer_does_by_itself() -> None:
    assert wb.load((tiny("llama"), letters(bos=True))).tokens("ab").rows() == [[1, 10, 11]]
    assert wb.load((tiny("llama"), letters())).tokens("ab").rows() == [[10, 11]]


def test_chat_puts_a_text_into_the_template(session: wb.Session) -> None:
    assert session.tokens("ab", chat=True).rows() == [[2, 10, 11, 3]]
    assert session.tokens(["a", "b"], chat=True).rows() == [[2, 10, 3], [2, 11, 3]]
    plain = session.logits([2, 10, 11, 3])
    assert torch.equal(session.logits("ab", chat=True), plain)
    with pytest.raises(UsageError, match="no chat template"):
        wb.load((tiny("llama"), letters())).tokens("ab", chat=True)
    with pytest.raises(UsageError, match="taken as they are"):
        session.tokens([1, 2], chat=True)


def test_text_of_ids(session: wb.Session) -> None:
    assert session.text([10, 11]) == "ab" and session.text(torch.tensor([2, 10])) == "<u>a"
    assert session.text_tokens([10, 2, 11]) == ["a", "<u>", "b"]
    with pytest.raises(UsageError, match="one row at a time"):
        session.text([[10], [11]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "empty"),
        ([], "at least one token"),
        ([""], "empty"),
        ([[1], []], "at least one token"),
        ([61], "outside the vocabulary; ids are 0 to 60"),
        ([-1], "from 0 on"),
        ([1.5], "token"),
        (["a", 1], "not both"),
        (7, "a prompt is a text"),
        (None, "a prompt is a text"),
        ({"input_ids": [1]}, "a prompt is a text"),
        (torch.zeros(1, 1, 1, dtype=torch.int64), "not 3 axes"),
        (torch.tensor([0.5]), "token"),
    ],
)
def test_what_is_no_prompt_is_one_line(session: wb.Session, prompt: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        session.tokens(prompt)  # type: ignore[arg-type]


def test_without_a_tokenizer_ids_do() -> None:
    session = wb.load(tiny("llama"))
    assert session.capture([1, 2], "resid_post.0")["resid_post.0"].shape == (1, 2, 24)
    assert session.text_tokens([1, 2]) == ["1", "2"] and session.info.tokenizer_sha256 is None
    with pytest.raises(UsageError, match="no tokenizer: give token ids"):
        session.tokens("a")
    with pytest.raises(UsageError, match="no tokenizer"):
        session.text([1])


def test_it_does_what_the_engine_does(session: wb.Session) -> None:
    prompt, ids = "abca", session.tokens("abca").ids
    expected = session.model(ids).logits.detach()
    assert torch.allclose(session.logits(prompt), expected, atol=1e-5)
    seen = session.capture(prompt, ["z.1", "resid_post.2"], positions=[-1], logits=True)
    assert seen["z.1"].shape == (1, 1, 4, 8)
    assert seen.logits is not None and torch.allclose(seen.logits, expected[:, -1:], atol=1e-5)
    gradients = session.gradients(prompt, ["resid_post.0"], lambda logits: logits[0, -1, 5])
    assert gradients["resid_post.0"].shape == (1, 4, 24) and gradients["resid_post.0"].abs().sum() > 0
    made = session.generate(prompt, 5, stop=())
    assert (
        made.rows() == session.model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False)[:, 4:].tolist()
    )


def test_beyond_the_context_is_told_and_allowed(session: wb.Session) -> None:
    assert session.shape.context == 64
    assert session.beyond_context(session.tokens([1] * 64)) is None
    told = session.beyond_context(session.tokens([1] * 65))
    assert told is not None and "65 tokens" in told and "64" in told
    assert session.logits([1] * 65, positions=[-1]).isfinite().all()


def test_what_a_record_says_of_it() -> None:
    model = tiny("llama")
    session = wb.load(model, tokenizer=letters())
    info = session.info
    assert info.fingerprint == wb.models.weights_fingerprint(model)
    assert (info.dtype, info.device, info.engine, info.adapter) == ("float32", "cpu", "hf", None)
    assert info.id.startswith("in-memory/") and info.attention == "workbench (sdpa)"
    assert info.config_sha256 and info.tokenizer_sha256
    info.device = "elsewhere"
    assert session.info.device == "cpu", "what is handed out is a copy"


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_is_on_the_same_weights(engine: str) -> None:
    session = wb.load(tiny("llama"))
    other = session.engine(engine)
    assert session.engine(engine) is other
    own = {parameter.data_ptr() for parameter in session.model.parameters()}
    assert {parameter.data_ptr() for parameter in other.engine.model.parameters()} == own
    mine = session.capture([5, 6, 7], "resid_post.2")["resid_post.2"]
    assert torch.allclose(session.capture([5, 6, 7], "resid_post.2", engine=engine)["resid_post.2"], mine, rtol=1e-5)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UnknownName, match="did you mean 'hf'"):
        wb.load(tiny("llama"), engine="hff")
    with pytest.raises(UnknownName, match="there is: hf"):
        wb.load(tiny("llama")).engine("vllm")


def test_nnsight_is_reachable() -> None:
    session = wb.load((tiny("llama"), letters()))
    assert type(session.nnsight).__module__.startswith("nnsight")


def test_a_closed_session_says_so() -> None:
    with wb.load(tiny("llama")) as session:
        session.logits([1])
    with pytest.raises(WorkbenchError, match="closed: load the model again"):
        session.logits([1])
    with pytest.raises(WorkbenchError, match="closed"):
        session.hooked  # noqa: B018
    assert repr(session) == "Session(closed)"


def test_memory_stays_flat_over_repeated_captures() -> None:
    import psutil

    session, process = wb.load(tiny("llama")), psutil.Process()
    ids = [3] * 48

    def use() -> int:
        for _ in range(20):
            session.capture(ids, [f"resid_post.{layer}" for layer in range(3)], logits=True)
        return process.memory_info().rss

    use()
    grown = use() - use()
    assert abs(grown) < 8 << 20


@pytest.mark.model
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("The capital of France is", " Paris."),
        ("Q: Where is the Eiffel Tower?\nA:", " The Eiffel Tower is located in Paris, France.<|im_end|>"),
    ],
)
def test_the_default_model_answers_as_it_should(default_model: wb.Session, prompt: str, expected: str) -> None:
    count = len(default_model.tokens(expected).rows()[0])
    assert default_model.text(default_model.generate(prompt, count).rows()[0]) == expected


@pytest.mark.model
def test_the_default_model_is_what_it_says(default_model: wb.Session) -> None:
    info, shape = default_model.info, default_model.shape
    assert info.id == "smollm2-135m-instruct-q4_1"
    assert info.quantisation == "Q4_1 (4-bit), dequantised to float32" and info.dtype == "float32"
    assert info.fingerprint == wb.models.find(info.id).fingerprint
    assert info.fingerprint == wb.models.weights_fingerprint(default_model.model)
    assert (shape.layers, shape.heads, shape.kv_heads, shape.d_head) == (30, 9, 3, 64)
    assert (shape.d_model, shape.vocabulary, shape.context) == (576, 49152, 8192)
    chat = default_model.text(default_model.tokens("Hi", chat=True).rows()[0])
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n") and "SmolLM" in chat
    assert default_model.tokens("Hi").rows()[0] == default_model.tokenizer("Hi")["input_ids"]
