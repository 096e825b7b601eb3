"""The network that a user names, ready to run: from an export or retrain folder, a file, or RUN:id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from evaluators import POSETRACK_KEYPOINTS
from nas.data.categories import find_person_category
from nas.data.coco_problems import load_json
from nas.data.codec_name import CodecName
from nas.data.codecs import Codec
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_sets import COCO_KEYPOINT_SET, KeypointSet
from nas.deploy.onnx import onnx_bytes
from nas.predict.ordered_step import in_order_of
from nas.predict.pose_step import OnnxImageStep, OnnxVideoStep, PoseStep, TorchStep
from nas.weights.files import keypoint_names, load_metadata, load_network
from nas.weights.meaning import HeatmapMeaning
from search_spaces import InputError
from supernet import PoseNet, PropagatedNet, VideoPoseNet, fold

__all__ = ["OnlineRuntime", "PoseModel", "find_model_file", "load_pose_model", "make_step", "read_keypoint_set"]

OnlineRuntime = Literal["torch", "onnxruntime"]
WEIGHTS = ("best.safetensors", "weights.safetensors")
"""Of a retrained network, of an exported one."""


@dataclass(frozen=True, kw_only=True)
class PoseModel:
    """A network in a runtime, and what its heatmaps, or its SimCC, mean."""

    step: PoseStep
    codec: Codec
    keypoint_set: KeypointSet
    padding: float
    """Of the crops that it was trained on, in units of the box."""
    file: Path
    runtime: OnlineRuntime


def load_pose_model(
    model: str,
    runtime: OnlineRuntime | None = None,
    *,
    codec: CodecName | None = None,
    keypoint_set: KeypointSet | None = None,
    threads: int = 1,
) -> PoseModel:
    """Load the network that ``model`` names and put it into a runtime.

    Args:
        model: a folder that ``vipnas export`` or ``retrain`` wrote, a weights file (``.safetensors``), an ONNX file,
            or RUN:id.
        runtime: None takes onnxruntime for an ONNX file and torch for weights.
        codec: in place of what the file says; where it says nothing, ``gaussian``.
        keypoint_set: where the file names none, its keypoints, in place of COCO's 17 or numbered ones; otherwise the
            order in which its keypoints are wanted.
        threads: of onnxruntime. Those of torch are the process's.

    Raises:
        InputError: there is no such network, the file is damaged or of another kind, or the runtime cannot run it; it
            predicts other keypoints than ``keypoint_set``.
    """
    file = find_model_file(model, runtime)
    if file.suffix == ".onnx":
        if runtime == "torch":
            raise InputError(f"{file}: torch cannot run an ONNX file; use --runtime onnxruntime or name the weights")
        step: PoseStep
        step = onnx = OnnxImageStep(file.read_bytes(), str(file), threads)
        metadata = onnx.metadata
    else:
        metadata = load_metadata(file)
        step = make_step(load_network(file), runtime or "torch", threads)
    meaning = HeatmapMeaning.read(
        metadata,
        str(file),
        step.keypoints,
        step.input_size,
        None if step.output == "simcc" else step.heatmap_size,
        codec=codec,
        keypoint_names=None if keypoint_set is None else keypoint_set.names,
    )
    names = keypoint_set or KeypointSet.of(meaning.keypoint_names)
    resolved: OnlineRuntime = "torch" if isinstance(step, TorchStep) else "onnxruntime"
    if keypoint_set is not None:
        what = f"{file}: the network's keypoints are not those of --keypoints"
        step = in_order_of(step, keypoint_names(metadata), keypoint_set.names, what)
    return PoseModel(
        step=step, codec=meaning.codec, keypoint_set=names, padding=meaning.padding, file=file, runtime=resolved
    )


def find_model_file(model: str, runtime: OnlineRuntime | None = None) -> Path:
    """The file of weights (or, for onnxruntime, the ONNX file) that ``model`` names.

    Raises:
        InputError: there is none, or several networks fit.
    """
    path = Path(model)
    if path.is_dir():
        return _file_in(path, runtime)
    if path.is_file():
        if path.suffix not in (".onnx", ".safetensors"):
            raise InputError(f"{path}: not a network; name a folder of vipnas export or retrain, .safetensors or .onnx")
        return path
    run, colon, prefix = model.rpartition(":")
    if not colon or not Path(run).is_dir():
        raise InputError(f"{model}: no such file or folder; name an export or retrain folder, a file, or RUN:id")
    if not prefix.isalnum():
        raise InputError(f"{run}: write the id of a network after the colon, not {prefix!r}")
    for stage in ("retrain", "finalists", "export"):
        folders = sorted(folder for folder in (Path(run) / stage).glob(f"{prefix}*") if folder.is_dir())
        if stage == "finalists":  # of one that came to nothing there is a folder, too
            folders = [folder for folder in folders if (folder / WEIGHTS[0]).is_file()]
        if len(folders) > 1:
            some = ", ".join(folder.name for folder in folders[:4])
            raise InputError(f"{run}: {len(folders)} networks begin with {prefix!r} ({some}); write more of the id")
        if folders:
            return _file_in(folders[0], runtime)
    raise InputError(f"{run}: no exported or retrained network begins with {prefix!r}; run `vipnas export` first")


def _file_in(folder: Path, runtime: OnlineRuntime | None) -> Path:
    weights = [folder / name for name in WEIGHTS]
    order = [folder / "model.onnx", *weights] if runtime == "onnxruntime" else [*weights, folder / "model.onnx"]
    for file in order:
        if file.is_file():
            return file
    if (folder / "export").is_dir() or (folder / "retrain").is_dir():
        raise InputError(f"{folder}: is a run; name a network in it: {folder}:id, or {folder}/retrain/ID")
    expected = ", ".join([*WEIGHTS, "model.onnx"])
    raise InputError(f"{folder}: holds no network ({expected}); name a folder that vipnas export or retrain wrote")


def make_step(net: PoseNet | VideoPoseNet, runtime: OnlineRuntime, threads: int = 1) -> PoseStep:
    """A trained image or video network in a runtime. A video network knows how previous heatmaps lie in their crops."""
    if not isinstance(net, VideoPoseNet):
        return TorchStep([net]) if runtime == "torch" else OnnxImageStep(_onnx_of(net), net.architecture.id, threads)
    if runtime == "torch":
        return TorchStep(net.networks, net.stride)
    models = [_onnx_of(network) for network in net.networks]
    return OnnxVideoStep(models, net.architecture.id, threads, net.stride)


def _onnx_of(net: PoseNet) -> bytes:
    architecture = net.architecture
    inputs = [torch.zeros(2, 3, *architecture.input_size)]
    if isinstance(net, PropagatedNet):
        inputs.append(torch.zeros(2, architecture.keypoints, *architecture.heatmap_size))
    return onnx_bytes(fold(net), tuple(inputs), dynamic_batch=True)


def read_keypoint_set(text: str) -> KeypointSet:
    """``coco``, ``posetrack18``, or a COCO annotation file whose category names the keypoints.

    Raises:
        InputError: neither a name nor such a file.
    """
    named = {"coco": COCO_KEYPOINT_SET, "posetrack18": KeypointSet.of(POSETRACK_KEYPOINTS)}
    if text in named:
        return named[text]
    path = Path(text)
    if not path.is_file():
        raise InputError(f"--keypoints {text}: give {', '.join(named)}, or a COCO annotation file that names them")
    document = load_json(path)
    categories = document.get("categories") if isinstance(document, dict) else None
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        raise InputError(f"{path}: has no list of categories; give a COCO annotation file")
    category = find_person_category(document, path)
    return category_keypoints(category, f"{path}: category {category.get('name')!r}")
