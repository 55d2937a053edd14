"""Figures with every kind of mark, for the tests of renderers, reports and pages."""

from __future__ import annotations

import numpy as np

from workbench.figures import (
    Axis,
    Bars,
    Figure,
    Heatmap,
    Line,
    Mark,
    Panel,
    ReferenceLine,
    Scatter,
    Tokens,
    Violin,
)

HOSTILE = (
    '<img src=x onerror="window.hit=1"></script><script>window.hit=1</script>$x$ {{7*7}} %{x} <b>b</b> \' & \\frac'
)


def grid() -> Figure:
    """A grid of 30 layers × 9 heads with three outlined cells."""
    values = (np.random.default_rng(0).beta(0.4, 6, size=(30, 9)) * 0.4).astype(np.float32)
    for (layer, head), score in {(17, 3): 0.53, (18, 6): 0.41, (18, 7): 0.37}.items():
        values[layer, head] = score
    mark = Heatmap(
        values, range(9), range(30), "retrieval score", outlined=[(17, 3), (18, 6), (18, 7)], limits=(0, 0.6)
    )
    return Figure(
        name="grid",
        title="Three heads in the middle layers copy the needle",
        panels=[Panel([mark], Axis("head", dim="head"), Axis("layer", dim="layer"))],
        caption="Retrieval score of every head on the needles that heads were selected on; the top three are outlined.",
        alt="A grid of 30 layers by 9 heads, nearly all close to 0; heads 17.3, 18.6 and 18.7 stand out at 0.4 to 0.5.",
    )


def curve() -> Figure:
    """A curve with a band before grey controls, and a threshold."""
    rng = np.random.default_rng(1)
    x = np.asarray([0, 1, 2, 4, 8, 16])
    top = np.asarray([0.94, 0.81, 0.6, 0.31, 0.12, 0.05])
    chance = np.asarray([0.94, 0.93, 0.91, 0.88, 0.85, 0.74])
    sets = [Line(x, np.minimum(chance + rng.normal(0, 0.03, 6), 1), secondary=True) for _ in range(8)]
    marks = [
        *sets,
        Line(x, chance, "random heads, matched per layer", chance - 0.04, chance + 0.04, secondary=True),
        Line(x, top, "top retrieval heads", top - 0.06, np.minimum(top + 0.06, 1)),
        ReferenceLine(0.5, label="half of the needles"),
    ]
    return Figure(
        name="ablation",
        title="Without its top retrieval heads the model loses the needle",
        panels=[Panel(marks, Axis("heads ablated"), Axis("needle recall", limits=(0, 1)))],
        caption="Recall on held-out needles as heads are ablated, the best first. Bands are 95 % intervals.",
        alt="Recall falls from 0.94 to 0.05 as the top heads go, and stays above 0.7 when random heads go.",
    )


def several() -> Figure:
    """Four panels: bars side by side, named points with intervals, violins, a diverging grid with written values."""
    rng = np.random.default_rng(2)
    names = ["generated", "teacher-forced"]
    bars = [
        Bars([0, 1], [0.31, 0.35], "retrieval heads", [0.27, 0.3], [0.36, 0.4], names=names),
        Bars([0, 1], [0.05, 0.06], "all other heads", [0.04, 0.05], [0.06, 0.08], names=names, secondary=True),
    ]
    kinds = Axis("mode", ticks=[0, 1], tick_labels=names)
    heads = [f"{layer}.{head}" for layer in range(6) for head in range(5)]
    cloud = Scatter(rng.random(30), rng.random(30), "heads", rng.random(30) * 0.1, 0.9 + rng.random(30) * 0.1, heads)
    violins = Violin([0, 1, 2], [rng.normal(i, 1, n) for i, n in enumerate([60, 20, 1])], "samples")
    cells = np.asarray([[-0.8, 0.1, np.nan], [0.0, 0.45, -0.2]])
    return Figure(
        name="several",
        title="Four small views",
        panels=[
            Panel(bars, kinds, Axis("retrieval score"), "By mode"),
            Panel([cloud], Axis("previous-token score"), Axis("induction score"), "Heads"),
            Panel([violins], Axis("group"), Axis("score"), "Distributions"),
            Panel([Heatmap(cells, range(3), range(2), "effect", "diverging")], Axis("head"), Axis("layer"), "Effects"),
        ],
        caption="Every kind of mark but texts.",
        alt="Bars, points, distributions and a small grid with values.",
        columns=2,
    )


def text() -> Figure:
    """A text with a value a token, some of them hostile."""
    tokens = [" The", " vault", " opens", " with", " the", " word", " heliotrope", ".\n", "The", " rest", " of", " it"]
    tokens += [
        " is",
        " about",
        " something",
        " else",
        "\n",
        "",
        "\u202e",
        "$x$",
        "</script>",
        "<b>bold</b>",
        "日本",
        "\t",
    ]
    values = np.linspace(0, 1, len(tokens)) ** 3
    return Figure(
        name="text",
        title="Where head 17.3 looks when it writes the answer",
        panels=[Panel([Tokens(tokens, values, "attention")], Axis(""), Axis(""))],
        caption="Attention from the last position to every token of the prompt.",
        alt="A text in which the word heliotrope is the brightest.",
    )


def hostile() -> Figure:
    """Hostile text wherever a figure has text."""
    axis = Axis(HOSTILE, ticks=[0, 1], tick_labels=[HOSTILE, HOSTILE])
    marks = [
        Line([0, 1], [0, 1], HOSTILE),
        Scatter([0, 1], [1, 0], HOSTILE + "2", names=[HOSTILE, HOSTILE]),
        Bars([0, 1], [1, 0.5], HOSTILE + "3", names=[HOSTILE, HOSTILE]),
        ReferenceLine(0.5, label=HOSTILE),
    ]
    heat = Heatmap(np.asarray([[0.0, 1.0], [0.5, 0.2]]), [0, 1], [0, 1], HOSTILE)
    return Figure(
        name="hostile",
        title=HOSTILE,
        panels=[
            Panel(marks, axis, Axis(HOSTILE), HOSTILE),
            Panel([heat], axis, axis, HOSTILE),
            Panel([Tokens([HOSTILE, "x"], [0.0, 1.0], HOSTILE)], axis, axis, HOSTILE),
        ],
        caption=HOSTILE,
        alt=HOSTILE,
    )


def all_figures() -> list[Figure]:
    """One of each."""
    return [grid(), curve(), several(), text(), hostile()]


def one(*marks: Mark, **axes: Axis) -> Figure:
    """A figure of one panel with these marks."""
    return Figure("one", "One", [Panel(marks, axes.get("x", Axis("x")), axes.get("y", Axis("y")))], "Caption.", "Alt.")
