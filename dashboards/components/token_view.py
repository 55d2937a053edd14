"""A text of any length, one window at a time: a strip of the whole, and the tokens of the window with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmu

from ...figures import Axis, Figure, Heatmap, Panel, escape_whitespace, style
from ...formatting import percent
from ...probe.explore import LongText, Measure, SelectableDim
from .click_selection import point_of, selection_at
from .figure_card import FigureCard
from .selection import Selection
from .templates import html_pane, render
from .token_links import LinkedTokens, links_within, readable, word

WINDOW = 1_000
"""Tokens that are sent to the browser at once."""
STRIP = 256
"""Bins of the strip."""
STEPS = 24
"""Colours of tokens."""
LISTED = 20
"""Tokens of a window in its table."""
BUTTONS = 10
FLOOR = 1e-2
"""Where a logarithmic colour scale starts, as a share of what only one token in a hundred exceeds."""

SHADES = [style.colour_at("sequential", step / (STEPS - 1)) for step in range(STEPS)]
STYLE = "\n".join(
    [
        *(f".s{i} {{ background: {shade}; color: {style.text_on(shade)}; }}" for i, shade in enumerate(SHADES)),
        f".sx {{ background: {style.MISSING}; color: {style.text_on(style.MISSING)}; }}",
    ]
)


def coordinates(text: LongText) -> list[SelectableDim]:
    """What is chosen in a text: where its window starts, and what shades the tokens."""
    starts = range(max(1, len(text.tokens)))
    first = max(0, min((text.origin or 0) - WINDOW // 2, len(text.tokens) - WINDOW))
    found = [SelectableDim("from", starts, 0 if text.origin is None else first)]
    if len(text.measures) > 1:
        found.append(SelectableDim("shade", range(len(text.measures)), 0, [measure.label for measure in text.measures]))
    return found


@dataclass(frozen=True)
class Scale:
    """From a number at a token to one of the colours."""

    low: float
    high: float
    log: bool

    def step(self, value: float) -> str:
        """The class of the colour; `sx` for no number."""
        if not np.isfinite(value):
            return "sx"
        return f"s{round(float(self.share(np.asarray([value]))[0]) * (STEPS - 1))}"

    def share(self, values: np.ndarray) -> np.ndarray:
        """Where the values lie between the ends of the scale, 0 to 1."""
        if self.log:
            values = np.log10(np.maximum(values, self.low))
            low, high = np.log10(self.low), np.log10(self.high)
        else:
            low, high = self.low, self.high
        return np.clip((values - low) / (high - low), 0.0, 1.0)


def scale(measure: Measure) -> Scale:
    """The scale of the whole text, so that windows can be compared."""
    finite = measure.values[np.isfinite(measure.values)].astype(np.float64)
    high = float(finite.max()) if finite.size else 1.0
    if measure.log:
        high = high if high > 0 else 1.0
        positive = finite[finite > 0]
        # a long tail of nearly nothing would take most of the colours
        low = max(FLOOR * float(np.quantile(positive, 0.99)), float(positive.min())) if positive.size else high
        return Scale(low if low < high else FLOOR * high, high, True)
    low = float(finite.min()) if finite.size else 0.0
    return Scale(low, high if high > low else low + 1.0, False)


def overview(measure: Measure) -> Figure:
    """The whole text as one row of bins, each with the largest value in it."""
    values = np.where(np.isfinite(measure.values), measure.values, -np.inf).astype(np.float64)
    starts = np.unique(np.linspace(0, len(values), min(STRIP, len(values)) + 1).astype(int))
    largest = np.maximum.reduceat(values, starts[:-1])
    found = scale(measure)
    shown = np.log10(np.maximum(largest, found.low)) if found.log else largest
    width = int(np.diff(starts).max())
    ends = (np.log10(found.low), np.log10(found.high)) if found.log else (found.low, found.high)
    label = f"{'log10 of ' if found.log else ''}{measure.label}"
    pooled = "" if width == 1 else f"Each bin shows the largest of up to {width} tokens."
    mark = Heatmap(
        np.where(np.isfinite(largest), shown, np.nan)[None],
        ((starts[:-1] + starts[1:] - 1) / 2).tolist(),
        [0],
        "log10" if found.log else "value",
        limits=(float(ends[0]), float(ends[1])),
        pooled=pooled,
    )
    return Figure(
        name="strip",
        title="The whole text",
        panels=[Panel([mark], Axis("position (tokens)", dim="position"), Axis("", ticks=[], tick_labels=[]))],
        caption=f"{label[:1].upper()}{label[1:]}. {pooled} A click opens the window there.".replace("  ", " "),
        alt=f"One row of {len(starts) - 1} bins along the text, shaded by {label}.",
    )


def token_window(text: LongText, measure: Measure, start: int) -> dict[str, Any]:
    """What the page shows of the tokens from `start` on."""
    end = min(start + WINDOW, len(text.tokens))
    found = scale(measure)
    chosen = {key for key, _ in text.links}
    links = links_within(text, start, end)
    spans = []
    for place in range(start, end):
        value = float(measure.values[place])
        marks = " linked" if place in links["words"] else ""
        marks += " key" if place in chosen else ""
        marks += " query" if place == text.origin else ""
        token = str(text.tokens[place])
        spans.append((found.step(value) + marks, place, readable(token), f"{value:.3g}", token.endswith("\n")))
    order = sorted(range(start, end), key=lambda place: -np.nan_to_num(measure.values[place], nan=-np.inf))[:LISTED]
    listed = [(place, escape_whitespace(str(text.tokens[place])), float(measure.values[place])) for place in order]
    legend = [(f"s{i}", "") for i in range(STEPS)]
    ends = (f"{found.low:.3g}", f"{found.high:.3g}")
    return {
        "spans": spans, "start": start, "end": end, "total": len(text.tokens), "listed": listed, "legend": legend,
        "ends": ends, "log": found.log, "label": measure.label, "has_links": bool(chosen),
        "hover": bool(text.looks), **links,
    }  # fmt: skip


class TokenView:
    """The strip, the window, and the ways to move between them."""

    def __init__(self, text: LongText, choice: Selection, python: str) -> None:
        self.text, self.choice, self._python = text, choice, python
        self.card = FigureCard(overview(self._measure), lambda: self._python, self._clicked, self._border)
        self.note = html_pane("text_note.html", text=text)
        self.tokens = LinkedTokens(self._window(), STYLE)
        self._buttons = [self._jump(number) for number in range(BUTTONS + 1)]
        self._name_buttons()
        self.jumps = pmu.FlexBox(*self._buttons)
        self.controls = pmu.FlexBox(
            *(choice.control(name) for name in ("shade", "from") if name in choice.widgets),
            _button("Earlier", lambda _: self.go(self.start - WINDOW)),
            _button("Later", lambda _: self.go(self.start + WINDOW)),
            align_items="center",
        )
        self._measured: tuple[Any, ...] = self._key()
        parts = [self.note, self.card.panel, self.controls, self.jumps, self.tokens]
        self.panel = pn.Column(*parts, sizing_mode="stretch_width")

    @property
    def start(self) -> int:
        return self.choice.values["from"]

    @property
    def _measure(self) -> Measure:
        return self.text.measures[self.choice.values.get("shade", 0)]

    def go(self, start: int) -> None:
        """Show the window that starts here, or the nearest one there is."""
        self.choice.choose(**{"from": max(0, min(start, len(self.text.tokens) - WINDOW))})

    def show(self, text: LongText) -> None:
        """Show another text, or the same one after another choice."""
        changed = text is not self.text
        self.text = text
        if changed:
            self.note.object = render("text_note.html", text=text)
            self._name_buttons()
        if self._key() != self._measured:
            self._measured = self._key()
            self.card.show(overview(self._measure))
        else:
            self.card.redraw()
        self.tokens.draw(self._window())

    def _key(self) -> tuple[Any, ...]:
        return (self._measure.label, id(self.text))

    def _window(self) -> dict[str, Any]:
        return token_window(self.text, self._measure, self.start)

    def _clicked(self, figure: Figure, event: Any, drawn: Any) -> None:
        point = point_of(event)
        if point is not None:
            places = SelectableDim("position", range(len(self.text.tokens)), 0)
            place = selection_at(figure.panels[0], float(point["x"]), 0.0, [places]).get("position", 0)
            self.go(place - WINDOW // 2)

    def _border(self, figure: Figure, drawn: Any) -> None:
        """Mark the window, the query and its keys on the strip."""
        layout = drawn["layout"]
        end = min(self.start + WINDOW, len(self.text.tokens))
        box = {"x0": self.start - 0.5, "x1": end - 0.5, "y0": -0.5, "y1": 0.5}
        for colour, width in (("#ffffff", 5), ("#d55e00", 3)):
            layout["shapes"].append({"type": "rect", "line": {"color": colour, "width": width}} | box)
        marks: Sequence[tuple[int, str]] = [(key, "▾") for key, _ in self.text.links[:BUTTONS]]
        if self.text.origin is not None:
            marks = [*marks, (self.text.origin, "Q")]
        for place, sign in marks:
            note = {"text": sign, "x": place, "y": 1, "yref": "y domain", "xanchor": "center", "yanchor": "bottom"}
            layout["annotations"].append(note | {"showarrow": False, "font": {"size": 12}})
        layout["margin"]["t"] = 24
        layout["height"] += 12

    def _jumps(self) -> list[tuple[str, int]]:
        """The query and its heaviest keys: what is written on the button of each, and its place."""
        query = [] if self.text.origin is None else [self.text.origin]
        found = [(f"Query {place:,} · {self._name(place)}", place) for place in query]
        return found + [
            (f"Key {key:,} · {self._name(key)} · {percent(weight)}", key) for key, weight in self.text.links[:BUTTONS]
        ]

    def _jump(self, number: int) -> Any:
        return _button("", lambda _: self.go(self._jumps()[number][1] - WINDOW // 2))

    def _name_buttons(self) -> None:
        labels = [label for label, _ in self._jumps()]
        for number, button in enumerate(self._buttons):
            there = number < len(labels)
            button.param.update(label=labels[number] if there else "", visible=there)

    def _name(self, place: int) -> str:
        return word(str(self.text.tokens[place]))


def _button(label: str, pressed: Any) -> Any:
    button = pmu.Button(label=label, variant="outlined", size="small", color="default", sx={"textTransform": "none"})
    button.on_click(pressed)
    return button
