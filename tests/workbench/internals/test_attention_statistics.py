"""Attention statistics that come with the forward pass: the model computes what it did, and they are exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, eager, relative, tiny
from tests.conftest import hooked as hooked_of
from workbench import UsageError, WorkbenchError
from workbench.errors import Cancelled, SiteError
from workbench.internals import attention, attention_statistics, edits
from workbench.internals.hooked_model import HookedModel
from workbench.internals.layer_statistics import LayerChunk, StatisticsSpec
from workbench.internals.tokens import TokenBatch
from workbench.kernels import AttentionStats, cpu_block
from workbench.kernels.cpu_received import kept_rows
from workbench.progress import Progress, Reporter

LENGTHS = (23, 17)
WANTED = StatisticsSpec(
    stats=("entropy", "max_weight", "argmax", "distance", "sink_mass", "recent_mass", "far_mass"),
    segments=torch.arange(23) // 8,
    sink=2,
    recent=5,
    received="sum",
    weights_at=torch.stack([torch.arange(23) - 1, torch.zeros(23, dtype=torch.int64)]),
    topk=3,
    rows=(2, 9, 16),
)


@pytest.fixture
def batch() -> TokenBatch:
    generator = torch.Generator().manual_seed(3)
    return TokenBatch.of([torch.randint(3, 60, (n,), generator=generator).tolist() for n in LENGTHS])


def from_eager(name: str, batch: TokenBatch, **changes: Any) -> list[dict[str, Tensor]]:
    """Every statistic of every layer, in float64 from the pattern that eager attention returns."""
    model = eager(name, **changes)
    with torch.no_grad():
        patterns = model(batch.ids, output_attentions=True).attentions
    places = torch.arange(batch.width)
    gap = places[:, None] - places
    sink = (places < 2).expand_as(gap)
    recent = ~sink & (gap < 5)
    found = []
    for pattern in patterns:
        p = pattern.double() * batch.attention_mask[:, None, :, None]
        masses = {
            "sink_mass": (p * sink).sum(-1),
            "recent_mass": (p * recent).sum(-1),
            "far_mass": (p * ~(sink | recent)).sum(-1),
            "segment_mass": torch.stack([p[..., places // 8 == g].sum(-1) for g in range(3)], dim=-1),
        }
        previous = torch.nn.functional.pad(p.diagonal(-1, 2, 3), (1, 0))
        found.append(
            masses
            | {
                "entropy": -(p * p.clamp_min(1e-300).log()).sum(-1),
                "max_weight": p.amax(-1),
                "argmax": p.argmax(-1),
                "distance": (p * gap).sum(-1),
                "received": p.sum(2),
                "weights_at": torch.stack([previous, p[..., 0]], dim=2),
                "topk_weight": p[:, :, [2, 9, 16]].topk(3, dim=-1).values,
                "visible_keys": (p > 0).sum(-1).amax(1, keepdim=True).double(),
            }
        )
    return found


def assert_statistics(found: dict[int, AttentionStats], expected: list[dict[str, Tensor]], layers: list[int]) -> None:
    assert sorted(found) == layers
    for layer in layers:
        present = found[layer].present()
        assert set(expected[layer]) | {"topk_index"} == set(present)
        for name, value in expected[layer].items():
            if name == "argmax":
                assert torch.equal(present[name], value)
                continue
            torch.testing.assert_close(present[name].double(), value, atol=3e-5, rtol=3e-5, msg=f"{layer} {name}")


@pytest.mark.parametrize("chunk", [None, 1, 5, 23])
def test_statistics_are_those_of_eager_attention(architecture: str, batch: TokenBatch, chunk: int | None) -> None:
    found = attention_statistics.attention_statistics(hooked_of(tiny(architecture)).engine, batch, WANTED, chunk=chunk)
    assert_statistics(found, from_eager(architecture, batch), [0, 1, 2])


def test_the_model_computes_what_it_computes_with_sdpa(architecture: str, batch: TokenBatch) -> None:
    plain, model = tiny(architecture), hooked_of(tiny(architecture))
    with torch.no_grad():
        expected = plain(batch.ids, attention_mask=batch.attention_mask.long()).logits
        recorder = attention_statistics.Recorder(WANTED.of(batch), lambda part: None, 3)
        with attention_statistics.recording(model.engine, recorder, range(3)):
            found = model.engine.run(attention_statistics.Inputs(batch.ids))
    assert recorder.done == 3
    assert found is not None
    for row, length in enumerate(LENGTHS):
        assert relative(found[row : row + 1, :length], expected[row : row + 1, :length]) < 1e-5


def test_layers_come_one_by_one_and_only_those_asked_for(batch: TokenBatch) -> None:
    seen: list[LayerChunk] = []
    returned = attention_statistics.attention_statistics(
        hooked_of(tiny("llama")).engine, batch, WANTED, seen.append, layers=[2, 0]
    )
    assert [(part.layer, part.start) for part in seen] == [(0, 0), (2, 0)]
    assert returned == {}


def test_parts_of_chunks_start_where_the_chunk_does(batch: TokenBatch) -> None:
    seen: list[LayerChunk] = []
    attention_statistics.attention_statistics(
        hooked_of(tiny("llama")).engine, batch, WANTED, seen.append, layers=[1], chunk=10
    )
    assert [(part.layer, part.start) for part in seen] == [(1, 0), (1, 10), (1, 20)]


def test_a_window_shorter_than_a_chunk_drops_keys_and_keeps_their_columns() -> None:
    ids = torch.randint(3, 60, (1, 40), generator=torch.Generator().manual_seed(4))
    model = hooked_of(tiny("mistral"))
    whole = attention_statistics.attention_statistics(
        model.engine, ids, StatisticsSpec(received="sum", segments=torch.arange(40) // 10)
    )
    parts = attention_statistics.attention_statistics(
        model.engine, ids, StatisticsSpec(received="sum", segments=torch.arange(40) // 10), chunk=7
    )
    for layer, stats in whole.items():
        for name, value in stats.present().items():
            torch.testing.assert_close(parts[layer].present()[name], value, atol=2e-5, rtol=2e-5)


def test_each_engine_gives_the_same_statistics(batch: TokenBatch) -> None:
    import workbench as wb

    session = wb.load(tiny("llama"))
    expected = from_eager("llama", batch)
    for engine in ("hf", "nnsight", "transformerlens"):
        found = session.attention_statistics(batch, engine=engine, **vars(WANTED))
        assert_statistics(found, expected, [0, 1, 2])


def test_an_engine_without_native_attention_serves_short_texts_and_refuses_long_ones(batch: TokenBatch) -> None:
    from workbench.internals.engines.transformerlens import TransformerLensEngine

    model = HookedModel(TransformerLensEngine(tiny("llama", max_position_embeddings=8192), native=False))
    assert not attention_statistics.uses_custom_attention(model.engine)
    assert_statistics(
        attention_statistics.attention_statistics(model.engine, batch, WANTED), from_eager("llama", batch), [0, 1, 2]
    )
    with pytest.raises(UsageError, match=r"matrix of query × key, 0\.3 GB a layer at 4097 tokens.*'hf'"):
        attention_statistics.attention_statistics(model.engine, torch.ones(1, 4097, dtype=torch.int64))


def test_edits_act_before_the_statistics(batch: TokenBatch) -> None:
    model = hooked_of(tiny("llama"))
    made = attention_statistics.attention_statistics(
        model.engine, batch, layers=[1], edits=[edits.set("q_rot.1.2", 0.0)]
    )[1]
    visible = torch.arange(1, 24).float()
    assert made.entropy is not None and made.distance is not None
    torch.testing.assert_close(made.entropy[0, 2], visible.log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.distance[0, 2], (visible - 1) / 2, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_logits_come_from_the_same_run(native: bool, batch: TokenBatch) -> None:
    from workbench.internals.engines.transformerlens import TransformerLensEngine

    plain = hooked_of(tiny("llama"))
    model = plain if native else HookedModel(TransformerLensEngine(tiny("llama"), native=False))
    change = [edits.set("attn_out.2", 0.0)]
    seen = attention_statistics.attention_statistics(model.engine, batch, layers=[1], edits=change, logits_at=(-1, 3))
    assert list(seen) == [1] and seen.logits is not None
    expected = plain.logits(batch, (-1, 3), change)
    assert not torch.allclose(expected, plain.logits(batch, (-1, 3)), atol=1e-3)
    torch.testing.assert_close(seen.logits, expected, atol=1e-5, rtol=1e-5)
    assert attention_statistics.attention_statistics(model.engine, batch).logits is None


def test_nothing_of_query_by_key_exists() -> None:
    """At 5,000 tokens a query × key map of floats has 100 MB: none has more than a block of rows."""
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    model = hooked_of(tiny("llama", max_position_embeddings=8192))
    with Sizes():
        attention_statistics.attention_statistics(
            model.engine, torch.ones(1, 5000, dtype=torch.int64), StatisticsSpec(received="sum")
        )
    block = 4 * kept_rows(5000, cpu_block.ROWS) * 5000
    assert 0 < largest <= block < 5000 * 5000 * 4 / 10


def test_progress_tells_layers_and_a_cancel_stops_between_them(batch: TokenBatch) -> None:
    told: list[Progress] = []
    attention_statistics.attention_statistics(
        hooked_of(tiny("llama")).engine, batch, progress=Reporter(told.append), chunk=12
    )
    assert [(event.done, event.total) for event in told] == [(done, 6) for done in range(1, 7)]
    reporter = Reporter()
    seen: list[LayerChunk] = []

    def stop(part: LayerChunk) -> None:
        seen.append(part)
        reporter.cancelled.set()

    with pytest.raises(Cancelled):
        attention_statistics.attention_statistics(hooked_of(tiny("llama")).engine, batch, see=stop, progress=reporter)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        (StatisticsSpec(stats=("entorpy",)), {}, "no statistics named 'entorpy'"),
        (StatisticsSpec(segments=torch.zeros(5, dtype=torch.int64)), {}, "5 entries for a text of 23 tokens"),
        (StatisticsSpec(received="mean"), {}, "'sum' or weights"),  # type: ignore[arg-type]
        (StatisticsSpec(topk=2, rows=(99,)), {}, "position 99 is outside row 0"),
        (StatisticsSpec(topk=2, rows=(-1,)), {}, "count from 0"),
        (StatisticsSpec(topk=2, rows=(4, 2)), {}, "rising order"),
        (StatisticsSpec(sink=-1), {}, "sink is -1"),
        (StatisticsSpec(), {"layers": []}, "layers is empty"),
        (StatisticsSpec(), {"layers": [3]}, "layers 0 to 2"),
        (StatisticsSpec(), {"chunk": 0}, "1 or more"),
        (StatisticsSpec(), {"chunk": 4, "logits_at": [0]}, "without edits and logits"),
        (StatisticsSpec(), {"logits_at": [17]}, "position 17 is outside row 1"),
    ],
)
def test_wrong_use_is_told(wanted: StatisticsSpec, options: dict[str, Any], message: str, batch: TokenBatch) -> None:
    with pytest.raises((UsageError, SiteError), match=message):
        attention_statistics.attention_statistics(hooked_of(tiny("llama")).engine, batch, wanted, **options)


def test_attention_that_is_no_plain_softmax_is_refused(batch: TokenBatch) -> None:
    model = hooked_of(tiny("llama"))
    module = next(iter(attention_statistics.attention_modules(model.engine, [0]).values()))

    def hide(call: attention.Call) -> None:
        call.mask = torch.rand(2, 1, 23, 23) > 0.3

    recorder = attention_statistics.Recorder(WANTED.of(batch), lambda part: None, 1)
    with (
        pytest.raises(WorkbenchError, match="its mask is not causal"),
        attention_statistics.recording(model.engine, recorder, [0]),
        attention.watching({module: hide}),
    ):
        model.engine.run(attention_statistics.Inputs(batch.ids))


def test_every_small_model_is_covered() -> None:
    assert {"llama", "mistral", "gemma2", "gpt2", "gpt_neox"} <= set(TINY)
