"""Composes a scene's people, background and things into one frame and labels it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .appearance import pattern
from .backgrounds import Occluder
from .labels import FLESH_M, LABELLED_JOINTS, DrawnPerson, PersonLabel, label_person
from .motion import MotionState
from .render import FAR, Camera, Image, Layer, body_parts, draw_parts
from .scene import Actor, Scene
from .skeleton import Angle, Body, Floats, Joint, forward

__all__ = ["render_frame"]

_NOBODY, _THING = -1, 1000
_NEAREST_M = 0.4
"""Who comes closer to the camera than this has left the scene."""


def _posed(actor: Actor, time_s: float) -> tuple[Body, Floats, MotionState]:
    """The body about its pelvis, the pelvis in the world, and the state. The lowest part touches the ground."""
    state = actor.motion.at(time_s)
    body = forward(actor.proportions, state.angles, state.heading)
    soles = body.points_m[[Joint.LEFT_HEEL, Joint.RIGHT_HEEL, Joint.LEFT_TOE, Joint.RIGHT_TOE], 1].min()
    others = body.points_m[:, 1].min() - 0.05
    ground = min(soles - 0.02 * actor.proportions.stature, others)
    x, z = actor.origin_m + state.position_m
    return body, np.array([x, state.lift_m - ground, z]), state


def _shaken(scene: Scene, time_s: float) -> tuple[float, float]:
    rates = np.array([0.5, 0.9, 1.7, 3.1])[:, None]
    shift = (scene.shake_px[..., 0] * np.sin(2 * np.pi * rates * time_s + scene.shake_px[..., 1])).sum(axis=0)
    return float(shift[0]), float(shift[1])


def render_frame(
    scene: Scene, time_s: float, rng: np.random.Generator, fewest_seen: float = 0.0
) -> tuple[NDArray[np.uint8], list[PersonLabel]]:
    """The image (H, W, 3) BGR uint8 at ``time_s``, and the labels of everyone of whom something is inside the image.

    Someone who moves is drawn several times, spread over the time in which the shutter is open and over the pixel, and
    the drawings are averaged: fast limbs blur and outlines are smooth.

    Args:
        fewest_seen: people of whom a smaller share is seen are taken out, the most hidden first; a last one stays, and
            what hides them goes.
    """
    height, width = scene.shape
    shift = _shaken(scene, time_s)
    camera = scene.camera
    center = (width / 2 + shift[0], height / 2 + shift[1])
    camera = Camera(camera.rotation, camera.position_m, camera.focal_px, center)
    people = [
        drawn for index in range(len(scene.actors)) if (drawn := _draw_actor(scene, index, camera, time_s)) is not None
    ]
    people.sort(key=lambda drawn: -drawn.distance_m)
    things = True
    while True:
        owner = _owners(scene, people, time_s, things)
        labels = [label for drawn in people if (label := label_person(drawn, owner)) is not None]
        worst = min(labels, key=lambda label: label.seen, default=None)
        if worst is None or worst.seen >= fewest_seen or not (things or len(labels) > 1):
            break
        if len(labels) > 1:
            people = [drawn for drawn in people if drawn.actor != worst.actor]
        else:
            things = False
    canvas = _compose(scene, people, camera, time_s, shift, things)
    return scene.grade.apply(canvas, rng, time_s), sorted(labels, key=lambda label: label.actor)


def _owners(scene: Scene, people: list[DrawnPerson], time_s: float, things: bool) -> NDArray[np.int16]:
    """(H, W): the actor whose each pixel is, or nobody, or a thing."""
    owner = np.full(scene.shape, _NOBODY, np.int16)
    for place, drawn in enumerate(people):
        owner[drawn.depth < FAR] = drawn.actor
        for thing in _things_between(scene, people, place, things):
            thing.mark(owner, _THING, time_s)
    return owner


def _compose(
    scene: Scene, people: list[DrawnPerson], camera: Camera, time_s: float, shift: tuple[float, float], things: bool
) -> Image:
    height, width = scene.shape
    left, top = scene.margin - round(shift[0]), scene.margin - round(shift[1])
    canvas = scene.background[top : top + height, left : left + width].astype(np.float32)
    for thing in _things_between(scene, people, -1, things):
        thing.draw(canvas, time_s)
    for place, drawn in enumerate(people):
        _ground(scene, camera, canvas, drawn)
        rows, columns = np.flatnonzero(drawn.alpha.any(axis=1)), np.flatnonzero(drawn.alpha.any(axis=0))
        if len(rows):
            area = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            canvas[area] *= (1 - drawn.alpha[area])[..., None]
            canvas[area] += drawn.colour[area]
        for thing in _things_between(scene, people, place, things):
            thing.draw(canvas, time_s)
    return canvas


def _things_between(scene: Scene, people: list[DrawnPerson], place: int, things: bool) -> list[Occluder]:
    """The things nearer than person ``place`` (−1: than infinity) and farther than the next (farthest come first)."""
    farther = people[place].distance_m if place >= 0 else np.inf
    nearer = people[place + 1].distance_m if place + 1 < len(people) else 0.0
    return [thing for distance, thing in scene.occluders if things and nearer <= distance < farther]


def _ground(scene: Scene, camera: Camera, canvas: Image, drawn: DrawnPerson) -> None:
    """A shadow under the person, and a seat behind someone who sits."""
    root, angles, proportions = drawn.root_m, drawn.angles, scene.actors[drawn.actor].proportions
    if scene.shadows:
        rim = np.linspace(0, 2 * np.pi, 16)
        radius = 0.24 * proportions.stature
        circle = np.stack([root[0] + radius * np.cos(rim), 0 * rim, root[2] + radius * np.sin(rim)], axis=1)
        pixels = camera.project(circle)[0].astype(np.int32)
        x, y, wide, tall = cv2.boundingRect(pixels)
        x0, y0 = max(x - 3, 0), max(y - 3, 0)
        patch = canvas[y0 : max(y + tall + 3, 0), x0 : max(x + wide + 3, 0)]
        if patch.size:
            dark = np.ones(patch.shape[:2], np.float32)
            cv2.fillPoly(dark, [pixels - np.array([x0, y0])], 0.62)
            patch *= cv2.blur(dark, (5, 5))[..., None]
    flexed = min(angles[Angle.LEFT_HIP_FLEX], angles[Angle.RIGHT_HIP_FLEX])
    if flexed > 1.1 and root[1] > 0.3 and abs(angles[Angle.ROOT_PITCH]) < 0.4:
        seat = camera.project(np.stack([root - (0, 0.1, 0.12), root * (1, 0, 1) - (0, 0, 0.12)]))[0]
        half = 0.17 * float(np.linalg.norm(seat[1] - seat[0])) / max(root[1] - 0.1, 0.1)
        low = np.clip([seat[0, 0] - half, seat[0, 1]], 0, None).astype(int)
        high = np.clip([seat[0, 0] + half, seat[1, 1]], 0, None).astype(int)
        patch = canvas[low[1] : high[1], low[0] : high[0]]
        if patch.size:
            cloth = pattern(np.random.default_rng([drawn.actor, int(1000 * proportions.stature)]), (16, 16))
            patch[:] = cv2.resize(cloth, patch.shape[1::-1], interpolation=cv2.INTER_NEAREST) * 0.8


_JITTER = ((0.0, 0.0), (0.28, -0.22), (-0.28, 0.22), (0.22, 0.28), (-0.22, -0.28), (0.1, 0.3), (-0.1, -0.3))


def _draw_actor(scene: Scene, index: int, camera: Camera, time_s: float) -> DrawnPerson | None:
    """The person with nothing before them; None for one who has come too near to the camera."""
    actor = scene.actors[index]
    body, root, state = _posed(actor, time_s)
    pixels, depths = camera.project(body.points_m + root)
    if depths.min() < _NEAREST_M:
        return None
    distance = float(camera.project(root[None])[1][0])
    pixels, depths = pixels[:LABELLED_JOINTS], depths[:LABELLED_JOINTS]
    moments = time_s + scene.shutter_s * _shutter_moments(scene, actor, camera, pixels, time_s)
    reference, head_box = _draw_once(scene, actor, camera, body, root, distance, 0)
    colour = reference.colour
    alpha = (reference.depth < FAR).astype(np.float32)
    for number in range(1, len(moments)):
        moved, moved_root, _ = _posed(actor, float(moments[number]))
        layer, _ = _draw_once(scene, actor, camera, moved, moved_root, distance, number)
        colour += layer.colour
        alpha += layer.depth < FAR
    if len(moments) == 1:  # no other drawing smooths the outline
        colour, alpha = cv2.GaussianBlur(colour, (3, 3), 0.5), cv2.GaussianBlur(alpha, (3, 3), 0.5)
    weight = np.float32(1 / len(moments))
    scale = camera.focal_px / distance
    size = actor.proportions.stature / 1.72 * (0.4 + 0.6 * actor.proportions.build * actor.outfit.torso_bulk)
    return DrawnPerson(
        actor=index,
        root_m=root,
        angles=state.angles,
        distance_m=distance,
        colour=colour * weight,
        alpha=alpha * weight,
        depth=reference.depth,
        keypoints_px=pixels,
        joint_depth=depths * scale,
        flesh_px=FLESH_M * size * scale,
        head_box=head_box,
    )


def _draw_once(
    scene: Scene, actor: Actor, camera: Camera, body: Body, root: Floats, distance: float, number: int
) -> tuple[Layer, tuple[float, float, float, float]]:
    layer = Layer.empty(scene.shape)
    parts = body_parts(body, actor.proportions, actor.outfit)
    for part in parts:
        part.start_m, part.end_m = part.start_m + root, part.end_m + root
    head_box = draw_parts(layer, parts, camera, scene.light, distance, _JITTER[number])
    return layer, head_box


def _shutter_moments(scene: Scene, actor: Actor, camera: Camera, pixels: Floats, time_s: float) -> Floats:
    """Moments at which to draw, in −0.5…0.5 of the shutter time, the middle first; more of them for fast limbs."""
    body, root, _ = _posed(actor, time_s + scene.shutter_s / 2)
    reach = 2 * float(np.abs(camera.project(body.points_m[:LABELLED_JOINTS] + root)[0] - pixels).max())
    count = 1 if reach < 2 else 3 if reach < 7 else 5 if reach < 15 else 7
    spread = (np.arange(count) + 0.5) / count - 0.5
    return np.roll(spread, -(count // 2))
