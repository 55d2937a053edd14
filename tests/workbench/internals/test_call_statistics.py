"""Statistics of a call of attention: a model in float64 has them in float64, at lengths that kernels serve, too."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import eager, hooked, tiny
from workbench.internals import attention
from workbench.internals.attention_statistics import StatisticsSpec, attention_statistics
from workbench.internals.tokens import TokenBatch

LENGTH = attention.SHORT + 40
STATS = ("entropy", "distance", "recent_mass", "lse")


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_a_model_in_float64_has_its_statistics_in_float64(name: str) -> None:
    ids = torch.randint(3, 60, (1, LENGTH), generator=torch.Generator().manual_seed(5))
    model = eager(name, torch.float64, max_position_embeddings=LENGTH)
    with torch.no_grad():
        patterns = model(ids, output_attentions=True).attentions
    spec = StatisticsSpec(STATS, recent=5, received="sum")
    seen = attention_statistics(
        hooked(tiny(name, torch.float64, max_position_embeddings=LENGTH)).engine, TokenBatch.of(ids.tolist()), spec
    )
    gap = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    for layer, pattern in enumerate(patterns):
        found = seen[layer].present()
        expected = {
            "entropy": torch.special.entr(pattern).sum(-1),
            "distance": (pattern * gap.clamp(min=0)).sum(-1),
            "recent_mass": (pattern * ((gap < 5) & (torch.arange(LENGTH) >= 4))).sum(-1),
            "received": pattern.sum(2),
        }
        assert found["lse"].dtype == torch.float64
        for word, value in expected.items():
            # softmax itself is float32 in Hugging Face's eager attention
            torch.testing.assert_close(found[word], value.double(), rtol=2e-6, atol=2e-6)
            assert found[word].dtype == torch.float64, word
