"""What a visitor types, of which nothing is lost however fast they type and however slow the server is."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmu


class _Typed:
    """Takes from the browser only what was typed last, `value_input`.

    The browser sends `value`, the text at the last blur, too. Events that wait for the server are handed on as one, and
    the widget sets `value_input` to `value` whenever that changes: an older text would undo what was typed after it.
    """

    def _process_events(self, events: dict[str, Any]) -> None:
        events.pop("value", None)
        super()._process_events(events)  # type: ignore[misc]

    def put(self, text: str) -> None:
        """Show another text."""
        self.param.update(value=text, value_input=text)  # type: ignore[attr-defined]


class TextInput(_Typed, pmu.TextInput):
    """One line."""


class TextArea(_Typed, pmu.TextAreaInput):
    """Several lines."""
