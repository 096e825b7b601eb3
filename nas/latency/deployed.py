"""Latency of the file that is shipped, measured by the same protocol as that of networks in a search."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluators.latency.protocol import Measurement
from evaluators.latency.runtimes import Deployment, deploy_onnxruntime, deploy_openvino
from nas.deploy.network_file import ImageFile, open_image_file

from .config import LatencyConfig
from .meter import LatencyMeter

__all__ = ["measure_file"]


def measure_file(path: Path, config: LatencyConfig | None = None, *, own_process: bool = True) -> Measurement:
    """The latency of the image network in an ``.onnx`` or ``.xml`` file, in fp32 by the runtime that it is for.

    Args:
        config: threads, rounds and, where the graph takes any number of images, their number count.
        own_process: measure in a fresh process, in which nothing else runs.

    Raises:
        InputError: as ``nas.deploy.network_file.open_image_file``.
        MeasureInputError: the runtime is not installed.
    """
    config = config or LatencyConfig()
    if own_process:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_measure, (path, config))
    return _measure(path, config)


def _measure(path: Path, config: LatencyConfig) -> Measurement:
    file = open_image_file(path)
    batch = file.batch or config.batch
    meter = LatencyMeter(replace(config, runtime=file.runtime, precision="fp32", batch=batch))
    images = np.random.default_rng(0).standard_normal((batch, 3, *file.input_size), dtype=np.float32)
    with meter.settled():
        deployment = _deploy(path, file, images, config.threads)
    [measured] = meter.measure_deployments([deployment], [file.input_size])
    return measured


def _deploy(path: Path, file: ImageFile, images: np.ndarray, threads: int) -> Deployment:
    if file.runtime == "onnxruntime":
        return deploy_onnxruntime(path.read_bytes(), (images,), threads)
    return deploy_openvino(path.read_bytes(), (images,), threads, weights=path.with_suffix(".bin").read_bytes())
