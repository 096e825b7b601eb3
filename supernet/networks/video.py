"""The networks of a video: a key frame's, and one a propagated frame, which may take the previous heatmaps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import PoseArchitecture, PropagatedFrame, VideoArchitecture

from .fusion import Fusion
from .pose_net import PoseNet, build_part, initialize

__all__ = ["PropagatedNet", "VideoPoseNet", "build_frame", "resample_heatmaps"]


class PropagatedNet(PoseNet):
    """A pose network that fuses the previous frame's heatmaps with one of its features.

    images ``(N, 3, H, W)`` and heatmaps ``(N, K, H/4, W/4)``, in this frame's crop → heatmaps ``(N, K, H/4, W/4)``.
    """

    def __init__(
        self,
        frame: PropagatedFrame,
        generator: torch.Generator | None = None,
        build: Callable[[PoseArchitecture, int], nn.Module] = build_part,
    ) -> None:
        super().__init__(frame.architecture, generator, build)
        self.frame = frame
        self.fusion = Fusion(frame.architecture, frame.fusion)
        if not next(self.fusion.parameters()).is_meta:
            initialize(self.fusion, generator)

    def forward(self, images: Tensor, previous_heatmaps: Tensor | None = None) -> Tensor:
        """Raises ValueError without previous heatmaps."""
        if previous_heatmaps is None:
            raise ValueError(f"a network with the fusion {self.frame.fusion} needs the previous frame's heatmaps")
        after = self.frame.fusion.feature + 1
        feature, *others = self.forward_parts(images, stop=after)
        [heatmaps] = self.forward_parts(self.fusion(feature, previous_heatmaps), *others, start=after)
        return heatmaps

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.frame.fusion}"


def build_frame(
    frame: PropagatedFrame,
    generator: torch.Generator | None = None,
    build: Callable[[PoseArchitecture, int], nn.Module] = build_part,
) -> PoseNet:
    """The network of one propagated frame: a plain :class:`PoseNet` where there is no fusion."""
    if frame.fusion.is_none:
        return PoseNet(frame.architecture, generator, build)
    return PropagatedNet(frame, generator, build)


class VideoPoseNet(nn.Module):
    """A clip of a key frame and T frames that follow it, ``(N, 1 + T, 3, H, W)`` → heatmaps ``(N, 1 + T, K, h, w)``.

    :meth:`step` does the same frame by frame, with the same numbers.

    Args:
        architecture: what to build.
        generator: draws the weights; None takes torch's own. On the meta device nothing is drawn.
        stride: input pixels (x, y) a heatmap pixel, as in the codec of the targets (``Codec.stride``); by default the
            ratio of the sizes, which is that of every codec but UDP's.
    """

    def __init__(
        self,
        architecture: VideoArchitecture,
        generator: torch.Generator | None = None,
        stride: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.key = PoseNet(architecture.key, generator)
        self.frames = nn.ModuleList(build_frame(frame, generator) for frame in architecture.frames)
        sizes = zip(reversed(architecture.input_size), reversed(architecture.heatmap_size), strict=True)
        x, y = stride or tuple(pixels / steps for pixels, steps in sizes)
        self.stride: tuple[float, float] = (float(x), float(y))

    @property
    def networks(self) -> list[PoseNet]:
        """By position: the key frame's network first."""
        return [self.key, *self.frames]

    def forward(self, clip: Tensor, previous_from_current: Tensor | None = None) -> Tensor:
        """Heatmaps of every frame.

        Args:
            clip: ``(N, 1 + T, 3, H, W)``, normalised; fewer frames than that are possible.
            previous_from_current: ``(N, 1 + T, 2, 3)``: for each frame the affine map of :meth:`step`, of which the key
                frame's is not used; None where all frames of a clip show the same crop.
        """
        found: list[Tensor] = []
        for position in range(clip.shape[1]):
            maps = None if previous_from_current is None else previous_from_current[:, position]
            found.append(self.step(clip[:, position], found[-1] if found else None, position, maps))
        return torch.stack(found, dim=1)

    def step(
        self,
        frame: Tensor,
        previous_heatmaps: Tensor | None = None,
        position: int = 0,
        previous_from_current: Tensor | None = None,
    ) -> Tensor:
        """Heatmaps ``(N, K, h, w)`` of one frame.

        Args:
            frame: ``(N, 3, H, W)``, normalised.
            previous_heatmaps: ``(N, K, h, w)`` of the frame before; not used for the key frame, nor by a frame without
                fusion.
            position: 0 for the key frame, then 1 … T.
            previous_from_current: ``(N, 2, 3)``: the affine map from input pixels of this frame's crop to input pixels
                of the previous one's; None where both show the same crop.

        Raises:
            ValueError: no such position, or heatmaps are needed and not given.
        """
        if not 0 <= position <= len(self.frames):
            raise ValueError(f"position={position}; from 0 (the key frame) to {len(self.frames)} are possible")
        net = self.networks[position]
        if not isinstance(net, PropagatedNet):
            return net(frame)
        if previous_heatmaps is not None and previous_from_current is not None:
            previous_heatmaps = resample_heatmaps(previous_heatmaps, previous_from_current, self.stride)
        return net(frame, previous_heatmaps)

    def extra_repr(self) -> str:
        return f"{self.architecture.id}, 1 + {len(self.frames)} frames"


def resample_heatmaps(heatmaps: Tensor, previous_from_current: Tensor, stride: tuple[float, float]) -> Tensor:
    """The previous frame's heatmaps ``(N, K, h, w)`` as they lie in the present crop; bilinear, 0 from outside.

    Args:
        previous_from_current: ``(N, 2, 3)`` affine maps from input pixels of the present crop to those of the previous.
        stride: input pixels (x, y) a heatmap pixel: heatmap pixel (i, j) lies at input pixel (i, j) · stride, in all
            codecs; they differ in the stride (``Codec.stride``).
    """
    height, width = heatmaps.shape[2:]
    device = heatmaps.device
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)
    scale = _pair(*stride, device)
    current_px = torch.cartesian_prod(y, x).flip(1) * scale  # (hw, 2)
    maps = previous_from_current.to(device, torch.float32)
    # No matrix product: autocast would do it in bfloat16, whose places are off by up to half an input pixel and more.
    turned = maps[:, None, :, 0] * current_px[:, :1] + maps[:, None, :, 1] * current_px[:, 1:]
    previous = (turned + maps[:, None, :, 2]) / scale  # (N, hw, 2) heatmap pixels
    size = _pair(width, height, device)
    grid = ((2 * previous + 1) / size - 1).unflatten(1, (height, width))  # -1 and 1 are the outer pixels' outer edges
    found = F.grid_sample(heatmaps.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.to(heatmaps.dtype)


def _pair(x: float, y: float, device: torch.device) -> Tensor:
    """(x, y), filled in on the device: while it sends them the host would wait."""
    return torch.stack([torch.full((), value, dtype=torch.float32, device=device) for value in (x, y)])
