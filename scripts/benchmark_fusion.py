"""What fusion is worth: the same small network in every propagated frame, with each feature and operation, and without.

    make quickstart VIDEO=1 MINUTES=38
    python scripts/benchmark_fusion.py RUN FOLDER [--network FILE] [--cells none,F1-add,F2-cat] [--epochs 2]

RUN is the folder of a quickstart on videos. Its key frame's network comes first; each propagated frame runs one and
the same network: that of FILE with its weights, or else the smallest of the space with those of RUN's image supernet.
Each cell (a fusion is the identity at first) trains these frames with RUN's settings, for the same steps with the same
seed, and is evaluated on RUN's validation videos. "none" is the network without fusion; "none-wide" a larger one that
multiplies more than any cell does, with inherited weights (not with FILE). One thread; what is done is kept in FOLDER
and not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.config import load_config
from nas.data.pose_data import PoseData
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.prediction import ClipEvaluator
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.video_quickstart import VIDEO
from nas.training.clips import TrainingClips
from nas.training.retrain import retrain_video
from nas.weights.files import load_network
from search_spaces import FusionChoice, PoseArchitecture, PropagatedFrame, VideoArchitecture
from search_spaces.complexity import count
from search_spaces.video_costs import count_frame
from supernet import PoseNet, Supernet, VideoPoseNet, calibrate

WIDE = "none-wide"
CELLS = ("none", WIDE, *(f"F{f}-{o}" for o in ("add", "cat", "mul") for f in (1, 2, 3, 4)))
EVALUATION = EvaluationConfig(flip_test=False)
CALIBRATION_CROPS = 512


def fusion_of(cell: str) -> FusionChoice:
    if cell.startswith("none"):
        return FusionChoice.none()
    feature, operation = cell.removeprefix("F").split("-")
    return FusionChoice(feature=int(feature), operation=operation)  # type: ignore[arg-type]  # checked by the value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `make quickstart VIDEO=1`")
    parser.add_argument("folder", type=Path, help="for what is trained here")
    parser.add_argument("--network", type=Path, help="weights of an image network for the frames after the key frame")
    parser.add_argument("--cells", help="comma-separated; default: all")
    parser.add_argument("--frames", type=int, default=2, help="T")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training clips, in each cell")
    parser.add_argument("--learning-rate", type=float, help="with a cosine; default: RUN's rate and schedule")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments)
    cells = arguments.cells.split(",") if arguments.cells else [c for c in CELLS if c != WIDE or not arguments.network]
    results = {cell: bench.cell(cell) for cell in cells}
    print_table(results, bench.every_frame_alone())


class Bench:
    """The trainings, each of which is done once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder = arguments, arguments.folder
        images, videos = RunFolder.existing(arguments.run), RunFolder.existing(arguments.run / VIDEO)
        self.config = load_config(videos.config, [("run_dir", str(videos.path))])
        self.key = load_network(videos.key, PoseArchitecture)
        self.supernet = Supernet.load(images.supernet)
        self.space = self.supernet.space
        self.data = PoseData(self.config.data, self.space.keypoints)
        self.videos = VideoData(self.config.data, arguments.frames, self.space.keypoints)
        self.evaluator = ClipEvaluator.of(self.videos, self.space.input_size, EVALUATION)
        self.start = None if arguments.network is None else load_network(arguments.network, PoseArchitecture)
        self.small = self.space.smallest() if self.start is None else self.start.architecture
        if self.start is None:
            dearest = max(count_frame(self.frame_of(cell)).macs for cell in CELLS if cell != WIDE)
            assert count(self.wide).macs >= dearest

    @property
    def wide(self) -> PoseArchitecture:
        """The small network with the next width in its third stage."""
        stages = list(self.small.stages)
        widths = self.space.stages[2].width
        stages[2] = dataclasses.replace(stages[2], width=next(width for width in widths if width > stages[2].width))
        return self.small.replace(stages=tuple(stages))

    def frame_of(self, cell: str) -> PropagatedFrame:
        network = self.wide if cell == WIDE else self.small
        return PropagatedFrame(architecture=network, fusion=fusion_of(cell))

    def before(self, network: PoseArchitecture) -> PoseNet:
        """The network with the weights that its training begins with."""
        if self.start is not None:
            return self.start
        crops = self.data.calibration_crops(self.space.input_size, CALIBRATION_CROPS)
        return calibrate(self.supernet.extract(network), [crops.tensor()])

    def cell(self, name: str) -> dict[str, Any]:
        """Measures of the trained video network, and the OKS of everybody in the clips."""
        out, frame = self.folder / "cells" / name, self.frame_of(name)
        architecture = VideoArchitecture(key=self.key.architecture, frames=(frame,) * self.arguments.frames)
        if not _finished(out):
            clips = TrainingClips(self.videos, self.space.input_size, self.small.heatmap_size)
            settings = self.config.video.retrain.replace(
                minutes=None, epochs=self.arguments.epochs, validate_every=10_000, processes=1, threads=1,
                batch_size=24, train_key=False, seed=self.arguments.seed, validation=EVALUATION,
                teacher=None, learn_from_key=True,
            )  # fmt: skip
            if self.arguments.learning_rate is not None:
                settings = settings.replace(learning_rate=self.arguments.learning_rate, schedule="cosine")
            state = initial_state(architecture, self.before(frame.architecture), self.key, self.arguments.seed)
            retrain_video(architecture, clips, self.evaluator, settings, out, self.key, state, resume=True)
        return self._evaluated(out, count_frame(frame).macs, load_network(out / "best.safetensors", architecture))

    def every_frame_alone(self) -> dict[str, dict[str, Any]]:
        """The key frame's and the small network on each frame, without further training."""
        alone = [
            ("key network, every frame", "key", self.key),
            ("the network of the frames, before", "before", self.before(self.small)),
        ]
        return {
            title: self._evaluated(self.folder / name, count(net.architecture).macs, net) for title, name, net in alone
        }

    def _evaluated(self, out: Path, macs: int, net: PoseNet | VideoPoseNet) -> dict[str, Any]:
        file = out / "evaluated.json"
        if file.is_file():
            return dict(json.loads(file.read_text()))
        places, scores = self.evaluator.predict(net)
        found = self.evaluator.measure.evaluate(places, scores)
        similarity = self.evaluator.measure.oks(places)[:, 1:]
        content = {
            "macs": macs,
            "ap": found.ap,
            "ap_by_position": found.ap_by_position,
            "oks_by_position": found.oks_by_position,
            "oks": np.where(np.isnan(similarity), -1, similarity).round(4).tolist(),
        }
        out.mkdir(parents=True, exist_ok=True)
        atomic_write_json(file, content, indent=None)
        print(f"{out.name}: AP by position {[round(ap, 3) for ap in found.ap_by_position]}", flush=True)
        return content


def _finished(folder: Path) -> bool:
    results = folder / "results.json"
    return results.is_file() and bool(json.loads(results.read_text())["finished"])


def initial_state(
    architecture: VideoArchitecture, start: PoseNet, key: PoseNet, seed: int
) -> dict[str, torch.Tensor]:
    """The trained small network in every propagated frame, and fusions that are the identity."""
    net = VideoPoseNet(architecture, torch.Generator().manual_seed(seed))
    net.key.load_state_dict(key.state_dict())
    for frame in net.frames:
        frame.load_state_dict({**frame.state_dict(), **start.state_dict()})
    return net.state_dict()


def print_table(cells: dict[str, dict[str, Any]], alone: dict[str, dict[str, Any]]) -> None:
    frames = len(next(iter(cells.values()))["ap_by_position"])
    places = " | ".join(f"AP {position}" for position in range(frames))
    print(f"| propagated frames | MMACs a frame | {places} | mean AP 1…{frames - 1} | mean OKS | difference in OKS |")
    print("| --- " * (frames + 5) + "|")
    base = np.array(cells["none"]["oks"]) if "none" in cells else None
    for name, found in {**alone, **cells}.items():
        aps, oks = found["ap_by_position"], np.array(found["oks"])
        clips = np.where(oks < 0, np.nan, oks)
        difference = ""
        if base is not None and name != "none":
            known = (oks >= 0).any(axis=1)  # of clips whose propagated frames show somebody
            per_clip = np.nanmean(np.where(base[known] < 0, np.nan, clips[known] - base[known]), axis=1)
            difference = f"{per_clip.mean():+.4f} ± {per_clip.std() / len(per_clip) ** 0.5:.4f}"
        cells_of = " | ".join(f"{ap:.3f}" for ap in aps)
        title = name.replace("-", " ")
        print(
            f"| {title} | {found['macs'] / 1e6:.2f} | {cells_of} | {np.mean(aps[1:]):.3f} | "
            f"{np.nanmean(clips):.4f} | {difference} |"
        )


if __name__ == "__main__":
    main()
