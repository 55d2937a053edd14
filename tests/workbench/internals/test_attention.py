"""The attention seam: the model's own attention, masks and all, without anything that is query × key when long."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.conftest import eager, hooked, tiny
from workbench.internals import attention
from workbench.internals.attention import Call, LongMask
from workbench.internals.borrowing import borrowed


def random_rows(lengths: list[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 61, (length,), generator=generator).tolist() for length in lengths]


def padded(rows: list[list[int]], left: bool) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(len(row))
        ids[i, where], mask[i, where] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


@pytest.mark.parametrize("left", [True, False])
def test_a_padded_batch_is_hugging_faces_own(architecture: str, left: bool) -> None:
    ours = hooked(tiny(architecture)).engine
    inputs = padded(random_rows([12, 5, 9]), left)
    with torch.no_grad(), borrowed(ours.model, ours.implementations):
        found, expected = ours.model(**inputs).logits, eager(architecture)(**inputs).logits
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left", [True, False])
def test_long_masks_and_chunks_give_the_same(architecture: str, left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONG", 8)
    monkeypatch.setattr(attention, "_CHUNK", 1)
    made: list[LongMask] = []
    rows = LongMask.rows
    monkeypatch.setattr(LongMask, "rows", lambda self, *at: (made.append(self), rows(self, *at))[1])
    ours = hooked(tiny(architecture)).engine
    inputs = padded(random_rows([45, 20, 33]), left)
    with torch.no_grad(), borrowed(ours.model, ours.implementations):
        found, expected = ours.model(**inputs).logits, eager(architecture)(**inputs).logits
    real = inputs["attention_mask"].bool()
    assert made
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


def test_rows_of_a_long_prompt_are_those_of_a_short_one(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked(tiny(architecture))
    rows = random_rows([40, 31])
    names = ["pattern.0", "pattern.1", "scores.2", "z.1"]
    expected = model.capture(rows, names, positions=[3, -1, 20])
    monkeypatch.setattr(attention, "LONG", 8)
    found = model.capture(rows, names, positions=[3, -1, 20])
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """The most entries of any tensor that an operation makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # a view that is expanded by a stride of zero takes no memory
        sizes = [t.untyped_storage().nbytes() // t.element_size() for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.entries = max([self.entries, *sizes])
        return out


@pytest.mark.parametrize("which", ["llama", "gemma2", "mistral"])
def test_nothing_is_query_by_key_above_the_limit(which: str) -> None:
    length = attention.LONG + 4
    small = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    small |= {"num_key_value_heads": 1, "max_position_embeddings": 8192}
    window = {} if which == "llama" else {"sliding_window": 64}
    model = hooked(tiny(which, **small, **window))
    rows = random_rows([length, length - 7])
    with Largest() as largest:
        model.capture(rows, ["resid_post.1", "pattern.1"], positions=[-1, 17])
        model.generate(rows, 2, stop=())
    assert 0 < largest.entries < length * length // 4


def test_the_softcap_is_not_dropped() -> None:
    capped, free = (
        hooked(tiny("gemma2", attn_logit_softcapping=cap)).logits([5, 9, 17, 3, 44, 8]) for cap in (0.5, None)
    )
    assert not torch.allclose(capped, free, atol=1e-2)


def test_a_watcher_sees_the_call_and_its_output_takes_the_place_of_the_default() -> None:
    model = hooked(tiny("llama"))
    module = model.engine.model.model.layers[1].self_attn
    calls: list[Call] = []

    def zero(call: Call) -> Tensor:
        calls.append(call)
        return torch.zeros(*call.q.transpose(1, 2).shape)

    with attention.watching({module: zero}):
        seen = model.capture([5, 9, 17], ["z.1", "attn_out.1", "z.0"])
    assert not seen["z.1"].any() and not seen["attn_out.1"].any() and seen["z.0"].any()
    (call,) = calls
    assert call.q.shape == (1, 4, 3, 8) and call.k.shape == call.v.shape == (1, 2, 3, 8)
    assert call.scaling == 8**-0.5 and call.softcap is None and call.causal and call.module is module
    assert model.capture([5, 9, 17], "z.1")["z.1"].any()


def test_a_watcher_is_told_window_and_softcap() -> None:
    model = hooked(tiny("gemma2"))
    calls: list[Call] = []
    blocks = model.engine.model.model.layers
    with attention.watching({block.self_attn: calls.append for block in blocks}):  # type: ignore[misc]
        model.logits([5, 9, 17])
    assert [call.window for call in calls] == [4, None, 4] and {call.softcap for call in calls} == {2.0}
    assert all(call.scaling == 6**-0.5 for call in calls)


def test_watchers_are_gone_after_an_error() -> None:
    model = hooked(tiny("llama"))
    module = model.engine.model.model.layers[0].self_attn

    def fail(call: Call) -> None:
        raise RuntimeError("broken watcher")

    with pytest.raises(RuntimeError, match="broken watcher"), attention.watching({module: fail}):
        model.logits([5, 9])
    assert not attention._watchers


def test_scores_and_pattern_against_the_plain_formula() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 9, 4), torch.randn(2, 3, 9, 4)
    call = Call(torch.nn.Module(), q, k, v, None, 0.3, 1.7, None, True, {})
    queries = torch.tensor([[0, 4], [2, 1]])
    scores, pattern = attention.scores(call, queries), attention.pattern(call, queries)
    for b in range(2):
        for h in range(6):
            for n in range(2):
                at = int(queries[b, n])
                logits = 1.7 * torch.tanh(k[b, h // 2].double() @ q[b, h, at].double() * 0.3 / 1.7)
                torch.testing.assert_close(scores[b, h, n].double(), logits, rtol=1e-5, atol=1e-6)
                logits[at + 5 :] = -torch.inf  # five queries after four cached keys
                torch.testing.assert_close(pattern[b, h, n].double(), logits.softmax(-1), rtol=1e-5, atol=1e-6)
