"""Keypoints of one person in an image, by the network beside this file. Needs numpy, onnxruntime and OpenCV alone.

    python predict.py IMAGE [X Y WIDTH HEIGHT] [--draw FILE] [--model FILE]

X Y WIDTH HEIGHT is the person's box in pixels; without it the whole image is. Prints JSON: x, y and score of each
keypoint, in pixels of the image; what scores 0 or less was not found.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime


def crop_map(box: Any, size: tuple[int, int], padding: float, step: int) -> tuple[Any, Any]:
    """Pixel of the crop = zoom * pixel of the image + offset; ``step`` 1 counts steps between pixels, 0 pixels."""
    x, y, width, height = (float(value) for value in box)
    width, height = max(width * padding, 1.0), max(height * padding, 1.0)
    aspect = size[1] / size[0]
    extent = np.array([max(width, height * aspect), max(height, width / aspect)])
    steps = np.array([size[1] - step, size[0] - step])
    zoom = steps / extent
    return zoom, steps / 2 - zoom * [x + float(box[2]) / 2, y + float(box[3]) / 2]


def decode(maps: Any, codec: str, blur: int) -> tuple[Any, Any]:
    """Places (K, 2) in heatmap pixels and scores (K,) of heatmaps (K, h, w); ``codec`` is gaussian, dark or udp."""
    count, height, width = maps.shape
    scores = maps.reshape(count, -1).max(axis=1)
    y, x = np.divmod(maps.reshape(count, -1).argmax(axis=1), width)
    if codec != "gaussian":  # the logarithm of the blurred maps, each at its former height
        blurred = [cv2.GaussianBlur(one, (blur, blur), 0, borderType=cv2.BORDER_CONSTANT) for one in maps]
        low, high = (1e-10, np.inf) if codec == "dark" else (1e-3, 50)
        scaled = [one * (top / max(float(one.max()), 1e-30)) for one, top in zip(blurred, scores, strict=True)]
        maps = np.log(np.clip(scaled, low, high))

    def at(dx: int, dy: int) -> Any:
        ys, xs = np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)
        return maps[np.arange(count), ys, xs].astype(float)

    dx, dy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    if codec == "gaussian":
        inner_x, inner_y = (x > 1) & (x < width - 1) & (y > 0), (y > 1) & (y < height - 1) & (x > 0)
        move = 0.25 * np.sign([dx * inner_x, dy * inner_y])
    else:
        if codec == "dark":
            dxx, dyy = ((at(2 * a, 2 * b) - 2 * at(0, 0) + at(-2 * a, -2 * b)) / 4 for a, b in ((1, 0), (0, 1)))
            dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
            moves = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
        else:
            dxx, dyy = (at(a, b) - 2 * at(0, 0) + at(-a, -b) + 2.0**-23 for a, b in ((1, 0), (0, 1)))
            dxy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
            moves = np.ones(count, dtype=bool)
        determinant = dxx * dyy - dxy**2
        moves &= determinant != 0
        move = np.array([dxy * dy - dyy * dx, dxy * dx - dxx * dy]) * moves / np.where(moves, determinant, 1)
    return np.where(scores > 0, np.array([x, y]) + move, -1).T, scores


def predict(image: Any, box: Any, session: Any) -> tuple[Any, dict[str, str]]:
    """Keypoints (K, 3) x, y, score of the person in a box of an image as OpenCV reads it; and what the file says."""
    said: dict[str, str] = session.get_modelmeta().custom_metadata_map
    height, width = json.loads(said["input_size"])
    zoom, offset = crop_map(box, (height, width), float(said["padding"]), int(said["alignment"] == "unbiased"))
    matrix = np.array([[zoom[0], 0, offset[0]], [0, zoom[1], offset[1]]])
    crop = cv2.cvtColor(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    images = (crop - np.float32(json.loads(said["mean"]))) / np.float32(json.loads(said["std"]))
    outputs = [one[0] for one in session.run(None, {"images": images.transpose(2, 0, 1)[None].astype(np.float32)})]
    if said["codec"] == "simcc":
        scores = np.minimum(outputs[0].max(axis=1), outputs[1].max(axis=1))
        places = np.where(scores > 0, [one.argmax(axis=1) for one in outputs], -1).T
    else:
        places, scores = decode(outputs[0], said["codec"], int(said.get("blur_kernel", 1)))
    return np.column_stack([(places * json.loads(said["stride"]) - offset) / zoom, scores]), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("box", nargs="*", type=float)
    parser.add_argument("--draw", metavar="FILE", help="write the image with the keypoints")
    parser.add_argument("--model", default=str(Path(__file__).with_name("model.onnx")))
    given = parser.parse_args()
    image = cv2.imread(given.image)
    if image is None or len(given.box) not in (0, 4):
        parser.error(f"{given.image}: no such image" if image is None else "the box is X Y WIDTH HEIGHT")
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    keypoints, said = predict(image, given.box or (0, 0, image.shape[1], image.shape[0]), session)
    names = json.loads(said["keypoints"]) if said["keypoints"].startswith("[") else said["keypoints"].split(",")
    print(json.dumps(dict(zip(names, keypoints.round(3).tolist(), strict=True))))
    if given.draw:
        points = [tuple(point) for point in keypoints[:, :2].round().astype(int).tolist()]
        shown = keypoints[:, 2] > 0.2
        for first, second in json.loads(said["skeleton"]):
            if shown[first] and shown[second]:
                cv2.line(image, points[first], points[second], (80, 200, 80), 2, cv2.LINE_AA)
        for point in np.array(points)[shown].tolist():
            cv2.circle(image, point, 3, (40, 120, 255), -1, cv2.LINE_AA)
        cv2.imwrite(given.draw, image)


if __name__ == "__main__":
    main()
