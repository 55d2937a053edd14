"""Attention whose every statistic is known: planted heads, identities, invariances."""

import math

import pytest
import torch
from torch import Tensor

from workbench.kernels import AttentionStats, attention_stats

BACKENDS = ["reference", "cpu"]
T = 700
AT = torch.arange(T, dtype=torch.float64)


def close(found: Tensor | None, wanted: Tensor | float, tolerance: float = 2e-6) -> None:
    assert found is not None
    wanted = torch.as_tensor(wanted, dtype=torch.float64).expand(found.shape)
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=2e-6)


def planted(scores: Tensor, backend: str, **options: object) -> AttentionStats:
    """Statistics of one head with these scores `[query, key]`: q is the identity, k the scores' transpose."""
    t = scores.shape[1]
    q, k = torch.eye(t)[None, None, -scores.shape[0] :], torch.zeros(1, 1, t, t)
    k[0, 0, :, -scores.shape[0] :] = scores.T
    return attention_stats(q, k, backend=backend, scale=1.0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_uniform_head(backend: str) -> None:
    zero = torch.zeros(1, 2, T, 32)
    segments = torch.arange(T) // 100
    found = attention_stats(
        zero,
        torch.randn(1, 1, T, 32),
        sink=4,
        recent=50,
        segments=segments,
        received="sum",
        topk=3,
        backend=backend,  # type: ignore[arg-type]
    )
    seen = AT + 1
    close(found.lse, seen.log())
    close(found.entropy, seen.log())
    close(found.max_weight, 1 / seen)
    close(found.argmax, torch.zeros(T))
    close(found.distance, AT / 2, 1e-4)
    sinks = seen.clamp(max=4)
    recent = torch.minimum(seen - sinks, torch.tensor(50.0))
    close(found.sink_mass, sinks / seen)
    close(found.recent_mass, recent / seen)
    close(found.far_mass, (seen - sinks - recent) / seen)
    in_segment = (seen[:, None] - 100 * torch.arange(7)).clamp(0, 100)
    close(found.segment_mass, in_segment / seen[:, None])
    close(found.received, (1 / seen).flip(0).cumsum(0).flip(0))
    assert found.topk_index is not None
    assert found.topk_index[0, 0, 0].tolist() == [0, -1, -1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_hot_head_at_a_fixed_distance(backend: str) -> None:
    t, back = 300, 7
    scores = torch.zeros(t, t)
    target = (torch.arange(t) - back).clamp(min=0)
    scores[torch.arange(t), target] = 200.0
    found = planted(scores, backend, sink=2, recent=8, weights_at=target[None], topk=1, received="sum")
    close(found.entropy, 0.0)
    close(found.max_weight, 1.0)
    close(found.lse, 200.0, 1e-4)
    close(found.argmax, target)
    close(found.distance, torch.arange(t) - target, 1e-4)
    close(found.sink_mass, (target < 2).double())
    close(found.recent_mass, (target >= 2).double())
    close(found.far_mass, 0.0)
    close(found.weights_at, 1.0)
    assert found.topk_index is not None
    assert torch.equal(found.topk_index[0, 0, :, 0], target)
    received = torch.bincount(target, minlength=t)
    close(found.received, received)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sink_head(backend: str) -> None:
    t = 300
    scores = torch.zeros(t, t)
    scores[:, 0] = math.log(9.0)  # nine times any other key
    found = planted(scores, backend, sink=1, recent=0)
    i = torch.arange(t, dtype=torch.float64)
    close(found.sink_mass, 9 / (9 + i))
    close(found.far_mass, i / (9 + i))
    close(found.recent_mass, 0.0)
    close(found.max_weight, 9 / (9 + i))
    close(found.argmax, 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_learned_sink_takes_its_share(backend: str) -> None:
    q, k = torch.zeros(1, 1, 1, 32), torch.randn(1, 1, 4, 32)
    found = attention_stats(q, k, sink_logits=torch.tensor([math.log(4.0)]), backend=backend)  # type: ignore[arg-type]
    close(found.lse, math.log(8.0))
    close(found.sink_mass, 0.5)
    close(found.max_weight, 1 / 8)
    close(found.entropy, 0.5 * math.log(8) + 0.5 * math.log(2))
    alone = attention_stats(
        q,
        k,
        sink_logits=torch.tensor([1.5]),
        key_mask=torch.zeros(1, 4, dtype=torch.bool),
        backend=backend,  # type: ignore[arg-type]
    )
    close(alone.lse, 1.5)
    close(alone.sink_mass, 0.0)
    close(alone.entropy, 0.0)
    close(alone.argmax, -1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_see_nothing(backend: str) -> None:
    q, k, v = torch.randn(1, 2, 5, 32), torch.randn(1, 1, 5, 32), torch.randn(1, 1, 5, 32)
    mask = torch.tensor([[False, False, False, True, True]])
    found = attention_stats(
        q, k, v, stats=("lse", "entropy", "max_weight", "argmax", "distance", "sink_mass", "far_mass", "out"),
        key_mask=mask, received="sum", topk=2, weights_at=torch.full((1, 5), 3), backend=backend,  # type: ignore[arg-type]
    )  # fmt: skip
    for name, value in found.present().items():
        assert not value.isnan().any(), name
        blind = value[:, :, :, :3] if name == "weights_at" else value[:, :, :3]
        wanted = {"lse": -math.inf, "argmax": -1, "topk_index": -1}.get(name, 0)
        assert (blind == wanted).all(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("key_start", "padding", "given", "sinks"),
    [
        (0, 0, None, [0, 1]),  # the sequence begins with the first key
        (0, 3, None, [3, 4]),  # after its padding
        (100, 0, None, []),  # the first key is real, so the sequence began before it
        (100, 3, None, [103, 104]),  # the first key is padding, so it begins here
        (100, 0, 99, [100]),  # the caller knows better
    ],
)
def test_where_sinks_count_from(
    key_start: int, padding: int, given: int | None, sinks: list[int], backend: str
) -> None:
    t = 10
    mask = torch.arange(t)[None] >= padding
    found = attention_stats(
        torch.zeros(1, 1, 1, 32), torch.randn(1, 1, t, 32), sink=2, recent=0, key_start=key_start, key_mask=mask,
        sink_start=given, backend=backend,  # type: ignore[arg-type]
    )  # fmt: skip
    close(found.sink_mass, len(sinks) / (t - padding))
    close(found.far_mass, 1 - len(sinks) / (t - padding))


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_sequence_has_its_own_column_weights(backend: str) -> None:
    zero = torch.zeros(2, 1, 4, 32)
    weights = torch.zeros(2, 1, 4)
    weights[0, 0, 3], weights[1, 0, 1] = 1, 5
    found = attention_stats(zero, zero, stats=(), received=weights, backend=backend)  # type: ignore[arg-type]
    close(found.received, torch.tensor([[[[0.25] * 4]], [[[2.5, 2.5, 0, 0]]]]))


def identities(backend: str) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 6, T, 64), torch.randn(2, 2, T, 64)
    segments = torch.randint(0, 5, (T,))
    found = attention_stats(q, k, segments=segments, received="sum", topk=1, backend=backend)  # type: ignore[arg-type]
    assert found.lse is not None and found.max_weight is not None and found.received is not None
    assert found.segment_mass is not None and found.topk_weight is not None
    close(found.segment_mass.sum(3), 1.0)
    close(found.sink_mass + found.recent_mass + found.far_mass, 1.0)  # type: ignore[operator]
    close(found.received.sum(2), T, 2e-3)
    flow = torch.zeros(2, 6, 5).index_add_(2, segments, found.received)
    close(flow, found.segment_mass.sum(2).double(), 1e-3)
    best = attention_stats(q, k, stats=(), weights_at=None, topk=1, rows=[5, T - 1], backend=backend)  # type: ignore[arg-type]
    assert best.topk_weight is not None
    close(best.topk_weight[..., 0], found.max_weight[:, :, [5, T - 1]].double())
    close(found.topk_weight[..., 0], found.max_weight.double())


@pytest.mark.parametrize("backend", BACKENDS)
def test_identities(backend: str) -> None:
    identities(backend)


def test_augmented_values_give_the_same_statistics() -> None:
    """One-hot segments, positions and keys as values of plain attention: an oracle without any of our code."""
    torch.manual_seed(1)
    q, k = torch.randn(1, 3, T, 64), torch.randn(1, 3, T, 64)
    segments = torch.randint(0, 16, (T,))
    found = attention_stats(q, k, segments=segments)

    def attend(values: Tensor) -> Tensor:
        mixed: Tensor = torch.nn.functional.scaled_dot_product_attention(
            q.double(), k.double(), values.double(), is_causal=True
        )
        return mixed

    onehot = torch.eye(16)[segments].expand(1, 3, T, 16)
    close(found.segment_mass, attend(onehot))
    close(found.distance, AT - attend(AT.view(1, 1, T, 1).expand(1, 3, T, 1))[..., 0], 1e-3)
    assert found.lse is not None
    close(found.entropy, found.lse.double() - (q.double() * attend(k)).sum(3) / 8, 1e-5)


def test_columns_are_the_lse_of_the_transposed_problem() -> None:
    torch.manual_seed(2)
    q, k = torch.randn(1, 2, T, 64), torch.randn(1, 2, T, 64)
    found = attention_stats(q, k, received="sum")
    assert found.lse is not None and found.received is not None
    one = torch.ones(1, 2, T, 1)
    swapped_q = torch.cat([k / 8, one], dim=3).flip(2)
    swapped_k = torch.cat([q, -found.lse[..., None]], dim=3).flip(2)
    swapped = attention_stats(swapped_q, swapped_k, stats=("lse",), scale=1.0)
    assert swapped.lse is not None
    torch.testing.assert_close(found.received, swapped.lse.exp().flip(2), rtol=1e-5, atol=0)


def test_order_of_keys_does_not_matter_without_positions() -> None:
    torch.manual_seed(3)
    q, k, v = torch.randn(1, 2, 50, 32), torch.randn(1, 2, T, 32), torch.randn(1, 2, T, 32)
    order = torch.randperm(T)
    stats = ("lse", "entropy", "max_weight", "out")
    a = attention_stats(q, k, v, stats=stats, causal=False)
    b = attention_stats(q, k[:, :, order], v[:, :, order], stats=stats, causal=False)
    for name in stats:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=2e-6, rtol=2e-6)


def test_a_shift_of_all_scores_moves_lse_alone() -> None:
    """Entropy must not lose digits where scores are large: sums are taken of shifted scores."""
    torch.manual_seed(4)
    q, k = torch.randn(1, 2, T, 64), torch.randn(1, 1, T, 64)
    plain = attention_stats(q, k)
    lift = torch.ones(1, 2, T, 1)
    raised = attention_stats(
        torch.cat([q, lift, 0 * lift], dim=3), torch.cat([k, 512 * lift[:, :1], 0 * lift[:, :1]], dim=3), scale=0.125
    )
    for name, found in raised.present().items():
        shift = 64.0 if name == "lse" else 0.0
        wanted = getattr(plain, name) + shift
        limit = {"distance": 2e-2, "lse": 1e-4}.get(name, 2e-5)
        if name != "argmax":
            torch.testing.assert_close(
                found, wanted, atol=limit, rtol=2e-6, msg=lambda text, name=name: f"{name} {text}"
            )
