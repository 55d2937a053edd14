"""Names and folders: what loads, and the one line where something does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import eager, tiny
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.models import cache_folder, fetch, find, listing
from workbench.models import registered as registered_models
from workbench.models.load import as_device, as_dtype


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
            session = wb.load(model.id, device="cpu")
            d_in = session.shape.d_in
            assert session.logits([1, 2, 3] if d_in is None else torch.ones(1, 3, d_in)).isfinite().all()


def test_a_folder_loads_in_its_own_dtype_or_the_one_asked_for(folder: Path) -> None:
    session = wb.load(str(folder), device="cpu")
    assert session.info.id == folder.resolve().as_posix() and session.info.dtype == "float32"
    assert torch.allclose(
        session.logits([1, 2, 3]), eager("llama", tie_word_embeddings=False)(torch.tensor([[1, 2, 3]])).logits
    )
    assert wb.load(folder, dtype="bfloat16", device="cpu").info.dtype == "bfloat16"
    spread = wb.load(folder, device_map="cpu", trust_remote_code=True).info
    assert spread.device_map == "cpu" and spread.trust_remote_code and not session.info.trust_remote_code
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
    assert session.model is model and model.training
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
