"""Our folder `kernels/` beside Hugging Face's package of that name, with Python started in the repository's root."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TINY = """
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                     num_key_value_heads=1, vocab_size=50, head_dim=32)
model = AutoModelForCausalLM.from_config(config)
assert model(torch.arange(9)[None]).logits.shape == (1, 9, 50)
from transformers.utils.import_utils import is_kernels_available
print(is_kernels_available(), end=" ")
"""
# whatever transformers imports from it, and uses as a decorator
ANY_NAME = """
from .layer import THERE
def __getattr__(name):
    if name.startswith("__") or name == "merge_stats":
        raise AttributeError(name)
    return type(name, (), {"__init__": lambda self, *a, **k: None, "__call__": lambda self, f: f})
"""


def run(code: str, *extra_path: Path) -> str:
    """What the code prints, run in the repository's root as `python -c` (the root comes first on sys.path)."""
    # the end of sys.path: a .pth-like entry behind the environment's own packages
    prelude = f"import sys; sys.path += {[str(p) for p in extra_path]!r}\n"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed_for_real() -> bool:
    try:
        return bool(importlib.metadata.version("kernels"))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A distribution `kernels` with a submodule, of a version that transformers accepts."""
    from transformers.utils.import_utils import KERNELS_MIN_VERSION

    package, info = tmp_path / "kernels", tmp_path / f"kernels-{KERNELS_MIN_VERSION}.dist-info"
    package.mkdir()
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kernels\nVersion: {KERNELS_MIN_VERSION}\n")
    (info / "RECORD").write_text("kernels/__init__.py,,\n")
    (package / "layer.py").write_text("THERE = True\n")
    (package / "__init__.py").write_text(ANY_NAME)
    return tmp_path


def test_the_installed_package_wins(fake: Path) -> None:
    code = (
        "import kernels, kernels.layer; print(kernels.__file__, kernels.layer.THERE, hasattr(kernels, 'merge_stats'))"
    )
    assert run(code, fake) == f"{fake / 'kernels' / '__init__.py'} True False"


def test_without_one_it_is_as_if_not_installed() -> None:
    if installed_for_real():
        return
    code = "import kernels\ntry:\n  from kernels import get_kernel\nexcept ImportError: print('none')"
    assert run(code) == "none"
    assert run("from transformers.utils.import_utils import is_kernels_available as a; print(a())") == "False"


def test_models_run_beside_the_installed_package(fake: Path) -> None:
    both = "from workbench.kernels import attention_stats; print(attention_stats.__module__)"
    assert run(TINY + both, fake) == "True workbench.kernels.stats"


def test_models_run_without_it() -> None:
    both = "from workbench.kernels import attention_stats; print(attention_stats.__module__)"
    assert run(TINY + both) == f"{installed_for_real()} workbench.kernels.stats"
