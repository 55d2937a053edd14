"""Statistics over parts of the keys, merged."""

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kernels.attention_cases import ROWS
from workbench.kernels import AttentionStats, attention_stats, merge_stats

T, CUTS = 500, (0, 120, 333, 500)
STATS = (*ROWS, "segment_mass", "out")


def drawn(seed: int) -> tuple[torch.Generator, torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return gen, 2 * torch.randn(1, 4, T, 32, generator=gen), torch.randn(1, 2, T, 32, generator=gen)


def parts(
    seed: int, key_mask: torch.Tensor | None = None, sink: bool = False
) -> tuple[AttentionStats, list[AttentionStats]]:
    gen, q, k = drawn(seed)
    v = torch.randn(1, 2, T, 32, generator=gen)
    segments = torch.randint(-1, 4, (T,), generator=gen)
    points = torch.randint(0, T, (2, T), generator=gen)
    logits = torch.randn(4, generator=gen) if sink else None
    first = 0 if key_mask is None else int(key_mask[0].int().argmax())

    def over(a: int, b: int) -> AttentionStats:
        return attention_stats(
            q, k[:, :, a:b], v[:, :, a:b], stats=STATS, segments=segments[a:b], n_segments=4, weights_at=points,
            key_mask=None if key_mask is None else key_mask[:, a:b], query_start=0, key_start=a, sink_start=first,
            sink_logits=logits if a == 0 else None,
        )  # fmt: skip

    return over(0, T), [over(a, b) for a, b in pairwise(CUTS)]


def assert_same(found: AttentionStats, wanted: AttentionStats, seed: int, tolerance: float = 3e-6) -> None:
    assert found.present().keys() == wanted.present().keys()
    _, q, k = drawn(seed)
    scores = q.double() @ k.double().repeat_interleave(2, dim=1).mT / 32**0.5
    for name, value in found.present().items():
        if name == "argmax":  # another key may win where two weights are equal to rounding
            other = wanted.argmax
            assert torch.equal(value < 0, other < 0)
            at, where = (scores.gather(3, each.clamp(min=0)[..., None].long()) for each in (value, other))
            torch.testing.assert_close(at, where, atol=tolerance, rtol=0)
            continue
        limit = tolerance * (T if name == "distance" else 4 if name == "out" else 1)
        torch.testing.assert_close(
            value, getattr(wanted, name), atol=limit, rtol=3e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@example(637, None, False)  # two keys of one query weigh the same to rounding
@given(st.integers(0, 2**31), st.sampled_from([None, 0, 60, 130, 400, 500]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_parts_merge_to_the_whole_in_any_order(seed: int, padding: int | None, sink: bool) -> None:
    mask = None
    if padding is not None:
        mask = torch.ones(1, T, dtype=torch.bool)
        mask[:, :padding] = False
    whole, (a, b, c) = parts(seed, mask, sink)
    assert_same(merge_stats(merge_stats(a, b), c), whole, seed)
    assert_same(merge_stats(a, merge_stats(b, c)), whole, seed)
    assert_same(merge_stats(c, merge_stats(a, b)), whole, seed)


def test_nothing_is_the_neutral_element() -> None:
    mask = torch.ones(1, T, dtype=torch.bool)
    mask[:, 120:] = False
    whole, (a, b, _) = parts(0, mask)
    assert (b.lse == -torch.inf).all()
    assert_same(merge_stats(a, b), whole, seed=0)


def test_columns_follow_in_a_second_pass() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 2, T, 32), torch.randn(1, 2, T, 32)
    whole = attention_stats(q, k, received="sum")
    halves = [(0, 200), (200, T)]
    merged = merge_stats(*(attention_stats(q, k[:, :, a:b], query_start=0, key_start=a) for a, b in halves))
    received = [
        attention_stats(q, k[:, :, a:b], stats=(), lse=merged.lse, received="sum", query_start=0, key_start=a).received
        for a, b in halves
    ]
    assert whole.received is not None
    torch.testing.assert_close(torch.cat(received, dim=2), whole.received, atol=1e-4, rtol=2e-6)  # type: ignore[arg-type]


def test_what_cannot_be_merged_is_refused() -> None:
    q, k = torch.randn(1, 1, 8, 32), torch.randn(1, 1, 8, 32)
    plain = attention_stats(q, k)
    with pytest.raises(ValueError, match="received cannot be merged"):
        merge_stats(attention_stats(q, k, received="sum"), plain)
    with pytest.raises(ValueError, match="different fields"):
        merge_stats(attention_stats(q, k, stats=("lse",)), plain)
    with pytest.raises(ValueError, match="needs lse"):
        merge_stats(attention_stats(q, k, stats=("entropy",)), attention_stats(q, k, stats=("entropy",)))
    with pytest.raises(ValueError, match="different rows"):
        merge_stats(attention_stats(q[:, :, :4], k, query_start=0), plain)
    with pytest.raises(ValueError, match="topk cannot be merged"):
        merge_stats(attention_stats(q, k, topk=1), attention_stats(q, k, topk=1))
