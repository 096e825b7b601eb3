"""What a deployed file says of itself: all that a stranger must know to turn a photograph into keypoints with it.

The same words stand in an ONNX file (``metadata_props``), in an OpenVINO one (``rt_info``, under ``vipnas``), in a
``.pt2`` (``vipnas.json`` among its extra files), and in the card. Values are text; lists and numbers are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from nas.data.bones import skeleton_of
from nas.data.codecs import Codec
from nas.data.decoding import blur_kernel_size
from nas.data.keypoint_sets import KeypointSet
from nas.data.simcc import SimCCCodec
from nas.data.tensors import IMAGE_MEAN, IMAGE_STD
from nas.weights.meaning import HeatmapMeaning

__all__ = ["FORMAT", "artifact_metadata", "decoded_metadata"]

FORMAT = "vipnas-deployed/1"

_CROP = (
    "the box's middle (cx, cy), its width and height times `padding`; the smaller of both enlarged until they are as W "
    "to H: w, h. "
)
_ALIGNMENTS = {
    "pixels": "u = (x - cx) W / w + W / 2, v = (y - cy) H / h + H / 2",
    "unbiased": "u = (x - cx) (W - 1) / w + (W - 1) / 2, v = (y - cy) (H - 1) / h + (H - 1) / 2",
}
_WARP = " takes pixel (x, y) of the image to (u, v) of the crop, both counted from the middle of the first pixel"
_NEWTON = (
    "the map's maximum (m, n), whose value is the score, is moved by minus the inverse of L's Hessian times L's "
    "gradient, where L = ln(clip(G, {low}, {high})) and G is the map blurred by a Gaussian of `blur_kernel` × "
    "`blur_kernel` pixels (OpenCV's kernel for sigma 0, zeros around the map) and scaled back to its former maximum; "
)
_DECODING = {
    "gaussian": "of the map's maximum (m, n), whose value is the score, m is moved by 0.25 towards the larger of "
    "its two neighbours where 1 < m < width - 1 and n > 0, n likewise where 1 < n < height - 1 and m > 0",
    "dark": _NEWTON.format(low="1e-10", high="inf")
    + "Lx = (L(1,0) - L(-1,0)) / 2, Lxx = (L(2,0) - 2 L(0,0) + L(-2,0)) / 4, Lxy = (L(1,1) - L(1,-1) - L(-1,1) + "
    "L(-1,-1)) / 4, likewise along y; not within two pixels of the border (1 < m < width - 2, 1 < n < height - 2)",
    "udp": _NEWTON.format(low="0.001", high="50")
    + "Lx = (L(1,0) - L(-1,0)) / 2, Lxx = L(1,0) - 2 L(0,0) + L(-1,0) + 2^-23, Lxy = (L(1,1) - L(1,0) - L(0,1) + "
    "2 L(0,0) - L(-1,0) - L(0,-1) + L(-1,-1)) / 2, likewise along y; beyond the border the border's value",
    "simcc": "m is the bin of simcc_x's maximum, n that of simcc_y's; the score is the lower of both maxima",
}
_PLACE = "; u = m × stride x, v = n × stride y, in pixels of the crop; a score that is not positive: nothing was found"


def artifact_metadata(
    meaning: HeatmapMeaning, architecture_id: str, *, latency: str = "", precision: str = "fp32"
) -> dict[str, str]:
    """Of a network that takes normalised images and gives heatmaps or SimCC.

    Args:
        latency: milliseconds, with machine, runtime, precision and protocol, in words; empty where nobody has measured.
        precision: of the weights in the file.
    """
    codec = meaning.codec
    height, width = codec.input_size
    facts = {
        "format": FORMAT,
        "architecture": architecture_id,
        "input": f"images: float32 (N, 3, {height}, {width}), (grey level from 0 to 255 - mean) / std",
        "input_size": json.dumps([height, width]),
        "color_order": "RGB",
        "mean": _numbers(IMAGE_MEAN),
        "std": _numbers(IMAGE_STD),
        **meaning.metadata,
        **_crop(codec),
        "output": _output(codec),
        "stride": _numbers(codec.stride.tolist()),
        "decoding": _DECODING[codec.label] + _PLACE,
        "flip_shift": "1" if codec.flip_shift else "0",
        **_body(meaning.keypoint_set or KeypointSet.of(meaning.keypoint_names)),
        "precision": precision,
    }
    if codec.label in ("dark", "udp"):
        facts["blur_kernel"] = str(blur_kernel_size(codec.sigma))
    if meaning.assumed:
        facts["assumed"] = ",".join(meaning.assumed)
    if latency:
        facts["latency"] = latency
    return facts


def decoded_metadata(facts: Mapping[str, str]) -> dict[str, str]:
    """The same for the form of the network that takes a crop's pixels and gives keypoints: see
    :func:`nas.deploy.onnx_decoded.decoded_model`."""
    height, width = json.loads(facts["input_size"])
    moved = ("blur_kernel", "flip_shift", "mean", "std", "latency")
    kept = {name: value for name, value in facts.items() if name not in moved}
    return {
        **kept,
        "input": f"crops: uint8 (N, {height}, {width}, 3), grey levels as they are; mean and std are in the graph",
        "output": "keypoints: float32 (N, K, 2) x, y in pixels of the crop; scores: float32 (N, K)",
        "decoding": f"all of it is in the graph: {facts['decoding']}. The crop is not: it is cut as `crop` says",
    }


def _crop(codec: Codec) -> dict[str, str]:
    alignment = "unbiased" if codec.udp else "pixels"
    return {
        "crop": f"{_CROP}{_ALIGNMENTS[alignment]}{_WARP}",
        "alignment": alignment,
        "interpolation": "bilinear; black (0) outside the image",
    }


def _output(codec: Codec) -> str:
    height, width = codec.heatmap_size
    if isinstance(codec, SimCCCodec):
        rows, columns = codec.input_size
        return f"simcc_x: float32 (N, K, {2 * columns}), simcc_y: float32 (N, K, {2 * rows}), bins of half a pixel"
    return f"heatmaps: float32 (N, K, {height}, {width})"


def _body(keypoints: KeypointSet) -> dict[str, str]:
    """Pairs and bones by their places; what is not known of the keypoints is left out, of a sigma ``null``."""
    found = {"skeleton": json.dumps(skeleton_of(keypoints.names))}
    if keypoints.can_mirror:
        found["flip_pairs"] = json.dumps(keypoints.flip_pairs)
    guessed = keypoints.guessed_sigmas
    if len(guessed) < len(keypoints):
        sigmas = zip(keypoints.names, keypoints.sigmas.tolist(), strict=True)
        found["sigmas"] = json.dumps([None if name in guessed else round(sigma, 10) for name, sigma in sigmas])
    return found


def _numbers(values: Sequence[float]) -> str:
    return json.dumps([round(float(value), 9) for value in values])
