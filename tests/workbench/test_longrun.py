"""Attention statistics that come with the forward pass: the model computes what it did, and they are exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, eager, relative, tiny
from tests.conftest import hooked as hooked_of
from workbench import UsageError, WorkbenchError, attention, edits, longrun
from workbench.errors import Cancelled, SiteError
from workbench.hooked import HookedModel
from workbench.kernels import AttentionStats
from workbench.layer_statistics import Part, Wanted
from workbench.progress import Progress, Reporter
from workbench.tokens import Tokens

LENGTHS = (23, 17)
WANTED = Wanted(
    stats=("entropy", "max_weight", "argmax", "distance", "sink_mass", "recent_mass", "far_mass"),
    segments=torch.arange(23) // 8,
    sink=2,
    recent=5,
    columns="sum",
    points=torch.stack([torch.arange(23) - 1, torch.zeros(23, dtype=torch.int64)]),
    topk=3,
    rows=(2, 9, 16),
)


@pytest.fixture
def batch() -> Tokens:
    generator = torch.Generator().manual_seed(3)
    return Tokens.of([torch.randint(3, 60, (n,), generator=generator).tolist() for n in LENGTHS])


def from_eager(name: str, batch: Tokens, **changes: Any) -> list[dict[str, Tensor]]:
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
        p = pattern.double() * batch.real[:, None, :, None]
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
                "columns": p.sum(2),
                "points": torch.stack([previous, p[..., 0]], dim=2),
                "topk_weight": p[:, :, [2, 9, 16]].topk(3, dim=-1).values,
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
def test_statistics_are_those_of_eager_attention(architecture: str, batch: Tokens, chunk: int | None) -> None:
    found = longrun.attention_statistics(hooked_of(tiny(architecture)), batch, WANTED, chunk=chunk)
    assert_statistics(found, from_eager(architecture, batch), [0, 1, 2])


def test_the_model_computes_what_it_computes_with_sdpa(architecture: str, batch: Tokens) -> None:
    plain, model = tiny(architecture), hooked_of(tiny(architecture))
    with torch.no_grad():
        expected = plain(batch.ids, attention_mask=batch.real.long()).logits
        recorder = longrun.Recorder(WANTED.of(batch), lambda part: None, 3)
        with longrun.recording(model.engine, recorder, range(3)):
            found = model.engine.run(longrun.Inputs(batch.ids))
    assert recorder.done == 3
    assert found is not None
    for row, length in enumerate(LENGTHS):
        assert relative(found[row : row + 1, :length], expected[row : row + 1, :length]) < 1e-5


def test_layers_come_one_by_one_and_only_those_asked_for(batch: Tokens) -> None:
    seen: list[Part] = []
    returned = longrun.attention_statistics(hooked_of(tiny("llama")), batch, WANTED, seen.append, layers=[2, 0])
    assert [(part.layer, part.start) for part in seen] == [(0, 0), (2, 0)]
    assert returned == {}


def test_parts_of_chunks_start_where_the_chunk_does(batch: Tokens) -> None:
    seen: list[Part] = []
    longrun.attention_statistics(hooked_of(tiny("llama")), batch, WANTED, seen.append, layers=[1], chunk=10)
    assert [(part.layer, part.start) for part in seen] == [(1, 0), (1, 10), (1, 20)]


def test_a_window_shorter_than_a_chunk_drops_keys_and_keeps_their_columns() -> None:
    ids = torch.randint(3, 60, (1, 40), generator=torch.Generator().manual_seed(4))
    model = hooked_of(tiny("mistral"))
    whole = longrun.attention_statistics(model, ids, Wanted(columns="sum", segments=torch.arange(40) // 10))
    parts = longrun.attention_statistics(model, ids, Wanted(columns="sum", segments=torch.arange(40) // 10), chunk=7)
    for layer, stats in whole.items():
        for name, value in stats.present().items():
            torch.testing.assert_close(parts[layer].present()[name], value, atol=2e-5, rtol=2e-5)


def test_each_engine_gives_the_same_statistics(batch: Tokens) -> None:
    import workbench as wb

    session = wb.load(tiny("llama"))
    expected = from_eager("llama", batch)
    for engine in ("hf", "nnsight", "transformerlens"):
        found = session.attention_statistics(batch, engine=engine, **vars(WANTED))
        assert_statistics(found, expected, [0, 1, 2])


def test_an_engine_without_native_attention_serves_short_texts_and_refuses_long_ones(batch: Tokens) -> None:
    from workbench.engines.transformerlens import TransformerLensEngine

    model = HookedModel(TransformerLensEngine(tiny("llama", max_position_embeddings=8192), native=False))
    assert not longrun.native(model.engine)
    assert_statistics(longrun.attention_statistics(model, batch, WANTED), from_eager("llama", batch), [0, 1, 2])
    with pytest.raises(UsageError, match=r"matrix of query × key, 0\.3 GB a layer at 4097 tokens.*'hf'"):
        longrun.attention_statistics(model, torch.ones(1, 4097, dtype=torch.int64))


def test_edits_act_before_the_statistics(batch: Tokens) -> None:
    model = hooked_of(tiny("llama"))
    made = longrun.attention_statistics(model, batch, layers=[1], edits=[edits.set("q_rot.1.2", 0.0)])[1]
    visible = torch.arange(1, 24).float()
    assert made.entropy is not None and made.distance is not None
    torch.testing.assert_close(made.entropy[0, 2], visible.log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.distance[0, 2], (visible - 1) / 2, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_logits_come_from_the_same_run(native: bool, batch: Tokens) -> None:
    from workbench.engines.transformerlens import TransformerLensEngine

    plain = hooked_of(tiny("llama"))
    model = plain if native else HookedModel(TransformerLensEngine(tiny("llama"), native=False))
    change = [edits.set("attn_out.2", 0.0)]
    seen = longrun.attention_statistics(model, batch, layers=[1], edits=change, logits_at=(-1, 3))
    assert list(seen) == [1] and seen.logits is not None
    expected = plain.logits(batch, (-1, 3), change)
    assert not torch.allclose(expected, plain.logits(batch, (-1, 3)), atol=1e-3)
    torch.testing.assert_close(seen.logits, expected, atol=1e-5, rtol=1e-5)
    assert longrun.attention_statistics(model, batch).logits is None


def test_nothing_of_query_by_key_exists() -> None:
    """At 5,000 tokens a query × key map of floats has 100 MB; no tensor of torch's may come near."""
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
        longrun.attention_statistics(model, torch.ones(1, 5000, dtype=torch.int64), Wanted(columns="sum"))
    assert 0 < largest < 5000 * 61 * 4 * 2


def test_progress_tells_layers_and_a_cancel_stops_between_them(batch: Tokens) -> None:
    told: list[Progress] = []
    longrun.attention_statistics(hooked_of(tiny("llama")), batch, progress=Reporter(told.append), chunk=12)
    assert [(event.done, event.total) for event in told] == [(done, 6) for done in range(1, 7)]
    reporter = Reporter()
    seen: list[Part] = []

    def stop(part: Part) -> None:
        seen.append(part)
        reporter.cancelled.set()

    with pytest.raises(Cancelled):
        longrun.attention_statistics(hooked_of(tiny("llama")), batch, see=stop, progress=reporter)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        (Wanted(stats=("entorpy",)), {}, "no statistics named 'entorpy'"),
        (Wanted(segments=torch.zeros(5, dtype=torch.int64)), {}, "5 entries for a text of 23 tokens"),
        (Wanted(columns="mean"), {}, "'sum' or weights"),  # type: ignore[arg-type]
        (Wanted(topk=2, rows=(99,)), {}, "position 99 is outside row 0"),
        (Wanted(topk=2, rows=(-1,)), {}, "count from 0"),
        (Wanted(topk=2, rows=(4, 2)), {}, "rising order"),
        (Wanted(sink=-1), {}, "sink is -1"),
        (Wanted(), {"layers": []}, "layers is empty"),
        (Wanted(), {"layers": [3]}, "layers 0 to 2"),
        (Wanted(), {"chunk": 0}, "1 or more"),
        (Wanted(), {"chunk": 4, "logits_at": [0]}, "without edits and logits"),
        (Wanted(), {"logits_at": [17]}, "position 17 is outside row 1"),
    ],
)
def test_wrong_use_is_told(wanted: Wanted, options: dict[str, Any], message: str, batch: Tokens) -> None:
    with pytest.raises((UsageError, SiteError), match=message):
        longrun.attention_statistics(hooked_of(tiny("llama")), batch, wanted, **options)


def test_attention_that_is_no_plain_softmax_is_refused(batch: Tokens) -> None:
    model = hooked_of(tiny("llama"))
    module = next(iter(longrun.attention_modules(model.engine, [0]).values()))

    def hide(call: attention.Call) -> None:
        call.mask = torch.rand(2, 1, 23, 23) > 0.3

    recorder = longrun.Recorder(WANTED.of(batch), lambda part: None, 1)
    with (
        pytest.raises(WorkbenchError, match="neither causal nor a window"),
        longrun.recording(model.engine, recorder, [0]),
        attention.watching({module: hide}),
    ):
        model.engine.run(longrun.Inputs(batch.ids))


def test_every_small_model_is_covered() -> None:
    assert {"llama", "mistral", "gemma2", "gpt2", "gpt_neox"} <= set(TINY)
