"""Random attention problems and the comparison with the reference."""

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from workbench.kernels import AttentionStats, BlockMask, attention_stats

ROWS = ("lse", "entropy", "max_weight", "argmax", "distance", "sink_mass", "recent_mass", "far_mass")
# absolute, on quantities of order one; distance is relative to the number of keys
TOLERANCE = {torch.float32: 5e-6, torch.float16: 5e-6, torch.bfloat16: 5e-6}
OUT_TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # out is rounded to the inputs' dtype


@dataclass
class Case:
    q: Tensor
    k: Tensor
    v: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = {n: f"tensor{list(o.shape)}" if isinstance(o, Tensor) else o for n, o in self.options.items()}
        return f"Case(q={list(self.q.shape)}, k={list(self.k.shape)}, {self.q.dtype}, {shown})"

    def weight_at(self, index: Tensor, **more: Any) -> Tensor:
        """The reference's weights of the keys `[batch, head, query]`."""
        options = {
            n: o for n, o in self.options.items() if n not in ("received", "topk", "rows", "segments", "n_segments")
        }
        q, k = self.q.double(), self.k.double()
        options |= {"stats": (), "weights_at": index} | more
        found = attention_stats(q, k, backend="reference", **options).weights_at
        assert found is not None
        return found.diagonal(dim1=1, dim2=2).transpose(1, 2)

    def run(self, backend: str, **more: Any) -> AttentionStats:
        q, k, v = self.q, self.k, self.v
        if backend == "reference":
            q, k, v = q.double(), k.double(), v.double()
        options = self.options | more
        return attention_stats(q, k, v if "out" in options.get("stats", ()) else None, backend=backend, **options)


@st.composite
def cases(draw: st.DrawFn, max_length: int = 600, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> Case:
    """Shapes, masks, positions and extras in any combination."""
    gen = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    batch, kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    d = draw(st.sampled_from([32, 64, 80, 128, 256]))
    n_key = draw(st.integers(1, max_length))
    n_query = draw(st.integers(1, n_key))
    sharp = draw(st.sampled_from([0.3, 1.0, 4.0]))
    dtype = draw(st.sampled_from(dtypes))
    q = (sharp * torch.randn(batch, kv_heads * group, n_query, d, generator=gen)).to(dtype)
    k = torch.randn(batch, kv_heads, n_key, d, generator=gen).to(dtype)
    d_value = draw(st.sampled_from([d, d, 24, 96]))
    v = torch.randn(batch, kv_heads, n_key, d_value, generator=gen).to(dtype)
    options: dict[str, Any] = {
        "stats": (*ROWS, "out"),
        "causal": draw(st.booleans()),
        "sink": draw(st.integers(0, 9)),
        "recent": draw(st.integers(0, 300)),
        "key_start": draw(st.sampled_from([0, 0, 7, 1000])),
    }
    if draw(st.booleans()):
        options["query_start"] = max(0, options["key_start"] + draw(st.integers(-20, n_key + 20)))
    if draw(st.booleans()):
        options["window"] = draw(st.integers(1, n_key + 5))
    if options["causal"] and draw(st.booleans()):
        options["lag"] = draw(st.integers(1, n_key + 5))
    if draw(st.booleans()):
        options["block_mask"] = draw_block_mask(draw, gen, batch, n_query, n_key)
    if draw(st.booleans()):
        options["softcap"] = draw(st.sampled_from([0.5, 5.0, 50.0]))
    if draw(st.booleans()):
        options["sink_logits"] = torch.randn(kv_heads * group, generator=gen) * 3
    padding = draw(st.sampled_from(["none", "left", "right", "holes", "all"]))
    if padding != "none":
        pad = draw(st.integers(0, n_key))
        mask = torch.ones(batch, n_key, dtype=torch.bool)
        if padding == "left":
            mask[0, :pad] = False
        elif padding == "right":
            mask[0, n_key - pad :] = False
        elif padding == "holes":
            mask = torch.rand(batch, n_key, generator=gen) < 0.7
        else:
            mask[0] = False
        options["key_mask"] = mask
    if draw(st.booleans()):
        count = draw(st.integers(1, 20))
        ids = torch.randint(-1, count, (batch, n_key), generator=gen)
        if draw(st.booleans()):
            ids = ids.sort(dim=1).values[0]
        options |= {"segments": ids, "n_segments": count}
    if draw(st.booleans()):
        options["received"] = draw(
            st.sampled_from(
                ["sum", torch.rand(3, n_query, generator=gen), torch.rand(batch, 2, n_query, generator=gen)]
            )
        )
    if draw(st.booleans()):
        first = options["key_start"]
        options["weights_at"] = torch.randint(first, first + n_key, (2, n_query), generator=gen)
    if draw(st.booleans()):
        options["topk"] = draw(st.integers(1, 8))
    return Case(q, k, v, options)


def draw_block_mask(draw: st.DrawFn, gen: torch.Generator, batch: int, n_query: int, n_key: int) -> BlockMask:
    """Classes in runs or all mixed, one set for the batch or one a row, and any table of who sees whom."""
    n_queries, n_keys = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    query = torch.randint(0, n_queries, (batch, n_query), generator=gen)
    key = torch.randint(0, n_keys, (batch, n_key), generator=gen)
    if draw(st.booleans()):
        key = key.sort(dim=1).values
    if draw(st.booleans()):
        query, key = query[0], key[0]
    return BlockMask(query, key, torch.rand(n_queries, n_keys, generator=gen) < draw(st.sampled_from([0.3, 0.8, 1.0])))


def assert_agree(found: AttentionStats, wanted: AttentionStats, case: Case) -> None:
    """Every field equals the reference's, to the stated tolerance."""
    got, want = found.present(), wanted.present()
    assert got.keys() == want.keys()
    tolerance = TOLERANCE[case.q.dtype]
    spread = (case.q.float().norm(dim=3).max() * case.k.float().norm(dim=3).max() * case.q.shape[3] ** -0.5).item()
    tolerance = tolerance * max(1.0, spread / 16)  # float32 scores carry an error that grows with their size
    for name in got:
        close = tolerance
        if name == "out":
            close = max(close * 4, OUT_TOLERANCE[case.q.dtype] * max(1.0, want["out"].abs().max().item()))
        if name == "distance":
            close = tolerance * 2000
        if name == "received":
            close = tolerance * case.q.shape[2]
        if name in ("argmax", "topk_index"):
            continue
        torch.testing.assert_close(
            got[name].double(),
            want[name].double(),
            atol=close,
            rtol=2e-6,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    # another key may win where two weights are equal to rounding: its weight must be the one that was found
    lse = case.options.get("lse", wanted.lse if wanted.lse is not None else case.run("reference").lse)
    if "argmax" in got:
        assert torch.equal(got["argmax"] < 0, want["argmax"] < 0)
        torch.testing.assert_close(case.weight_at(got["argmax"], lse=lse), want["max_weight"], atol=tolerance, rtol=0)
    if "topk_index" in got:
        assert torch.equal(got["topk_index"] < 0, want["topk_index"] < 0)
        if "rows" not in case.options:
            for rank in range(got["topk_index"].shape[3]):
                weight = case.weight_at(got["topk_index"][..., rank], lse=lse)
                torch.testing.assert_close(weight, want["topk_weight"][..., rank], atol=tolerance, rtol=0)
