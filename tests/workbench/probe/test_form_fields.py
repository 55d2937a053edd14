"""Fields of a form, told from a probe's Config, and what is typed into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model

from tests.dashboards import slow_probe
from workbench.dashboards.components.snippets import cli_command, python_snippet
from workbench.dashboards.server.limits import Limits
from workbench.dashboards.server.run_request import RunRequest
from workbench.dashboards.server.uploads import FOLDER, keep_text
from workbench.errors import UsageError, WorkbenchError
from workbench.probe.contract import Probe
from workbench.probe.form_fields import check, display_value, fields_of
from workbench.probe.registry import PROBES


@pytest.fixture
def slow() -> Iterator[Probe]:
    slow_probe.register()
    yield PROBES.get("slow")
    slow_probe.forget()


def typed(probe: Probe, **changed: Any) -> dict[str, Any]:
    config = probe.Config(**probe.presets["quick"])
    return {field.name: display_value(field, getattr(config, field.name)) for field in fields_of(probe)} | changed


def test_every_type_of_setting_has_its_kind(slow: Probe) -> None:
    kinds = {field.name: field.kind for field in fields_of(slow)}
    assert kinds == {
        "data": "file", "n": "line", "length": "line", "layers": "line", "pause": "line", "order": "choice",
        "twice": "flag", "note": "text", "source": "choice", "fails": "flag",
    }  # fmt: skip
    by_name = {field.name: field for field in fields_of(slow)}
    assert by_name["source"].options == ("first", "second") and by_name["order"].options == ("up", "down")
    assert by_name["n"].help == "Steps. A whole number from 1 to 500."
    assert by_name["pause"].help == "Seconds of a step. A number from 0 below 5."
    assert by_name["layers"].optional and not by_name["n"].optional


@pytest.mark.parametrize(
    "annotation",
    [Path, Path | None, str | int, list[str], tuple[str, ...], dict[str, int], tuple[Path, int], Any, bytes, object],
)
def test_a_setting_that_could_become_a_path_is_refused_when_its_probe_is_registered(annotation: Any) -> None:
    class Open(slow_probe.Slow):
        name = "open"
        Config = create_model("OpenConfig", __base__=slow_probe.SlowConfig, place=(annotation, Field(None)))

    with pytest.raises(UsageError, match="the probe 'open' has the setting 'place' of a type that no form takes"):
        PROBES.add(Open)
    assert "open" not in PROBES.names()


@pytest.mark.parametrize(
    ("annotation", "default", "text", "value"),
    [
        (int | None, None, "3", 3),
        (int | float, 1, "2.5", 2.5),
        (bool | None, None, "true", True),
        (tuple[int, float], (1, 2.0), "3, 4", (3, 4.0)),
        (list[Annotated[int, Field(ge=0)]], [0], "5", [5]),
        (list[Literal["up", "down"]], ["up"], "down, up", ["down", "up"]),
        (Literal[1, 2], 1, "2", 2),
    ],
)
def test_numbers_flags_and_fixed_words_are_typed_as_a_line(
    annotation: Any, default: Any, text: str, value: Any
) -> None:
    class Closed(slow_probe.Slow):
        Config = create_model("ClosedConfig", __base__=slow_probe.SlowConfig, amount=(annotation, Field(default)))

    probe = Closed()
    field = next(field for field in fields_of(probe) if field.name == "amount")
    assert field.kind == "line"
    assert check(probe, "quick", typed(probe, amount=text)) == ({"amount": value}, {})
    assert check(probe, "quick", typed(probe, amount="/etc/passwd"))[1].keys() == {"amount"}


@pytest.mark.parametrize("name", PROBES.names())
@pytest.mark.parametrize("preset", ["smoke", "quick", "full"])
def test_what_a_form_shows_of_a_preset_is_that_preset(name: str, preset: str) -> None:
    probe = PROBES.get(name)
    config = probe.Config(**probe.presets[preset])
    shows = {field.name: display_value(field, getattr(config, field.name)) for field in fields_of(probe)}
    assert check(probe, preset, shows) == ({}, {})
    given, problems = check(probe, "quick", shows)
    assert problems == {}
    assert probe.Config(**{**probe.presets["quick"], **given}) == config


def test_texts_become_values_of_their_type(slow: Probe) -> None:
    given, problems = check(
        slow, "quick", typed(slow, n="7", layers="0, 2", pause="1e-1", twice=True, note="<b>", data=Path("/kept/x.txt"))
    )
    assert problems == {}
    assert given == {"n": 7, "layers": (0, 2), "pause": 0.1, "twice": True, "note": "<b>", "data": "/kept/x.txt"}
    assert check(slow, "quick", typed(slow, layers="3"))[0] == {"layers": (3,)}


@pytest.mark.parametrize(
    ("changed", "name", "said"),
    [
        ({"n": "0"}, "n", "Must be greater than or equal to 1."),
        ({"n": "x"}, "n", "Must be a valid integer."),
        ({"n": ""}, "n", "A value is needed."),
        ({"layers": "1,x"}, "layers", "Must be a valid integer."),
        ({"pause": "5"}, "pause", "Must be less than 5."),
        ({"order": "sideways"}, "order", "Must be one of up, down."),
        ({"source": "/etc/passwd"}, "source", "Must be one of first, second."),
        ({"data": "/etc/passwd"}, "data", "Must be one of synthetic."),
        ({"order": "down", "twice": True}, "", "Down and twice do not go together."),
    ],
)
def test_what_is_wrong_is_said_at_its_input(slow: Probe, changed: dict[str, Any], name: str, said: str) -> None:
    assert check(slow, "quick", typed(slow, **changed))[1] == {name: said}


def test_several_inputs_are_wrong_at_once(slow: Probe) -> None:
    assert set(check(slow, "quick", typed(slow, n="0", layers="x", pause="-1"))[1]) == {"n", "layers", "pause"}


def test_a_text_is_kept_under_its_hash_whatever_it_is_called(tmp_path: Path) -> None:
    limits = Limits(upload_bytes=100, kept_bytes=150)
    path = keep_text(tmp_path, b"a text", "../../<img>.JSONL", limits)
    assert path.parent == tmp_path / FOLDER and path.suffix == ".jsonl" and path.read_bytes() == b"a text"
    assert keep_text(tmp_path, b"a text", "other.jsonl", limits) == path
    assert keep_text(tmp_path, b"a text", "x.sh", limits).suffix == ".txt"
    for content, said in ((b"x" * 101, "more than"), (b"\xff", "UTF-8"), (b" \n", "no text")):
        with pytest.raises(UsageError, match=said):
            keep_text(tmp_path, content, "x.txt", limits)
    keep_text(tmp_path, b"y" * 100, "x.txt", limits)
    with pytest.raises(WorkbenchError, match="fill the"):
        keep_text(tmp_path, b"z" * 100, "x.txt", limits)


def test_command_and_python_ask_for_the_same() -> None:
    asked = RunRequest("slow", "organism/head-roles", None, "smoke", 3, {"n": 4, "layers": (0, 2), "note": "it's"})
    assert cli_command(asked) == (
        "workbench run slow --model organism/head-roles --preset smoke --seed 3 "
        "--set n=4 --set 'layers=[0, 2]' --set 'note=it'\"'\"'s'"
    )
    made: dict[str, Any] = {}

    class Wb:
        load = staticmethod(lambda *given, **named: (given, named))

        @staticmethod
        def run(*given: Any, **named: Any) -> Any:
            made.update(given=given, named=named)
            return type("Run", (), {"summary": []})

    exec(python_snippet(asked).replace("import workbench as wb", ""), {"wb": Wb})
    assert made["given"] == ("slow", (("organism/head-roles",), {}))
    assert made["named"] == {"preset": "smoke", "seed": 3, "n": 4, "layers": (0, 2), "note": "it's"}
    assert cli_command(RunRequest("slow", "m", resume="an-id")) == "workbench run --resume an-id"
