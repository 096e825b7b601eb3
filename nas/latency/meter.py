"""Latency of networks, measured on this machine by the protocol of ``evaluators.latency``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.latency.calibration import reference_milliseconds
from evaluators.latency.fingerprint import machine_fingerprint
from evaluators.latency.protocol import Measurement, Protocol, interleave, milliseconds, pinned
from evaluators.latency.runtimes import (
    Deployment,
    deploy_onnxruntime,
    deploy_openvino,
    deploy_torch,
    joined,
    reference_network,
    require_equal,
    runtime_version,
    torch_threads,
)
from nas.deploy.deployment import deployment_form
from search_spaces import PoseArchitecture, PropagatedFrame
from supernet import PoseNet, PropagatedNet, fold
from supernet.networks import MapsHead, build_frame

from .blocks import draw_weights
from .config import LatencyConfig

__all__ = ["LatencyMeter", "NetworkArchitecture", "measure_architecture", "measure_architectures"]

NetworkArchitecture = PoseArchitecture | PropagatedFrame
"""Of one network: an image network, or that of a video's frame, which takes the previous heatmaps too."""

CALIBRATION_ROUNDS = 100
"""Samples (of 3 ms) from which the reference's own milliseconds are taken, once a machine and runtime."""

Progress = Callable[[int, int], None]
"""Called with what is done and the total."""


def measure_architecture(architecture: PoseArchitecture, config: LatencyConfig | None = None) -> Measurement:
    """The latency of one architecture; see :func:`measure_architectures`."""
    return measure_architectures([architecture], config)[0]


def measure_architectures(
    architectures: Sequence[PoseArchitecture],
    config: LatencyConfig | None = None,
    progress: Progress | None = None,
    *,
    own_process: bool = False,
) -> list[Measurement]:
    """Measure networks of these architectures with random weights, their rounds interleaved.

    With ``own_process`` a fresh process does it, in which nothing else runs, and ``progress`` is not called.

    Raises:
        MeasureInputError: the runtime is not installed.
        WrongOutputError: the runtime's output differs from torch's.
    """
    config = config or LatencyConfig()
    if own_process:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(measure_architectures, (list(architectures), config))
    return LatencyMeter(config).measure(architectures, progress)


class LatencyMeter:
    """One runtime with one setting, and its reference network. Make one and keep it: a worker of a search does."""

    def __init__(self, config: LatencyConfig | None = None, calibrations: Path | None = None) -> None:
        """
        Args:
            config: how to measure.
            calibrations: the folder that keeps the reference's milliseconds; None takes the user's cache folder.
        """
        self.config = config or LatencyConfig()
        version = runtime_version(self.config.runtime)
        self.fingerprint = machine_fingerprint(
            self.config.runtime, version, self.config.threads, self.config.precision
        )
        self.protocol = Protocol(rounds=self.config.rounds, max_rounds=4 * self.config.rounds)
        self._calibrations = calibrations

    def measure(
        self, architectures: Sequence[NetworkArchitecture], progress: Progress | None = None
    ) -> list[Measurement]:
        """Measure networks with random weights."""
        with self.settled():
            modules = [network_of(architecture) for architecture in architectures]
        return self.measure_modules(modules, [module.architecture.input_size for module in modules], progress)

    def measure_modules(
        self,
        modules: Sequence[nn.Module],
        input_sizes: Sequence[tuple[int, int]],
        progress: Progress | None = None,
    ) -> list[Measurement]:
        """Measure networks in deployment form (folded, in eval mode), which become the runtime's own.

        Args:
            modules: they take images ``(batch, 3, height, width)``; that of a video's frame with fusion takes previous
                heatmaps too.
            input_sizes: (height, width) of each network's images.
            progress: told the number of networks that are deployed, then called once more at the end.
        """
        deployments = []
        generator = torch.Generator().manual_seed(0)
        with self.settled():
            for index, (module, size) in enumerate(zip(modules, input_sizes, strict=True)):
                inputs = [torch.randn(self.config.batch, 3, *size, generator=generator)]
                if isinstance(module, PropagatedNet):
                    shape = (module.architecture.keypoints, *module.architecture.heatmap_size)
                    inputs.append(torch.rand(self.config.batch, *shape, generator=generator))
                deployments.append(self.deploy(module, tuple(inputs), f"network {index + 1}"))
                if progress:
                    progress(index, len(modules))
        found = self.measure_deployments(deployments, input_sizes)
        if progress:
            progress(len(modules), len(modules))
        return found

    def measure_deployments(
        self, deployments: Sequence[Deployment], input_sizes: Sequence[tuple[int, int]]
    ) -> list[Measurement]:
        """Measure what is in the runtime already, rounds interleaved; ``input_sizes`` are (height, width)."""
        ratios = self.ratios(deployments)
        return [self._measurement(row, size) for row, size in zip(ratios, input_sizes, strict=True)]

    def deploy(self, module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> Deployment:
        """Bring a module (folded, in eval mode; changed in place) into the runtime, and check what it computes."""
        runtime, precision, threads = self.config.runtime, self.config.precision, self.config.threads
        with torch.inference_mode():
            expected = joined(module(*inputs))
        module = deployment_form(module, runtime)
        if runtime == "torch":
            deployment = deploy_torch(module, inputs, precision)
        else:
            from nas.deploy.onnx import onnx_bytes

            model, arrays = onnx_bytes(module, inputs), tuple(tensor.numpy() for tensor in inputs)
            if runtime == "onnxruntime":
                deployment = deploy_onnxruntime(model, arrays, threads)
            else:
                deployment = deploy_openvino(model, arrays, threads, precision)
        require_equal(deployment, expected, f"{what} on {runtime}", precision)
        return deployment

    def ratios(self, deployments: Sequence[Deployment], protocol: Protocol | None = None) -> list[np.ndarray]:
        """Time over the reference's, (rounds,) for each deployment."""
        protocol = protocol or self.protocol
        with self.settled():
            runs = [deployment.run for deployment in deployments]
            return interleave(runs, self._reference.run, protocol, self.config.threads)

    @cached_property
    def reference_ms(self) -> float:
        """What the reference network takes on this machine, by this runtime."""

        def calibrate() -> float:
            protocol = Protocol(rounds=CALIBRATION_ROUNDS, max_rounds=CALIBRATION_ROUNDS)
            with self.settled():
                return milliseconds(self._reference.run, protocol, self.config.threads)

        return reference_milliseconds(self.fingerprint, calibrate, self._calibrations)

    @cached_property
    def _reference(self) -> Deployment:
        module, images = reference_network()
        return self.deploy(module, (images,), "the reference network")

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Bound to the cores, and with the threads, of the setting. What is done around a measurement wants it too:
        on a busy machine threads that wait for each other take a hundred times as long."""
        with pinned(self.config.threads), torch_threads(self.config.threads):
            yield

    def _measurement(self, ratios: np.ndarray, input_size: tuple[int, int]) -> Measurement:
        low, middle, high = np.percentile(ratios, (25, 50, 75)) * self.reference_ms
        return Measurement(
            latency_ms=float(middle),
            spread_ms=float(high - low) / 2,
            rounds=len(ratios),
            reference_ms=self.reference_ms,
            batch=self.config.batch,
            input_size=input_size,
            fingerprint=self.fingerprint,
        )


def network_of(architecture: NetworkArchitecture) -> PoseNet:
    """The architecture's network in deployment form, with random weights: latency does not depend on them."""
    with torch.device("meta"):
        if isinstance(architecture, PropagatedFrame):
            net = build_frame(architecture)
        else:
            net = PoseNet(architecture)
    net = net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    draw_weights(net, generator)
    _scale_maps(net.eval(), _noise(net, 2, generator))
    return fold(net, in_place=True)


@torch.no_grad()
def _scale_maps(net: PoseNet, inputs: list[Tensor]) -> None:
    """Scale the last convolution so that the keypoints' maps vary by 1 from place to place.

    In many layers with random weights the signal all but dies: heatmaps of a softmax would then be constant but for
    rounding, and it could not be told whether two runtimes agree. (Tried: BatchNorm calibrated on noise. It amplifies
    rounding where a channel hardly varies.)
    """
    features: list[Tensor] = []
    hook = net.head.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    net(*inputs)
    hook.remove()
    assert isinstance(net.head, MapsHead)
    final = net.head.final
    assert final.bias is not None
    bias = final.bias.clone()
    final.bias.zero_()  # a dying signal would be lost in it
    deviation = net.head.maps(features[0]).flatten(2).std(dim=2).mean()
    final.bias.copy_(bias)
    if bool(deviation > 0):  # a single place does not vary
        final.weight.div_(deviation)


def _noise(net: PoseNet, batch: int, generator: torch.Generator) -> list[Tensor]:
    """What the network takes: images, and that of a video's frame with fusion previous heatmaps too."""
    architecture = net.architecture
    inputs = [torch.randn(batch, 3, *architecture.input_size, generator=generator)]
    if isinstance(net, PropagatedNet):
        inputs.append(torch.rand(batch, architecture.keypoints, *architecture.heatmap_size, generator=generator))
    return inputs
