"""Log-probabilities of answers, against one whole pass a prompt and answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import build, tiny
from workbench.errors import Cancelled, UsageError
from workbench.internals import edits
from workbench.internals.answer_logprobs import AnswerLogprobs
from workbench.internals.session import Session, load
from workbench.progress import Progress, Reporter

from ..letters import TEMPLATE, letters

PROMPTS = [[5, 17, 3, 44, 9, 58, 23], [5, 17, 3, 8], [5, 17, 3, 44, 12, 7]]
ANSWERS = [[[31, 7, 12], [30]], [[6, 6, 14, 50], [27], [9, 1]], [[19, 3]]]
_SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 2}


@pytest.fixture(scope="module")
def session() -> Session:
    return load(tiny("llama"), tokenizer=letters(template=TEMPLATE))


def plain(session: Session, prompt: list[int], answer: list[int], changed: Any = ()) -> Tensor:
    """Log-probabilities of an answer's tokens, from the logits of the whole text before its last token."""
    logits = session.logits([*prompt, *answer[:-1]], edits=changed)[0, len(prompt) - 1 :].double()
    return (logits - logits.exp().sum(-1, keepdim=True).log())[torch.arange(len(answer)), answer]


def compare(session: Session, found: AnswerLogprobs, changed: Any = lambda prompt, answer: (), **bounds: float) -> None:
    for i, (prompt, several) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        for j, answer in enumerate(several):
            expected = plain(session, prompt, answer, changed(prompt, answer))
            torch.testing.assert_close(found.tokens[i][j].double(), expected, **bounds)


def test_one_whole_pass_each_gives_the_same_in_float64(architecture: str) -> None:
    session = load(tiny(architecture, torch.float64))
    found = session.answer_logprobs(PROMPTS, ANSWERS)
    compare(session, found, rtol=1e-9, atol=1e-10)
    assert found.ids == ANSWERS and found.tokens[0][0].dtype == torch.float64
    assert found.counts.tolist() == [[3, 1, 0], [4, 1, 2], [2, 0, 0]]
    torch.testing.assert_close(found.sum[1], torch.stack([each.sum() for each in found.tokens[1]]))
    torch.testing.assert_close(found.mean[0, 0], found.tokens[0][0].mean())
    assert found.sum.isnan().tolist() == [[False, False, True], [False] * 3, [False, True, True]]


@pytest.mark.parametrize("name", ("transformerlens", "nnsight"))
def test_other_engines_give_the_same(session: Session, name: str) -> None:
    compare(session, session.answer_logprobs(PROMPTS, ANSWERS, engine=name), rtol=1e-4, atol=1e-5)


def test_prompts_are_run_once_and_all_answers_after_them(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = session.answer_logprobs(PROMPTS, ANSWERS)
    shapes: list[tuple[int, ...]] = []
    own = session.hooked.engine.run

    def seen(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(inputs.ids.shape))
        return own(inputs, *args, **kwargs)

    monkeypatch.setattr(session.hooked.engine, "run", seen)
    session.answer_logprobs(PROMPTS, ANSWERS)
    assert shapes == [(1, 3), (3, 4), (6, 3)]  # what all begin with, the prompts, the answers
    monkeypatch.setattr("workbench.internals.answer_logprobs.TOKENS", 16)
    monkeypatch.setattr("workbench.internals.answer_logprobs.LOGITS", 61 * 5)
    shapes.clear()
    few = session.answer_logprobs(PROMPTS, ANSWERS)
    assert max(rows * width for rows, width in shapes) <= 16
    for i, row in enumerate(expected.tokens):
        for j, each in enumerate(row):
            torch.testing.assert_close(few.tokens[i][j], each, rtol=1e-4, atol=1e-5)


def test_the_likeliest_answer_is_said(session: Session) -> None:
    made = session.generate(PROMPTS, 3, stop=[]).rows()
    found = session.answer_logprobs(PROMPTS, [[row, [*row[:2], (row[2] + 1) % 61]] for row in made])
    assert found.said.tolist() == [[True, False]] * 3
    assert found.first_choice[1][1].tolist() == [True, True, False]
    assert (found.sum[:, 0] > found.sum[:, 1]).all()


@pytest.mark.parametrize(
    "change",
    [
        edits.fix_weights("uniform", heads=[(0, 1), (1, 0)]),
        edits.knock_out(None, [1], layers=[0, 1], heads=[0]),
        edits.window(3, sinks=1, layers=[1]),
    ],
    ids=["uniform", "knocked out", "window"],
)
def test_edits_of_attention_hold_for_every_token_of_an_answer(change: Any) -> None:
    session = load(tiny("llama", torch.float64))
    found = session.answer_logprobs(PROMPTS, ANSWERS, edits=[change])
    compare(session, found, lambda prompt, answer: [change], rtol=1e-7, atol=1e-8)
    assert (found.sum - session.answer_logprobs(PROMPTS, ANSWERS).sum).abs().nan_to_num(0).max() > 1e-4


@pytest.mark.parametrize("name", ["mamba", "rotation by length"])
def test_models_that_cannot_go_on_from_a_cache_run_whole_texts(name: str) -> None:
    if name == "mamba":
        session = load(build("Mamba", {**_SIZES, "state_size": 4}))
    else:
        rotation = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
        session = load(tiny("llama", rope_parameters=rotation, max_position_embeddings=8))
    compare(session, session.answer_logprobs(PROMPTS, ANSWERS), rtol=1e-4, atol=1e-5)
    change = edits.add("resid_post.0", 2.0, during="generation")
    found = session.answer_logprobs(PROMPTS, ANSWERS, edits=[change])
    compare(session, found, lambda p, a: _answer_edit(p, a, 2.0), rtol=1e-4, atol=1e-5)


def _answer_edit(prompt: list[int], answer: list[int], value: Any) -> list[edits.Edit]:
    places = range(len(prompt), len(prompt) + len(answer) - 1)
    return [edits.add("resid_post.0", value, positions=list(places))] if places else []


def test_edits_act_as_in_generation(session: Session) -> None:
    def check(given: list[edits.Edit], same: Any) -> None:
        found = session.answer_logprobs(PROMPTS, ANSWERS, edits=given)
        compare(session, found, same, rtol=1e-4, atol=1e-5)
        assert (found.sum - session.answer_logprobs(PROMPTS, ANSWERS).sum).abs().nan_to_num(9).min() > 1e-4

    everywhere = edits.set("z.1.2", 0.7)
    check([everywhere], lambda p, a: [everywhere])
    check(
        [edits.add("resid_post.0", 3.0, positions=[-1, 0])],
        lambda p, a: [edits.add("resid_post.0", 3.0, positions=[len(p) - 1, 0])],
    )
    found = session.answer_logprobs(PROMPTS, ANSWERS, edits=[edits.add("resid_post.0", 3.0, during="generation")])
    compare(session, found, lambda p, a: _answer_edit(p, a, 3.0), rtol=1e-4, atol=1e-5)
    # a direction and a value of its own for each prompt, and states captured at every position of each
    turn, value = torch.randn(3, 1, 24), torch.tensor([[1.0], [-2.0], [3.0]])
    check(
        [edits.project("resid_post.1", turn, value, positions=[-1])],
        lambda p, a: [
            edits.project(
                "resid_post.1", turn[PROMPTS.index(p)][None], value[PROMPTS.index(p)][None], positions=[len(p) - 1]
            )
        ],
    )
    other = session.capture([[4, 8, 15, 16, 23, 42, 9]] * 3, ["resid_post.0"])["resid_post.0"]
    patch = [edits.patch("resid_post.0", other)]

    def patched(p: list[int], a: list[int]) -> list[edits.Edit]:
        return [edits.patch("resid_post.0", other[:1, : len(p)], positions=list(range(len(p))))]

    check(patch, patched)
    with pytest.MonkeyPatch.context() as few:  # a batch of its own for each prompt, of its own width
        few.setattr("workbench.internals.answer_logprobs.TOKENS", 8)
        check(patch, patched)
    with pytest.raises(UsageError, match="has 2 rows, and there are 3 prompts"):
        session.answer_logprobs(PROMPTS, ANSWERS, edits=[edits.add("resid_post.0", torch.ones(2, 1, 24))])


class TestTexts:
    def test_answers_are_the_tokens_after_the_prompts_own(self, session: Session) -> None:
        found = session.answer_logprobs("abc", ["d", "ea"])
        assert found.ids == [[[13], [14, 10]]]
        expected = plain(session, [10, 11, 12], [14, 10])
        torch.testing.assert_close(found.tokens[0][1].double(), expected, rtol=1e-4, atol=1e-5)
        several = session.answer_logprobs(["abc", "b"], ["d", ["e", "fa"]])
        assert several.ids == [[[13]], [[14], [15, 10]]]
        torch.testing.assert_close(several.sum[0, 0], found.sum[0, 0], rtol=1e-4, atol=1e-5)

    def test_in_the_chat_template(self, session: Session) -> None:
        found = session.answer_logprobs("ab", "c", chat=True)
        prompt = session.tokens("ab", chat=True).rows()[0]
        torch.testing.assert_close(found.tokens[0][0].double(), plain(session, prompt, [12]), rtol=1e-4, atol=1e-5)

    def test_token_ids_are_taken_as_they_are(self, session: Session) -> None:
        expected = session.answer_logprobs([[10, 11]], [[[12, 13]]]).sum
        assert torch.equal(session.answer_logprobs([10, 11], [12, 13]).sum, expected)
        assert torch.equal(session.answer_logprobs("ab", [[12, 13]]).sum, expected)
        assert torch.equal(session.answer_logprobs(torch.tensor([[10, 11]]), [torch.tensor([12, 13])]).sum, expected)

    def test_a_token_across_the_boundary(self) -> None:
        session = load(tiny("llama"), tokenizer=_merging())
        assert session.tokens("cabc").rows() == [[12, 20, 12]]
        with pytest.raises(UsageError, match="the answer 'bc' changes the tokens of its prompt, which ends with 'ca'"):
            session.answer_logprobs("ca", "bc")
        found = session.answer_logprobs("ca", ["bc", "c"], boundary="common")
        assert found.ids == [[[20, 12], [12]]]
        torch.testing.assert_close(found.tokens[0][0].double(), plain(session, [12], [20, 12]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.tokens[0][1].double(), plain(session, [12, 10], [12]), rtol=1e-4, atol=1e-5)
        with pytest.raises(UsageError, match="no tokens of its own"):
            session.answer_logprobs("a", "b", boundary="common")


def _merging() -> object:
    """A tokenizer of letters in which `ab` is one token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"?": 0, "a": 10, "b": 11, "c": 12, "ab": 20}
    whole = Tokenizer(models.BPE(vocabulary, [("a", "b")], unk_token="?"))
    return PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="?")


def test_progress_and_an_end_on_request(session: Session) -> None:
    events: list[Progress] = []
    session.answer_logprobs(PROMPTS, ANSWERS, progress=Reporter(events.append))
    assert [(event.done, event.total) for event in events] == [(n, 6) for n in range(7)]
    reporter = Reporter(lambda event: reporter.cancelled.set() if event.done == 2 else None)
    with pytest.raises(Cancelled):
        session.answer_logprobs(PROMPTS, ANSWERS, progress=reporter)


@pytest.mark.parametrize(
    ("prompts", "answers", "says"),
    [
        (["ab", "cd"], "e", "there are 2 prompts: give a list with the answers of each"),
        (["ab", "cd"], ["e"], "there are 2 prompts: give a list with the answers of each"),
        ("ab", [], "at least one a prompt"),
        ("ab", "", "no tokens of its own"),
        ("ab", [[]], "needs at least one token"),
        ([3, 4], "c", "an answer as text needs its prompt as text"),
        ([3, 4], [61], "token id 61 is outside the vocabulary"),
        ([], [], "at least one"),
        (3, [4], "prompts are a text, texts, token ids"),
        ("ab", 5, "answers are a text, token ids"),
        ("ab", [[1.5]], "give token ids"),
    ],
)
def test_what_is_wrong_is_said(session: Session, prompts: Any, answers: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        session.answer_logprobs(prompts, answers)


def test_another_boundary_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="boundary is 'exact' or 'common', not 'merge'"):
        session.answer_logprobs("ab", "c", boundary="merge")  # type: ignore[arg-type]
