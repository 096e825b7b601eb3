"""The export of any weights of ours, image or video: of a retrained network, an inherited or a converted one."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.codec_name import CodecName
from nas.finalists.outcome import read_finalists
from nas.report.describe import latency_source
from nas.run.folder import RunFolder
from nas.run.lock import RunLock
from nas.run.overwriting import refuse_over_inputs
from nas.run.placing import placed_in, read_facts, read_object
from nas.weights.files import load_metadata, load_network
from nas.weights.meaning import HeatmapMeaning
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from supernet import PoseNet, VideoPoseNet

from .card import Figures, card
from .deployed_files import PREDICT, require_packages
from .network_files import WEIGHTS, missing_forms, possible_formats, write_network
from .origin import KEY_TRAINED_ON, Origin, read_origin, weights_key

__all__ = ["BEST", "KEY_FOLDER", "ExportedWeights", "export_beside", "export_retrained", "export_weights"]

BEST = "best.safetensors"
"""The weights of a retrained network, in its folder."""
KEY_FOLDER = "key"
"""In the export of a video network: the export of its key frame's network, where that was trained on with it."""
_OF_THE_FILE = ("format", "architecture", "video_architecture", "stride")
"""What a header says of the network, not of where its weights come from."""


@dataclass(frozen=True, kw_only=True)
class ExportedWeights:
    """What was written, and whose weights it has."""

    architecture: PoseArchitecture | VideoArchitecture
    folder: Path
    origin: Origin
    files: tuple[str, ...]
    """In the folder; a key frame's network lies in a folder of its own in it."""


def export_weights(
    weights: Path,
    folder: Path,
    formats: Sequence[str],
    *,
    codec: CodecName | None = None,
    keypoint_names: Sequence[str] | None = None,
    padding: float | None = None,
) -> ExportedWeights:
    """Write the network in a file to ``folder``: weights, ONNX, a form for MMPose, card, facts.

    Neither a configuration nor data are needed: what the heatmaps mean is in the file's header.

    Args:
        weights: a ``.safetensors`` file of ours.
        folder: may hold other things, which stay; made if it is not there.
        formats: of :data:`nas.export.config.FORMATS`.
        codec, keypoint_names, padding: as :meth:`HeatmapMeaning.read`.

    Raises:
        InputError: the weights cannot be used; MMPose has no such network; a file of the same name is in the folder,
            and is of no export of these weights.
        RuntimeError: an ONNX file gives other numbers than torch.
    """
    refuse_over_inputs([folder / WEIGHTS], [weights], "name another folder with --output")
    source = _Source.read(weights, codec, keypoint_names, padding)
    require_packages(formats)
    for name, reason in missing_forms(source.net.architecture).items():
        if name in formats:
            raise InputError(f"{weights}: {reason}; leave {name} out of the formats")
    return source.export(folder, formats)


def export_beside(weights: Path, formats: Sequence[str]) -> ExportedWeights:
    """Write the export of a retrained network into its folder, beside the weights, as :func:`export_weights` does.

    Where MMPose has no such network, that is said, and the other formats are written.

    Raises:
        InputError: as :func:`export_weights`, or a training is writing to the folder.
        RuntimeError: as there.
    """
    source = _Source.read(weights, None, None, None)
    possible_formats(source.net.architecture, formats, weights.parent)  # warns; a key frame's network may have more
    with RunLock(weights.parent, "an export"):
        return source.export(weights.parent, formats, is_beside=True)


def export_retrained(folder: Path, formats: Sequence[str]) -> ExportedWeights:
    """:func:`export_beside` at the end of a training.

    Raises:
        InputError: it failed. The message says that the weights are there, and how to export again.
    """
    try:
        return export_beside(folder / BEST, formats)
    except (InputError, RuntimeError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else " ".join(str(error).split())
        raise InputError(
            f"{folder / BEST}: is trained and whole, and its export failed: {reason}; `vipnas export {folder}` writes "
            "it again"
        ) from None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A network, and what is known of its weights."""

    net: PoseNet | VideoPoseNet
    weights: Path
    """Of a part of a video network, the whole one's."""
    key: str
    """Of the file."""
    header: Mapping[str, str]
    meaning: HeatmapMeaning
    origin: Origin

    @staticmethod
    def read(
        weights: Path, codec: CodecName | None, keypoint_names: Sequence[str] | None, padding: float | None
    ) -> _Source:
        net, metadata = load_network(weights), load_metadata(weights)
        architecture = net.architecture
        is_simcc = isinstance(architecture, PoseArchitecture) and architecture.is_simcc
        heatmap_size = None if is_simcc else architecture.heatmap_size
        meaning = HeatmapMeaning.read(
            metadata, str(weights), architecture.keypoints, architecture.input_size, heatmap_size,
            codec=codec, keypoint_names=keypoint_names, padding=padding,
        )  # fmt: skip
        header = {name: value for name, value in metadata.items() if name not in _OF_THE_FILE}
        origin = read_origin(weights, metadata, architecture.id)
        key = weights_key(weights)
        return _Source(net=net, weights=weights, key=key, header=header, meaning=meaning, origin=origin)

    def export(self, folder: Path, formats: Sequence[str], *, is_beside: bool = False) -> ExportedWeights:
        """Write it, and, where it was trained on, the key frame's network too."""
        others = [name for name in formats if name != "safetensors"]
        if is_beside:
            exported = self._write(folder, others, BEST, is_beside=True)
        else:
            exported = self._write(folder, formats, WEIGHTS if "safetensors" in formats else "", is_beside=False)
        if isinstance(self.net, VideoPoseNet) and self._has_trained_key():
            of_key = ["safetensors", *others]  # its weights lie nowhere else alone
            self._key_frame(self.net)._write(folder / KEY_FOLDER, of_key, WEIGHTS, is_beside=is_beside)
        return exported

    def _write(self, folder: Path, formats: Sequence[str], weights_name: str, *, is_beside: bool) -> ExportedWeights:
        architecture = self.net.architecture
        missing = missing_forms(architecture)
        formats = [name for name in formats if name not in missing]
        record, source, fingerprint = _latency_record(self.weights, architecture.id)
        figures = Figures(
            accuracy=self.origin.accuracy,
            ap_by_position=self.origin.ap_by_position,
            record=record,
            latency_source=source,
            fingerprint=fingerprint,
            is_video=isinstance(architecture, VideoArchitecture),
        )
        before = read_facts(folder)
        keeps = before.get("weights_key") == self.key and PREDICT in before["files"]
        has_predict = isinstance(architecture, PoseArchitecture) and ("onnx" in formats or keeps)
        text = card(architecture, self.origin.line, figures, self.meaning, weights_name, has_predict=has_predict)
        facts = {
            "origin": self.origin.kind,
            "measures": dict(self.origin.measures),
            "formats": list(formats),
            "assumed": list(self.meaning.assumed),
        }
        with placed_in(folder, self.key, is_beside=is_beside) as partial:
            write_network(
                partial, self.net, formats, self.meaning, self.header, facts, text, figures.latencies_by_network
            )
        files = tuple(read_facts(folder)["files"])
        return ExportedWeights(architecture=architecture, folder=folder, origin=self.origin, files=files)

    def _has_trained_key(self) -> bool:
        """Whether the training of these weights trained the key frame's network on."""
        results = read_object(self.weights.with_name("results.json"))
        return self.origin.kind == "retrained" and bool(dict(results.get("config") or {}).get("train_key"))

    def _key_frame(self, net: VideoPoseNet) -> _Source:
        aps = self.origin.ap_by_position[:1]
        sentence = f"AP {aps[0]:.3f} on the key frames of the clips, as validated in training" if aps else ""
        origin = Origin(
            kind="retrained",
            line="Retrained weights: the key frame's network of the video network "
            f"{net.architecture.id}, trained on with it.",
            accuracy=(sentence or "AP: not measured",),
            measures={"AP": aps[0]} if aps else {},
        )
        return _Source(
            net=net.key, weights=self.weights, key=self.key, header={"origin": KEY_TRAINED_ON}, meaning=self.meaning,
            origin=origin,
        )  # fmt: skip


def _latency_record(weights: Path, architecture_id: str) -> tuple[Mapping[str, Any] | None, str, Mapping[str, Any]]:
    """The evaluation that has the network's latency, where that comes from and the fingerprint of what it was measured
    on; of weights that lie in a run which has the network among its finalists, or else on its front."""
    if weights.parent.name != architecture_id:
        return None, "", {}
    run = RunFolder(weights.parent.parent.parent)
    try:
        if run.finalists_file.is_file():
            found = read_finalists(run)
            for one in found["finalists"]:
                if one["id"] == architecture_id:
                    finalist = {"id": architecture_id, "measured": {"latency_ms": one["latency_ms"]}}
                    fingerprint = {**(found.get("fingerprint") or {}), "batch": found.get("batch")}
                    return finalist, "measured beside the other finalists", fingerprint
        front = run.load_front_file()
    except InputError:
        return None, "", {}
    member = next((one for one in front["front"] if one["id"] == architecture_id), None)
    if member is None:
        return None, "", {}
    return member, latency_source(member, front), (front.get("fingerprint") or {}).get("latency") or {}
