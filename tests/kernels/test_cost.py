"""Memory that grows with T, imports that stay cheap, results that do not depend on threads."""

import json
import subprocess
import sys

import torch

from workbench.kernels import attention_stats

MEMORY = """
import json, resource, sys
import torch
from workbench.kernels import attention_stats, streaming_attention
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(t):
    q, k, v = torch.randn(1, 4, t, 64), torch.randn(1, 2, t, 64), torch.randn(1, 2, t, 64)
    attention_stats(q, k, v, stats=("lse", "entropy", "out"), segments=torch.arange(t) * 16 // t, received="sum",
                    weights_at=torch.zeros(2, t, dtype=torch.int64), topk=8, rows=[t - 1, t // 2])
    streaming_attention(q, k, v, sink=4, recent=256)
run(1024)
before = peak()
run(8192)
print(json.dumps(peak() - before))
"""

IMPORTS = """
import sys
import torch
import workbench.kernels
print([name for name in ("numba", "triton", "transformers", "scipy") if name in sys.modules])
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_memory_is_linear() -> None:
    """One head's matrix at T=8192 has 268 MB, four have 1.07 GB; tensors linear in T have about 40 MB here."""
    assert json.loads(python(MEMORY)) < 150e6


def test_import_loads_no_compiler() -> None:
    assert python(IMPORTS).strip() == "[]"


def test_same_bits_on_any_number_of_threads() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 6, 1500, 64), torch.randn(1, 2, 1500, 64), torch.randn(1, 2, 1500, 64)
    options = {"stats": ("lse", "entropy", "distance", "out"), "received": "sum"}
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(attention_stats(q, k, v, **options).present())  # type: ignore[arg-type]
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(value, found[0][name]) for name, value in other.items())


def test_inference_mode_and_strided_inputs() -> None:
    torch.manual_seed(0)
    packed = torch.randn(1, 2000, 4, 64)  # as a model makes them: [batch, position, head, d]
    wanted = attention_stats(packed.transpose(1, 2).contiguous(), packed.transpose(1, 2).contiguous())
    with torch.inference_mode():
        found = attention_stats(packed.transpose(1, 2), packed.transpose(1, 2))
    for name, value in wanted.present().items():
        torch.testing.assert_close(getattr(found, name), value, atol=1e-5, rtol=1e-5)
