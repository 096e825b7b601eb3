"""What the category of a COCO file says of its keypoints beside their names: mirror pairs and OKS sigmas.

COCO itself has no place for them; data sets and tools that do write them as

- ``sigmas``: one number a keypoint;
- ``swap``: a name (or nothing) a keypoint, as MMPose's ``keypoint_info`` has them, as a list or by name;
- ``flip_pairs``: pairs of names or of indices;
- ``flip_idx``: the index that each keypoint has in a mirror, from 0;
- ``keypoint_info``: MMPose's own, objects with ``name`` and ``swap``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas.data.keypoint_names import read_sides
from nas.data.keypoint_sets import SIGMA_RULE, KeypointSet, is_sigma
from search_spaces.errors import InputError

__all__ = ["category_keypoints"]

Pairs = tuple[tuple[int, int], ...]


def category_keypoints(category: Mapping[str, Any], where: str) -> KeypointSet:
    """The keypoints of a category whose ``keypoints`` are names that differ from each other.

    Args:
        where: the file and the category, for messages.

    Raises:
        InputError: pairs or sigmas cannot be read, name unknown keypoints, or contradict each other.
    """
    names = KeypointSet.of(category["keypoints"]).names
    return KeypointSet(names, _stated_pairs(category, names, where), _stated_sigmas(category, names, where))


def _stated_sigmas(category: Mapping[str, Any], names: Sequence[str], where: str) -> tuple[float, ...]:
    sigmas = category.get("sigmas")
    if sigmas is None or sigmas == []:
        return ()
    if not isinstance(sigmas, list) or len(sigmas) != len(names):
        length = len(sigmas) if isinstance(sigmas, list) else type(sigmas).__name__
        raise InputError(f'{where}: "sigmas" must be a list of {len(names)} numbers, one a keypoint, got {length}')
    for name, sigma in zip(names, sigmas, strict=True):
        if not is_sigma(sigma):
            raise InputError(f'{where}: "sigmas": that of {name!r} is {_short(sigma)}; {SIGMA_RULE}')
    return tuple(float(sigma) for sigma in sigmas)


def _stated_pairs(category: Mapping[str, Any], names: Sequence[str], where: str) -> Pairs | None:
    """None where nothing is stated, or no more than that nothing is exchanged, and names say otherwise."""
    for key, reader in (
        ("flip_pairs", _pairs), ("swap", _swaps), ("flip_idx", _swaps), ("keypoint_info", _keypoint_info)
    ):
        if category.get(key) is None:
            continue
        try:
            partner = reader(category[key], names)
        except ValueError as error:
            raise InputError(f'{where}: "{key}": {error}') from None
        if partner is None:  # nothing is said of mirrors
            continue
        sides = read_sides(tuple(names))
        if not partner and (sides.pairs or sides.doubtful):
            return None
        right = {pair[1] for pair in sides.pairs}
        pairs = {(min(pair), max(pair)) for pair in partner.items()}
        return tuple(sorted((b, a) if a in right else (a, b) for a, b in pairs))
    return None


def _pairs(value: Any, names: Sequence[str]) -> dict[int, int]:
    """Partners by place."""
    pairs = list(value) if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError("must be a list of pairs")
    if all(_is_index(end) for pair in pairs for end in pair):
        pairs = _from_zero(pairs, names)
    swaps: dict[int, int] = {}
    for pair in pairs:
        first, second = (_place(end, names) for end in pair)
        for one, other in ((first, second), (second, first)):
            if one == other or one in swaps:
                raise ValueError(f"{names[one]!r} stands twice; each keypoint has one mirror partner")
            swaps[one] = other
    return swaps


def _from_zero(pairs: list[list[int]], names: Sequence[str]) -> list[list[int]]:
    """Indices as HRNet and MMPose count them, from 0; from 1, as COCO's skeleton does, where they say so themselves."""
    numbers = {end for pair in pairs for end in pair}
    if 0 in numbers or not numbers:
        return pairs
    shifted = [[end - 1 for end in pair] for pair in pairs]
    if len(names) in numbers:
        return shifted
    by_name = {frozenset(pair) for pair in read_sides(tuple(names)).pairs}
    fitting = [one for one in (pairs, shifted) if {frozenset(pair) for pair in one} == by_name]
    if len(fitting) != 1:
        raise ValueError("the indices may count from 0 or from 1; write names in place of them")
    return fitting[0]


def _swaps(value: Any, names: Sequence[str]) -> dict[int, int]:
    if isinstance(value, Mapping):
        return _mutual(value.items(), names)
    is_pairs = isinstance(value, list) and bool(value) and all(isinstance(item, list) for item in value)
    if is_pairs:
        return _pairs(value, names)
    if not isinstance(value, list) or len(value) not in (0, len(names)):
        raise ValueError(f"must be a list of {len(names)} names (\"\" for none), one a keypoint, or name: name")
    return _mutual(enumerate(value), names)


def _keypoint_info(value: Any, names: Sequence[str]) -> dict[int, int] | None:
    entries = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) and "name" in entry for entry in entries):
        raise ValueError("must hold an object with a name for each keypoint")
    if not any("swap" in entry for entry in entries):
        return None
    return _mutual([(entry["name"], entry.get("swap")) for entry in entries], names)


def _mutual(swaps: Any, names: Sequence[str]) -> dict[int, int]:
    """Partners by place, of names to names; a keypoint that is its own partner has none."""
    found = dict(_known(swaps, names))
    for one, other in found.items():
        if found.get(other) != one:
            back = repr(names[found[other]]) if other in found else "nothing"
            raise ValueError(f"{names[one]!r} becomes {names[other]!r}, but {names[other]!r} becomes {back}")
    return found


def _known(swaps: Any, names: Sequence[str]) -> Iterator[tuple[int, int]]:
    for name, partner in swaps:
        place = _place(name, names)
        if partner not in (None, "") and _place(partner, names) != place:
            yield place, _place(partner, names)


def _place(end: Any, names: Sequence[str]) -> int:
    if isinstance(end, str) and end in names:
        return names.index(end)
    if _is_index(end) and 0 <= end < len(names):
        return int(end)
    raise ValueError(f"{_short(end)} is no keypoint; they are {', '.join(names)}")


def _short(value: Any) -> str:
    """For messages: a value of any size."""
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "a number of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _is_index(end: Any) -> bool:
    return isinstance(end, int) and not isinstance(end, bool)
