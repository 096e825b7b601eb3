"""Skin, hair and clothes as textures, one for each part of the body.

A texture is float32 (rows, columns, 3) BGR in 0…255: rows run along the part from its upper end to its lower end,
columns run around it, from the back over the right, the front (the middle column) and the left to the back.
What tells front from back is on the textures (face, collar, buttons, prints); nothing tells left from right: both
sides of a limb pair have mirrored textures, or, in some people, two that are drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Outfit", "pattern", "sample_outfit", "smooth_noise"]

Texture = NDArray[np.float32]
TORSO_SHAPE = (66, 96)
CHEST_ROWS, ABDOMEN_ROWS = slice(0, 30), slice(30, 50)
PELVIS_ROWS = slice(50, 66)
LIMB_SHAPE = (36, 48)
HEAD_SHAPE = (56, 112)

_SKIN_BGR = (
    (196, 214, 242),
    (165, 190, 228),
    (140, 172, 216),
    (110, 148, 200),
    (80, 114, 168),
    (56, 80, 124),
    (38, 54, 88),
)
_HAIR_BGR = (
    (18, 18, 22),
    (22, 30, 42),
    (30, 48, 78),
    (40, 74, 120),
    (70, 130, 176),
    (120, 170, 205),
    (34, 52, 128),
    (160, 160, 165),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outfit:
    """What a person wears: ``textures`` by part name (left and right parts apart) and a few shapes."""

    textures: dict[str, Texture]
    hair_volume: float
    """Radius of the hair over that of the head; 0 means no hair that stands off."""
    hair_length: float
    """Metres that the hair falls below the ears; 0 means short."""
    bun: bool
    brim: bool
    skirt_length: float
    """Part of the thigh (and shin, above 1) that a skirt covers; 0 means none."""
    skirt_flare: float
    sleeve_bulk: float
    trouser_bulk: float
    torso_bulk: float
    backpack: bool


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Texture:
    """(rows, columns) of smooth noise in about −1…1 with ``cells`` lattice points across the longer side."""
    longest = max(shape)
    grid = (max(2, round(shape[0] * cells / longest)), max(2, round(shape[1] * cells / longest)))
    small = rng.uniform(-1, 1, grid).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def random_colour(rng: np.random.Generator) -> Texture:
    """A BGR colour (3,): half of the time greyish as most clothes are, otherwise saturated."""
    hue, value = rng.uniform(0, 180), rng.uniform(25, 245)
    saturation = rng.uniform(0, 60) if rng.random() < 0.45 else rng.uniform(60, 230)
    pixel = np.array([[[hue, saturation, value]]], dtype=np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def pattern(rng: np.random.Generator, shape: tuple[int, int], base: Texture | None = None) -> Texture:
    """A cloth (rows, columns, 3): plain, stripes along or across, checks, plaid, dots, blotches or grain."""
    first = random_colour(rng) if base is None else base
    second = random_colour(rng)
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    kind = int(rng.choice(8, p=[0.34, 0.14, 0.08, 0.10, 0.10, 0.08, 0.10, 0.06]))
    across, along = int(rng.integers(4, 14)), int(rng.integers(4, 14))
    share = rng.uniform(0.25, 0.6)
    in_row, in_column = (rows % along) < share * along, (columns % across) < share * across
    if kind == 0:
        weight = np.zeros(shape, np.float32)
    elif kind == 1:
        weight = (in_row & (columns >= 0)).astype(np.float32)
    elif kind == 2:
        weight = (in_column & (rows >= 0)).astype(np.float32)
    elif kind == 3:
        weight = (in_row ^ in_column).astype(np.float32)
    elif kind == 4:
        weight = (0.5 * in_row + 0.5 * in_column).astype(np.float32)
    elif kind == 5:
        weight = (((rows % along - along / 2) ** 2 + (columns % across - across / 2) ** 2) < 5).astype(np.float32)
    elif kind == 6:
        weight = (smooth_noise(rng, shape, int(rng.integers(6, 16))) > 0).astype(np.float32)
    else:
        weight = rng.random(shape, dtype=np.float32) * 0.6
    cloth = first + weight[..., None] * (second - first)
    folds = 1.0 + rng.uniform(0.05, 0.16) * smooth_noise(rng, shape, 9) + rng.normal(0, 0.02, shape).astype(np.float32)
    return np.clip(cloth * folds[..., None], 0, 255).astype(np.float32)


def _flat(colour: Texture, shape: tuple[int, int], rng: np.random.Generator, grain: float = 0.05) -> Texture:
    shade = 1.0 + grain * smooth_noise(rng, shape, 7)
    return np.clip(colour * shade[..., None], 0, 255).astype(np.float32)


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw a person's skin, hair and clothes."""
    skin = np.array(_SKIN_BGR[int(rng.integers(len(_SKIN_BGR)))], np.float32) * np.float32(rng.uniform(0.9, 1.06))
    hair = np.array(_HAIR_BGR[int(rng.integers(len(_HAIR_BGR)))], np.float32) * np.float32(rng.uniform(0.8, 1.2))
    bald, cap = rng.random() < 0.07, rng.random() < 0.13
    long_hair = not bald and rng.random() < 0.4
    dress = rng.random() < 0.10
    skirt = dress or rng.random() < 0.08
    textures: dict[str, Texture] = {}
    shirt = pattern(rng, TORSO_SHAPE)
    lower_colour = random_colour(rng)
    lower = _flat(lower_colour, TORSO_SHAPE, rng, 0.12)
    if rng.random() < 0.3:
        lower = pattern(rng, TORSO_SHAPE, lower_colour)
    if dress:
        lower = shirt
    _dress_torso(rng, textures, shirt, lower, skin)
    _dress_arms(rng, textures, shirt, skin)
    _dress_legs(rng, textures, lower, skin, bare=skirt)
    cap_colour = random_colour(rng) if cap else hair
    textures["head"] = _face(rng, skin, cap_colour, bald and not cap, hair)
    textures["nose"] = _flat(np.minimum(skin * 1.04, 255), (4, 4), rng)
    textures["ear"] = _flat(skin * 0.92, (4, 4), rng)
    textures["hair"] = _flat(cap_colour, (16, 32), rng, 0.25)
    textures["long_hair"] = _flat(hair, (16, 32), rng, 0.3)
    textures["skirt"] = _flat(lower.mean(axis=(0, 1)), (24, 64), rng, 0.2) if not dress else shirt
    textures["backpack"] = pattern(rng, (24, 48))
    return Outfit(
        textures=textures,
        hair_volume=0.0 if bald and not cap else float(rng.uniform(1.03, 1.2 if not cap else 1.08)),
        hair_length=float(rng.uniform(0.06, 0.28)) if long_hair else 0.0,
        bun=not bald and not cap and rng.random() < 0.1,
        brim=cap and rng.random() < 0.8,
        skirt_length=float(rng.uniform(0.45, 1.5)) if skirt else 0.0,
        skirt_flare=float(rng.uniform(1.0, 1.7)),
        sleeve_bulk=float(rng.uniform(1.0, 1.4)),
        trouser_bulk=float(rng.uniform(1.0, 1.35)),
        torso_bulk=float(rng.uniform(1.0, 1.14)),
        backpack=rng.random() < 0.07,
    )


def _dress_torso(
    rng: np.random.Generator, textures: dict[str, Texture], shirt: Texture, lower: Texture, skin: Texture
) -> None:
    torso = shirt.copy()
    middle = TORSO_SHAPE[1] // 2
    contrast = random_colour(rng)
    style = rng.random()
    if style < 0.22:  # an open jacket over something else
        half = int(rng.integers(4, 11))
        torso[:, middle - half : middle + half] = pattern(rng, (TORSO_SHAPE[0], 2 * half))
    elif style < 0.5:  # buttons or a zip
        torso[:, middle - 1 : middle + 1] = contrast
        torso[4::7, middle - 1 : middle + 2] = 255 - contrast
    elif style < 0.85:
        _print_on(rng, torso, middle, contrast)
    if rng.random() < 0.12:  # a number on the back, as on a football shirt
        shifted = np.roll(torso, middle, axis=1)
        _print_on(rng, shifted, middle, contrast)
        torso = np.roll(shifted, -middle, axis=1)
    _neckline(rng, torso, middle, skin, contrast)
    hem = int(rng.integers(46, TORSO_SHAPE[0] + 12))
    torso[hem:] = lower[hem:]
    if hem < 58 and rng.random() < 0.6:  # a belt with its buckle in front
        torso[hem : hem + 3] = random_colour(rng) * 0.4
        torso[hem : hem + 3, middle - 3 : middle + 3] = (120, 190, 210)
    textures["chest"], textures["abdomen"] = torso[CHEST_ROWS], torso[ABDOMEN_ROWS]
    textures["pelvis"] = torso[PELVIS_ROWS]
    textures["yoke"] = np.ascontiguousarray(shirt[:12, :24])
    textures["neck"] = _flat(skin * 0.9, (8, 24), rng)


def _print_on(rng: np.random.Generator, torso: Texture, middle: int, colour: Texture) -> None:
    top, half = int(rng.integers(9, 18)), int(rng.integers(5, 12))
    kind = int(rng.integers(4))
    tone = tuple(float(value) for value in colour)
    if kind == 0:
        cv2.rectangle(torso, (middle - half, top), (middle + half, top + int(rng.integers(6, 20))), tone, -1)
    elif kind == 1:
        cv2.circle(torso, (middle, top + 8), half, tone, -1 if rng.random() < 0.6 else 2)
    elif kind == 2:
        text = "".join(rng.choice(list("ABEHKMNRSX0234589"), size=2))
        ink = np.zeros(TORSO_SHAPE, np.uint8)  # OpenCV writes only on 8-bit images
        cv2.putText(ink, text, (middle - 11, top + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,), 2)
        torso[ink > 100] = colour
    else:
        torso[top : top + int(rng.integers(3, 12)), middle - 22 : middle + 22] = colour


def _neckline(rng: np.random.Generator, torso: Texture, middle: int, skin: Texture, contrast: Texture) -> None:
    depth, half = int(rng.integers(3, 13)), int(rng.integers(4, 9))
    corners = np.array([[middle - half, -1], [middle + half, -1], [middle, depth]], np.int32)
    cv2.fillPoly(torso, [corners], tuple(float(value) for value in skin))
    if rng.random() < 0.5:
        edge = contrast if rng.random() < 0.5 else np.float32(0.5) * torso[min(depth + 4, 25), middle]
        cv2.polylines(torso, [corners], False, tuple(float(value) for value in edge), 1)


def _dress_arms(rng: np.random.Generator, textures: dict[str, Texture], shirt: Texture, skin: Texture) -> None:
    own_sleeve = pattern(rng, LIMB_SHAPE) if rng.random() < 0.15 else shirt[: LIMB_SHAPE[0], : LIMB_SHAPE[1]]
    # 0…1 along the upper arm, 1…2 along the forearm.
    length = float(rng.choice([0.0, rng.uniform(0.3, 0.9), rng.uniform(1.1, 1.6), 2.0], p=[0.13, 0.42, 0.1, 0.35]))
    gloves = rng.random() < 0.06
    uneven = rng.random() < 0.1
    for name in ("left", "right"):
        if name == "right" and uneven:
            length, own_sleeve = rng.uniform(0.2, 2.0), pattern(rng, LIMB_SHAPE)
        sleeve = own_sleeve if name == "left" else own_sleeve[:, ::-1]
        upper, fore = _flat(skin, LIMB_SHAPE, rng), _flat(skin, LIMB_SHAPE, rng)
        upper[: _rows(length)] = sleeve[: _rows(length)]
        fore[: _rows(length - 1)] = sleeve[: _rows(length - 1)]
        textures[f"{name}_upper_arm"], textures[f"{name}_forearm"] = upper, fore
        textures[f"{name}_hand"] = _flat(random_colour(rng) if gloves else skin, (8, 16), rng)


def _rows(length: float) -> int:
    return int(np.clip(length, 0.0, 1.0) * LIMB_SHAPE[0])


def _dress_legs(
    rng: np.random.Generator, textures: dict[str, Texture], lower: Texture, skin: Texture, bare: bool
) -> None:
    legs = lower[: LIMB_SHAPE[0], : LIMB_SHAPE[1]].copy()
    if rng.random() < 0.15:  # a stripe down the outer side
        legs[:, 36:39] = random_colour(rng)
    lengths = [rng.uniform(0.35, 0.95), rng.uniform(1.2, 1.7), 2.0]
    length = 0.0 if bare else float(rng.choice(lengths, p=[0.27, 0.08, 0.65]))
    if bare and rng.random() < 0.4:  # tights
        skin = random_colour(rng) * np.float32(0.5)
    socks = random_colour(rng) if rng.random() < 0.4 else None
    sock_rows = int(rng.integers(4, 20))
    shoe = pattern(rng, (12, 24)) if rng.random() < 0.3 else _flat(random_colour(rng), (12, 24), rng, 0.15)
    if rng.random() < 0.6:
        shoe[:, :4] = shoe[:, -4:] = random_colour(rng)  # the sole
    uneven = rng.random() < 0.06
    for name in ("left", "right"):
        if name == "right" and uneven:
            legs = pattern(rng, LIMB_SHAPE)
        cloth = legs if name == "left" else legs[:, ::-1]
        thigh, shin = _flat(skin, LIMB_SHAPE, rng), _flat(skin, LIMB_SHAPE, rng)
        if socks is not None:
            shin[-sock_rows:] = socks
        thigh[: _rows(length)] = cloth[: _rows(length)]
        shin[: _rows(length - 1)] = cloth[::-1][: _rows(length - 1)]
        textures[f"{name}_thigh"], textures[f"{name}_shin"] = thigh, shin
        textures[f"{name}_foot"] = shoe


def _face(rng: np.random.Generator, skin: Texture, hair: Texture, bald: bool, beard_colour: Texture) -> Texture:
    """The head's texture: hair above and behind; eyes, brows, mouth, perhaps a beard or glasses in front."""
    rows, columns = HEAD_SHAPE
    head = _flat(skin, HEAD_SHAPE, rng, 0.04)
    latitude = np.linspace(1.0, -1.0, rows)[:, None]
    turn = np.abs(np.linspace(-180.0, 180.0, columns))[None, :]
    middle = columns // 2
    if rng.random() < 0.22:
        beard = (latitude < -0.28) & (turn < 75) & (latitude < -0.28 - 0.2 * np.cos(np.deg2rad(2.4 * turn)))
        head[beard] = head[beard] * 0.3 + beard_colour * 0.7
    eye_row, eye_column = int(0.45 * rows), round(22 / 360 * columns)
    dark = tuple(float(value) for value in np.minimum(beard_colour, skin) * 0.5)
    lips = tuple(float(value) for value in skin * np.array([0.55, 0.5, 0.8], np.float32))
    for sign in (-1, 1):
        center = (middle + sign * eye_column, eye_row)
        cv2.ellipse(head, center, (4, 2), 0, 0, 360, (235.0, 235.0, 235.0), -1)
        cv2.circle(head, center, 1, (25.0, 20.0, 20.0), -1)
        cv2.line(head, (center[0] - 4, eye_row - 5), (center[0] + 4, eye_row - 5), dark, 2)
    cv2.ellipse(head, (middle, int(0.74 * rows)), (int(rng.integers(4, 7)), 1), 0, 0, 360, lips, -1)
    if rng.random() < 0.18:
        glass = (30.0, 30.0, 30.0)
        filled = -1 if rng.random() < 0.5 else 1
        for sign in (-1, 1):
            cv2.circle(head, (middle + sign * eye_column, eye_row), 5, glass, filled)
        cv2.line(head, (middle - 4, eye_row), (middle + 4, eye_row), glass, 1)
    if not bald:
        hairline = rng.uniform(0.45, 0.72)
        behind = (turn > rng.uniform(72, 95)) & (latitude > -0.62 + 0.9 * (turn < 110))
        covered = (latitude > hairline) | behind
        head[covered] = _flat(hair, HEAD_SHAPE, rng, 0.2)[covered]
    return head
