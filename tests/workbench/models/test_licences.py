"""A model that comes in several wheels, under terms that its user has to accept."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import workbench as wb
from tests.tiny_wheel import make_chain
from workbench.cli import main
from workbench.errors import Cancelled, UsageError, WorkbenchError
from workbench.models import fetch, find, listing
from workbench.models.model_files import is_intact, note
from workbench.models.registered import TABLE, Registered
from workbench.progress import Progress, Reporter


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registered]:
    folder = tmp_path_factory.mktemp("index")
    return folder, make_chain(folder)


@pytest.fixture
def model(index: tuple[Path, Registered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """The chain of wheels as the one registered model, served by a folder, with an empty cache."""
    folder, found = index
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "TABLE", (found,))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return found


def at_last() -> Reporter:
    """A reporter that stops a fetch once there is only the conversion left."""

    def stop(event: Progress) -> None:
        if event.stage == "convert":
            raise Cancelled("seen enough")

    return Reporter(stop)


def test_every_registered_model_has_a_licence_and_is_pinned() -> None:
    for model in TABLE:
        assert model.source is not None and model.fingerprint is not None and len(model.fingerprint) == 64
        assert model.licence.name and model.licence.url.startswith("https://")
        assert not model.licence.must_accept or model.licence.notice
        for pinned in (model.source, *model.source.wheels):
            assert len(pinned.sha256) == 64 and pinned.bytes > 0
        assert any(wheel.member for wheel in model.source.wheels)
    gemma = find("gemma-3-270m")
    assert gemma.id == "gemma-3-270m-q4_k_m" and gemma.licence.must_accept and "base" in gemma.about
    assert gemma.source is not None and [bool(wheel.member) for wheel in gemma.source.wheels] == [False] + [True] * 4
    assert "4-bit" in str(gemma.quantisation) and "dequantised" in str(gemma.quantisation)


@pytest.mark.parametrize("ask", [fetch, wb.load], ids=["fetch", "load"])
def test_terms_that_were_not_accepted_are_told_and_nothing_is_fetched(ask, model: Registered, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ask("tiny-chain")
    told = str(caught.value)
    for part in (
        "Terms of the tests",
        "https://example.org/terms",
        "Nothing may be passed on.",
        "workbench models fetch tiny-chain-f32 --accept-license",
        "accept_license=True",
    ):
        assert part in told
    assert "\n" not in told and caught.value.exit_status == 2 and not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("converts_here")
def test_a_chain_is_joined_noted_and_loads(model: Registered) -> None:
    [listed] = [one for one in listing() if one.id == model.id]
    assert listed.licence["accepted"] is False and listed.licence["must_accept"] and not listed.cached
    assert listed.download == sum(wheel.bytes for wheel in model.source.wheels)  # type: ignore[union-attr]
    events: list[Progress] = []
    folder = fetch("tiny-chain", Reporter(events.append), accept_license=True)
    downloads = [event for event in events if event.stage == "download"]
    assert [event.done for event in downloads] == sorted(event.done for event in downloads)
    assert downloads[-1].done == downloads[-1].total == listed.download
    noted = note(folder)
    assert noted is not None and is_intact(folder, Reporter()) and noted["licence"]["name"] == "Terms of the tests"
    assert noted["source"]["sha256"] == model.source.sha256 and len(noted["source"]["wheels"]) == 4  # type: ignore[union-attr]
    assert set(noted["files"]) >= {"model.safetensors", "TERMS.html", "NOTICE.md"}
    assert (folder / "TERMS.html").read_bytes() == b"<p>Terms of the tests</p>"
    [listed] = [one for one in listing() if one.id == model.id]
    assert listed.licence["accepted"] is True and listed.cached
    info = wb.load("tiny-chain", device="cpu").info
    assert info.id == "tiny-chain-f32" and info.fingerprint == noted["fingerprint"]
    assert info.about == "a random base model for tests" and info.licence == "Terms of the tests"
    # Once accepted, a model that went bad is fetched again without being asked anew.
    (folder / "model.safetensors").write_bytes(b"went bad")
    assert is_intact(fetch("tiny-chain"), Reporter())


def test_other_terms_than_the_accepted_ones_have_to_be_accepted_again(
    model: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: Progress) -> None:
        raise Cancelled("seen enough")

    with pytest.raises(Cancelled):
        fetch("tiny-chain", Reporter(stop), accept_license=True)
    with pytest.raises(Cancelled):
        fetch("tiny-chain", Reporter(stop))
    stricter = replace(model, licence=replace(model.licence, notice="Nothing at all is allowed."))
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "TABLE", (stricter,))
    with pytest.raises(UsageError, match="Nothing at all is allowed"):
        fetch("tiny-chain")


def test_a_fetch_that_stopped_between_two_wheels_goes_on_there(model: Registered, tmp_path: Path) -> None:
    first, second = model.source.wheels[0], model.source.wheels[2]  # type: ignore[union-attr]
    reporter = Reporter()

    def stop(event: Progress) -> None:
        if event.stage == "download" and event.done > first.bytes + model.source.wheels[1].bytes:  # type: ignore[union-attr]
            reporter.cancelled.set()

    reporter.listener = stop
    with pytest.raises(Cancelled):
        fetch("tiny-chain", reporter, accept_license=True)
    kept = tmp_path / "cache" / "downloads"
    there = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert first.file in there and second.file not in there
    with pytest.raises(Cancelled):
        fetch("tiny-chain", at_last())
    assert len(list(kept.iterdir())) == 4
    assert all((kept / name).stat().st_mtime_ns == time for name, time in there.items())


def test_wheels_brought_by_hand(
    index: tuple[Path, Registered], model: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    some = tmp_path / "some"
    some.mkdir()
    wheels = sorted(index[0].glob("*.whl"))
    for wheel in wheels[:-1]:
        (some / wheel.name).write_bytes(wheel.read_bytes())
    with pytest.raises(UsageError, match=rf"lacks {wheels[-1].name}: tiny-chain-f32 comes in 4 wheels"):
        fetch("tiny-chain", source=some, accept_license=True)
    with pytest.raises(UsageError, match="is one file: tiny-chain-f32 comes in 4 wheels, give the folder"):
        fetch("tiny-chain", source=wheels[0])
    (some / wheels[-1].name).write_bytes(wheels[0].read_bytes())
    with pytest.raises(UsageError, match=r"is not the wheel of tiny-chain-part3==1\.0: sha256"):
        fetch("tiny-chain", source=some)
    assert not model.folder.exists()
    (some / wheels[-1].name).write_bytes(wheels[-1].read_bytes())
    with pytest.raises(Cancelled):
        fetch("tiny-chain", at_last(), source=some)


def test_parts_that_do_not_make_the_pinned_file_are_refused(
    index: tuple[Path, Registered], model: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = model.source
    assert source is not None
    swapped = replace(source, wheels=(*source.wheels[:1], source.wheels[2], source.wheels[1], source.wheels[3]))
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "TABLE", (replace(model, source=swapped),))
    with pytest.raises(WorkbenchError, match=rf"tiny\.gguf out of .* has sha256 .*, expected {source.sha256}"):
        fetch("tiny-chain", source=index[0], accept_license=True)
    assert not model.folder.exists()


def test_the_command_line_tells_the_terms(
    index: tuple[Path, Registered],
    model: Registered,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["workbench.models.fetch"], "_convert", lambda *_: None)
    assert main(["models", "fetch", "tiny-chain"]) == 2
    assert "--accept-license" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert "Terms of the tests (to be accepted)" in capsys.readouterr().out
    asked = ["models", "fetch", "tiny-chain", "--accept-license", "--source", str(index[0]), "--json"]
    assert main(asked) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out) == {"id": "tiny-chain-f32", "path": str(model.folder)}
    assert seen.err.index("https://example.org/terms") < seen.err.index("Nothing may be passed on.")
    assert main(["models", "--json"]) == 0
    [listed] = [one for one in json.loads(capsys.readouterr().out) if one["id"] == model.id]
    assert listed["licence"]["accepted"] is True and listed["cached"] is False
    assert main(["models"]) == 0
    assert "Terms of the tests (accepted)" in capsys.readouterr().out
