"""Exact attention statistics and streaming attention in O(T) memory: CPU, Triton, and a float64 reference."""

if __name__ == "kernels":
    # Python was started in the repository's root, where this folder hides Hugging Face's package of that name.
    from ._top_level import hand_over

    hand_over()
else:
    from .block_mask import BlockMask
    from .merge import merge_stats
    from .result import AttentionStats
    from .stats import attention_stats
    from .streaming import streaming_attention

    __all__ = ["AttentionStats", "BlockMask", "attention_stats", "merge_stats", "streaming_attention"]
