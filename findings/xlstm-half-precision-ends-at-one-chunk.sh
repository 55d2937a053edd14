#!/usr/bin/env bash
# transformers 5.23.0 with torch 2.13.0: xLSTM in bfloat16 or float16 runs texts that are shorter than one chunk, and no other.
#
# Expected: a model that runs 63 tokens runs 64, as it does in float32.
# Seen:     from `chunk_size` (64 unless told) tokens on it raises a RuntimeError about types that do not match. Shorter
#           texts are computed token by token. In whole chunks the gates are float32, and so are the keys that they
#           were multiplied by, which then meet values in the model's type in a matrix product. Prompts of a few tokens,
#           as in most tests, do not show it. Setting `inference_state_dtype` or `autocast_kernel_dtype` does not help.
#
# Needs python3 (3.11 or newer) and PyPI. Exits 0 while the behaviour is as described.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cat > "$folder/look.py" <<'PYTHON'
import sys

import torch
import transformers


def says(dtype, tokens, **settings):
    torch.manual_seed(0)
    config = transformers.xLSTMConfig(vocab_size=99, hidden_size=64, num_heads=4, num_blocks=2, **settings)
    model = transformers.xLSTMForCausalLM(config).eval().to(dtype)
    try:
        with torch.no_grad():
            logits = model(torch.arange(tokens)[None] % 99, use_cache=False).logits
        return "runs" if bool(logits.isfinite().all()) else "not finite"
    except RuntimeError as error:
        return "RuntimeError: " + str(error)


right = True
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for tokens in (63, 64, 65):
        found = says(dtype, tokens)
        print(dtype, tokens, found)
        breaks = dtype != torch.float32 and tokens >= 64
        right &= ("same dtype" in found) if breaks else found == "runs"
for settings in ({"inference_state_dtype": "bfloat16"}, {"autocast_kernel_dtype": "float32"}):
    found = says(torch.bfloat16, 64, **settings)
    print(settings, found)
    right &= "same dtype" in found
sys.exit(0 if right else 1)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
