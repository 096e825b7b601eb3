"""Runs a network of the run on some validation people and draws what it says."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nas.data.pose_data import PoseData
from nas.data.simcc import packed, projected
from nas.run.folder import RunFolder
from nas.weights.order import pose_network_in_order
from supernet import SimCC

from .pictures import draw_heatmaps, draw_skeleton, jpeg_data_uri
from .records import read_each

__all__ = ["best_weights", "prediction_pictures"]

SHOWN_SCORE = 0.2


def best_weights(run: RunFolder, wanted: Callable[[Path], bool] = lambda path: True) -> Path | None:
    """The weights of the best retrained network; without one, of the best finalist; of the last exported network; else
    None.

    Args:
        wanted: looks at a file of weights; the others are passed over.

    Raises:
        InputError: a ``results.json`` is damaged.
    """
    for stage in ("retrain", "finalists"):
        trained = []
        for key, results in read_each(run.path / stage, "results.json").items():
            best, weights = results.get("best"), run.path / stage / key / "best.safetensors"
            if best and weights.is_file() and wanted(weights):
                trained.append((best["AP"], weights))
        if trained:
            return max(trained)[1]
    exported = [path for path in sorted((run.path / "export").glob("[!.]*/weights.safetensors")) if wanted(path)]
    return exported[-1] if exported else None


@torch.inference_mode()
def prediction_pictures(weights: Path, data: PoseData, people: int = 8) -> str:
    """HTML with the crops of the first ``people`` validation people (a random choice): skeletons and heatmaps.

    Raises:
        InputError: the weights or the data cannot be used.
    """
    net = pose_network_in_order(weights, data.val.keypoint_names)
    size = net.architecture.input_size
    crops, truth = data.validation_crops(size), data.val
    codec = data.codec_of(net.architecture)
    index = np.arange(min(people, len(crops)))
    outputs = net(crops.tensor(index))
    keypoints_px, scores = codec.decode_batch(packed(outputs).numpy())
    heatmaps = (projected(outputs) if isinstance(outputs, SimCC) else outputs).numpy()
    scale = max(1, 384 // size[0])
    tiles = []
    for row, image in enumerate(crops.images(index)):
        image = np.ascontiguousarray(image)
        shown = scores[row] > SHOWN_SCORE
        drawn = draw_skeleton(image, keypoints_px[row], shown, truth.keypoint_names, truth.skeleton, scale)
        maps = draw_heatmaps(image, heatmaps[row], truth.keypoint_names, scale)
        tiles.append(f'<img alt="person {row + 1}" src="{jpeg_data_uri(np.vstack([drawn, maps]))}">')
    origin = html.escape(f"{weights.parent.parent.name}/{weights.parent.name}")
    caption = f'<p class="note">Network: {origin}</p>'
    return f'{caption}<div class="pictures">{"".join(tiles)}</div>'
