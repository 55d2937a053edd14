"""What a page gets of the links between tokens: those of its window, bounded, and what is left out is said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tests.sample_figures import HOSTILE
from workbench.dashboards.components import token_links
from workbench.dashboards.components.templates import render
from workbench.dashboards.components.token_links import MOST, LinkedTokens, links_within
from workbench.dashboards.components.token_view import STYLE, token_window
from workbench.probe.explore import LongText, Measure

LENGTH = 4_000


def linked_text(looks: Mapping[int, Sequence[tuple[int, float]]]) -> LongText:
    words = [HOSTILE if place == 7 else f" w{place}" for place in range(LENGTH)]
    return LongText("A text", "Its caption", words, [Measure("received", np.ones(LENGTH))], looks=looks)


def line(text: LongText, start: int = 0) -> str:
    made = render("tokens.html", **token_window(text, text.measures[0], start))
    return "".join(re.findall(r'<p class="links"[^>]*>(.*?)</p>', made))


def test_links_of_a_window_begin_or_end_in_it() -> None:
    text = linked_text({3_000: [(7, 0.5), (2_990, 0.25)], 50: [(7, 0.125)]})
    both = links_within(text, 0, 1_000)
    assert both["looks"] == {3_000: [(7, 0.5)], 50: [(7, 0.125)]}
    assert set(both["words"]) == {7, 50, 3_000}
    assert links_within(text, 2_000, 3_000)["looks"] == {3_000: [(2_990, 0.25)]}
    assert links_within(text, 3_500, 4_000)["looks"] == {}


def test_what_is_left_out_is_the_lightest_and_is_said() -> None:
    many = {query: [(key, 0.25 + key / 1_000) for key in reversed(range(10))] for query in range(100, 300)}
    found = links_within(linked_text(many), 0, 1_000)
    assert sum(map(len, found["looks"].values())) == MOST
    assert min(weight for links in found["looks"].values() for _, weight in links) == 0.255
    assert "2000 weights" in line(linked_text(many)) and f"the {MOST} largest" in line(linked_text(many))
    assert "largest" not in line(linked_text({3: [(2, 1.0)]}))
    assert len(LinkedTokens(token_window(linked_text(many), linked_text(many).measures[0], 0), STYLE).spec) < 300_000


def test_a_text_without_links_has_no_line_and_a_window_without_them_says_so() -> None:
    assert line(linked_text({})) == ""
    assert "kept no weights of the tokens here" in line(linked_text({3_000: [(2_990, 1.0)]}))


def test_words_are_short_and_are_no_html_before_the_page_sets_them_as_text() -> None:
    text = linked_text({50: [(7, 0.5)]})
    spec = json.loads(LinkedTokens(token_window(text, text.measures[0], 0), STYLE).spec)
    assert spec["words"]["7"] == token_links.word(HOSTILE)
    assert len(spec["words"]["7"]) <= 20
    assert "<img" not in spec["html"] and "<script" not in spec["html"]
