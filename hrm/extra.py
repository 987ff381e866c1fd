"""Whether the extra `train` is installed; imports nothing by itself."""

from importlib.util import find_spec

from schemas.errors import MissingExtra

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
