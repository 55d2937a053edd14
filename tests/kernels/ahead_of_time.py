"""Compile the Triton kernels for GPUs that are not here, and read the compiler's report.

As a script: `python ahead_of_time.py [baseline.json]` prints (or writes) the report of every variant.
"""

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("triton_baseline.json")
ARCHITECTURES = (80, 90)
HEAD_SIZES = (64, 128)
_ROWS_BLOCKS = {"SLOT": False, "WINDOW": False, "FIXED": False, "SEGMENTS": 16, "BLOCKS": True}
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: kernel, its table of tile sizes, what it is compiled for
    "forward": ("forward", "FORWARD", {"SLOT": False, "WINDOW": False}),
    "streaming": ("forward", "FORWARD", {"SLOT": False, "WINDOW": True}),
    "rows": ("rows", "ROW_STATISTICS", {"SLOT": False, "WINDOW": False, "FIXED": False, "SEGMENTS": 16}),
    "rows_lse": ("rows", "ROW_STATISTICS", {"SLOT": False, "WINDOW": False, "FIXED": True, "SEGMENTS": 32}),
    "columns": ("columns", "COLUMNS", {"WINDOW": False}),
    "forward_blocks": ("forward", "FORWARD", {"SLOT": False, "WINDOW": False, "BLOCKS": True}),
    "rows_blocks": ("rows", "ROW_STATISTICS", _ROWS_BLOCKS),
    "columns_blocks": ("columns", "COLUMNS", {"WINDOW": False, "BLOCKS": True}),
}
POINTERS = {
    "q_ptr": "*bf16", "k_ptr": "*bf16", "v_ptr": "*bf16", "out_ptr": "*bf16", "mask_ptr": "*i1",
    "sink_end_ptr": "*i32", "window_ptr": "*i32", "sink_start_ptr": "*i32", "argmax_ptr": "*i32", "segment_ptr": "*i32",
    "only_ptr": "*i32", "row_class_ptr": "*i32", "key_class_ptr": "*i32", "sees_ptr": "*i1",
}  # fmt: skip
NAMES = [f"{name}-sm{arch}-d{d}" for name in VARIANTS for arch in ARCHITECTURES for d in HEAD_SIZES]


def report(name: str, overrides: dict[str, int] | None = None) -> dict[str, Any]:
    """Registers a thread, spilled bytes, shared memory and tensor-core instructions of one variant."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from workbench.kernels import triton_columns, triton_forward, triton_launch, triton_rows

    variant, arch, d = re.fullmatch(r"(\w+)-sm(\d+)-d(\d+)", name).groups()  # type: ignore[union-attr]
    kernel_name, table, constants = VARIANTS[variant]
    kernel = {
        "forward": triton_forward.forward_kernel,
        "rows": triton_rows.rows_kernel,
        "columns": triton_columns.columns_kernel,
    }[kernel_name]
    blocks = constants.get("BLOCKS", False)
    tiles = triton_launch.config(getattr(triton_launch, table), int(d), torch.float16, blocks) | (overrides or {})
    options = {key: tiles.pop(key) for key in ("num_warps", "num_stages")}
    sizes = {"DV": int(d), "DV_PAD": int(d)} if kernel_name == "forward" else {}
    constants = {"BLOCKS": False} | constants | tiles | sizes | {
        "GROUP": 3, "D": int(d), "D_PAD": int(d), "CAUSAL": True, "MASK": False, "CAP": False, "PRECISION": "tf32",
    }  # fmt: skip
    signature = {n: "constexpr" if n in constants else _type(n) for n in kernel.arg_names}
    # what the launcher sees on a model's tensors: pointers and strides divisible by 16
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(kernel.arg_names)
        if signature[n].startswith("*") or n.endswith(("_batch", "_head", "_row"))
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", int(arch), 32), options=options)
    ptx = compiled.asm["ptx"]
    tensor_core = {op: ptx.count(op) for op in ("wgmma.mma_async", "mma.sync")}
    return _resources(compiled.asm["cubin"]) | {"shared": compiled.metadata.shared, **tensor_core}


def _type(name: str) -> str:
    if name.endswith("_ptr"):
        return POINTERS.get(name, "*fp32")
    return "fp32" if name in ("scale", "cap") else "i32"


def _resources(cubin: bytes) -> dict[str, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", text))
    return {"registers": int(found["REG"]), "spill": int(found["STACK"]) + int(found["LOCAL"])}


def reports() -> dict[str, dict[str, Any]]:
    """Every variant's report, compiled on two cores."""
    with ProcessPoolExecutor(2) as pool:
        return dict(zip(NAMES, pool.map(report, NAMES), strict=True))


if __name__ == "__main__":
    text = json.dumps(reports(), indent=1)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n")
    else:
        print(text)
