"""Blocks of causal linear self-attention: no softmax, no norm, no MLP, so that what they compute can be written down.

Each block adds `P Σ_{j ≤ i} v_j (k_j · q_i)` to the stream of position i (von Oswald et al. 2023, arXiv 2212.07677). A
stack of them stands between the read-in and the read-out of a `ContinuousModel`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..errors import UsageError
from .kinds import LINEAR_ATTENTION


class LinearAttentionConfig(PreTrainedConfig):
    """Sizes of the blocks; `head_dim` is that of queries and keys, and None makes it the stream's."""

    model_type = LINEAR_ATTENTION

    vocab_size: int = 1
    hidden_size: int = 16
    num_hidden_layers: int = 1
    num_attention_heads: int = 1
    head_dim: int | None = None
    max_position_embeddings: int = 32
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False


class LinearAttention(nn.Module):
    """One head of attention without a softmax; its weights are `[out, in]` and have no bias."""

    def __init__(self, config: LinearAttentionConfig) -> None:
        super().__init__()
        size = config.head_dim or config.hidden_size
        self.q_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.o_proj = nn.Linear(size, config.hidden_size, bias=False)

    def forward(self, stream: Tensor, seen: Tensor) -> Tensor:
        """What is added to the stream; `seen [batch, query, key]` is 1 where a query may look."""
        scores = self.q_proj(stream) @ self.k_proj(stream).mT
        return self.o_proj((scores * seen) @ self.v_proj(stream))


class LinearAttentionBlock(nn.Module):
    """The stream plus its attention."""

    def __init__(self, config: LinearAttentionConfig) -> None:
        super().__init__()
        self.self_attn = LinearAttention(config)

    def forward(self, stream: Tensor, seen: Tensor) -> Tensor:
        return stream + self.self_attn(stream, seen)


class LinearAttentionForCausalLM(PreTrainedModel):
    """Embedding, learned positions, blocks and an unembedding; there is no cache, every call is given whole rows."""

    config_class = LinearAttentionConfig
    config: LinearAttentionConfig
    base_model_prefix = ""

    def __init__(self, config: LinearAttentionConfig) -> None:
        super().__init__(config)
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(LinearAttentionBlock(config) for _ in range(config.num_hidden_layers))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        **given: Any,
    ) -> CausalLMOutputWithPast:
        """Run rows `[batch, position]` of ids, or what stands for their embeddings `[batch, position, hidden]`.

        Raises `UsageError` for rows longer than the table of positions.
        """
        stream = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length = stream.shape[1]
        if length > self.config.max_position_embeddings:
            raise UsageError(
                f"{length} positions were given; this model has {self.config.max_position_embeddings} and none beyond"
            )
        if position_ids is None:
            position_ids = torch.arange(length, device=stream.device)[None]
        stream = stream + self.positions(position_ids)
        seen = torch.ones(length, length, dtype=stream.dtype, device=stream.device).tril()[None]
        if attention_mask is not None and attention_mask.ndim == 2:
            seen = seen * attention_mask[:, None, -length:].to(stream.dtype)
        passed = [stream]
        for block in self.layers:
            stream = block(stream, seen)
            passed.append(stream)
        return CausalLMOutputWithPast(
            logits=self.lm_head(stream),
            hidden_states=tuple(passed) if output_hidden_states else None,
        )

    def set_attn_implementation(self, attn_implementation: Any, allow_all_kernels: bool = False) -> None:
        """Do nothing: there is one way to compute this attention."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings


AutoConfig.register(LINEAR_ATTENTION, LinearAttentionConfig, exist_ok=True)
AutoModelForCausalLM.register(LinearAttentionConfig, LinearAttentionForCausalLM, exist_ok=True)
