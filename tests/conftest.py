"""Small random models of every architecture in the table, and the default model where a test needs the real thing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# several processes at once, each waiting in a loop for its threads, are five to ten times slower on two cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if _sharing := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # what a test starts inherits it, too
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _sharing)))

import pytest

from tests.chromium import chromium, open_page, playwright, profile  # noqa: F401

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from workbench.internals.hooked_model import HookedModel

_GQA = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_NEOX = {name: value for name, value in _GQA.items() if name not in ("num_key_value_heads", "head_dim")}
_GPT2 = {
    "vocab_size": 61,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where processes share the tests, one opens all pages, and no file is split: what it shares is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "pages" if file.startswith("tests/browser/") else file

    return ByFile(config, log)


TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GQA),
    "mistral": ("Mistral", {**_GQA, "sliding_window": 4}),
    "qwen2": ("Qwen2", {**_GQA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("Qwen3", _GQA),
    "gemma2": ("Gemma2", {**_GQA, "sliding_window": 4, "query_pre_attn_scalar": 6, "attn_logit_softcapping": 2.0}),
    "phi3": ("Phi3", {**_GQA, "hidden_size": 32, "sliding_window": 5}),
    "gpt2": ("GPT2", _GPT2),
    "gpt_neox": ("GPTNeoX", {**_NEOX, "use_parallel_residual": True}),
    "gpt_neox-sequential": ("GPTNeoX", {**_NEOX, "use_parallel_residual": False}),
}
"""Class stem and configuration of each; sliding windows, where there are any, are shorter than the prompts."""


def build(stem: str, changes: dict[str, Any], dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A model with random weights, large enough that attention is far from uniform; the same at every call."""
    import torch
    import transformers

    config = getattr(transformers, f"{stem}TextConfig" if stem in ("Gemma3", "Llama4") else f"{stem}Config")(**changes)
    name = "GPT2LMHeadModel" if stem == "GPT2" else f"{stem}ForCausalLM"
    model = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.2 * noise if parameter.ndim == 1 else 0.25 * noise)
    model.to(dtype or torch.float32)
    if dtype == torch.float64:
        _norms_in_float64(model)
    return model


def _norms_in_float64(model: PreTrainedModel) -> None:
    """Hugging Face's RMS norms compute in float32 whatever the dtype, which finite differences do not survive."""
    import torch

    for norm in model.modules():
        if type(norm).__name__.endswith("RMSNorm"):
            epsilon = getattr(norm, "eps", None) or norm.variance_epsilon
            one = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0

            def forward(x: torch.Tensor, weight: Any = norm.weight, epsilon: float = epsilon, one: float = one) -> Any:
                return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * (weight + one)

            norm.forward = forward


def tiny(name: str, dtype: torch.dtype | None = None, **changes: Any) -> PreTrainedModel:
    """One of the `TINY` models, with Hugging Face's own attention."""
    stem, settings = TINY[name]
    return build(stem, {**settings, **changes}, dtype)


def eager(name: str, dtype: torch.dtype | None = None, **changes: Any) -> PreTrainedModel:
    """The same model with eager attention: the reference."""
    model = tiny(name, dtype, **changes)
    model.set_attn_implementation("eager")
    return model


def hooked(model: PreTrainedModel) -> HookedModel:
    """The model behind the engine of plain hooks."""
    from workbench.internals.engines.hf import HfEngine
    from workbench.internals.hooked_model import HookedModel

    return HookedModel(HfEngine(model))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest norm of a difference among tokens, relative to the norm of what was expected."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    flat = expected.flatten(2).double()
    return float(((found.flatten(2).double() - flat).norm(dim=-1) / flat.norm(dim=-1).clamp(min=1e-30)).max())


@pytest.fixture(autouse=True)
def no_hook_stays() -> Iterator[None]:
    """Nothing watches attention after a test."""
    yield
    import sys

    if "workbench.internals.attention" in sys.modules:
        assert not sys.modules["workbench.internals.attention"]._watchers


@pytest.fixture(params=list(TINY))
def architecture(request: pytest.FixtureRequest) -> str:
    """The name of each small model in turn."""
    return request.param


@pytest.fixture(scope="session")
def default_model() -> Any:
    """The default model's session, from the cache."""
    import workbench as wb

    return wb.load("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Finished runs with data, in one folder: `roles`, `profile` and `knob` of organisms, `long` of 32,768 tokens.

    Processes that share the tests share the runs: the first that needs them makes them, others wait.
    """
    from filelock import FileLock

    from tests import viewed_runs

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "viewed.lock"):
        return viewed_runs.all_of(folder / "viewed")
