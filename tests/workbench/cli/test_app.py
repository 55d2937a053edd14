"""The command line: every command as a person would use it, and every wrong use as one line that says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.probe.registry import PROBES
from workbench.runs.prepare import prepare

ONE = "20260101T000000Z-mean-logits-00000001"
TWO = "20260102T000000Z-mean-logits-00000002"


@pytest.fixture(scope="module")
def finished(session, tmp_path_factory):
    """A finished run that no test changes."""
    return wb.run("mean-logits", session, preset="smoke", runs=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture
def model(tiny_folder):
    return ("--model", str(tiny_folder))


@pytest.fixture
def prepared(at, finished):
    """A working folder as the wrong uses find it: two runs, one of them damaged, and files that are in the way."""
    import shutil

    for name in (ONE, TWO):
        shutil.copytree(finished.folder, at / "runs" / name)
    record = json.loads((at / "runs" / ONE / "record.json").read_text())
    (at / "runs" / ONE / "record.json").write_text(json.dumps({**record, "id": ONE}))
    (at / "runs" / TWO / "record.json").write_text('{"schema": 1, "id": "cut o')
    (at / "file").write_text("x")
    (at / "empty").mkdir()
    (at / "broken").mkdir()
    (at / "broken" / "config.json").write_text('{"model_type": "llama"}')
    (at / "later").mkdir()
    (at / "later" / "record.json").write_text('{"schema": 2}')


WRONG = [
    ("rnu", 2, "Did you mean 'run'"),
    ("frobnicate", 2, "There is: "),
    ("run", 2, "name a probe"),
    ("run mean-logit", 2, "did you mean 'mean-logits'"),
    ("run mean-logits extra", 2, "extra"),
    ("run mean-logits --modle x", 2, "--model"),
    ("run mean-logits --model", 2, "requires an argument"),
    ("run mean-logits --model organism/nothing", 2, "no organism named"),
    ("run mean-logits --model ./nowhere", 2, "no model folder"),
    ("run mean-logits --model empty", 2, "no config.json"),
    ("run mean-logits --model broken", 1, "broken"),
    ("run mean-logits --model no-one/nothing", 1, "no-one/nothing"),
    ("run mean-logits --model ", 2, "--model"),
    ("run mean-logits --engine jax", 2, "'transformerlens'"),
    ("run mean-logits --preset quik", 2, "did you mean 'quick'"),
    ("run mean-logits --set lenght=3", 2, "did you mean 'length'"),
    ("run mean-logits --set n=many", 2, "setting 'n' takes int, not 'many'"),
    ("run mean-logits --set n=0", 2, "greater than or equal to 1"),
    ("run mean-logits --set n", 2, "name=value"),
    ("run mean-logits --set n=1 --set n=2", 2, "given twice"),
    ("run mean-logits --set layers=a,b", 2, "setting 'layers' takes"),
    ("run mean-logits --seed -1", 2, "--seed"),
    ("run mean-logits --seed x", 2, "--seed"),
    ("run mean-logits --memory lots", 2, "8GiB"),
    ("run mean-logits --memory 1KiB MODEL", 1, "fits; or raise the limit with --memory"),
    ("run mean-logits --device tpu MODEL", 2, "there is: cpu"),
    ("run mean-logits --dtype int8 MODEL", 2, "float32"),
    ("run mean-logits --runs file MODEL", 2, "give another"),
    ("run --resume 20990101", 2, "no run under runs"),
    (f"run --resume {ONE} MODEL", 2, "already done"),
    (f"run --resume {TWO}", 1, "damaged"),
    ("plan", 2, "PROBE"),
    ("plan mean-logits --preset huge", 2, "there is: full, quick, smoke"),
    ("suite --preset smoke", 2, "--output"),
    ("suite -o out --set nothing=1", 2, "no setting of any probe"),
    ("show", 2, "RUN"),
    ("show 2026", 2, "2 runs begin with"),
    ("show 1999", 2, "`workbench runs --runs runs` lists them"),
    ("show nowhere/run", 2, "is not a run"),
    ("show later", 1, "install a newer workbench"),
    (f"show {TWO}", 1, "is damaged: it is not JSON"),
    ("runs --runs file", 2, "is not a folder"),
    (f"compare {ONE}", 2, "two or more runs"),
    (f"compare {ONE} {TWO}", 1, "damaged"),
    (f"verify {TWO}", 1, "damaged"),
    ("rerun 1999", 2, "no run under runs"),
    (f"report {ONE}", 2, "--output"),
    (f"report {ONE} -o report.docx", 2, ".html"),
    (f"report {ONE} -o empty --to html", 2, "is a folder"),
    (f"report {ONE} -o x --to docx", 2, "'html'"),
    ("models fetch", 2, "ID"),
    ("models fetch gpt-9", 2, "no registered model named"),
    ("models feth smollm2-135m-instruct", 2, "Did you mean 'fetch'"),
    ("train", 2, "RECIPE"),
    ("train counted-line", 2, "did you mean 'counted-lines'"),
    ("train counted-lines -o runs", 2, "name an empty folder"),
    ("train counted-lines --model x", 2, "leave the model options out"),
    ("train counted-lines --resume runs", 2, "cannot go on from the middle"),
    ("train counted-lines --set lines=-3", 2, "greater than or equal to 1"),
    ("serve --port 99999", 2, "--port"),
    ("serve --address 0.0.0.0", 2, "other machines"),
]


@pytest.mark.parametrize(("words", "status", "said"), WRONG, ids=[words for words, _, _ in WRONG])
def test_a_wrong_use_is_one_line_that_says_what_to_do(cli, prepared, model, words, status, said):
    split = [part for word in words.split(" ") for part in (model if word == "MODEL" else (word,))]
    found = cli(*split)
    lines = found.err.splitlines()
    assert found.status == status, found
    assert len(lines) == 1 and lines[0].startswith("workbench: ") and said in lines[0], found.err
    assert found.out == "" and "Traceback" not in found.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run", "mean-logit"], 2, "did you mean 'mean-logits'"),
        (["show", "nothing"], 2, "no run under runs"),
        (["runs", "--runs", "/dev/null"], 2, "is not a folder"),
    ],
)
def test_a_wrong_use_in_a_process_of_its_own(at, environment, words, status, said):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *words], capture_output=True, text=True, env=environment, cwd=at
    )
    assert done.returncode == status and said in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout


def test_help_comes_at_once_and_loads_nothing_heavy(at, environment):
    code = (
        "import sys; from workbench.__main__ import main; main(['--help']); "
        "heavy = {'torch', 'transformers', 'xarray', 'zarr', 'pandas', 'panel', 'nnsight', 'transformer_lens'}; "
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 5, "it takes a fifth of a second where nothing else runs"
    of_runs = ("runs", "show", "compare", "note", "verify", "rerun", "report", "serve")
    for command in ("run", "plan", "suite", "train", *of_runs):
        assert f"\n  {command} " in done.stdout


def test_version_help_and_no_command(cli):
    assert cli("--version").out.startswith("workbench ")
    assert "--resume" in cli("run", "--help").out
    assert cli().status == 2


def test_probes_tell_their_settings_presets_and_papers(cli):
    probes = {probe["name"]: probe for probe in json.loads(cli("probes", "--json").out)}
    ours = probes["mean-logits"]
    assert ours["config"]["properties"]["n"]["default"] == 4 and ours["presets"]["smoke"] == {"n": 2}
    assert ours["papers"] == [{"title": "No paper", "arxiv": "0000.00000"}]
    assert "mean-logits: How large are" in cli("probes").out


def test_models_and_doctor(cli):
    listed = json.loads(cli("models", "--json").out)
    assert listed[0]["id"] == "smollm2-135m-instruct-q4_1" and isinstance(listed[0]["cached"], bool)
    assert "smollm2-135m-instruct" in cli("models").out
    machine = json.loads(cli("doctor", "--json").out)
    assert machine["memory"]["available"] > 0 and machine["packages"]["torch"] and "detail" in machine["triton"]
    assert "cache" in cli("doctor").out


def test_plan_run_show_and_report(cli, model, at):
    planned = json.loads(cli("plan", "mean-logits", *model, "--set", "n=3", "--json").out)
    assert planned["passes"] == 3 and planned["bytes"] <= planned["budget"]
    assert "about" in cli("plan", *model, "mean-logits").out

    # Options stand in any order, before and after the probe.
    done = cli("run", "--seed", "2", "mean-logits", *model, "--set", "n=3", "--set", "layers=0,1", "--json")
    record = json.loads(done.out)
    assert done.status == 0 and record["status"] == "success"
    assert record["spec"]["given"] == {"n": 3, "layers": [0, 1]} and record["spec"]["seed"] == 2
    assert "prompts: " in done.err and "Traceback" not in done.err

    shown = cli("show", record["id"][:22], "--json")
    assert json.loads(shown.out) == record
    text = cli("show", record["id"]).out
    assert "mean_logit" in text and "Random prompts are no text." in text
    assert record["id"] in cli("runs").out
    assert json.loads(cli("runs", "--json").out) == [record]

    written = cli("report", record["id"], "-o", "report.html", "--json")
    assert written.status == 0, written.err
    assert json.loads(written.out)["bytes"] == (at / "report.html").stat().st_size > 10_000
    assert cli("report", record["id"], "-o", "bare.md", "--no-prompts").status == 0
    assert "Texts were left out" in (at / "bare.md").read_text()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_would_fit_is_named_as_options(cli, session, model, command, monkeypatch):
    monkeypatch.setitem(PROBES.get("mean-logits").presets, "smoke", {"length": 4})
    enough = prepare("mean-logits", session, given={"length": 4}).plan.bytes
    refused = cli(command, "mean-logits", *model, "--memory", enough)
    assert refused.status == 1 and "it would fit with --set length=4 (" in refused.err
    assert " or --preset smoke (" in refused.err and refused.err.endswith("; or raise the limit with --memory\n")


def test_compare_shows_what_differs(cli, session, at):
    one, two = (wb.run("mean-logits", session, preset="smoke", seed=seed, progress=False) for seed in (0, 1))
    found = json.loads(cli("compare", one.id, two.id, "--json").out)
    assert found["settings"] == {"seed": [0, 1]} and found["model"] == {} and len(found["headlines"]) == 1
    text = cli("compare", one.id, two.id).out
    assert "seed" in text and "mean_logit" in text and "the same in all: model" in text


def test_a_failing_probe_is_one_line_and_its_record_is_kept(cli, model, at, monkeypatch):
    probe = PROBES.get("mean-logits")
    monkeypatch.setattr(type(probe), "summary", lambda *_: 1 / 0)
    failed = cli("run", "mean-logits", *model, "--preset", "smoke", "--json")
    record = json.loads(failed.out)
    assert failed.status == 1 and record["status"] == "error" and record["error"]["kind"] == "ZeroDivisionError"
    last = failed.err.splitlines()[-1]
    assert "ZeroDivisionError: division by zero" in last and "workbench show" in last and "Traceback" not in failed.err
    assert "Traceback" in cli("show", record["id"]).out


def test_a_damaged_run_does_not_hide_the_others(cli, prepared):
    found = cli("runs")
    assert found.status == 0 and ONE in found.out
    assert "1 unreadable beside 1 readable" in found.err


def test_a_model_that_cannot_be_loaded_can_be_traced(cli, at, tiny_folder, monkeypatch):
    shutil.copytree(tiny_folder, at / "broken")
    config = json.loads((at / "broken" / "config.json").read_text())
    (at / "broken" / "config.json").write_text(json.dumps({**config, "num_key_value_heads": "three"}))
    words = ("plan", "mean-logits", "--model", at / "broken")
    failed = cli(*words)
    assert failed.status == 1 and "could not be loaded" in failed.err and "Traceback" not in failed.err
    monkeypatch.setenv("WORKBENCH_TRACEBACK", "1")
    with pytest.raises(WorkbenchError, match="could not be loaded") as raised:
        cli(*words)
    assert raised.value.__cause__ is not None


def test_hostile_names_do_not_reach_the_terminal(cli, prepared, at):
    path = at / "runs" / ONE / "record.json"
    record = json.loads(path.read_text())
    record["model"]["id"] = "evil\x1b[31m"
    record["summary"] = ["two\nlines\x07"]
    path.write_text(json.dumps(record))
    for words in (["show", ONE], ["runs"]):
        assert not {"\x1b", "\x07"} & set(cli(*words).out)
