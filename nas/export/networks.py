"""From the front of a search to networks in files: architecture, weights, ONNX, a card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.data.clip_cache import ClipCache
from nas.data.pose_data import PoseData
from nas.data.video_data import VideoData
from nas.evaluation.clips import summary
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.evaluation.prediction import ClipEvaluator
from nas.report.describe import latency_source
from nas.run.folder import RunFolder, read_json_lines
from nas.run.lock import RunLock
from nas.search.record.front import cost_of, spread
from nas.search.record.journal import latest
from nas.weights.files import load_metadata, load_network
from nas.weights.meaning import HeatmapMeaning
from nas.weights.order import require_keypoints
from search_spaces import InputError, PoseArchitecture, VideoArchitecture
from search_spaces.video import any_architecture
from supernet import PoseNet, Supernet, VideoPoseNet, calibrate, calibrate_video
from supernet.calibration import Clips

from .card import Figures, card
from .config import FORMATS, ExportConfig
from .deployed_files import PREDICT, require_packages
from .network_files import NOT_OF_VIDEOS, WEIGHTS, possible_formats, write_network
from .origin import INHERITED, inherited_line

__all__ = ["ExportedNetwork", "choose", "export_networks", "find_records", "refuse_other_weights"]

PLAIN = EvaluationConfig(flip_test=False)
CROPS, CLIPS = 64, 32
"""A batch of the calibration."""


@dataclass(frozen=True)
class ExportedNetwork:
    """One exported network: where it lies, and how good it is with inherited weights."""

    architecture: PoseArchitecture | VideoArchitecture
    folder: Path
    metrics: dict[str, Any]
    """As ``facts.json`` has them: ``AP`` and its kin; of a video network ``mean_oks`` and ``by_position``, too: the AP
    of each frame, the key frame first."""

    @property
    def ap(self) -> float:
        return float(self.metrics["AP"])

    @property
    def ap_by_position(self) -> tuple[float, ...]:
        """Of a video network; empty for an image network."""
        return tuple(self.metrics.get("by_position", ()))


def choose(front_file: Mapping[str, Any], count: int | None) -> list[dict[str, Any]]:
    """``count`` members of the front, spread over its latencies (without any: its first); all of them for None.

    Args:
        front_file: as ``pareto.json`` is.
    """
    front, cost = front_file["front"], cost_of(front_file["objectives"])
    return list(front[:count]) if cost is None else [dict(record) for record in spread(front, count, cost)]


def find_records(run: RunFolder, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The evaluations whose architecture ids begin with ``ids``; those of the front as the front has them, measured.

    Raises:
        InputError: none, or several different ones, begin so.
    """
    wanted = tuple(ids)
    everything = read_json_lines(run.journal)
    evaluations = latest(record for record in everything if str(record.get("id", "")).startswith(wanted))
    records = {str(record.get("id", "")): record for record in evaluations}
    if run.front.is_file():
        records |= {record["id"]: record for record in run.load_front()}
    found: list[dict[str, Any]] = []
    for prefix in ids:
        matches = {key: record for key, record in records.items() if key.startswith(prefix)}
        if len(matches) != 1:
            what = "no evaluation has" if not matches else f"{len(matches)} evaluations have"
            raise InputError(f"{run.journal}: {what} an id that begins with {prefix!r}")
        found += matches.values()
    return found


def _chosen_records(run: RunFolder, config: ExportConfig, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The evaluations with these ids, or without ids ``config.networks`` of the front.

    Raises:
        InputError: there is no front, it is empty, or an id is unknown.
    """
    records = find_records(run, ids) if ids else choose(run.load_front_file(), config.networks)
    if not records:
        raise InputError(
            f"{run.front}: the front is empty; let the search end (--resume), or run longer, or loosen its constraints"
        )
    return records


def refuse_other_weights(run: RunFolder, records: Sequence[dict[str, Any]]) -> None:
    """Raise InputError where an exported network's file was exchanged for others, trained ones for example."""
    for record in records:
        weights = run.export(record["id"]) / "weights.safetensors"
        if weights.is_file() and load_metadata(weights).get("origin") != INHERITED:
            raise InputError(f"{weights}: is there and was not made by vipnas export {run.path}; move it elsewhere")


def export_networks(
    run: RunFolder,
    data: PoseData | VideoData,
    config: ExportConfig,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[ExportedNetwork]:
    """Write networks of the front (or those with these ids) to ``export/<id>/``, each whole or not at all.

    The weights are inherited from the supernet and calibrated on ``config.calibration_crops`` training crops (of video
    networks: clips, position after position; all, if there are fewer); AP is that of all validation people, or clips,
    without flip test. Formats in which there is no form of a network are left out of its folder, with a warning.

    Args:
        data: of the run's kind, images or videos.

    Raises:
        InputError: there is no front or no supernet, an id is unknown, the data cannot be used; there are no
            video networks in such a format; another export runs.
        RuntimeError: an ONNX file gives other numbers than torch.
    """
    if run.is_video:
        _require_formats_of_videos(config.formats)
    require_packages(config.formats)
    records = _chosen_records(run, config, ids)
    refuse_other_weights(run, records)
    front_file = run.load_front_file() if run.front.is_file() else {}
    lend = _lender(run, data, config.calibration_crops)
    exported = []
    with RunLock(run.path / "export", "an export"):
        for index, record in enumerate(records):
            if progress:
                progress(index, len(records))
            exported.append(_export(run, data, config, record, front_file, lend))
    if progress:
        progress(len(records), len(records))
    return exported


def _require_formats_of_videos(formats: Sequence[str]) -> None:
    for name in formats:
        if name in NOT_OF_VIDEOS:
            possible = ", ".join(one for one in FORMATS if one not in NOT_OF_VIDEOS)
            raise InputError(f"export.formats: {name}: {NOT_OF_VIDEOS[name]}; choose from {possible}")


@dataclass(frozen=True)
class _Lent:
    """A network with the supernet's weights, calibrated, and how good it is."""

    net: PoseNet | VideoPoseNet
    metrics: dict[str, Any]
    accuracy: str
    """In a sentence."""
    calibrated_on: dict[str, int]


Lender = Callable[[Any], _Lent]
"""An architecture of the space → its network."""


def _export(
    run: RunFolder,
    data: PoseData | VideoData,
    config: ExportConfig,
    record: dict[str, Any],
    front_file: Mapping[str, Any],
    lend: Lender,
) -> ExportedNetwork:
    architecture = any_architecture(record["architecture"])
    lent, folder = lend(architecture), run.export(architecture.id)
    figures = Figures(
        accuracy=[lent.accuracy], ap_by_position=lent.metrics.get("by_position", ()), record=record,
        latency_source=latency_source(record, front_file), is_video=run.is_video,
        fingerprint=(front_file.get("fingerprint") or {}).get("latency") or {},
    )  # fmt: skip
    keypoints = data.val.keypoint_set
    meaning = HeatmapMeaning(
        codec=data.codec_of(architecture), keypoint_names=tuple(keypoints.names), padding=data.config.padding,
        keypoint_set=keypoints,
    )  # fmt: skip
    formats = possible_formats(architecture, config.formats, folder)
    has_weights = "safetensors" in formats or (folder / WEIGHTS).is_file()
    has_predict = not run.is_video and ("onnx" in formats or (folder / PREDICT).is_file())
    first_line = inherited_line(architecture.id, run.path)
    text = card(
        architecture, first_line, figures, meaning, WEIGHTS if has_weights else "", has_predict=has_predict
    )
    facts = {"evaluation": record, "inherited": lent.metrics, **lent.calibrated_on}
    with _written_whole(folder) as partial:
        header, latencies = {"origin": INHERITED}, figures.latencies_by_network
        write_network(partial, lent.net, formats, meaning, header, facts, text, latencies)
    return ExportedNetwork(architecture, folder, lent.metrics)


def _lender(run: RunFolder, data: PoseData | VideoData, calibration: int) -> Lender:
    """The run's supernet, held against the data, with what its networks are calibrated on and evaluated by."""
    if isinstance(data, VideoData):
        space, files = run.load_video_space(), [run.temporal, run.key]
        supernet, key = Supernet.load(run.temporal, space), load_network(run.key, space.key)
    else:
        files, supernet = [run.supernet], Supernet.load(run.supernet, run.load_space())
    data.read()
    for path in files:
        require_keypoints(path, data.val.keypoint_set.names)
    data.tell_of_keypoints("val", mirrors=False, evaluates=True)
    if isinstance(data, VideoData):
        return _lender_of_clips(supernet, key, data, calibration)
    return _lender_of_crops(supernet, data, calibration)


def _lender_of_crops(supernet: Supernet, data: PoseData, count: int) -> Lender:
    people = data.val

    def lend(architecture: PoseArchitecture) -> _Lent:
        size = architecture.input_size
        crops, validation = data.calibration_crops(size, count), data.validation_crops(size)
        net = calibrate(supernet.extract(architecture), crops.batches(CROPS))
        metrics = evaluate_network(net, validation, people, data.codec_of(architecture), PLAIN).metrics
        accuracy = (
            f"{_words(metrics)} with **inherited** weights, BatchNorm calibrated on {count} crops, on "
            f"{len(people.instances)} people, no flip test"
        )
        return _Lent(net, metrics, accuracy, {"calibration_crops": count})

    return lend


def _lender_of_clips(supernet: Supernet, key: PoseNet, data: VideoData, count: int) -> Lender:
    size = supernet.space.input_size
    clips, evaluator = data.calibration_clips(size, count), ClipEvaluator.of(data, size, PLAIN)
    x, y = data.codec_of(key.architecture).stride.tolist()

    def lend(architecture: VideoArchitecture) -> _Lent:
        net = calibrate_video(supernet.extract_video(architecture, key, (x, y)), _Batches(clips))
        found = evaluator.metrics(net)
        accuracy = (
            f"{_words(found.metrics)} over all frames, mean OKS {found.mean_oks:.3f}, with **inherited** weights in "
            f"the propagated frames, BatchNorm calibrated on {len(clips)} clips, on {len(data.val_clips)} clips, no "
            "flip test"
        )
        metrics = {**found.metrics, "mean_oks": summary(found)["mean_oks"], "by_position": list(found.ap_by_position)}
        return _Lent(net, metrics, accuracy, {"calibration_clips": len(clips)})

    return lend


def _words(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in ("AP", "AP50", "AR"))


class _Batches(Sequence[Clips]):
    """The clips in batches, each read when it is asked for: all of them would not always fit the memory."""

    def __init__(self, clips: ClipCache) -> None:
        self.clips, self.parts = clips, [slice(begin, begin + CLIPS) for begin in range(0, len(clips), CLIPS)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        part = self.parts[index]
        return self.clips.tensor(part), torch.from_numpy(self.clips.previous_from_current(part))


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder to write into, which then takes the place of ``folder``: a kill leaves no half of one.

    What an earlier export has left there, in other formats, is of the same weights: it stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of an export that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        if folder.exists():
            shutil.copytree(folder, partial, dirs_exist_ok=True)
        yield partial
        partial.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
