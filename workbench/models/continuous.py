"""A model without a vocabulary: numbers go in and come out, and between them stands a language model's stack of blocks.

model = ContinuousModel.of(GPT2Config(n_layer=2, n_embd=64, n_head=4, n_positions=24), d_in=5, d_out=1)
session = wb.load(model)                     # or a folder to which model.save_pretrained wrote it
session.capture(values, ["resid_post.1"])    # values [batch, position, d_in]
session.logits(values)                       # its output [batch, position, d_out]
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from ..errors import UsageError
from .kinds import CONTINUOUS

if TYPE_CHECKING:
    from transformers.modeling_outputs import CausalLMOutputWithPast


class ContinuousConfig(PreTrainedConfig):
    """Sizes of what goes in and comes out, and the configuration of the blocks between (`text_config`)."""

    model_type = CONTINUOUS
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="gpt2")
    }

    text_config: dict | PreTrainedConfig | None = None
    d_in: int = 1
    d_out: int = 1
    tie_word_embeddings: bool = False


class ContinuousModel(PreTrainedModel):
    """Values `[batch, position, d_in]` through `read_in`, a causal language model's blocks, and a read-out.

    The read-out stands where the language model has its unembedding (`causal.get_output_embeddings()`), and its output
    `[batch, position, d_out]` is called `logits` as there. The model's token embedding is there, zero and never used.
    """

    config_class = ContinuousConfig
    config: ContinuousConfig
    base_model_prefix = ""
    main_input_name = "values"
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True

    def __init__(self, config: ContinuousConfig) -> None:
        super().__init__(config)
        config.architectures = [type(self).__name__]
        text: Any = config.text_config
        self.causal = AutoModelForCausalLM.from_config(text)
        self.read_in = nn.Linear(config.d_in, text.hidden_size)
        self.causal.set_output_embeddings(nn.Linear(text.hidden_size, config.d_out))
        unused = self.causal.get_input_embeddings().weight
        unused.requires_grad_(False)
        self.post_init()
        with torch.no_grad():
            if not unused.is_meta:
                unused.zero_()

    @classmethod
    def of(cls, blocks: PreTrainedConfig, d_in: int, d_out: int) -> ContinuousModel:
        """A model with fresh weights, on the blocks that a causal language model's configuration describes.

        Raises `UsageError` for sizes that are not whole numbers from 1 on.
        """
        for name, size in (("d_in", d_in), ("d_out", d_out)):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise UsageError(f"{name} is a whole number from 1 on, not {size!r}")
        text = copy.deepcopy(blocks)
        text.vocab_size, text.tie_word_embeddings = d_out, False
        text.pad_token_id = text.bos_token_id = text.eos_token_id = None
        return cls(ContinuousConfig(text_config=text, d_in=d_in, d_out=d_out))

    def forward(
        self, values: Tensor | None = None, inputs_embeds: Tensor | None = None, **given: Any
    ) -> CausalLMOutputWithPast:
        """Run values, or what `read_in` made of them; the rest is as a causal language model takes it."""
        if inputs_embeds is None:
            assert values is not None
            inputs_embeds = self.read_in(values.to(self.read_in.weight))
        return self.causal(inputs_embeds=inputs_embeds, **given)

    def get_input_embeddings(self) -> nn.Module:
        """What stands where a table of tokens would: the read-in."""
        return self.read_in

    def get_output_embeddings(self) -> nn.Module:
        """The read-out."""
        return self.causal.get_output_embeddings()


AutoConfig.register(CONTINUOUS, ContinuousConfig, exist_ok=True)
AutoModelForCausalLM.register(ContinuousConfig, ContinuousModel, exist_ok=True)
