"""Folders that are damaged, or hold no model: the one line that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError, WorkbenchError


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def shorten(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"123")


def scramble(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:8] + b"\xff" * (path.stat().st_size - 8))


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def spoil(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("{not json")


def drop_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 99}))


def lose_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tiny("llama").save_pretrained(folder, max_shard_size="10KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def foreign(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "architectures": ["T5Model"]}))


def own_code(folder: Path) -> None:
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    (folder / "own.py").write_text("raise SystemExit('code ran')")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, r"is incomplete \(\d+ bytes of \d+\): copy it again"),
        (shorten, "is incomplete .its header is not readable"),
        (scramble, "is incomplete .its header is not readable"),
        (remove("model.safetensors"), "lacks model.safetensors"),
        (remove("config.json"), "no config.json"),
        (spoil("config.json"), "config.json is not readable as JSON"),
        (spoil("generation_config.json"), "generation_config.json is not readable as JSON"),
        (drop_weight, "lacks 1 weights of LlamaForCausalLM, model.layers.1.mlp.up_proj.weight first"),
        (widen, "could not be loaded|lacks"),
        (lose_shard, "lacks model-00002"),
        (foreign, "could not be loaded"),
        (own_code, "trust_remote_code=True"),
    ],
)
def test_damaged_folders_are_one_line(folder: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(folder)
    with pytest.raises(WorkbenchError, match=told) as caught:
        wb.load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_pickles_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="pickle, which can run code"):
        wb.load(folder)


def test_what_is_no_model_folder_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b.txt").write_text("text")
    for path in (tmp_path / "a.gguf", tmp_path):
        with pytest.raises(UsageError, match="convert it once"):
            wb.load(path)
    with pytest.raises(UsageError, match="is a file; give the folder"):
        wb.load(tmp_path / "b.txt")
    for absent in (tmp_path / "absent", "./absent", "~/absent-model", "a/b/c", ""):
        with pytest.raises(UsageError, match="no model folder at"):
            wb.load(absent)
    with pytest.raises(UsageError, match="has no revisions"):
        wb.load("smollm2-135m-instruct", revision="main")
