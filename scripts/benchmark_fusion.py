"""What fusion is worth: the same small network in every propagated frame, with each feature and operation, and without.

    vipnas data synthesize DIR --videos-train 200 --videos-val 40
    python scripts/benchmark_fusion.py FOLDER --data DIR [--cells none,F1-add,F2-cat] [--key-epochs 14]

A key frame network and the small network are trained on the still images of DIR, once. Each cell begins with these
weights (a fusion is the identity at first), trains the T frames on the videos for the same steps with the same seed,
and is judged on the validation videos. "none" is the small network without fusion, "none-wide" a larger one that
multiplies more than any cell does. One thread; what is done is kept in FOLDER and not done again.
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
from nas.evaluation_config import EvaluationConfig
from nas.files import atomic_write_json
from nas.quickstart import CONFIG
from nas.training.config import RetrainConfig, VideoRetrainConfig
from nas.training.retrain import retrain
from nas.training.retrain_video import retrain_video
from nas.training.video_clips import VideoClips
from nas.video_judge import ClipJudge
from nas.video_weights import load_video_network
from nas.weights import load_network
from search_spaces import FusionChoice, PoseArchitecture, PropagatedFrame, VideoArchitecture, get_space
from search_spaces.complexity import count, count_frame
from supernet import PoseNet, VideoPoseNet

SPACE = get_space("resnet-tiny")
CELLS = ("none", "none-wide", *(f"F{f}-{o}" for o in ("add", "cat", "mul") for f in (1, 2, 3, 4)))
JUDGED = EvaluationConfig(flip_test=False)
STILL_RATE = 2e-2
"""Muon's learning rate for still images; that of the cells is half of it."""


def member(
    stem: int, widths: tuple[int, ...], depths: tuple[int, ...], groups: int, head: tuple[int, int]
) -> PoseArchitecture:
    """A network of the space's kind, whether or not it is a choice there; ``head`` is its width and groups."""
    base = SPACE.smallest()
    stages = tuple(
        dataclasses.replace(stage, width=width, depth=depth, groups=groups)
        for stage, width, depth in zip(base.stages, widths, depths, strict=True)
    )
    head_of = dataclasses.replace(base.head, widths=(head[0],) * 2, groups=(head[1],) * 2)
    return base.replace(stem=dataclasses.replace(base.stem, width=stem), stages=stages, head=head_of)


KEY = member(16, (24, 32, 64, 96), (1, 1, 2, 2), 1, (32, 1))
SMALL = member(12, (16, 24, 48, 48), (1, 1, 1, 1), 2, (32, 4))
WIDE = member(12, (16, 32, 48, 48), (1, 1, 1, 1), 2, (32, 4))


def fusion_of(cell: str) -> FusionChoice:
    if cell.startswith("none"):
        return FusionChoice.none()
    feature, operation = cell.removeprefix("F").split("-")
    return FusionChoice(feature=int(feature), operation=operation)  # type: ignore[arg-type]  # checked by the value


def frame_of(cell: str) -> PropagatedFrame:
    return PropagatedFrame(architecture=WIDE if cell == "none-wide" else SMALL, fusion=fusion_of(cell))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of `vipnas data synthesize`, with videos")
    parser.add_argument("--cells", default=",".join(CELLS), help="comma-separated; default: all")
    parser.add_argument("--frames", type=int, default=3, help="T")
    parser.add_argument("--key-epochs", type=int, default=14)
    parser.add_argument("--small-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training clips, in each cell")
    parser.add_argument("--stride", type=int, default=1, help="a training clip begins at every n-th frame")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments)
    cells = arguments.cells.split(",")
    assert count(WIDE).macs >= max(count_frame(frame_of(cell)).macs for cell in CELLS if cell != "none-wide")
    results = {cell: bench.cell(cell) for cell in cells}
    print_table(results, bench.every_frame_alone())


class Bench:
    """The trainings, each of which is done once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder = arguments, arguments.folder
        overrides = [
            ("data.folder", str(arguments.data)),
            ("data.video.folder", str(arguments.data)),
            ("data.video.layout", "coco"),
            ("data.video.train_stride", str(arguments.stride)),
            ("minutes", "null"),
        ]
        self.config = load_config(CONFIG, overrides)
        self.videos = VideoData(self.config.data, arguments.frames, SPACE.keypoints)
        self.judge = ClipJudge.of(self.videos, SPACE.input_size, JUDGED)

    def still(self, name: str, network: PoseArchitecture, epochs: int) -> PoseNet:
        """The network, trained on the still images."""
        out = self.folder / name
        settings: RetrainConfig = self.config.retrain.replace(
            minutes=None, epochs=epochs, validate_every=10_000, initialize_from="scratch", initialization="kaiming",
            learning_rate=STILL_RATE, schedule="cosine", threads=1, validation=JUDGED, seed=self.arguments.seed,
        )  # fmt: skip
        if not _finished(out):
            data = PoseData(self.config.data, SPACE.keypoints)
            ap = retrain(network, data, settings, out, resume=True).best_ap
            print(f"{name}: {count(network).macs / 1e6:.1f} MMACs, AP on still images {ap:.3f}", flush=True)
        return load_network(out / "best.safetensors")

    @property
    def key(self) -> PoseNet:
        return self.still("key", KEY, self.arguments.key_epochs)

    def cell(self, name: str) -> dict[str, Any]:
        """Measures of the trained video network, and the OKS of everybody in the clips."""
        out = self.folder / "cells" / name
        frame, key = frame_of(name), self.key
        start = self.still("wide" if name == "none-wide" else "small", frame.architecture, self.arguments.small_epochs)
        architecture = VideoArchitecture(key=KEY, frames=(frame,) * self.arguments.frames)
        if not _finished(out):
            clips = VideoClips(self.videos, SPACE.input_size, KEY.heatmap_size)
            retrain_video(
                architecture, clips, self.judge, self._settings(), out, key,
                initial_state(architecture, start, key, self.arguments.seed), resume=True,
            )  # fmt: skip
        return self._judged(out, name, load_video_network(out / "best.safetensors", architecture))

    def _settings(self) -> VideoRetrainConfig:
        image = self.config.retrain
        return VideoRetrainConfig(
            epochs=self.arguments.epochs, validate_every=10_000, batch_size=8, optimizer=image.optimizer,
            learning_rate=STILL_RATE / 2, schedule="cosine", warmup_steps=20, ema_decay=image.ema_decay,
            initialize_from="inherited", threads=1, bf16=False, seed=self.arguments.seed,
        )  # fmt: skip

    def every_frame_alone(self) -> dict[str, dict[str, Any]]:
        """The key frame's and the small network on each frame, without further training."""
        return {
            "key network, every frame": self._judged(self.folder / "key", "key", self.key),
            "small network, every frame, before": self._judged(
                self.folder / "small", "small", self.still("small", SMALL, self.arguments.small_epochs)
            ),
        }

    def _judged(self, out: Path, name: str, net: PoseNet | VideoPoseNet) -> dict[str, Any]:
        file = out / "judged.json"
        if file.is_file():
            return dict(json.loads(file.read_text()))
        places, scores = self.judge.predict(net)
        found = self.judge.measure.evaluate(places, scores)
        similarity = self.judge.measure.oks(places)[:, 1:]
        macs = count(KEY).macs if name == "key" else count_frame(frame_of("none" if name == "small" else name)).macs
        content = {
            "macs": macs,
            "ap": found.ap,
            "ap_by_position": found.ap_by_position,
            "oks_by_position": found.oks_by_position,
            "oks": np.where(np.isnan(similarity), -1, similarity).round(4).tolist(),
        }
        atomic_write_json(file, content, indent=None)
        print(f"{name}: AP by position {[round(ap, 3) for ap in found.ap_by_position]}", flush=True)
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
