"""Figures: one description, two renderers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.sample_figures import HOSTILE, all_figures, curve, grid, hostile, one, several, text
from workbench.errors import UsageError
from workbench.figures import (
    Axis,
    Figure,
    Heatmap,
    Line,
    Panel,
    ReferenceLine,
    budget,
    geometry,
    matplotlib,
    max_pool,
    plotly,
    save,
    style,
)
from workbench.figures.text import escape_control, escape_whitespace, folded, plotly_text, shorten

FIGURES = all_figures()

NAMES = [figure.name for figure in FIGURES]

PLOTLY_3_1 = {"heatmap", "scatter", "bar", "violin"}


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plotly_draws_every_mark_with_basic_traces(figure: Figure, theme: str) -> None:
    drawn = json.loads(figure.plotly(theme=theme).to_json())
    assert {trace["type"] for trace in drawn["data"]} <= PLOTLY_3_1
    marks = [mark for panel in figure.panels for mark in panel.marks]
    rules = [mark for mark in marks if type(mark).__name__ == "ReferenceLine"]
    assert len(drawn["data"]) >= len(marks) - len(rules)
    lines = [shape for shape in drawn["layout"].get("shapes", []) if shape["type"] == "line"]
    assert len(lines) == len(rules)
    assert drawn["layout"]["template"]["layout"]["paper_bgcolor"] == style.PAPER[theme]


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_pages_draw_what_plotly_itself_would_write(figure: Figure) -> None:
    plain = json.loads(plotly.plotly_json(plotly.plotly_dict(figure)))
    plain["layout"] = {name: value for name, value in plain["layout"].items() if value != []}
    assert plain == json.loads(figure.plotly().to_json())


def test_numbers_that_are_none_are_written_so_that_a_browser_reads_them() -> None:
    figure = one(ReferenceLine(float("nan")), ReferenceLine(np.float32(0.5)), Line([0, np.nan], [1, np.inf]))
    plain = json.loads(plotly.plotly_json(plotly.plotly_dict(figure)), parse_constant=pytest.fail)
    assert [shape["y0"] for shape in plain["layout"]["shapes"]] == [None, 0.5]


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_matplotlib_draws_every_mark(figure: Figure) -> None:
    drawing = figure.matplotlib()
    wanted = ["\n".join(geometry.level(panel.x.label, panel, figure.columns)) for panel in figure.panels]
    assert [axes.get_xlabel() for axes in drawing.axes] == wanted
    for axes, panel in zip(drawing.axes, figure.panels, strict=True):
        artists = [*axes.lines, *axes.collections, *axes.patches, *axes.containers]
        assert len(artists) >= len(panel.marks)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_there_is_room_for_every_label(figure: Figure) -> None:
    assert len(matplotlib.svg(figure)) > 10_000


def test_plotly_has_outlines_hover_and_the_scale() -> None:
    drawn = grid().plotly()
    assert len(drawn.layout.shapes) == 6
    assert drawn.data[0].hovertemplate == "layer %{y}, head %{x}: %{z:.3~g}<extra></extra>"
    assert (drawn.data[0].zmin, drawn.data[0].zmax) == (0, 0.6)
    assert drawn.layout.xaxis.tickvals == tuple(range(9)) and drawn.layout.yaxis.tickvals == tuple(range(0, 30, 2))
    with pytest.raises(UsageError, match="outlined"):
        one(Heatmap(np.eye(2), [0, 1], [0, 1], "v", outlined=[(5, 0)])).plotly()


def test_zero_is_white_on_a_diverging_scale() -> None:
    mark = Heatmap(np.asarray([[-0.2, 0.9]]), [0, 1], [0], "v", scale="diverging")
    assert geometry.colour_limits(mark) == (-0.9, 0.9)
    assert style.colour_at("diverging", 0.5) == "#ffffff"
    drawn = one(mark).plotly().data[0]
    assert drawn.zmin == -drawn.zmax
    assert [stop[1] for stop in drawn.colorscale if stop[0] == 0.5] == ["#ffffff"]


def test_cividis_is_matplotlibs() -> None:
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    for share in np.linspace(0, 1, 33):
        ours = np.asarray(style.rgb(style.colour_at("sequential", share))) / 255
        np.testing.assert_allclose(ours, to_rgb(mpl.colormaps["cividis"](share)), atol=0.03)


def test_text_on_colours_can_be_read() -> None:
    for scale in style.SCALES:
        for share in np.linspace(0, 1, 101):
            colour = style.colour_at(scale, share)
            assert style.contrast(style.text_on(colour), colour) >= 4.5
    for theme in ("light", "dark"):
        assert style.contrast(style.QUIET[theme], style.PAPER[theme]) >= 4.5
        for colour in (*style.CATEGORICAL[:2], style.MUTED):
            assert style.contrast(colour, style.PAPER[theme]) >= 3


def test_series_differ_by_more_than_colour_and_keep_their_look() -> None:
    looks = geometry.series(
        Figure(
            "f", "", [Panel([Line([0], [0], n) for n in names], Axis(""), Axis("")) for names in ("ab", "ba")], "", ""
        )
    )
    assert looks[0, 0][:4] == looks[1, 1][:4] and looks[0, 1][:4] == looks[1, 0][:4]
    assert looks[0, 0].dash != looks[0, 1].dash and looks[0, 0].marker != looks[0, 1].marker
    assert [look.in_legend for look in looks.values()] == [True, True, False, False]


def test_a_value_outside_its_interval_is_drawn_as_it_is() -> None:
    from workbench.figures import Scatter

    strokes = one(Scatter([1], [0.0], "p", [0.1], [0.3])).plotly().data[0]
    assert strokes.y[:2].tolist() == [0.1, 0.3]


def test_hostile_text_is_escaped_in_plotly() -> None:
    for figure in (hostile(), text()):
        written = json.dumps(json.loads(figure.plotly().to_json()), ensure_ascii=False)
        assert "<img" not in written and "<script" not in written and "</script" not in written
        assert not re.search(r"\$[^$]+\$", written)
        templates = " ".join(t.get("hovertemplate", "") for t in json.loads(figure.plotly().to_json())["data"])
        assert set(re.findall(r"%{([^}]*)}", templates)) <= {
            "x", "y", "y:.3~g", "z:.3~g", "customdata[0]", "customdata[1]", "customdata[2]"
        }  # fmt: skip


def test_hostile_text_is_text_in_svg(tmp_path) -> None:
    save(hostile(), tmp_path)
    tree = ET.parse(tmp_path / "hostile.svg")
    tags = {element.tag.split("}")[1] for element in tree.iter()}
    assert "script" not in tags and "img" not in tags and "text" in tags
    assert any(
        shorten(HOSTILE, 80) in "".join(element.itertext()) for element in tree.iter() if element.tag.endswith("text")
    )
    assert not [a for element in tree.iter() for a in element.attrib if a.lower().startswith("on")]


def test_places_are_rounded_so_that_a_solvers_last_digits_do_not_change_a_file() -> None:
    drawing = several().matplotlib()
    ends = [end for axes in drawing.axes for end in axes.get_position(original=True).bounds]
    assert len(ends) == 16 and all(end == pytest.approx(round(end, 6), abs=1e-12) for end in ends)
    assert len({matplotlib.svg(several()) for _ in range(6)}) == 1


def test_pool_keeps_the_largest_and_says_so() -> None:
    values = np.random.default_rng(0).random((70, 103))
    values[61, 98] = 7.0
    values[0, 0] = np.nan
    pooled = max_pool(values, 500)
    assert pooled.values.size <= 500 and pooled.values.max() == 7.0 and np.isfinite(pooled.values).all()
    down, across = (int(n) for n in re.search(r"largest of (\d+) × (\d+) values", pooled.words).groups())
    rows, columns = pooled.values.shape
    for j in range(rows):
        for i in range(columns):
            block = values[j * down : (j + 1) * down, i * across : (i + 1) * across]
            assert pooled.values[j, i] == np.nanmax(block)
    assert pooled.y.tolist() == list(range(0, 70, down)) and pooled.x.tolist() == list(range(0, 103, across))
    assert max_pool(values).words == "" and max_pool(values).values is values
    assert np.isnan(max_pool(np.full((4, 4), np.nan), 4).values).all()


def test_over_budget_is_refused_with_the_way_out() -> None:
    big = one(Heatmap(np.zeros((400, 400), dtype=np.float32), range(400), range(400), "v"))
    for draw in (big.plotly, big.matplotlib):
        with pytest.raises(UsageError, match="pool"):
            draw()
    assert sum(budget.points(mark) for panel in several().panels for mark in panel.marks) == 2 + 2 + 30 + 81 + 6


def test_tokens_are_made_visible() -> None:
    assert (
        escape_whitespace(" a\n") == "␣a⏎"
        and escape_control(" a  ␣\n\t") == " a  ␣⏎⇥"
        and escape_control("") == "∅"
        and escape_control("\u202ex y") == "\\u202ex y"
        and escape_whitespace("") == "∅"
        and escape_whitespace("\u202ex\u200b") == "\\u202ex\\u200b"
    )
    assert plotly_text("<b>$x$ %{y} & '") == "&lt;b&gt;&#36;x&#36; &#37;{y} &amp; '"
    assert shorten("abcdefghij", 5) == "ab…ij" and len(shorten("x" * 99, 40)) == 40 and shorten("abc", 5) == "abc"
    assert folded("short", 16) == ["short"] and folded("share of the needles found", 16) == [
        "share of the",
        "needles found",
    ]
    assert [len(line) for line in folded("x" * 99, 16)] == [16, 16]
    cells = geometry.token_cells(["aa", "b\n", "cc", "d" * 20], columns=12)
    assert [(cell.start, cell.row) for cell in cells] == [(0, 0), (3, 0), (0, 1), (0, 2)]


def test_repeated_tick_labels_stay_apart() -> None:
    axis = Axis("token", ticks=range(4), tick_labels=["the", "a", "the", "a"])
    figure = one(Heatmap(np.arange(8.0).reshape(2, 4), range(4), range(2), "v"), x=axis)
    assert figure.plotly().layout.xaxis.ticktext == ("the", "a", "the", "a")
    assert len(figure.plotly().data[0].x) == 4
    assert figure.data.x_name.tolist() == ["the", "a"] * 4


def test_drawing_in_threads_gives_the_same_bytes() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from workbench.figures.matplotlib import svg

    figures = [curve(), text()] * 2
    alone = [svg(figure, theme) for figure, theme in zip(figures, ["light", "dark"] * 2, strict=True)]
    with ThreadPoolExecutor(4) as pool_of_threads:
        together = list(pool_of_threads.map(svg, figures, ["light", "dark"] * 2))
    assert together == alone


def test_logarithmic_ticks_are_plain_numbers() -> None:
    axis = Axis("tokens", log=True)
    figure = Figure("log", "t", [Panel([Line([1, 10, 1000], [1, 100, 1e4])], axis, axis)], "c", "a")
    drawn = figure.matplotlib().axes[0]
    labels = [label.get_text() for side in (drawn.get_xticklabels(), drawn.get_yticklabels()) for label in side]
    assert "100" in labels
    assert not any("$" in label for label in labels)
