#!/usr/bin/env bash
# transformers 5.23.0: what `ProphetNetForCausalLM` says of a token depends on the tokens that come after it.
#
# Expected: in a model for causal language modelling, logits before position 6 do not change with the tokens from 6 on;
#           GPT-2 of the same size, beside it, changes by exactly 0.
# Seen:     with one predicting stream from two layers on, and with the default two from three layers on, they change by
#           a hundredth to a tenth of their size. In each layer the bias for relative positions of the predicting
#           streams is laid out by (batch, position, stream, head) and then read as (batch, stream, head, position), so
#           that a token's bias is made from the hidden states of other tokens, later ones among them.
#           One layer alone does not show it (a stream begins without knowing any token), nor do two layers with two
#           streams and this text, and at the initial weights' usual size (0.02) it is as small as rounding. So a test
#           on a tiny fresh model passes, and a trained model need not.
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

HALF, WHOLE = 6, 12


def changed(model):
    """How much logits of the first half change with the second half's tokens, as a share of their size."""
    torch.manual_seed(1)
    tokens = torch.randint(5, 99, (2, WHOLE))
    tokens[1, :HALF] = tokens[0, :HALF]
    with torch.no_grad():
        one, other = (model.eval()(row[None], use_cache=False).logits[0, :HALF] for row in tokens)
    return float(((one - other).norm(dim=-1) / one.norm(dim=-1)).max())


def prophet(layers, ngram, size=0.2):
    torch.manual_seed(0)
    config = transformers.ProphetNetConfig(
        vocab_size=99, hidden_size=32, decoder_ffn_dim=48, num_decoder_layers=layers, num_decoder_attention_heads=4,
        ngram=ngram, init_std=size, is_decoder=True, is_encoder_decoder=False,
    )
    return changed(transformers.ProphetNetForCausalLM(config))


torch.manual_seed(0)
gpt2 = changed(transformers.GPT2LMHeadModel(transformers.GPT2Config(
    vocab_size=99, n_embd=32, n_layer=3, n_head=4, n_positions=32, initializer_range=0.2
)))
found = {
    "1 layer, 2 streams": prophet(1, 2), "2 layers, 2 streams": prophet(2, 2), "3 layers, 2 streams": prophet(3, 2),
    "2 layers, 1 stream": prophet(2, 1), "3 layers, 2 streams, weights of 0.02": prophet(3, 2, 0.02),
}
print("GPT-2, 3 layers:", gpt2)
for name, value in found.items():
    print(f"ProphetNet, {name}: {value:.1e}")
one, two, three, single, usual = found.values()
sys.exit(0 if gpt2 == one == two == 0 and three > 1e-2 and single > 1e-2 and usual < 1e-5 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
