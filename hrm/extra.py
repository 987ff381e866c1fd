"""Whether the extra `train` is installed; imports nothing by itself."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import InvalidInput, MissingExtra

_LIBRARIES = ("torch", "torchao", "safetensors", "tiktoken", "matplotlib")


def require_train() -> None:
    """See that what models are trained with is there.

    Raises:
        MissingExtra: it is not.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{missing[0]} is not installed. Models are trained with it: pip install 'gymforge[train]', "
            "or `make train-env` in a checkout."
        )


def require_compiler(*, on_gpu: bool) -> None:
    """See that torch.compile finds what it needs, which it would look for at the first step.

    Raises:
        InvalidInput: there is no compiler, or no headers of Python's.
    """
    variable, usual = ("CC", "gcc") if on_gpu else ("CXX", "g++")
    compiler = os.environ.get(variable, usual)
    lacking = [] if shutil.which(compiler) else [f"a compiler ({compiler})"]
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        lacking.append("Python's headers (Python.h)")
    if lacking:
        raise InvalidInput(
            f"torch.compile needs {' and '.join(lacking)}. Install them (on Debian `apt install g++ python3-dev`), or "
            "set train.compile = false in a file given with --config"
        )
