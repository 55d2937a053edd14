"""streaming_attention under the token-exact mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.kernels import streaming_attention


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_cpu_agrees_with_reference(data: st.DataObject) -> None:
    draw = data.draw
    gen = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    kv_heads, n_key = draw(st.integers(1, 3)), draw(st.integers(1, 700))
    n_query, d = draw(st.integers(1, n_key)), draw(st.sampled_from([32, 64, 128]))
    q = torch.randn(2, kv_heads * 2, n_query, d, generator=gen)
    k, v = torch.randn(2, 2 * kv_heads, n_key, d, generator=gen).chunk(2, dim=1)
    mask = torch.ones(2, n_key, dtype=torch.bool)
    mask[0, : draw(st.integers(0, n_key))] = False
    options = {
        "sink": torch.randint(0, draw(st.sampled_from([2, 70, 400])), (kv_heads,), generator=gen),
        "recent": torch.randint(0, draw(st.sampled_from([2, 300, 1000])), (kv_heads,), generator=gen),
        "key_mask": draw(st.sampled_from([None, mask])),
    }
    wanted = streaming_attention(q.double(), k.double(), v.double(), backend="reference", **options)
    found = streaming_attention(q, k, v, backend="cpu", **options)
    torch.testing.assert_close(found.double(), wanted, atol=5e-6, rtol=0)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_mask_token_by_token(backend: str) -> None:
    """With equal scores and one-hot values the output is the mask itself."""
    t, sink, recent = 64, 3, 5
    zero, onehot = torch.zeros(1, 1, t, t), torch.eye(t)[None, None]
    out = streaming_attention(zero, zero, onehot, sink=sink, recent=recent, backend=backend)  # type: ignore[arg-type]
    i, j = torch.arange(t)[:, None], torch.arange(t)
    assert torch.equal(out[0, 0] > 0, (j <= i) & ((j < sink) | (i - j < recent)))


def test_long_recent_is_full_attention() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 6, 600, 64), torch.randn(1, 2, 600, 64), torch.randn(1, 2, 600, 64)
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    mixed = streaming_attention(q, k, v, sink=torch.tensor([0, 4]), recent=torch.tensor([600, 16]))
    torch.testing.assert_close(mixed[:, :3], full[:, :3], atol=5e-6, rtol=0)
    assert (mixed[:, 3:] - full[:, 3:]).abs().max() > 0.1


def test_reference_has_gradients_and_the_fast_one_says_it_has_none() -> None:
    q = torch.randn(1, 1, 8, 32, requires_grad=True)
    k = torch.randn(1, 1, 8, 32)
    streaming_attention(q, k, k, sink=1, recent=2, backend="reference").sum().backward()
    assert q.grad is not None and q.grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="no gradient"):
        streaming_attention(q, k, k, sink=1, recent=2)


def test_wrong_counts_are_refused() -> None:
    q = torch.randn(1, 2, 8, 32)
    for wrong in (torch.tensor([1, 2, 3]), torch.tensor(1.5), torch.tensor([-1, 2])):
        with pytest.raises(ValueError, match="sink"):
            streaming_attention(q, q, q, sink=wrong, recent=4)
