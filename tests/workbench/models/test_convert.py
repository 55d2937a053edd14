"""The command that turns a GGUF file into a folder: whole or not at all, with the file's own way to split text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import workbench as wb
from tests import gguf_files
from workbench.models.convert import main
from workbench.models.from_gguf.file import read
from workbench.models.from_gguf.tokenizer import tokenizer

IDS = torch.randint(3, gguf_files.VOCABULARY, (40,), generator=torch.Generator().manual_seed(3)).tolist()
SPACE = "▁"


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model whose positions are scaled, and its GGUF file beside files of another model."""
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}
    made = gguf_files.model("llama", rope_parameters=rope)
    folder = tmp_path_factory.mktemp("yarn")
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
    gguf_files.write(made, folder / "model.gguf", keys)
    gguf_files.model("gpt2").save_pretrained(folder)
    tokenizer(read(folder / "model.gguf")).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 77, "temperature": 0.3}))
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(told))
    return made, folder / "model.gguf"


def test_a_file_becomes_a_folder_that_loads_and_computes_the_same(yarn: tuple[Any, Path], tmp_path: Path) -> None:
    made, path = yarn
    folder = tmp_path / "new" / "converted"
    arguments = [sys.executable, "-m", "workbench.models.convert", str(path), str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^fingerprint ([0-9a-f]{64})$", done.stdout, re.MULTILINE)
    session = wb.load(folder, device="cpu")
    assert printed is not None and printed[1] == session.info.fingerprint
    with torch.no_grad():
        expected = made(torch.tensor([IDS])).logits
    assert torch.allclose(session.logits(IDS), expected, atol=1e-4)
    assert session.model.config.rope_parameters["rope_type"] == "yarn"
    assert [one.name for one in folder.parent.iterdir()] == ["converted"]
    # What lies beside the file is of another model, and nothing of it comes along.
    assert session.model.generation_config.eos_token_id == 2
    assert session.model.generation_config.temperature != 0.3
    assert session.text_tokens(session.tokens("ab 12").rows()[0]) == ["ab", " ", "1", "2"]


def test_wrong_use_is_one_line(yarn: tuple[Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = yarn[1]
    refused = gguf_files.write(yarn[0], tmp_path / "refused.gguf", {"logit_scale": 0.5})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for arguments, told in (
        ([], "give a GGUF file and a new folder"),
        ([str(path)], "give a GGUF file and a new folder"),
        ([str(tmp_path / "absent.gguf"), str(tmp_path / "new")], "no file"),
        ([str(refused), str(tmp_path / "new")], "llama.logit_scale = 0.5"),
        ([str(path), str(tmp_path / "full")], "is there already: give a folder that does not exist yet"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith("workbench: ") and told in said[-1]
    assert not (tmp_path / "new").exists() and (tmp_path / "full" / "notes.txt").read_text() == "mine"


def pieces(text: str, words: list[str], scores: list[float], prefix: bool) -> list[str]:
    """A text in pieces of a sentencepiece vocabulary, by the rule itself: the best-scored pair is joined until none is.

    Letters that are no piece become their bytes.
    """
    known = dict(zip(words, scores, strict=True))
    parts = list(((" " if prefix and text else "") + text).replace(" ", SPACE))
    while True:
        pairs = [(known[a + b], -at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in known]
        if not pairs:
            break
        at = -max(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [piece for part in parts for piece in ([part] if part in known else [f"<0x{b:02X}>" for b in part.encode()])]


MERGED = ["he", "the", "in", "er", "an", "ing", "on", "is", "cap", "it", "al", "ital", "apital", "11", "12", "123"]
MERGED += [SPACE + word for word in ("t", "a", "the", "is", "c", "cap", "capital")] + [SPACE * 2, SPACE * 3, SPACE * 4]


@pytest.mark.parametrize(
    ("kind", "prefix"), [("llama", True), ("llama", False), ("llama", None), ("gemma2", False), ("phi3", True)]
)
def test_a_sentencepiece_vocabulary_gives_the_pieces_of_its_rule(
    kind: str, prefix: bool | None, tmp_path: Path
) -> None:
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzTHE0123456789.,'()é" + SPACE))
    marks = ["<unk>", "<s>", "</s>", "<pad>", "<eos>", "<bos>", "<mask>"]
    words = [*marks, *(f"<0x{byte:02X}>" for byte in range(256)), *MERGED, *letters]
    scores = [0.0] * 263 + [-float(rank) for rank in range(len(MERGED) + len(letters))]
    told = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": [2] + [3] * 6 + [6] * 256 + [1] * (len(words) - 263),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    settings = {"gemma2": {"head_dim": 8}, "phi3": {"pad_token_id": 3}}.get(kind, {})
    made = gguf_files.model(kind, vocab_size=len(words), num_hidden_layers=1, **settings)
    without = ("tokenizer.ggml.merges", "tokenizer.ggml.add_bos_token")
    file = read(gguf_files.write(made, tmp_path / "model.gguf", told, leave_out=without))
    tokenizer(file).save_pretrained(tmp_path / "saved")
    ours = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in (
        "the capital is",
        " the",
        "  the  capital   is ",
        "12311 it's",
        "añb 日本\n\n(the)",
        "TaHinger",
        "",
        " ",
    ):
        found = ours.convert_ids_to_tokens(ours(text).input_ids)
        assert found == ["<s>", *pieces(text, words, scores, prefix is not False)], text
        assert ours.decode(ours(text).input_ids, skip_special_tokens=True) == text
