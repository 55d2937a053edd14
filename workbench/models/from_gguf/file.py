"""What stands in a GGUF file: its keys and its tensors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class GgufFile:
    """The header of a GGUF file; the weights stay on disk until they are asked for."""

    path: Path
    architecture: str
    fields: Mapping[str, Any]
    """Keys with the readers of their values, those of the container left out."""
    tensors: Mapping[str, Any]
    """Tensors by name, as the gguf package describes them."""

    def value(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default where the file has none."""
        return self.fields[key].contents() if key in self.fields else default

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key of the file's architecture, `block_count` for instance."""
        return self.value(f"{self.architecture}.{name}", default)

    def need(self, name: str) -> Any:
        """The value of a key of the architecture without which the model is not described.

        Raises `UsageError` where the file has none.
        """
        value = self.get(name)
        if value is None:
            raise UsageError(
                f"{self.path.name} lacks {self.architecture}.{name}: without it the model is not described"
            )
        return value

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor, slowest dimension first."""
        return tuple(int(size) for size in reversed(self.tensors[tensor].shape))

    def floats(self, tensor: str) -> np.ndarray:
        """A tensor's values, dequantised."""
        from gguf import dequantize

        return dequantize(self.tensors[tensor].data, self.tensors[tensor].tensor_type)

    def refuse(self, key: str, why: str) -> UsageError:
        """The error for a key that cannot be kept: what the file says, why that is refused, what to do."""
        value = self.value(key)
        told = "" if value is None else f" = {str(value)[:80]}"
        return UsageError(
            f"{self.path.name} ({self.architecture}) is not converted: {key}{told}: {why}; "
            "use the model's own safetensors instead"
        )


@contextmanager
def by_itself(path: Path) -> Iterator[Path]:
    """The file in a folder of its own: transformers also reads what lies beside it, a tokenizer for instance."""
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "model.gguf"
        for bring in (os.symlink, os.link, shutil.copyfile):
            try:
                bring(path.absolute(), alone)
                break
            except OSError:
                # Not every system and file system lets everyone make links.
                alone.unlink(missing_ok=True)
        yield alone


def read(path: Path) -> GgufFile:
    """Read the header of a GGUF file.

    Raises `UsageError` for what is no readable GGUF file of a model.
    """
    from gguf import GGUFReader

    if not path.is_file():
        raise UsageError(f"no file {path}: give a GGUF file")
    try:
        reader = GGUFReader(str(path))
    except Exception as error:
        # The reader has no error of its own: a short file ends in whichever of numpy's comes first.
        told = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UsageError(f"{path} is not a whole GGUF file ({told}): copy it again from where it came") from error
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    if "general.architecture" not in fields:
        raise UsageError(f"{path} lacks general.architecture: it does not say what model it holds")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    return GgufFile(path, fields["general.architecture"].contents(), fields, tensors)
