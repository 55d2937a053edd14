"""Triton's kernels in its interpreter against the reference; `test_triton_interpreter.py` runs this file by itself."""

import os
from typing import Any

import pytest
import torch

from tests.kernels.attention_cases import ROWS, Case, assert_agree
from workbench.kernels import BlockMask, attention_stats, streaming_attention

assert os.environ.get("TRITON_INTERPRET") == "1"

N_QUERY, N_KEY = 70, 150
_SEES = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
_MASK = BlockMask(torch.arange(N_QUERY) % 3, torch.arange(N_KEY) // 20 % 4, _SEES)
OPTIONS: dict[str, dict[str, Any]] = {
    "causal": {},
    "not causal": {"causal": False},
    "window": {"window": 40, "key_mask": torch.arange(N_KEY)[None] < 140},
    "window, not causal": {"window": 40, "causal": False, "query_start": 10},
    "lag": {"lag": 30},
    "lag and window": {"lag": 10, "window": 80},
    "block mask": {"block_mask": _MASK},
    "block mask, lag, far keys": {"block_mask": _MASK, "lag": 20, "sink": 3, "recent": 10},
    "left padding": {"key_mask": torch.arange(N_KEY)[None] >= 90},
    "softcap and learned sink": {"softcap": 2.0, "sink_logits": torch.tensor([0.5, -1.0, 3.0, 0.0])},
    "far keys": {"sink": 3, "recent": 10},
    "far keys, runs of segments": {"sink": 0, "recent": 0, "segments": torch.arange(N_KEY) // 70},
    "far keys, holes": {"sink": 2, "recent": 5, "key_mask": torch.arange(N_KEY)[None] % 7 > 1},
    "chunk": {"key_start": 100, "query_start": 150, "sink": 40, "sink_start": 90},
}


def case(dtype: torch.dtype, d: int = 64, **options: Any) -> Case:
    gen = torch.Generator().manual_seed(0)
    q = (2 * torch.randn(1, 4, N_QUERY, d, generator=gen)).to(dtype)
    k, v = torch.randn(1, 4, N_KEY, d, generator=gen).to(dtype).chunk(2, dim=1)
    segments = torch.randint(-1, 5, (N_KEY,), generator=gen)
    return Case(q, k, v, {"segments": segments, "n_segments": 5, "received": "sum", **options})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize("name", OPTIONS)
def test_statistics_output_and_columns(name: str, dtype: torch.dtype) -> None:
    this = case(dtype, stats=(*ROWS, "out"), **OPTIONS[name])
    assert_agree(this.run("triton"), this.run("reference"), this)


@pytest.mark.parametrize("name", ["causal", "softcap and learned sink", "left padding"])
def test_without_values_and_with_lse(name: str) -> None:
    this = case(torch.float16, stats=ROWS, topk=3, rows=[149 - 5], **OPTIONS[name])
    del this.options["received"]
    whole = this.run("reference")
    assert_agree(this.run("triton"), whole, this)
    weights = torch.rand(2, N_QUERY, generator=torch.Generator().manual_seed(1))
    this.options |= {"stats": ROWS[1:], "lse": whole.lse, "received": weights}
    assert_agree(this.run("triton"), this.run("reference"), this)


@pytest.mark.parametrize(("d", "d_value"), [(96, 64), (64, 96), (48, 24)])
def test_values_of_another_size(d: int, d_value: int) -> None:
    this = case(torch.float16, d=d, stats=(*ROWS, "out"))
    this.v = torch.randn(1, 2, N_KEY, d_value, generator=torch.Generator().manual_seed(2)).half()
    assert_agree(this.run("triton"), this.run("reference"), this)


@pytest.mark.parametrize("d", [32, 80, 128, 256])
def test_head_sizes(d: int) -> None:
    this = case(torch.float16, d=d, stats=(*ROWS, "out"))
    assert_agree(this.run("triton"), this.run("reference"), this)


def test_more_segments_than_a_launch_takes() -> None:
    this = case(torch.float16, stats=("lse",))
    this.options |= {"segments": torch.arange(N_KEY) // 3, "n_segments": 50}
    assert_agree(this.run("triton"), this.run("reference"), this)


def test_batch_with_padding_of_its_own() -> None:
    gen = torch.Generator().manual_seed(2)
    q = torch.randn(2, 2, 40, 32, generator=gen)
    k, v = torch.randn(2, 2, 40, 32, generator=gen).chunk(2, dim=1)
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[0, :13], mask[1, 35:] = False, False
    segments = torch.randint(-1, 3, (2, 40), generator=gen)
    weights = torch.rand(2, 1, 40, generator=gen)
    options = {"stats": (*ROWS, "out"), "key_mask": mask, "segments": segments, "received": weights}
    this = Case(q.transpose(1, 2).contiguous().transpose(1, 2), k, v, options)
    assert_agree(this.run("triton"), this.run("reference"), this)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_streaming(dtype: torch.dtype) -> None:
    this = case(dtype)
    options = {
        "sink": torch.tensor([3, 70]),
        "recent": torch.tensor([10, 1000]),
        "key_mask": torch.arange(N_KEY)[None] >= 33,
    }
    wanted = streaming_attention(this.q.double(), this.k.double(), this.v.double(), backend="reference", **options)
    found = streaming_attention(this.q, this.k, this.v, backend="triton", **options)
    tolerance = 5e-6 if dtype == torch.float32 else 2e-3
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=0)


def test_bfloat16_is_refused_here() -> None:
    x = torch.zeros(1, 1, 4, 32, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="interpreter multiplies bfloat16 wrongly"):
        attention_stats(x, x, backend="triton")
