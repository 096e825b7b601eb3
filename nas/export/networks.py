"""From the front of a search to networks in files: architecture, weights, ONNX, a card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.pose_data import PoseData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import evaluate_network
from nas.report.describe import latency_source
from nas.run.folder import RunFolder, read_json_lines
from nas.run.lock import RunLock
from nas.search.record.journal import latest
from nas.weights.files import load_metadata
from nas.weights.meaning import HeatmapMeaning
from nas.weights.order import require_keypoints
from search_spaces import InputError, PoseArchitecture
from supernet import Supernet, calibrate

from .card import Figures, card
from .config import ExportConfig
from .network_files import WEIGHTS, write_network
from .origin import INHERITED, inherited_line

__all__ = [
    "ExportedNetwork",
    "choose",
    "chosen_records",
    "export_networks",
    "find_records",
    "refuse_other_weights",
    "written_whole",
]


@dataclass(frozen=True)
class ExportedNetwork:
    """One exported network: where it lies, and how good it is with inherited weights."""

    architecture: PoseArchitecture
    folder: Path
    metrics: dict[str, float]
    ap_by_position: tuple[float, ...] = ()
    """Of a video network."""

    @property
    def ap(self) -> float:
        return self.metrics["AP"]


def choose(front: Sequence[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """``count`` members of the front, its ends among them, spread evenly over its order; all of them for None."""
    if count is None or count >= len(front):
        return list(front)
    if count == 1:
        return [front[len(front) // 2]]
    return [front[round(index * (len(front) - 1) / (count - 1))] for index in range(count)]


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


def chosen_records(run: RunFolder, config: ExportConfig, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The evaluations with these ids, or without ids ``config.networks`` of the front.

    Raises:
        InputError: there is no front, it is empty, or an id is unknown.
    """
    records = find_records(run, ids) if ids else choose(run.load_front(), config.networks)
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
    data: PoseData,
    config: ExportConfig,
    ids: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[ExportedNetwork]:
    """Write networks of the front (or those with these ids) to ``export/<id>/``, each whole or not at all.

    The weights are inherited from the supernet and calibrated on ``config.calibration_crops`` crops; AP is that of all
    validation people, without flip test.

    Raises:
        InputError: there is no front or no supernet, an id is unknown, the data cannot be used; another export runs.
        RuntimeError: the ONNX file gives other numbers than torch.
    """
    records = chosen_records(run, config, ids)
    refuse_other_weights(run, records)
    front_file = run.load_front_file() if run.front.is_file() else {}
    supernet = Supernet.load(run.supernet, run.load_space())
    data.read()
    require_keypoints(run.supernet, data.val.keypoint_names)
    data.tell_of_keypoints("val", mirrors=False, judges=True)
    exported = []
    with RunLock(run.path / "export", "an export"):
        for index, record in enumerate(records):
            if progress:
                progress(index, len(records))
            source = latency_source(record, front_file)
            exported.append(_export(run, data, config, supernet, record, source))
    if progress:
        progress(len(records), len(records))
    return exported


def _export(
    run: RunFolder,
    data: PoseData,
    config: ExportConfig,
    supernet: Supernet,
    record: dict[str, Any],
    source: str,
) -> ExportedNetwork:
    architecture = PoseArchitecture.from_json(record["architecture"])
    size = architecture.input_size
    crops = data.calibration_crops(size, config.calibration_crops)
    net = calibrate(supernet.extract(architecture), (crops.tensor(slice(i, i + 64)) for i in range(0, len(crops), 64)))
    people = data.val
    metrics = evaluate_network(
        net, data.validation_crops(size), people, data.codec(size), EvaluationConfig(flip_test=False)
    ).metrics
    folder, count = run.export(architecture.id), config.calibration_crops
    sentence = (
        f"AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}, AR {metrics['AR']:.3f} with **inherited** weights, "
        f"BatchNorm calibrated on {count} crops, on {len(people.instances)} people, no flip test"
    )
    figures = Figures(accuracy=[sentence], record=record, latency_source=source)
    meaning = HeatmapMeaning(
        codec=data.codec(size), keypoint_names=people.keypoint_names, padding=data.config.padding,
        keypoint_set=people.keypoint_set,
    )  # fmt: skip
    has_weights = "safetensors" in config.formats or (folder / WEIGHTS).is_file()
    first_line = inherited_line(architecture.id, run.path)
    text = card(architecture, first_line, figures, meaning, WEIGHTS if has_weights else "")
    facts = {"evaluation": record, "inherited": metrics, "calibration_crops": count}
    with written_whole(folder) as partial:
        write_network(partial, net, config.formats, meaning, {"origin": INHERITED}, facts, text)
    return ExportedNetwork(architecture, folder, metrics)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
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
