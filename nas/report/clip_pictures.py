"""Runs a video network, and the image network beside it, on a validation clip and draws the frames in a row."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from nas.data.clip_cache import ClipCache
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.prediction import predict_clips
from nas.run.folder import RunFolder
from nas.weights.files import is_video_file
from nas.weights.order import network_in_order
from search_spaces import VideoArchitecture
from supernet import VideoPoseNet

from .pictures import draw_skeleton, jpeg_data_uri
from .predictions import SHOWN_SCORE, best_weights

__all__ = ["clip_pictures", "networks_to_show"]

PLAIN = EvaluationConfig(flip_test=False)


def networks_to_show(run: RunFolder) -> dict[str, Path]:
    """By title, the best video network of the run and the key frame's network; what is not there is left out."""
    best = best_weights(run, is_video_file)
    found = {} if best is None else {f"{best.parent.parent.name}/{best.parent.name}": best}
    if run.key.is_file():
        found["the key network, as it was given, on every frame"] = run.key
    return found


@torch.inference_mode()
def clip_pictures(networks: Mapping[str, Path], data: VideoData, clips: int = 3) -> str:
    """HTML: of some validation clips, one row of frames for each network.

    The clips are of people who move more than most: there a frame tells least alone.

    Raises:
        InputError: a network or the videos cannot be used.
    """
    rows = []
    for title, path in networks.items():
        net = network_in_order(path, data.keypoint_set.names)
        size = net.architecture.input_size
        cache, codec = data.validation_clips(size), data.codec(size)
        index = _moving(cache, clips)
        places, scores = predict_clips(net, cache, codec, data.val.people.flip_indices, PLAIN, index=index)
        rows.append([_frames(cache, row, places[n], scores[n], data, title, net) for n, row in enumerate(index)])
    # One clip after the other, its networks below each other.
    return "".join(f'<div class="clip">{"".join(of_clip)}</div>' for of_clip in zip(*rows, strict=True))


def _moving(cache: ClipCache, count: int) -> np.ndarray:
    """Of the first 200 whole clips, some that a sixth of them surpass in motion."""
    whole = np.flatnonzero(cache.evaluated.all(axis=1))[:200]
    if not len(whole):
        return np.arange(min(count, len(cache)))
    points, seen = cache.keypoints_input_px(whole), cache.visibility(whole) > 0
    both = (seen[:, 1:] & seen[:, :-1])[..., None]
    moved = np.where(both, np.abs(np.diff(points, axis=1)), 0).sum(axis=(1, 2, 3)) / np.maximum(both.sum((1, 2, 3)), 1)
    first = max(min(len(whole) // 6, len(whole) - count), 0)
    return whole[np.argsort(-moved, kind="stable")[first : first + count]]


def _frames(
    cache: ClipCache,
    clip: int,
    places: np.ndarray,
    scores: np.ndarray,
    data: VideoData,
    title: str,
    net: torch.nn.Module,
) -> str:
    people, height = data.val.people, cache.input_size[0]
    scale, tiles = max(1, 384 // height), []
    architecture = net.architecture if isinstance(net, VideoPoseNet) else None
    for position, image in enumerate(cache.images([clip])[0]):
        shown = scores[position] > SHOWN_SCORE
        drawn = draw_skeleton(
            np.ascontiguousarray(image), places[position], shown, people.keypoint_names, people.skeleton, scale
        )
        tiles.append(_captioned(drawn, _caption(architecture, position)))
    picture = np.hstack([np.pad(tile, ((0, 0), (0, 6), (0, 0)), constant_values=255) for tile in tiles])
    image = f'<img alt="{html.escape(title)}: clip {clip}" src="{jpeg_data_uri(picture)}">'
    return f"<figure>{image}<figcaption>{html.escape(title)}</figcaption></figure>"


def _caption(architecture: VideoArchitecture | None, position: int) -> str:
    if architecture is None:
        return f"frame {position}"
    return "key frame" if position == 0 else f"frame {position}: {architecture.frames[position - 1].fusion}"


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    canvas = image.copy()
    cv2.rectangle(canvas, (0, 0), (canvas.shape[1], 24), (20, 24, 30), -1)
    cv2.putText(canvas, text, (8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 240, 246), 1, cv2.LINE_AA)
    return canvas
