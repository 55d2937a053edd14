"""What stands in several places at once: forgetting one of them fails here, with the name of the place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, get_origin

import pytest
import typer

from tests import sample_figures
from workbench.cli import options
from workbench.cli.app import app, main
from workbench.figures import Figure, Mark, Panel
from workbench.figures.spec import MARK_NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_kind_of_site_is_known_everywhere() -> None:
    from workbench.internals.attending_layer import HEAD_KINDS
    from workbench.internals.engines.nnsight import ORDER
    from workbench.internals.engines.transformerlens import POINTS
    from workbench.internals.layer_checks import BLOCK_KINDS
    from workbench.internals.sites import KINDS, MEANING

    rows = re.findall(r"^\| (`[a-z_.`LH, ]+`) \| ", README.partition("| site |")[2].partition("\n\n")[0], re.MULTILINE)
    known = {
        "MEANING in workbench/internals/sites.py": set(MEANING),
        "the kinds that workbench/internals/layer_checks.py looks for": {
            *HEAD_KINDS,
            *BLOCK_KINDS,
            "final_norm",
            "logits",
        },
        "POINTS in workbench/internals/engines/transformerlens.py": {*POINTS, "logits"},
        "ORDER in workbench/internals/engines/nnsight.py": {*ORDER, "logits"},
        "the table of sites in README.md": set(re.findall(r"`([a-z_]+)", " ".join(rows))),
    }
    assert {place: kinds ^ set(KINDS) for place, kinds in known.items() if kinds != set(KINDS)} == {}


def test_every_attention_statistic_is_computed_everywhere() -> None:
    import torch

    from workbench.internals.architectures import Layer
    from workbench.internals.layer_statistics import StatisticsSpec
    from workbench.internals.pattern_statistics import statistics
    from workbench.internals.tokens import TokenBatch
    from workbench.kernels import AttentionStats, attention_stats, merge_stats
    from workbench.kernels.result import OF_A_RUN, ROW_STATS

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 6, 16, generator=generator) for _ in range(3))
    rows: dict[str, Any] = {"segments": torch.arange(6) // 2, "n_segments": 3, "weights_at": torch.zeros(1, 6).long()}
    every = {"stats": (*ROW_STATS, "out"), **rows, "received": "sum", "topk": 2}
    named = {field.name for field in fields(AttentionStats)} - {*OF_A_RUN}
    part = attention_stats(q, k, v, stats=(*ROW_STATS, "out"), **rows)
    pattern = torch.softmax(torch.randn(1, 2, 6, 6, generator=generator), -1).tril()
    request = StatisticsSpec(stats=ROW_STATS, **rows, received="sum", topk=2).of(TokenBatch.of(list(range(6))))
    told = statistics(pattern, request, Layer(0, "full"))
    found = {
        "kernels/reference.py": set(attention_stats(q, k, v, **every, backend="reference").present()),
        "kernels/cpu.py": set(attention_stats(q, k, v, **every, backend="cpu").present()),
        # these two need the finished weights
        "kernels/merge.py": {*merge_stats(part, part).present(), "received", "topk_weight", "topk_index"},
        # a pattern tells neither
        "workbench/internals/pattern_statistics.py": {*told.present(), "lse", "out"} - {*OF_A_RUN},
    }
    assert {place: names ^ named for place, names in found.items() if names != named} == {}


def marks() -> Iterator[tuple[Mark, Panel]]:
    """Every mark of the sample figures, with the panel it is in."""
    for figure in sample_figures.all_figures():
        for panel in figure.panels:
            yield from ((mark, panel) for mark in panel.marks)


@pytest.mark.parametrize("kind", MARK_NAMES, ids=MARK_NAMES.values())
def test_every_mark_is_drawn_counted_and_kept(kind: type[Mark]) -> None:
    from workbench.figures.budget import points

    mark, panel = next((pair for pair in marks() if isinstance(pair[0], kind)), (None, None))
    assert mark is not None and panel is not None, f"tests/sample_figures.py has no {kind.__name__}"
    whole, empty = figure(panel, mark), figure(panel)
    assert drawn(whole.plotly().to_dict()) > drawn(empty.plotly().to_dict()), "Plotly draws nothing of it"
    assert artists(whole) > artists(empty), "matplotlib draws nothing of it"
    assert len(whole.data) > 0, "its numbers are in no table"
    assert points(mark) > 0
    assert Figure.from_json(whole.to_json()).to_json() == whole.to_json()


def figure(panel: Panel, *drawn: Mark) -> Figure:
    """The panel with these marks alone."""
    return Figure("one", "One", [Panel(drawn, panel.x, panel.y)], "", "One mark.")


def drawn(figure: Mapping[str, Any]) -> int:
    """Traces, lines and texts of a Plotly figure."""
    return len(figure["data"]) + sum(len(figure["layout"].get(part, ())) for part in ("shapes", "annotations"))


def artists(figure: Figure) -> int:
    """What matplotlib draws inside of the axes."""
    return sum(len(axes.get_children()) for axes in figure.matplotlib().axes)


def test_every_report_format_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    from workbench.reports.write import FORMATS

    assert main(["report", "--help"]) == 0
    offered = re.search(r"--to +[\[<]([^\]>]+)", capsys.readouterr().out)
    assert offered and set(offered[1].split("|")) == set(FORMATS.values()), "workbench/cli/pages.py offers others"
    line = next(line for line in README.splitlines() if line.startswith("workbench report"))
    told = {FORMATS[f".{ending}"] for ending in re.findall(r"\.(\w+)", line)}
    assert told == set(FORMATS.values()), "README.md names others"


def command(name: str) -> Any:
    """A command of the command line."""
    return typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["plan", "run", "suite", "train"])
def test_commands_that_load_a_model_take_the_same_options(name: str) -> None:
    wanted = set(inspect.signature(options.load_session).parameters)
    assert wanted - {option.name for option in command(name).params} == set()


def test_every_option_is_taken_by_a_command() -> None:
    written = {name for name, value in vars(options).items() if get_origin(value) is Annotated}
    used = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "workbench" / "cli").glob("*.py"))
    assert {name for name in written if len(re.findall(rf"\b{name}\b", used)) < 2} == set()


def test_every_registered_model_is_pinned() -> None:
    from workbench.models.registered import registered

    for model in registered():
        assert model.about and model.bytes > 0, model.id
        assert model.folder.is_relative_to(ROOT) if model.shipped else True
        sums = list(pins(asdict(model)))
        assert model.shipped or sums, f"{model.id} is fetched, and nothing says what its bytes must be"
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in sums), f"{model.id} has a sha256 that is none"


def pins(value: Any) -> Iterator[str]:
    """Every sha256 in an entry."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name.endswith("sha256") and inner is not None:
                yield inner
            else:
                yield from pins(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from pins(inner)
