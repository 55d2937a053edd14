"""What does not fit together is refused, with what is allowed."""

from typing import Any

import pytest
import torch

from workbench.kernels import BlockMask, attention_stats

Q, K = torch.randn(1, 4, 8, 32), torch.randn(1, 2, 8, 32)

CLASSES, ALL = torch.zeros(8, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool)
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("unknown statistics", {"stats": ("entropie",)}),
    ('"out" needs v', {"stats": ("out",)}),
    ("leave one of them away", {"stats": ("out",), "v": K, "lse": torch.zeros(1, 4, 8)}),
    ("needs segments", {"stats": ("segment_mass",)}),
    ("without segments", {"n_segments": 3}),
    ("ids from -1 to 5", {"segments": torch.tensor([-1, 0, 1, 2, 3, 4, 5, 5]), "n_segments": 5}),
    ("give integers of shape", {"segments": torch.zeros(8)}),
    ("give integers of shape", {"segments": torch.zeros(7, dtype=torch.int64)}),
    ("four axes", {"q": Q[0]}),
    ("must agree but for the head size", {"v": K[:, :1], "stats": ("out",)}),
    ("cannot share", {"q": Q[:, :3]}),
    ("differ in batch or head size", {"q": Q[..., :16]}),
    ("must not be empty", {"q": Q[:, :, :0]}),
    ("one dtype and device", {"k": K.half()}),
    ("torch.int64", {"q": Q.long(), "k": K.long()}),
    ("cannot be the last rows", {"k": K[:, :, :5]}),
    ("key_start is -1", {"key_start": -1}),
    ("query_start is -2", {"query_start": -2}),
    ("key_mask is torch.float32", {"key_mask": torch.ones(1, 8)}),
    ("True for a real token", {"key_mask": torch.ones(1, 7, dtype=torch.bool)}),
    ("window is 0", {"window": 0}),
    ("lag is -1", {"lag": -1}),
    ("attention is not causal", {"lag": 1, "causal": False}),
    ("give bool [query class, key class]", {"block_mask": BlockMask(CLASSES, CLASSES, ALL.float())}),
    ("query classes are", {"block_mask": BlockMask(CLASSES[:7], CLASSES, ALL)}),
    ("key classes go from 1 to 1; sees has 0 to 0", {"block_mask": BlockMask(CLASSES, CLASSES + ALL[0], ALL)}),
    ("sink is -1", {"sink": -1}),
    ("recent is -1", {"recent": -1}),
    ("softcap is 0", {"softcap": 0.0}),
    ("one for each of 4 heads", {"sink_logits": torch.zeros(2)}),
    ("lse has shape", {"lse": torch.zeros(1, 2, 8)}),
    ('received is "mean"', {"received": "mean"}),
    ("received has shape", {"received": torch.ones(1, 7)}),
    ("weights_at has shape", {"weights_at": torch.zeros(2, 2, 9)}),
    ("weights_at holds -2", {"weights_at": torch.full((1, 8), -2)}),
    ("positions from 0 to 7", {"topk": 1, "rows": [8]}),
    ("rows is given without topk", {"rows": [1]}),
    ("topk is -1", {"topk": -1}),
    ("allowed are auto, reference, cpu, triton", {"backend": "gpu"}),
    ("computes in float32", {"q": Q.double(), "k": K.double()}),
    ("no kernels for meta", {"q": Q.to("meta"), "k": K.to("meta")}),
    ("q holds NaN or infinity", {"q": torch.full_like(Q, torch.nan)}),
    ("k holds NaN or infinity", {"k": torch.full_like(K, torch.inf)}),
    ("could overflow float32", {"q": Q * 1e20, "k": K * 1e20}),
]


@pytest.mark.parametrize(("message", "wrong"), WRONG, ids=[message for message, _ in WRONG])
def test_refused(message: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        attention_stats(**({"q": Q, "k": K} | wrong))


def test_gradients_are_refused_or_right() -> None:
    q = Q.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="no gradient"):
        attention_stats(q, K)
    with torch.no_grad():
        attention_stats(q, K)
    entropy = attention_stats(q, K, stats=("entropy",), backend="reference").entropy
    assert entropy is not None
    entropy.sum().backward()
    assert q.grad is not None and q.grad.isfinite().all()
