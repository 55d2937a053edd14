"""Words of version 0.1: arguments and fields are still understood, and say what they are called now."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.kernels import attention_stats
from workbench.texts.vocabulary import word_tokenizer

q = torch.randn(1, 2, 6, 16, generator=torch.Generator().manual_seed(0))
AT = torch.arange(6)[None] - 1


def test_kernels_understand_them() -> None:
    with pytest.warns(DeprecationWarning, match="columns is called received now"):
        found = attention_stats(q, q, stats=(), columns="sum", points=AT)
    now = attention_stats(q, q, stats=(), received="sum", weights_at=AT)
    assert found.columns is found.received is not None and found.points is found.weights_at is not None
    assert now.received is not None and torch.equal(found.received, now.received)
    assert now.weights_at is not None and torch.equal(found.weights_at, now.weights_at)
    with pytest.raises(ValueError, match="columns is the earlier word for received; give one of them"):
        attention_stats(q, q, columns="sum", received="sum")


def test_sessions_understand_them_and_refuse_what_there_never_was() -> None:
    session = wb.load((tiny("llama", vocab_size=len(word_tokenizer(64))), word_tokenizer(64)))
    ids = list(range(3, 9))
    with pytest.warns(DeprecationWarning, match="points is called weights_at now"):
        seen = session.attention_statistics(ids, columns="sum", points=AT)
    now = session.attention_statistics(ids, received="sum", weights_at=AT)
    for layer, stats in seen.items():
        assert torch.equal(stats.columns, now[layer].received) and torch.equal(stats.points, now[layer].weights_at)
    with pytest.raises(wb.UsageError, match="no such option of attention statistics: colums; there is: stats"):
        session.attention_statistics(ids, colums="sum")
    with pytest.raises(wb.UsageError, match="columns is the earlier word for received; give one of them"):
        session.attention_statistics(ids, columns="sum", received="sum")
