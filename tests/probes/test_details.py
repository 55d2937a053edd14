"""What a reader sees of one head, one needle, one query: drawn from saved data, in every choice there is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests import viewed_runs
from tests.sample_runs import write_run
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.figures import Figure, Heatmap, Scatter
from workbench.probe.explore import SelectableDim, complete, span
from workbench.probe.registry import PROBES
from workbench.runs.run import Run


@pytest.fixture
def roles(viewed: dict[str, Any]) -> Run:
    return viewed["roles"]


@pytest.fixture
def profile(viewed: dict[str, Any]) -> Run:
    return viewed["profile"]


@pytest.fixture
def knob(viewed: dict[str, Any]) -> Run:
    return viewed["knob"]


@pytest.fixture(params=["roles", "profile", "knob"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(request.param)


def test_every_choice_is_drawn(run: Run) -> None:
    whole = run.details().by_name.keys()
    chosen = [each for each in run.coordinates if not each.figure]
    choices = [
        dict(zip([each.name for each in chosen], values, strict=True))
        for values in itertools.product(*(each.values for each in chosen))
    ]
    choices += [{each.name: value} for each in run.coordinates if each.figure for value in each.values]
    for choice in choices:
        found = run.details(**choice)
        assert found.by_name.keys() == whole
        for figure in found.figures:
            figure.plotly()
            assert Figure.from_json(figure.to_json()).to_json() == figure.to_json()


def test_what_is_not_chosen_is_the_first_value(run: Run) -> None:
    chosen = complete(run.coordinates, {})
    assert chosen == {each.name: each.first for each in run.coordinates}
    assert run.details().note == run.details(**chosen).note


def test_wrong_choices_are_named_with_what_there_is(roles: Run) -> None:
    with pytest.raises(UnknownName, match="layer"):
        roles.details(layers=1)
    with pytest.raises(UsageError, match="head 99 is not in this run; it has 0 to 3"):
        roles.details(head=99)
    with pytest.raises(UnknownName, match="nothing"):
        roles.details()["nothing"]


def test_two_scores_of_every_head_lie_where_they_were_measured(roles: Run, profile: Run) -> None:
    heads = roles.data["heads"].to_dataset()
    found = roles.details(layer=1, head=2, x_score="induction score, far", y_score="retrieval score by chance")[
        "two_scores"
    ]
    induction = heads["induction"].sel(repeat="far")
    everyone, own = found.panels[0].marks
    assert isinstance(everyone, Scatter) and isinstance(own, Scatter)
    assert len(everyone.x) == heads["copy_score"].size
    for x, y, name in zip(everyone.x, everyone.y, everyone.names or (), strict=True):
        layer, head = map(int, name.split("."))
        assert x == float(induction.sel(layer=layer, head=head))
        assert y == float(heads["copy_chance"].sel(layer=layer, head=head))
    assert list(own.names or ()) == ["1.2"] and own.x[0] == float(induction.sel(layer=1, head=2))
    statistics = profile.data["heads"].to_dataset().sel(condition="text").mean("example")
    found = profile.details(layer=2, head=0, x_score="distance (tokens)", y_score="attention on sinks")["two_scores"]
    assert np.array_equal(found.panels[0].marks[0].x, statistics["distance"].values.ravel())  # type: ignore[union-attr]
    assert found.data.query("name == '2.0'")["y"].tolist() == [float(statistics["sink_mass"].sel(layer=2, head=0))] * 2


def test_a_label_chooses_as_its_number_does(roles: Run) -> None:
    labels = next(each.labels for each in roles.coordinates if each.name == "x_score")
    assert labels is not None
    by_label, by_number = roles.details(x_score=labels[4]), roles.details(x_score=4)
    assert by_label["two_scores"].to_json() == by_number["two_scores"].to_json()
    assert by_label["two_scores"].panels[0].x.label == labels[4]
    with pytest.raises(UnknownName, match=r"x_score.*retrieval score by chance"):
        roles.details(x_score="nothing like it")
    with pytest.raises(UnknownName, match="layer"):
        roles.details(layer="first")


def test_a_needle_shows_every_head_of_that_trial(roles: Run) -> None:
    data = roles.data["held_out"].to_dataset()
    mode, rule = roles.data.attrs["mode"], roles.data.attrs["rule"]
    for needle in data["example"].values.tolist():
        mark = roles.details(layer=2, head=1, needle=needle)["needle"].panels[0].marks[0]
        assert isinstance(mark, Heatmap)
        assert np.array_equal(mark.values, data["copy"].sel(mode=mode, rule=rule, example=needle).values)
        assert list(mark.outlined) == [(2, 1)]


def test_each_needle_of_a_head_is_a_point_told_by_recall(roles: Run) -> None:
    data = roles.data["held_out"].to_dataset()
    mode, rule = roles.data.attrs["mode"], roles.data.attrs["rule"]
    scores = data["copy"].sel(mode=mode, rule=rule, layer=2, head=1).values
    marks = roles.details(layer=2, head=1)["needles"].panels[0].marks
    drawn = {
        int(x): (y, mark.label)
        for mark in marks
        if isinstance(mark, Scatter) and not mark.secondary
        for x, y in zip(mark.x, mark.y, strict=True)
    }
    for needle, score, recalled in zip(data["example"].values, scores, data["correct"].values, strict=True):
        assert drawn[int(needle)] == (score, "recalled" if recalled else "not recalled")


def test_the_first_head_is_the_one_that_copies_most(roles: Run) -> None:
    heads = roles.data["heads"].to_dataset()
    chosen = complete(roles.coordinates, {})
    best = float(heads["copy_score"].sel(layer=chosen["layer"], head=chosen["head"]))
    assert best == float(heads["copy_score"].max()) > 0.5


def test_the_keys_of_a_query_are_the_kept_ones_with_the_tokens_at_their_places(profile: Run) -> None:
    top, positions = profile.data["top"].to_dataset(), profile.data["positions"].to_dataset()
    for layer, head, query in itertools.product(top["layer"].values, top["head"].values, top["query"].values):
        found = profile.details(layer=int(layer), head=int(head), query=int(query))
        one = top.sel(layer=layer, head=head, query=query, example=0)
        kept = {int(k): float(w) for k, w in zip(one["key"].values, one["weight"].values, strict=True) if k >= 0}
        assert found.text is not None
        assert dict(found.text.links) == kept
        weights = [weight for _, weight in found.text.links]
        assert weights == sorted(weights, reverse=True)
        assert found.text.origin == query
        bars = found["keys"].data
        words = [str(word) for word in positions["first_text"].values]
        assert [name.split(" · ")[1] for name in bars["name"]] == [str(key) for key, _ in found.text.links]
        for panel, (key, _) in zip(found["quotes"].panels, found.text.links, strict=False):
            tokens = panel.marks[0].tokens  # type: ignore[union-attr]
            assert words[key] in tokens


def test_measures_of_a_text_have_a_number_for_every_token(profile: Run) -> None:
    positions = profile.data["positions"].to_dataset()
    for text in positions["example"].values.tolist():
        shown = profile.details(text=text).text
        assert shown is not None
        assert all(len(each.values) == len(shown.tokens) == positions.sizes["position"] for each in shown.measures)
        assert np.array_equal(shown.measures[0].values, positions["received"].sel(example=text).values)
    assert profile.details(text=1).text.tokens[0] == f"[{int(positions['token_id'].sel(example=1)[0])}]"  # type: ignore[union-attr]


def test_a_head_s_own_measure_sums_to_what_its_bins_hold(profile: Run) -> None:
    received = profile.data["received"].to_dataset()
    widths = received["last_key"].values - received["key"].values + 1
    shown = profile.details(layer=1, head=2).text
    assert shown is not None
    whole = float((received["received"].sel(layer=1, head=2).values * widths).sum())
    assert float(shown.measures[1].values.sum()) == pytest.approx(whole, rel=1e-5)


def test_an_item_shows_what_was_said_of_it_under_every_condition(knob: Run) -> None:
    scored = knob.data["scored/plain"].to_dataset()
    for example in scored["example"].values.tolist():
        one = scored.sel(example=example)
        item, said = knob.details(example=example).tables
        asked = [str(one[name].values) for name in ("context", "query", "prior", "other")]
        values = [f"{float(value):.2f}" for value in one["value"].values]
        assert [row[1] for row in item.rows] == [*asked, *values]
        assert [row[0] for row in said.rows] == one["condition"].values.tolist()
        for row, texts, right in zip(said.rows, one["said"].values, one["strict"].values, strict=True):
            words = ["right" if each else "not right" for each in right]
            assert list(row[1:]) == [texts[0], words[0], texts[1], words[1]]


def test_the_first_block_is_the_knob_s_and_every_block_shows_what_it_steers(knob: Run) -> None:
    swept = knob.data["sweep"].to_dataset()
    assert complete(knob.coordinates, {})["block"] == knob.data.attrs["layer"] == 1
    for block in swept["layer"].values.tolist():
        figure = knob.details(block=block)["block"]
        for way, panel in enumerate(figure.panels[:2]):
            mark = panel.marks[0]
            assert isinstance(mark, Heatmap)
            assert np.array_equal(mark.values, swept["right"].sel(layer=block).isel(intent=way).values)
    assert "steers 100%" in knob.details(block=1)["block"].title and "steers 0%" in knob.details(block=0)["block"].title


def test_items_are_told_apart_by_the_chosen_condition(knob: Run) -> None:
    scored = knob.data["scored/plain"].to_dataset()
    for place, condition in enumerate(scored["condition"].values):
        found = knob.details(condition=place, example=2)
        assert str(condition) in found.note
        for way, panel in enumerate(found["items"].panels):
            drawn = {int(x): mark.label for mark in panel.marks if isinstance(mark, Scatter) for x in mark.x}
            right = scored["strict"].sel(condition=condition).values[way]
            assert drawn == {example: "right" if each else "not right" for example, each in enumerate(right)}


def test_clicks_on_the_figures_of_a_knob_choose(knob: Run) -> None:
    from workbench.dashboards.components.click_selection import linked_dims

    named = {name: linked_dims(figure, knob.coordinates) for name, figure in knob.figures.items()}
    assert named["sweep"] == ["block"] and named["conditions"] == ["condition"]
    found = knob.details()
    assert linked_dims(found["items"], knob.coordinates) == ["example"]
    assert linked_dims(found["example"], knob.coordinates) == ["condition"]


def test_details_show_themselves_in_a_notebook_escaped(knob: Run) -> None:
    from dataclasses import replace

    from tests.sample_figures import HOSTILE

    found = knob.details(example=1)
    shown = found._repr_mimebundle_()
    assert found.note in shown["text/plain"] and "What was said" in shown["text/plain"]
    hostile = replace(found, tables=[replace(found.tables[0], rows=[(HOSTILE, HOSTILE)])])
    assert "<img" not in hostile._repr_mimebundle_()["text/html"]


def test_a_run_without_data_or_choices_offers_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("none")
    bare = Run(folder / write_run(folder))
    assert bare.coordinates == []
    assert bare.details().figures == ()
    with pytest.raises(UnknownName):
        bare.details(layer=0)


def test_data_of_another_version_is_said_to_be_so(roles: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = PROBES.get("head-roles")

    def broken(*_: object) -> None:
        raise KeyError("held_out")

    monkeypatch.setattr(probe, "details", broken)
    with pytest.raises(WorkbenchError, match=r"KeyError.*workbench rerun"):
        roles.details()


def test_the_values_of_a_coordinate_in_words() -> None:
    assert span(SelectableDim("head", list(range(9)), 0)) == "0 to 8"
    assert span(SelectableDim("query", [5, 90], 5)) == "5, 90"
    assert span(SelectableDim("query", list(range(0, 40, 2)), 0)) == "0, 2, 4, 6, 8, 10, 12, 14, … (20 in all)"


def test_a_very_long_text_is_drawn_in_a_few_thousand_points(viewed: dict[str, Any]) -> None:
    found = viewed["long"].details()
    assert found.text is not None
    assert len(found.text.tokens) == viewed_runs.LONG
    assert sum(len(figure.data) for figure in found.figures) < 5_000
