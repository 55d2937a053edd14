"""A tokenizer of letters."""

from __future__ import annotations

TEMPLATE = "{% for m in messages %}<u>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def letters(bos: bool = False, template: str | None = None) -> object:
    """A tokenizer with one token for each letter: `a` is 10, `b` is 11 …"""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"?": 0, "<s>": 1, "<u>": 2, "<a>": 3, **{chr(ord("a") + n): 10 + n for n in range(26)}}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    whole.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    whole.decoder = decoders.Fuse()
    whole.add_special_tokens([AddedToken(token) for token in ("<s>", "<u>", "<a>")])
    if bos:
        whole.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="?")
    tokenizer.chat_template = template
    return tokenizer
