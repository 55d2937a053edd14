"""A wheel with a small Llama as GGUF in it, made as the default model's wheel is; its folder serves as an index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from workbench.models.registered import Licence, Registered, Source, Wheel

MEMBER = "tiny_model/tiny.gguf"
LAYERS, HEADS, KV_HEADS, WIDTH, MLP = 2, 4, 2, 32, 64


def write_gguf(path: Path) -> None:
    """A random Llama with a byte-level vocabulary that splits text as SmolLM does."""
    import numpy as np
    from gguf import GGUFWriter, TokenType
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    random = np.random.default_rng(5)
    letters = list(bytes_to_unicode().values())
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "ĠĠ", "ĊĊ", "ab"]
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words))
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(words) - 3))
    writer.add_token_merges(["Ġ Ġ", "Ċ Ċ", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    keys = WIDTH // HEADS * KV_HEADS
    shapes = {"token_embd.weight": (len(words), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        block = {
            "attn_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (keys, WIDTH),
            "attn_v": (keys, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (MLP, WIDTH),
            "ffn_up": (MLP, WIDTH),
            "ffn_down": (WIDTH, MLP),
        }
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    for name, shape in shapes.items():
        writer.add_tensor(name, (random.standard_normal(shape) * 0.2).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_wheel(folder: Path, padding: int = 0) -> Registered:
    """Write the wheel into `folder`, which then serves as an index, and describe the model as registered models are."""
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / "tiny.gguf"
    write_gguf(gguf)
    whole = gguf.read_bytes()
    gguf.unlink()
    padded = {MEMBER: whole, "tiny_model/padding": hashlib.shake_256(b"padding").digest(padding)}
    return Registered(
        id="tiny-model-f32",
        aliases=("tiny-model",),
        about="a random model for tests",
        licence=Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
        quantisation="none",
        bytes=400_000,
        source=Source(
            wheels=(_wheel(folder, "tiny_model", padded, member=MEMBER),),
            file="tiny.gguf",
            bytes=len(whole),
            sha256=hashlib.sha256(whole).hexdigest(),
        ),
    )


def make_chain(folder: Path, parts: int = 3) -> Registered:
    """The same model cut into the wheels of a chain, with one that brings its terms, which have to be accepted."""
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / "tiny.gguf"
    write_gguf(gguf)
    whole = gguf.read_bytes()
    gguf.unlink()
    terms = {"tiny_chain/data/TERMS.html": b"<p>Terms of the tests</p>", "tiny_chain/data/NOTICE.md": b"a notice"}
    wheels = [_wheel(folder, "tiny_chain", terms, texts=tuple(terms))]
    step = -(-len(whole) // parts)
    for number in range(parts):
        member = f"tiny_chain_part{number + 1}/data/tiny.gguf.part{number:02d}"
        piece = whole[number * step : (number + 1) * step]
        wheels.append(_wheel(folder, f"tiny_chain_part{number + 1}", {member: piece}, member=member))
    return Registered(
        id="tiny-chain-f32",
        aliases=("tiny-chain",),
        about="a random base model for tests",
        licence=Licence(
            "Terms of the tests", "https://example.org/terms", "Nothing may be passed on.", must_accept=True
        ),
        quantisation="none",
        bytes=400_000,
        source=Source(
            wheels=tuple(wheels), file="tiny.gguf", bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest()
        ),
    )


def _wheel(
    folder: Path, package: str, files: dict[str, bytes], member: str | None = None, texts: tuple[str, ...] = ()
) -> Wheel:
    """Write a wheel with these files and pin it."""
    project, info = package.replace("_", "-"), f"{package}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # no time of today: the same bytes at every call
    return Wheel(
        requirement=f"{project}==1.0",
        file=path.name,
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member=member,
        texts=texts,
    )


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
