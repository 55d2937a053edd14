"""Names, folders and files: what loads, and the one line where something does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.models import cache_folder, fetch, find, listing
from workbench.models import registered as registered_models
from workbench.models.load import as_device, as_dtype


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny("llama", tie_word_embeddings=False).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model's folder that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def shipped(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one organism."""
    import sys

    shutil.copytree(saved, tmp_path / "organisms" / "sample")
    (tmp_path / "organisms" / "unfinished").mkdir()
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "files", lambda _: tmp_path)
    return tmp_path


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("WORKBENCH_CACHE")
    assert cache_folder() == tmp_path / "b" / "workbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "workbench"


def test_the_default_model_is_listed_first_under_both_names() -> None:
    first = listing()[0]
    assert first.id == "smollm2-135m-instruct-q4_1" and first.aliases == ("smollm2-135m-instruct",)
    assert find("smollm2-135m-instruct") == find(first.id) == next(registered_models())
    assert "4-bit" in str(first.quantisation)


def test_organisms_are_found_in_the_package(shipped: Path) -> None:
    listed = {model.id: model for model in listing()}
    assert "organism/sample" in listed and "organism/unfinished" not in listed
    assert listed["organism/sample"].cached and fetch("organism/sample") == shipped / "organisms" / "sample"
    info = wb.load("organism/sample", device="cpu").info
    assert info.id == "organism/sample" and info.quantisation is None
    with pytest.raises(UnknownName, match="did you mean 'organism/sample'"):
        wb.load("organism/sampel")


def test_every_shipped_organism_loads() -> None:
    for model in listing():
        if model.id.startswith("organism/"):
            assert wb.load(model.id, device="cpu").logits([1, 2, 3]).isfinite().all()


def test_a_folder_loads_in_its_own_dtype_or_the_one_asked_for(folder: Path) -> None:
    session = wb.load(str(folder), device="cpu")
    assert session.info.id == folder.resolve().as_posix() and session.info.dtype == "float32"
    assert torch.allclose(
        session.logits([1, 2, 3]), tiny("llama", tie_word_embeddings=False)(torch.tensor([[1, 2, 3]])).logits
    )
    assert wb.load(folder, dtype="bfloat16", device="cpu").info.dtype == "bfloat16"
    tiny("llama", torch.bfloat16).save_pretrained(folder)
    assert wb.load(folder, device="cpu").info.dtype == "bfloat16"


def test_dtypes_and_devices() -> None:
    assert as_dtype("bf16") is torch.bfloat16 and as_dtype(torch.float16) is torch.float16
    assert as_dtype(None) is None and as_dtype("auto") is None
    assert as_device("cpu") == torch.device("cpu")
    assert as_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("float8", "int8", torch.int64, "nonsense"):
        with pytest.raises(UsageError, match="is not one of float32, bfloat16"):
            as_dtype(wrong)
    for absent in ("cuda:99", "tpu", "nonsense", "meta"):
        with pytest.raises(UsageError, match="there is: cpu"):
            as_device(absent)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dtype": "float8"}, "dtype 'float8'"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"device": "cpu", "device_map": "auto"}, "either device or device_map"),
        ({"engine": "hff"}, "did you mean 'hf'"),
        ({"tokenizer": object()}, "leave tokenizer out"),
        ({"adapter": "nosuch"}, "no adapter 'nosuch'"),
    ],
)
def test_wrong_settings_are_one_line(folder: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        wb.load(folder, **settings)
    assert "\n" not in str(caught.value) and caught.value.exit_status == 2


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


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Hub that is not switched off and cannot be reached, and an empty cache."""
    import httpx
    from huggingface_hub import HfApi, constants

    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(HfApi, "model_info", fail)


def test_an_unreachable_hub_is_one_line(unreachable: None) -> None:
    with pytest.raises(WorkbenchError) as caught:
        wb.load("owner/model")
    told = str(caught.value)
    assert "the Hub cannot be reached ([Errno -2]" in told and "smollm2-135m-instruct" in told and "\n" not in told
    assert caught.value.exit_status == 1
    with pytest.raises(UnknownName, match="did you mean 'smollm2-135m-instruct'"):
        wb.load("smolm2-135m-instruct")
    with pytest.raises(UsageError, match="or give a folder or a Hub id"):
        wb.load("not a name!")


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("the Hub was asked"))
    with pytest.raises(WorkbenchError, match="HF_HUB_OFFLINE is set"):
        wb.load("owner/model")


def test_a_hub_model_in_the_cache_loads_without_a_network(folder: Path, tmp_path: Path, unreachable: None) -> None:
    commit = "c" * 40
    place = tmp_path / "hub" / "models--owner--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / commit)
    info = wb.load("owner/model", device="cpu").info
    assert (info.id, info.revision) == ("owner/model", commit)


def test_a_model_in_memory_is_taken_as_it_is() -> None:
    model = tiny("llama").train()
    session = wb.load(model)
    assert session.model is model and not model.training
    for wrong in ({"dtype": "bfloat16"}, {"device": "cpu"}, {"adapter": "x"}):
        with pytest.raises(UsageError, match="is taken as it is; leave out"):
            wb.load(model, **wrong)
    for wrong_model, told in (
        (7, "int is not a model"),
        ((model,), "as .model, tokenizer."),
        (torch.nn.Linear(1, 1), "not a model"),
    ):
        with pytest.raises(UsageError, match=told):
            wb.load(wrong_model)
    with pytest.raises(UsageError, match="str is not a tokenizer"):
        wb.load((model, "tokenizer"))


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A LoRA in peft's format with random weights, and the logits of the model with it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        tiny("llama", tie_word_embeddings=False),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter", model(torch.tensor([[1, 2, 3]])).logits.detach()


def test_an_adapter_acts_unmerged_and_is_recorded(saved: Path, adapter: tuple[Path, torch.Tensor]) -> None:
    folder, expected = adapter
    plain, session = wb.load(saved, device="cpu"), wb.load(saved, adapter=folder, device="cpu")
    assert torch.allclose(session.logits([1, 2, 3]), expected, atol=1e-5)
    assert not torch.allclose(plain.logits([1, 2, 3]), expected, atol=1e-2)
    assert session.info.fingerprint == plain.info.fingerprint, "the fingerprint is that of the model's own weights"
    told = session.info.adapter
    assert told is not None and told.id == folder.resolve().as_posix() and len(told.sha256) == 64
    seen = session.capture([1, 2, 3], ["q.1"])["q.1"]
    assert not torch.allclose(seen, plain.capture([1, 2, 3], ["q.1"])["q.1"])
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    again = wb.load(saved, adapter=folder, device="cpu").info.adapter
    assert again is not None and again.sha256 != told.sha256


def test_shipped_adapters_go_by_their_name(shipped: Path, adapter: tuple[Path, torch.Tensor]) -> None:
    shutil.copytree(adapter[0], shipped / "adapters" / "sample")
    for name in ("adapter/sample", "sample"):
        told = wb.load("organism/sample", adapter=name, device="cpu").info.adapter
        assert told is not None and told.id == "adapter/sample"


def test_adapters_that_do_not_fit_are_one_line(saved: Path, adapter: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    folder = adapter[0]
    tiny("llama", num_hidden_layers=4).save_pretrained(tmp_path / "deeper")
    tiny("llama", hidden_size=32).save_pretrained(tmp_path / "wider")
    tiny("gpt2").save_pretrained(tmp_path / "other")
    for model in ("deeper", "wider", "other"):
        with pytest.raises(WorkbenchError, match=r"the adapter .* does not fit") as caught:
            wb.load(tmp_path / model, adapter=folder, device="cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"is an adapter: load its base model"):
        wb.load(folder)
    with pytest.raises(UsageError, match=r"is not an adapter: there is no adapter_config\.json"):
        wb.load(saved, adapter=saved, device="cpu")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UsageError, match="not readable as JSON"):
        wb.load(saved, adapter=folder, device="cpu")
