"""What `import kernels` means when this folder is found under that name: the real package, or none."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

HERE = Path(__file__).resolve().parent


def hand_over() -> None:
    """Replace the top-level module `kernels` by the installed package of that name, or by an empty module.

    An empty module without `__file__` and `__version__` is what transformers takes for "not installed"
    (`transformers.utils.import_utils._is_package_available`); raising here would break `import transformers`.
    """
    ours = sys.modules["kernels"]
    sys.modules.pop("kernels._top_level", None)
    elsewhere = [entry for entry in sys.path if (Path(entry or ".") / "kernels").resolve() != HERE]
    spec = PathFinder.find_spec("kernels", elsewhere)
    if spec is None or spec.loader is None or spec.origin is None:  # without an origin it is a mere folder
        ours.__dict__.pop("__file__", None)
        ours.__path__ = []
        ours.__doc__ = None
        return
    real = importlib.util.module_from_spec(spec)
    sys.modules["kernels"] = real
    spec.loader.exec_module(real)
