"""An MMPose checkpoint in, our weights out. Nothing in the checkpoint is executed.

Checkpoints of MMPose are pickles. ``torch.load(weights_only=True)`` refuses every object in them but tensors and plain
containers; those that training leaves beside the weights (numpy arrays of the data set's description, mmengine's log
history, the options of a training script) are replaced by empty objects, so that such a checkpoint can be read without
importing what it names.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data.tensors import IMAGE_MEAN, IMAGE_STD
from nas.weights.files import load_metadata, save_network
from search_spaces import InputError, PoseArchitecture
from supernet import PoseNet
from supernet.mmpose import load_mmpose_state_dict

__all__ = ["convert", "read_checkpoint"]

LEFT_OUT = (
    "argparse.Namespace",
    "builtins.getattr",  # mmengine's log history refers to its own methods
    "datetime.datetime",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local")
      for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
)  # fmt: skip
SOURCE = "MMPose checkpoint "
"""Begins what a converted file's header says of where its weights come from."""

_log = logging.getLogger(__name__)


def convert(checkpoint: Path, architecture: PoseArchitecture, out: Path) -> tuple[str, ...]:
    """Write the weights of an MMPose 0.x or 1.x checkpoint as a network of ours (``load_network``).

    Args:
        checkpoint: what ``torch.save`` or safetensors wrote: a whole checkpoint, or a state dict alone. Which forms
            are read: :mod:`supernet.mmpose_forms`.
        architecture: the network that it was made for, such as ``published("s-vipnas-res50")``.
        out: a ``.safetensors`` file to write.

    Returns:
        What had to be done to read it, in words: prefixes taken off, entries left out.

    Raises:
        InputError: the file is missing, is no checkpoint, holds objects that are not loaded for safety, or its weights
            are of another architecture (missing, surplus and misshapen keys are named) or not finite; or ``out`` is the
            checkpoint itself, or is there and was not converted from it.
    """
    _refuse_to_overwrite(checkpoint, out)
    content = read_checkpoint(checkpoint)
    with torch.device("meta"):
        net = PoseNet(architecture)
    net.to_empty(device="cpu")
    try:
        found = load_mmpose_state_dict(net, content)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from None
    for name, ours in (("mean", IMAGE_MEAN), ("std", IMAGE_STD)):
        if name in found.preprocessor:
            _hold_to_ours(checkpoint, name, found.preprocessor[name], ours)
    save_network(out, net, {"source": f"{SOURCE}{checkpoint.name}"})
    return found.notes


def _refuse_to_overwrite(checkpoint: Path, out: Path) -> None:
    if not out.exists() or not checkpoint.exists():
        return
    if os.path.samefile(checkpoint, out):
        raise InputError(f"{out}: is the checkpoint itself, and would be overwritten; name another file with --output")
    try:
        source = load_metadata(out).get("source", "")
    except InputError:
        source = ""
    if source != f"{SOURCE}{checkpoint.name}":
        what = f"was converted from the {source}" if source.startswith(SOURCE) else "was not made by vipnas convert"
        raise InputError(f"{out}: is there and {what}; name another file with --output, or remove it")


def _hold_to_ours(checkpoint: Path, name: str, theirs: Tensor, ours: tuple[float, ...]) -> None:
    """Networks learn on normalised images; by which numbers is not among their weights."""
    found = [float(value) for value in theirs.flatten()[:4]]
    if len(found) != 3 or any(abs(value - own) > 0.01 * own for value, own in zip(found, ours, strict=True)):
        numbers, own = (", ".join(f"{value:g}" for value in values) for values in (found, ours))
        _log.warning(
            "%s: its data_preprocessor.%s is %s, and images are read as RGB and normalised by %s here: the network "
            "will see other images than it was trained on", checkpoint, name, numbers, own,
        )  # fmt: skip


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds, on the CPU: tensors and plain containers.

    Raises:
        InputError: as :func:`convert`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors" or _begins_as_safetensors(path):
        return _read_safetensors(path)
    try:
        with _placeholders(), warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of pickle protocols that torch itself does not write
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_refusal(str(error))}") from None
    except Exception as error:  # damaged pickles and archives fail in every way that there is
        if "TorchScript" in str(error):
            raise InputError(f"{path}: is a TorchScript archive; save the 'state_dict' of its network") from None
        raise InputError(f"{path}: damaged, or not a PyTorch checkpoint ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds {type(content).__name__}, expected a checkpoint or a state dict")
    _refuse_ours(path, str(content.get("format", "")))
    return content


def _begins_as_safetensors(path: Path) -> bool:
    """Whether it begins with the length of a JSON object, and that."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _refuse_ours(path, load_metadata(path).get("format", ""))
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None


def _refuse_ours(path: Path, form: str) -> None:
    """What this program wrote needs no conversion."""
    if not form.startswith("vipnas-"):
        return
    if form.startswith("vipnas-checkpoint"):
        raise InputError(f"{path}: is the state of a training of vipnas; its .safetensors file has the weights")
    if form.startswith(("vipnas-video-network", "vipnas-network")):
        raise InputError(f"{path}: is a network of vipnas already; evaluate, retrain or export it as it is")
    raise InputError(f"{path}: is of vipnas ({form}), not a checkpoint of MMPose")


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
