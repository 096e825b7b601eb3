"""The place of a heatmap's peak: its maximum, and three ways to refine it below a pixel.

All take heatmaps (N, K, h, w) float32 and work on every map at once. Places are (x, y) in heatmap pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["blur_heatmaps", "blur_kernel_size", "heatmap_maxima", "refine_dark", "refine_quarter_pixel", "refine_udp"]

Maps = NDArray[np.float32]
Points = NDArray[np.float32]


def heatmap_maxima(heatmaps: Maps) -> tuple[Points, NDArray[np.float32]]:
    """Places (N, K, 2) of the maxima and their values (N, K); the place is (-1, -1) where no value is positive."""
    n, k, _, width = heatmaps.shape
    flat = heatmaps.reshape(n, k, -1)
    index = flat.argmax(axis=-1)
    values = np.take_along_axis(flat, index[..., None], axis=-1)[..., 0]
    places = np.stack([index % width, index // width], axis=-1).astype(np.float32)
    places[~(values > 0)] = -1  # also where the value is NaN
    return places, values


def blur_kernel_size(sigma: float) -> int:
    """Side of the Gaussian kernel before a Taylor expansion, for targets of this standard deviation.

    11 for sigma 2 and 17 for sigma 3, as in the official configurations, and about as many sigmas wide for others.
    """
    return 2 * max(1, int(2.7 * sigma)) + 1


class _Neighbours:
    """The values of every map beside its place: ``at(dx, dy)`` is (N, K). Beyond the border, the border's value."""

    def __init__(self, heatmaps: Maps, places: Points) -> None:
        self.heatmaps = heatmaps
        self.n, self.k = np.ogrid[: heatmaps.shape[0], : heatmaps.shape[1]]
        self.x, self.y = places[..., 0].astype(np.int64), places[..., 1].astype(np.int64)

    def __call__(self, dx: int, dy: int) -> NDArray[np.float32]:
        height, width = self.heatmaps.shape[2:]
        x, y = np.clip(self.x + dx, 0, width - 1), np.clip(self.y + dy, 0, height - 1)
        return self.heatmaps[self.n, self.k, y, x]


class _BlurredLogarithms(_Neighbours):
    """Of the maps blurred, clipped from ``low`` to ``high``: a logarithm is taken where one is looked up alone."""

    def __init__(self, heatmaps: Maps, places: Points, kernel_size: int, low: float, high: float) -> None:
        blurred, self.scales = _blur(heatmaps, kernel_size)
        super().__init__(blurred, places)
        self.low, self.high = np.float32(low), np.float32(high)

    def __call__(self, dx: int, dy: int) -> NDArray[np.float32]:
        return np.log(np.clip(super().__call__(dx, dy) * self.scales, self.low, self.high))


def refine_quarter_pixel(heatmaps: Maps, places: Points) -> Points:
    """A quarter pixel towards the larger neighbour, along each axis, away from the border."""
    height, width = heatmaps.shape[2:]
    at = _Neighbours(heatmaps, places)
    dx = np.where((at.x > 1) & (at.x < width - 1) & (at.y > 0), at(1, 0) - at(-1, 0), 0)
    dy = np.where((at.y > 1) & (at.y < height - 1) & (at.x > 0), at(0, 1) - at(0, -1), 0)
    return places + np.sign(np.stack([dx, dy], axis=-1)).astype(np.float32) * np.float32(0.25)


def blur_heatmaps(heatmaps: Maps, kernel_size: int) -> Maps:
    """Each map blurred, zeros around it, and scaled back to its former maximum (NaN where that is 0 / 0)."""
    blurred, scales = _blur(heatmaps, kernel_size)
    return blurred * scales[..., None, None]


def _blur(heatmaps: Maps, kernel_size: int) -> tuple[Maps, NDArray[np.float32]]:
    """Each map blurred, zeros around it, and by what (N, K) to multiply it to give it its former maximum."""
    n, k, height, width = heatmaps.shape
    border = kernel_size // 2
    # All maps in one tall picture with borders of zeros between them: one call of OpenCV in place of N * K.
    tall = np.zeros((n * k, height + 2 * border, width + 2 * border), dtype=np.float32)
    tall[:, border:-border, border:-border] = heatmaps.reshape(n * k, height, width)
    blurred = cv2.GaussianBlur(tall.reshape(-1, width + 2 * border), (kernel_size, kernel_size), 0)
    blurred = blurred.reshape(tall.shape)[:, border:-border, border:-border].reshape(heatmaps.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return blurred, heatmaps.max(axis=(2, 3)) / blurred.max(axis=(2, 3))


def refine_dark(heatmaps: Maps, places: Points, kernel_size: int) -> Points:
    """One Newton step on the logarithm of the blurred map, central differences over two pixels.

    The step is not clipped, as in the official code; it is left out within two pixels of the border.
    """
    height, width = heatmaps.shape[2:]
    at = _BlurredLogarithms(heatmaps, places, kernel_size, 1e-10, np.inf)
    dx, dy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    dxx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    dyy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    inside = (at.x > 1) & (at.x < width - 2) & (at.y > 1) & (at.y < height - 2)
    step = _newton_step(dx, dy, dxx, dxy, dyy)
    return np.where((inside & (dxx * dyy - dxy**2 != 0))[..., None], places + step, places).astype(np.float32)


def refine_udp(heatmaps: Maps, places: Points, kernel_size: int) -> Points:
    """One Newton step on the logarithm of the blurred map, differences over one pixel; NaN where nothing was found."""
    at = _BlurredLogarithms(heatmaps, places, kernel_size, 1e-3, 50)
    middle = at(0, 0)
    dx, dy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    epsilon = np.finfo(np.float32).eps
    dxx = (at(1, 0) - 2 * middle + at(-1, 0)).astype(np.float64) + epsilon
    dyy = (at(0, 1) - 2 * middle + at(0, -1)).astype(np.float64) + epsilon
    dxy = 0.5 * (at(1, 1) - at(1, 0) - at(0, 1) + middle + middle - at(-1, 0) - at(0, -1) + at(-1, -1))
    refined = places + _newton_step(dx, dy, dxx, dxy, dyy)
    return np.where((places < 0).any(axis=-1, keepdims=True), np.nan, refined).astype(np.float32)


def _newton_step(dx: NDArray, dy: NDArray, dxx: NDArray, dxy: NDArray, dyy: NDArray) -> NDArray[np.float64]:
    """(N, K, 2): minus the inverse of the Hessian times the gradient."""
    dx, dy, dxx, dxy, dyy = (values.astype(np.float64) for values in (dx, dy, dxx, dxy, dyy))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1) / (dxx * dyy - dxy**2)[..., None]
