"""An MMPose checkpoint in, our weights out. Nothing in the checkpoint is executed.

Checkpoints of MMPose are pickles. ``torch.load(weights_only=True)`` refuses every object in them but tensors and plain
containers; those that training leaves beside the weights (numpy arrays of the data set's description, mmengine's log
history) are replaced by empty objects, so that such a checkpoint can be read without importing what it names.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nas.weights import save_network
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet
from supernet.mmpose import load_mmpose_state_dict

__all__ = ["convert", "read_checkpoint"]

LEFT_OUT = (
    "builtins.getattr",  # mmengine's log history refers to its own methods
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
)


def convert(checkpoint: Path, architecture: PoseArchitecture, out: Path) -> None:
    """Write the weights of an MMPose 0.x or 1.x checkpoint as a network of ours (:func:`nas.weights.load_network`).

    Args:
        checkpoint: a ``.pth`` file of MMPose: the whole checkpoint, or its state dict alone.
        architecture: the network that it was made for, such as ``published("s-vipnas-res50")``.
        out: a ``.safetensors`` file to write.

    Raises:
        InputError: the file is missing, is no checkpoint, holds objects that are not loaded for safety, or its weights
            are of another architecture (missing, surplus and misshapen keys are named).
    """
    state_dict = read_checkpoint(checkpoint)
    with torch.device("meta"):
        net = PoseNet(architecture)
    net.to_empty(device="cpu")
    try:
        load_mmpose_state_dict(net, state_dict)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from None
    save_network(out, net, {"source": f"MMPose checkpoint {checkpoint.name}"})


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds, on the CPU: tensors and plain containers.

    Raises:
        InputError: as :func:`convert`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with _placeholders(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch itself does not write
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_refusal(str(error))}") from None
    except Exception as error:  # damaged pickles and archives fail in every way that there is
        raise InputError(f"{path}: damaged, or not a PyTorch checkpoint ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds {type(content).__name__}, expected a checkpoint or a state dict")
    return content


def _refusal(message: str) -> str:
    found = re.search(r"GLOBAL (\S+)", message)
    if found is None:
        return "damaged, or not a PyTorch checkpoint"
    return (
        f"holds the Python object {found[1]}, which is not loaded, for safety; "
        "where you trust the file, save its 'state_dict' alone"
    )


class _Ignored:
    """Takes whatever the pickle gives it, and keeps nothing."""

    def __new__(cls, *_arguments: Any) -> _Ignored:
        return object.__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


@contextmanager
def _placeholders() -> Iterator[None]:
    """Inside, the pickle's names in :data:`LEFT_OUT` mean empty classes of those names; nothing is imported."""
    classes: list[Any] = []
    for name in LEFT_OUT:
        module, _, local = name.rpartition(".")
        classes.append(type(local, (_Ignored,), {"__module__": module, "__qualname__": local}))
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(classes)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
