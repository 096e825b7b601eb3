"""What the names of keypoints say of left and right, in the conventions in use, and which of them mean the same.

``left_eye``, ``L_Eye``, ``eye-left``, ``Left Eye``, ``leftEye``, ``LEye``, ``EyeL``, ``lefteye`` and ``eye.l`` are one
keypoint. A name is cut into words at separators, capitals and digits. A side is

1. a word of its own: left, right, or a letter (``thumb1_left_hand``, ``L_B_Paw``);
2. left or right at the beginning or end of a word (``lefteye``);
3. a letter there (``lknee``, ``LASI``, ``wheel_fl``), which is believed only of names that come in pairs: a tail, a lip
   and a clavicle have no side.

Two keypoints are a mirror pair where exactly one name of the set is that of the other side. A name that says a side and
has no such partner, or several, makes all mirroring unsafe: it is listed, and whoever mirrors asks first.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["NamedSides", "are_numbered", "plain_names", "read_sides", "words_of"]

Words = tuple[str, ...]

MANY = 6
"""So many keypoints that differ in a number alone are no spine of a few joints."""
_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_SIDE_WORDS = {**dict.fromkeys(("l", "lt", "lft"), "left"), **dict.fromkeys(("r", "rt", "rgt"), "right")}
_RUN = re.compile(r"[^\W\d_]+|\d+")
_CAPITALS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PARTS = (
    *("eye", "ear", "brow", "cheek", "mouth", "lip", "jaw", "temple", "nostril", "whisker", "horn", "antler"),
    *("shoulder", "sho", "collar", "clavicle", "scapula", "arm", "elbow", "elb", "wrist", "wri", "hand", "palm"),
    *("finger", "thumb", "index", "middle", "ring", "pinky", "chest", "nipple", "rib", "hip", "pelvis", "thigh", "leg"),
    *("knee", "kne", "shin", "calf", "ankle", "ank", "foot", "heel", "toe", "paw", "hoof", "claw", "hock", "stifle"),
    *("wing", "fin", "front", "back", "hind", "rear", "top", "bottom", "upper", "lower", "side", "corner", "wheel"),
)
"""What may stand behind a side without a separator."""


@dataclass(frozen=True)
class NamedSides:
    """What the names of K keypoints say."""

    pairs: tuple[tuple[int, int], ...]
    """Indices (left, right), in the order of the left ones."""
    doubtful: tuple[int, ...]
    """Keypoints that have a side by their names, and no partner or more than one."""
    numbered: tuple[int, ...]
    """Keypoints without a side of which a number tells six and more apart, as the points of a face: where each of them
    is in a mirror, their names do not say."""
    plain: tuple[str, ...]
    """The names without their convention: equal where two sets mean the same keypoint, and different within a set."""


def words_of(name: str) -> Words:
    """A name's words in small letters; numbers without leading zeros."""
    words: list[str] = []
    for run in _RUN.findall(name):
        pieces = _CAPITALS.findall(run) if run.isascii() and run.isalpha() else [run]
        for place, piece in enumerate(pieces):
            is_code = piece.isupper() and 1 < len(piece) < 4 and place + 1 < len(pieces)
            if is_code and {piece[0], piece[-1]} & set("LR"):  # LF in LFPaw
                words += piece.lower()
            else:
                words.append((piece.lstrip("0") or "0") if piece.isdecimal() else piece.casefold())
    return tuple(words)


def are_numbered(names: Sequence[str]) -> bool:
    """Whether the names are nothing but numbers, or one word with numbers: ``0``, ``keypoint_1``."""
    stems, numbers = set(), set()
    for name in names:
        words = words_of(name)
        stems.add(tuple(word for word in words if not word.isdecimal()))
        numbers.add(tuple(word for word in words if word.isdecimal()))
    one_number = all(len(number) == 1 for number in numbers)
    return len(stems) == 1 and one_number and len(numbers) == len(names)


def plain_names(names: Sequence[str]) -> tuple[str, ...]:
    """As ``NamedSides.plain``."""
    return read_sides(tuple(names)).plain


@functools.lru_cache(maxsize=256)
def read_sides(names: tuple[str, ...]) -> NamedSides:
    """What these names, which differ from each other, say of left and right."""
    words = [tuple(_SIDE_WORDS.get(word, word) for word in words_of(name)) for name in names]
    of_words: defaultdict[Words, list[int]] = defaultdict(list)
    for index, key in enumerate(words):
        of_words[key].append(index)
    anywhere: defaultdict[tuple[str, Words], list[int]] = defaultdict(list)
    for index, key in enumerate(words):
        if len(_sides(key)) == 1:
            anywhere[_side_and_rest(key)].append(index)

    def partners(index: int, rule: Callable[[Words], Iterator[Words]]) -> set[int]:
        return {other for key in rule(words[index]) for other in of_words.get(key, ())} - {index}

    chosen: dict[int, tuple[set[int], bool]] = {}  # partners, and whether the rule is the weak one of letters
    for index, key in enumerate(words):
        for rule in (_all_turned, _one_turned) if _sides(key) else (_word_turned,):
            if index not in chosen and (found := partners(index, rule)):
                chosen[index] = found, False
        if index not in chosen and len(_sides(key)) == 1:
            side, rest = _side_and_rest(key)
            if found := set(anywhere.get((_OPPOSITE[side], rest), ())):
                chosen[index] = found, False
        if index not in chosen and not _sides(key) and (found := partners(index, _letter_turned)):
            chosen[index] = found, True
    mutual = {
        index: next(iter(found))
        for index, (found, _) in chosen.items()
        if len(found) == 1 and chosen.get(next(iter(found)), (set(), False))[0] == {index}
    }
    trusted = _trusted(words, chosen, mutual)
    left = {index: _is_left(words[index], words[other]) for index, other in mutual.items() if index in trusted}
    pairs = tuple((index, mutual[index]) for index in sorted(left) if left[index])
    doubtful = tuple(
        index
        for index, key in enumerate(words)
        if index not in trusted and (index in chosen or _says_a_side(key, names[index]))
    )
    return NamedSides(pairs, doubtful, _numbered(words, trusted), _plain(names, words, trusted, mutual))


# Sides in words -----------------------------------------------------------------------------------------------------


def _sides(words: Words) -> list[int]:
    """The places of words that are sides."""
    return [place for place, word in enumerate(words) if word in ("left", "right")]


def _side_and_rest(words: Words) -> tuple[str, Words]:
    [place] = _sides(words)
    return words[place], words[:place] + words[place + 1 :]


def _all_turned(words: Words) -> Iterator[Words]:
    yield tuple(_OPPOSITE[word] if word in ("left", "right") else word for word in words)


def _one_turned(words: Words) -> Iterator[Words]:
    """Of several sides one alone is a side: the r of ``paw_r_l`` is the rear."""
    for place in _sides(words):
        yield (*words[:place], _OPPOSITE[words[place]], *words[place + 1 :])


def _word_turned(words: Words) -> Iterator[Words]:
    return _ends_turned(words, ("left", "right"))


def _letter_turned(words: Words) -> Iterator[Words]:
    return _ends_turned(words, ("l", "r"))


def _ends_turned(words: Words, sides: Sequence[str]) -> Iterator[Words]:
    """The names with another side at the beginning or the end of one word."""
    for place, word in enumerate(words):
        for side in sides:
            rest = len(word) - len(side)
            if rest > 0 and word.startswith(side):
                yield (*words[:place], _OPPOSITE[side] + word[len(side) :], *words[place + 1 :])
            if rest > 0 and word.endswith(side):
                yield (*words[:place], word[:rest] + _OPPOSITE[side], *words[place + 1 :])


def _difference(words: Words, other: Words) -> tuple[int, str, str]:
    """The place at which two names of one length differ, and what stands there."""
    return next((place, a, b) for place, (a, b) in enumerate(zip(words, other, strict=True)) if a != b)


def _is_left(words: Words, other: Words) -> bool:
    """Which of two partners is the left one."""
    if len(_sides(words)) == 1:
        return _side_and_rest(words)[0] == "left"
    _, ours, theirs = _difference(words, other)
    if ours in _OPPOSITE:
        return ours == "left"
    at_the_end = ours[0] == theirs[0]
    return (ours[-1] == "l" or ours.endswith("left")) if at_the_end else ours[0] == "l"


# What is believed ---------------------------------------------------------------------------------------------------


def _trusted(words: Sequence[Words], chosen: dict[int, tuple[set[int], bool]], mutual: dict[int, int]) -> set[int]:
    """Those of the mutual partners that are pairs beyond doubt.

    Letters at the ends of words are, where the rest of the word is a part of a body or a second letter (``fl``), or
    where it is the one convention of the set, of two pairs or more.
    """
    strong = {index for index in mutual if not chosen[index][1]}
    weak = {index for index in mutual if chosen[index][1]}
    known = {index for index in weak if _has_known_rest(words[index], words[mutual[index]])}
    is_convention = not strong and len(weak) >= 4
    return strong | (weak if is_convention else known)


def _has_known_rest(words: Words, other: Words) -> bool:
    _, ours, theirs = _difference(words, other)
    rest = ours[:-1] if ours[0] == theirs[0] else ours[1:]
    return len(rest) == 1 or _is_part(rest)


def _is_part(rest: str) -> bool:
    return any(rest.startswith(part) or rest.endswith(part) for part in _PARTS)


def _says_a_side(words: Words, name: str) -> bool:
    """Whether a name without a partner has a side all the same. L5 is a vertebra."""
    if _sides(words):
        return not (words_of(name)[0] in ("l", "r") and len(words) == 2 and words[1].isdecimal())
    for word in words:
        for side in ("left", "right"):
            rest = word.removeprefix(side) if word.startswith(side) else word.removesuffix(side)
            if rest != word and _is_part(rest):
                return True
    return False


def _numbered(words: Sequence[Words], trusted: set[int]) -> tuple[int, ...]:
    groups: defaultdict[Words, list[int]] = defaultdict(list)
    for index, key in enumerate(words):
        rest = tuple(word for word in key if not word.isdecimal())
        if index not in trusted and len(rest) == len(key) - 1:
            groups[rest].append(index)
    return tuple(sorted(index for group in groups.values() if len(group) >= MANY for index in group))


# The same keypoint under another name -------------------------------------------------------------------------------


def _plain(
    names: Sequence[str], words: Sequence[Words], trusted: set[int], mutual: dict[int, int]
) -> tuple[str, ...]:
    found = []
    for index, key in enumerate(words):
        if len(_sides(key)) == 1:
            side, rest = _side_and_rest(key)
        elif index in trusted and not _sides(key):
            side, rest = _fused_side(key, words[mutual[index]])
        else:
            side, rest = "", key
        found.append(f"{side} {''.join(rest)}".strip())
    counts = Counter(found)
    return tuple(plain if counts[plain] == 1 else f"{plain} ({name})" for plain, name in zip(found, names, strict=True))


def _fused_side(words: Words, other: Words) -> tuple[str, Words]:
    place, ours, theirs = _difference(words, other)
    side = "left" if _is_left(words, other) else "right"
    for mine, opposite in ((side, _OPPOSITE[side]), (side[0], _OPPOSITE[side[0]])):
        if ours.startswith(mine) and theirs == opposite + ours[len(mine) :]:
            return side, (*words[:place], ours[len(mine) :], *words[place + 1 :])
        if ours.endswith(mine) and theirs == ours[: -len(mine)] + opposite:
            return side, (*words[:place], ours[: -len(mine)], *words[place + 1 :])
    raise AssertionError(f"{words} and {other} are no partners")
