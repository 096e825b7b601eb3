"""What is known of the keypoints of a data set: names, mirror pairs, tolerances, upper and lower body.

Pairs and tolerances (sigmas: the standard deviation of human labels, in units of the square root of the person's area)
are those that are stated, by the configuration or the data file. What is not stated is read from the names, in any of
the conventions in use, or known of a published set. The rest is not known: then nobody is mirrored
(:attr:`KeypointSet.can_mirror`), and a tolerance is guessed (:data:`DEFAULT_SIGMA`); both are said to the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.data.keypoint_names import NamedSides, plain_names, read_sides, words_of
from nas.data.known_keypoints import COCO_TENFOLD_SIGMAS, known_pairs, known_sigmas, mirrors_freely
from search_spaces.errors import InputError

__all__ = ["COCO_KEYPOINT_NAMES", "COCO_KEYPOINT_SET", "DEFAULT_SIGMA", "SIGMA_RULE", "KeypointSet", "is_sigma"]

COCO_KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

DEFAULT_SIGMA = 0.5 / 10
"""A guess, for keypoints of which nothing is known: near the mean of COCO's own (0.059), a little stricter."""

SIGMA_RULE = "it must be a number from 1e-6 to 100, such as 0.05"

_LOWER_PARTS = (
    *("hip", "pelvis", "knee", "ankle", "foot", "feet", "heel", "toe", "toes", "thigh", "shin", "calf", "leg"),
    *("tail", "hock", "stifle"),
)
_LIMB_PARTS = (*_LOWER_PARTS, "paw", "hoof", "elbow", "claw", "limb")
_FRONT, _HIND = ("f", "front", "fore"), ("b", "back", "hind", "rear")

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class KeypointSet:
    """The names of K keypoints, in the order of the heatmaps, and what follows from them."""

    names: tuple[str, ...]
    stated_pairs: Pairs | None = None
    """Index pairs (left, right) as the configuration or the data file names them; none at all is a statement, too."""
    stated_sigmas: tuple[float | None, ...] = ()
    """One a keypoint, None where nothing is stated; empty where nothing is stated of any."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"keypoint names must be given and differ from each other, got {list(self.names)}")

    @staticmethod
    def of(names: Sequence[str]) -> KeypointSet:
        """The set with these names.

        Raises:
            InputError: there is no name, or two are the same.
        """
        return KeypointSet(tuple(names))

    def stating(
        self, flip_pairs: Sequence[Sequence[str]] | None, sigmas: Mapping[str, float] | Sequence[float] | None
    ) -> KeypointSet:
        """The set with the pairs and tolerances of a configuration, where it states them.

        Args:
            flip_pairs: of names, in any convention; in place of what the data file states or the names say.
            sigmas: by name, of some or all; or one a keypoint, in the order of the data.

        Raises:
            InputError: a name is no keypoint, or stands twice; a sigma is not positive; there are too many or too few.
        """
        stated = self
        if flip_pairs is not None:
            stated = replace(stated, stated_pairs=self._pairs_of(flip_pairs))
        if sigmas is not None:
            stated = replace(stated, stated_sigmas=self._sigmas_of(sigmas))
        return stated

    def __len__(self) -> int:
        return len(self.names)

    # Left and right -------------------------------------------------------------------------------------------------

    @cached_property
    def flip_pairs(self) -> Pairs:
        """Index pairs (left, right) that change places in a mirrored image; those that are known."""
        if self.stated_pairs is not None:
            return self.stated_pairs
        return tuple(sorted({*self._sides.pairs, *self._known_pairs}))

    @cached_property
    def flip_indices(self) -> NDArray[np.int64]:
        """(K,): keypoint k of the mirrored person is keypoint ``flip_indices[k]`` of the person."""
        indices = np.arange(len(self.names), dtype=np.int64)
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return indices

    @property
    def can_mirror(self) -> bool:
        """Whether it is known what each keypoint becomes in a mirror. Whoever mirrors people asks this."""
        if self.stated_pairs is not None or mirrors_freely(self._sides.plain):
            return True
        return bool(self.flip_pairs) and not self.unpaired

    @cached_property
    def unpaired(self) -> tuple[str, ...]:
        """Keypoints that may have a mirror partner of which nothing is known."""
        if self.stated_pairs is not None:
            return ()
        known = {index for pair in self._known_pairs for index in pair} | set(self._known_alone)
        return tuple(self.names[i] for i in sorted({*self._sides.doubtful, *self._sides.numbered} - known))

    @cached_property
    def pairs_left_out(self) -> tuple[tuple[str, str], ...]:
        """Pairs by their names that what is stated leaves out."""
        if self.stated_pairs is None:
            return ()
        stated = {frozenset(pair) for pair in self.stated_pairs}
        free = set(range(len(self.names))) - {index for pair in self.stated_pairs for index in pair}
        left_out = [pair for pair in self._sides.pairs if frozenset(pair) not in stated and free & set(pair)]
        return tuple((self.names[left], self.names[right]) for left, right in left_out)

    @property
    def _sides(self) -> NamedSides:
        return read_sides(self.names)

    @cached_property
    def _known_pairs(self) -> Pairs:
        return known_pairs(self._sides.plain)

    @property
    def _known_alone(self) -> Sequence[int]:
        """What lies on the middle line of a known face."""
        return [i for i, plain in enumerate(self._sides.plain) if self._known_pairs and plain.startswith("face")]

    # Tolerances -----------------------------------------------------------------------------------------------------

    @cached_property
    def sigmas(self) -> NDArray[np.float64]:
        """(K,) OKS tolerances."""
        return np.array([DEFAULT_SIGMA if sigma is None else sigma for sigma in self._found_sigmas])

    @property
    def guessed_sigmas(self) -> tuple[str, ...]:
        """The keypoints whose tolerance is :data:`DEFAULT_SIGMA` for want of a better one."""
        return tuple(name for name, sigma in zip(self.names, self._found_sigmas, strict=True) if sigma is None)

    @cached_property
    def _found_sigmas(self) -> list[float | None]:
        """Stated, or published for the whole set, or COCO's of that part of a body; else None."""
        published = known_sigmas(self._sides.plain)
        found: list[float | None] = []
        for index, plain in enumerate(self._sides.plain):
            stated = self.stated_sigmas[index] if self.stated_sigmas else None
            part = COCO_TENFOLD_SIGMAS.get(plain.removeprefix("left ").removeprefix("right "))
            of_part = None if part is None else part / 10
            found.append(stated if stated is not None else published.get(index, of_part))
        return found

    # Half bodies ----------------------------------------------------------------------------------------------------

    @cached_property
    def is_lower_body(self) -> NDArray[np.bool_]:
        """(K,) true for hips and everything below them, of an animal for all that is behind; the rest is upper body."""
        return np.array([_is_lower(words_of(name)) for name in self.names])

    # What is stated -------------------------------------------------------------------------------------------------

    def index_of(self, name: str) -> int:
        """The place of a keypoint, by its name or by another convention's name for it.

        Raises:
            InputError: there is none.
        """
        if name in self.names:
            return self.names.index(name)
        [wanted] = plain_names((name,))  # alone: the side of lefteye is part of a word then
        found = [i for i, plain in enumerate(self._sides.plain) if plain.replace(" ", "") == wanted.replace(" ", "")]
        if len(found) != 1:
            raise InputError(f"{name!r} is no keypoint of the data; they are {', '.join(self.names)}")
        return found[0]

    def _pairs_of(self, pairs: Sequence[Sequence[str]]) -> Pairs:
        found: list[tuple[int, int]] = []
        for left, right in pairs:
            pair = (self.index_of(left), self.index_of(right))
            for index in pair if pair[0] != pair[1] else pair[:1]:
                if pair[0] == pair[1] or any(index in other for other in found):
                    raise InputError(f"{self.names[index]!r} stands twice; each keypoint has one mirror partner")
            found.append(pair)
        return tuple(found)

    def _sigmas_of(self, sigmas: Mapping[str, float] | Sequence[float]) -> tuple[float | None, ...]:
        if not isinstance(sigmas, Mapping):
            if len(sigmas) != len(self.names):
                raise InputError(f"{len(sigmas)} numbers for {len(self)} keypoints; give one each, or name: sigma")
            sigmas = dict(zip(self.names, sigmas, strict=True))
        found = list(self.stated_sigmas or (None,) * len(self.names))
        by_whom: dict[int, str] = {}
        for name, sigma in sigmas.items():
            index = self.index_of(name)
            if index in by_whom:
                raise InputError(f"{name!r} and {by_whom[index]!r} are the same keypoint; keep one of them")
            if not is_sigma(sigma):
                raise InputError(f"the sigma of {name!r} is {sigma!r}; {SIGMA_RULE}")
            by_whom[index], found[index] = name, float(sigma)
        return tuple(found)


def is_sigma(value: object) -> bool:
    """Whether a value can be a keypoint's tolerance; :data:`SIGMA_RULE` in words."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 1e-6 <= value <= 100


def _is_lower(words: Sequence[str]) -> bool:
    def has(parts: Sequence[str]) -> bool:
        return any(word.startswith(part) or word.endswith(part) for word in words for part in parts)

    if any(word in _FRONT for word in words) or "foreleg" in words:
        return False
    return has(_LOWER_PARTS) or (any(word in _HIND for word in words) and has(_LIMB_PARTS))


COCO_KEYPOINT_SET = KeypointSet(COCO_KEYPOINT_NAMES)
