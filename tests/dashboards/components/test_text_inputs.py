"""What was typed last is what stands there, in whatever order the browser's events were handed on."""

from __future__ import annotations

import pytest

from workbench.dashboards.components.text_inputs import TextArea, TextInput


@pytest.mark.parametrize("made", [TextInput, TextArea])
@pytest.mark.parametrize(
    "events",
    [
        [{"value_input": "-1"}, {"value": "-1", "value_input": "7"}],
        [{"value_input": "7", "value": "-1"}],
        [{"value_input": "-1"}, {"value_input": "7"}, {"value": "-1"}],
        [{"value_input": "7", "value": "7"}],
    ],
)
def test_an_older_text_does_not_undo_a_newer_one(
    made: type[TextInput | TextArea], events: list[dict[str, str]]
) -> None:
    line, heard = made(label="Seed", value="0"), []
    line.param.watch(lambda event: heard.append(event.new), "value_input")
    for one in events:
        line._process_events(one)
    assert line.value_input == heard[-1] == "7"


@pytest.mark.parametrize("made", [TextInput, TextArea])
def test_a_text_that_is_put_replaces_what_was_typed(made: type[TextInput | TextArea]) -> None:
    line = made(label="Seed", value="0")
    line._process_events({"value_input": "7", "value": "7"})
    line.put("0")
    assert line.value_input == "0"
