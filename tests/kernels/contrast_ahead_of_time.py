"""Compile the contrast kernels for GPUs that are not here.

As a script: `python -m tests.kernels.contrast_ahead_of_time` writes the report of every variant.
"""

import json
from pathlib import Path
from typing import Any

from tests.kernels.ahead_of_time import ARCHITECTURES, _resources

BASELINE = Path(__file__).with_name("contrast_baseline.json")
VARIANTS: dict[str, dict[str, Any]] = {
    "scores": {"TERMS": 2, "PLUS": False, "NORMALISE": True, "FIRST": False, "IDS": True, "WHOLE": False},
    "scores_of_four": {"TERMS": 4, "PLUS": True, "NORMALISE": True, "FIRST": True, "IDS": True, "WHOLE": True},
    "distances": {},
}
LOGITS = ("a_ptr", "b_ptr", "c_ptr", "d_ptr", "plus_ptr", "first_ptr", "said_ptr")
INTEGERS = ("id_ptr", "kept_ptr", "best_ptr")


def report(variant: str, arch: int) -> dict[str, Any]:
    """Registers a thread, spilled bytes and shared memory of one variant, on bfloat16 logits."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from workbench.kernels import contrast_triton

    kernel = contrast_triton.distance_kernel if variant == "distances" else contrast_triton.contrast_kernel
    constants = VARIANTS[variant] | {"TILE": contrast_triton.TILE}
    signature = {name: "constexpr" if name in constants else _type(name) for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"num_warps": contrast_triton.WARPS})
    return _resources(compiled.asm["cubin"]) | {"shared": compiled.metadata.shared}


def _type(name: str) -> str:
    if name in LOGITS:
        return "*bf16"
    if name.endswith("_ptr"):
        return "*i32" if name in INTEGERS else "*fp32"
    return "fp32" if name in ("cut", "floor") else "i32"


if __name__ == "__main__":
    found = {f"{variant}-sm{arch}": report(variant, arch) for variant in VARIANTS for arch in ARCHITECTURES}
    BASELINE.write_text(json.dumps(found, indent=1) + "\n")
