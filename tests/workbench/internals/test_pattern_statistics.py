"""Statistics told from a pattern: a weight that is zero in its dtype is still of a key that is seen."""

from __future__ import annotations

import pytest
import torch

from workbench.internals.architectures import Layer
from workbench.internals.layer_statistics import StatisticsSpec
from workbench.internals.pattern_statistics import statistics
from workbench.internals.tokens import TokenBatch

LENGTH, REACH = 12, 5
at = torch.arange(LENGTH)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("full", at + 1), ("window", (at + 1).clamp(max=REACH)), ("chunk", at % REACH + 1)],
)
def test_a_weight_that_underflows_is_of_a_key_that_is_seen(kind: str, expected: torch.Tensor) -> None:
    gap = at[:, None] - at
    seen = {"full": gap >= 0, "window": (gap >= 0) & (gap < REACH), "chunk": (gap >= 0) & (gap <= at[:, None] % REACH)}
    scores = torch.randn(2, 3, LENGTH, LENGTH, generator=torch.Generator().manual_seed(0))
    scores[:, :, 7] -= 300.0 * (at > 7 - 4) * (at < 7)  # for query 7 every head's weights on three keys are below 1e-45
    pattern = scores.masked_fill(~seen[kind], -torch.inf).softmax(-1)
    assert int((pattern[0, 0, 7] > 0).sum()) < int(expected[7])
    request = StatisticsSpec().of(TokenBatch.of([list(range(LENGTH))] * 2))
    found = statistics(pattern, request, Layer(0, kind, reach=None if kind == "full" else REACH))  # type: ignore[arg-type]
    assert found.visible_keys is not None
    assert torch.equal(found.visible_keys.expand(2, 1, -1), expected.expand(2, 1, -1))


def test_what_a_kind_does_not_tell_is_counted() -> None:
    pattern = torch.eye(LENGTH)[None, None] * 0.5 + torch.eye(LENGTH).roll(-1, 1).tril()[None, None] * 0.5
    for layer in (Layer(0, "indexed", reach=REACH), Layer(0, "window", reach=REACH)):
        request = StatisticsSpec().of(TokenBatch.of(list(range(LENGTH))))
        found = statistics(pattern, request, layer).visible_keys
        assert found is not None and found[0, 0].tolist() == (pattern > 0).sum(-1)[0, 0].tolist()
