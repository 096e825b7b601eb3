"""Which networks of a run a command is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.stages.architectures import resolve_any_architecture, resolve_architecture, resolve_video_architecture
from search_spaces import InputError, PoseArchitecture, SearchSpace, VideoArchitecture, VideoSearchSpace
from search_spaces.video import load_any_architecture

if TYPE_CHECKING:
    from torch import Tensor

    from nas.config import Config
    from nas.run.folder import RunFolder

__all__ = [
    "exported_weights",
    "finalist_weights",
    "inherited_state",
    "network_file",
    "networks_to_retrain",
    "require_kind",
    "trained_weights",
    "weights_to_evaluate",
]


def exported_weights(run: RunFolder, architecture_id: str) -> Path:
    return run.export(architecture_id) / "weights.safetensors"


def finalist_weights(run: RunFolder, architecture_id: str) -> Path:
    return run.finalist(architecture_id) / "best.safetensors"


def trained_weights(run: RunFolder, architecture_id: str) -> Path:
    return run.retrain(architecture_id) / "best.safetensors"


def network_file(text: str) -> Path:
    """The file of weights that a user names: itself, the folder that it lies in, or RUN:id.

    Raises:
        InputError: there is none, or only an ONNX file.
    """
    from nas.predict.model import find_model_file

    file = find_model_file(text)
    if file.suffix != ".safetensors":
        raise InputError(f"{file}: is an ONNX file already; name weights, a .safetensors file")
    return file


def networks_to_retrain(config: Config, run: RunFolder) -> list[PoseArchitecture | VideoArchitecture]:
    """The configured architecture, or the front of the run's finalists, or else what the run has exported.

    Raises:
        InputError: there is none; or a video network of another T.
    """
    from nas.finalists.outcome import front_architectures

    kind = VideoArchitecture if config.is_video else PoseArchitecture
    found: list[PoseArchitecture | VideoArchitecture]
    if config.architecture is None and not config.is_video and run.finalists_file.is_file():
        found = [*front_architectures(run)]
    elif config.architecture is None:
        found = [one for one in _exported(run) if isinstance(one, kind)]
    else:
        resolve = resolve_video_architecture if config.is_video else resolve_architecture
        found = [resolve(config.architecture)]
    if not found:
        what = "exported video network" if config.is_video else "exported network"
        raise InputError(f"{run.path}: has no {what}; run `vipnas export`, or name one with --architecture")
    require_kind(config, found)
    return found


def require_kind(config: Config, networks: Sequence[PoseArchitecture | VideoArchitecture]) -> None:
    """Raise InputError for networks of another kind than the configuration is about, or of another T."""
    for one in networks:
        if isinstance(one, VideoArchitecture) != config.is_video:
            kinds = ("an image", "a video") if config.is_video else ("a video", "an image")
            raise InputError(f"{one.id}: is {kinds[0]} network, and the configuration is about {kinds[1]} network")
        if isinstance(one, VideoArchitecture) and one.length != config.video.frames:
            raise InputError(
                f"video.frames: is {config.video.frames}, and the video network {one.id} has {one.length} propagated "
                f"frames; give --frames {one.length}"
            )


def _exported(run: RunFolder) -> list[PoseArchitecture | VideoArchitecture]:
    return [load_any_architecture(path) for path in sorted((run.path / "export").glob("[!.]*/architecture.json"))]


def weights_to_evaluate(config: Config, run: RunFolder) -> list[Path]:
    """The files of the configured architecture, or of all networks that the run has retrained, or else of the front of
    its finalists, or else exported.

    Raises:
        InputError: there is none.
    """
    if config.architecture is not None:
        architecture = resolve_any_architecture(config.architecture)
        candidates = [of(run, architecture.id) for of in (trained_weights, finalist_weights, exported_weights)]
        found = [path for path in candidates if path.is_file()][:1]
        if not found:
            raise InputError(f"{candidates[0]}: no such file; retrain the network first, or name a file with --weights")
        return found
    retrained = sorted((run.path / "retrain").glob("[!.]*/best.safetensors"))
    if retrained:
        return retrained
    if run.finalists_file.is_file():
        from nas.finalists.outcome import front_architectures

        return [finalist_weights(run, architecture.id) for architecture in front_architectures(run)]
    exported = sorted((run.path / "export").glob("[!.]*/weights.safetensors"))
    if exported:
        return exported
    raise InputError(f"{run.path}: has no retrained and no exported network; name a file with --weights")


def inherited_state(
    run: RunFolder, architecture: PoseArchitecture | VideoArchitecture, names: Sequence[str]
) -> Mapping[str, Tensor] | None:
    """The network's weights as a finalist, or else as it was exported, or else as the run's supernet has them; None
    without any of these.

    Args:
        names: the data's keypoints, in whose order the heatmaps are to be.

    Raises:
        InputError: the weights are of other keypoints.
    """
    from nas.processes.rank import is_first_process
    from nas.weights.order import pose_network_in_order, require_keypoints, state_in_order
    from supernet import Supernet

    for weights in (finalist_weights(run, architecture.id), exported_weights(run, architecture.id)):
        if weights.is_file():
            return state_in_order(weights, names, tells=is_first_process())
    if isinstance(architecture, PoseArchitecture) and run.supernet.is_file():
        require_keypoints(run.supernet, names)
        return Supernet.load(run.supernet, SearchSpace).extract(architecture).module.state_dict()
    if isinstance(architecture, VideoArchitecture) and run.temporal.is_file() and run.key.is_file():
        require_keypoints(run.temporal, names)
        supernet = Supernet.load(run.temporal, VideoSearchSpace)
        key = pose_network_in_order(run.key, names, tells=False)
        return supernet.extract_video(architecture, key).module.state_dict()
    return None
