"""Which categories of a COCO file are the people: one rule for training, evaluation, boxes and detections.

The category that was asked for (``data.category``, ``--category``); else the one that has keypoints; else, of several,
the one named person; else several with the same keypoints, together (AP-10K has 54 animals); else nobody guesses. Where
only boxes are wanted and no category has keypoints, the one named person, or the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.errors import InputError

__all__ = [
    "PersonCategories",
    "WantedCategory",
    "find_box_categories",
    "find_detected_category",
    "find_person_categories",
    "find_person_category",
    "is_whole_number",
    "listing",
]

Json = dict[str, Any]
WantedCategory = str | int | None
"""The name or the id of a category; None leaves the choice to the rule."""

LISTED = 12
"""Categories that a message names; a file may have thousands."""
HOW_TO_CHOOSE = "choose with data.category (--category): a name or an id"


@dataclass(frozen=True, eq=False)
class PersonCategories:
    """The categories that count as people: one, or several with the same keypoints."""

    names: Mapping[int, str]
    """By id, in the file's order."""
    first: Json = field(repr=False)
    """Whose keypoints and skeleton are those of all."""
    note: str = ""
    """What the user should know of the choice; empty where there was none."""

    @property
    def id(self) -> int:
        """Of the first; the id of all where they count as one kind."""
        return next(iter(self.names))

    @property
    def keypoints(self) -> list[str]:
        """K names; none where the file has boxes only."""
        return self.first.get("keypoints") or []

    def __contains__(self, category_id: object) -> bool:
        return isinstance(category_id, (int, float)) and not isinstance(category_id, bool) and category_id in self.names

    def __str__(self) -> str:
        return listing(self.names.items())


def find_person_categories(document: Json, path: Path, wanted: WantedCategory = None) -> PersonCategories:
    """The categories whose annotations are people with keypoints.

    Raises:
        InputError: there is none that can be told from the others, or its entry is wrong; the categories are listed.
    """
    having = _with_keypoints(document)
    if wanted is not None:
        chosen = [_asked_for(document, path, wanted)]
        if not chosen[0].get("keypoints"):
            those = f"; those that have are {_listed(having)}" if having else ""
            raise InputError(f"{path}: category {_listed(chosen)} has no keypoints{those}")
    else:
        chosen = _of_kind(having)
        if not chosen:
            raise _undecided(document, path, "needs one category with a list of keypoint names")
    _check(chosen, document, path)
    return _people(chosen, _note(chosen, having, path) if wanted is None else "")


def find_person_category(document: Json, path: Path, wanted: WantedCategory = None) -> Json:
    """The entry whose keypoints those of the people are; as :func:`find_person_categories`."""
    return find_person_categories(document, path, wanted).first


def find_box_categories(document: Json, path: Path, wanted: WantedCategory = None) -> PersonCategories:
    """The categories whose boxes are people's, with keypoints or without.

    Raises:
        InputError: there is none that can be told from the others; the categories are listed.
    """
    having = _with_keypoints(document)
    among = having or document["categories"]
    if wanted is not None:
        chosen = [_asked_for(document, path, wanted)]
    else:
        chosen = _of_kind(having) if having else _named_person(among) or (among if len(among) == 1 else [])
        if not chosen:
            raise _undecided(document, path, "no category has keypoints, and none is named person")
    _check_ids(chosen, document, path)
    return _people(chosen, _note(chosen, having, path) if wanted is None else "")


def find_detected_category(
    category_ids: Iterable[int], path: Path, wanted: WantedCategory = None
) -> tuple[int, str]:
    """Of a list of detections, which says no names: the id of the people, and what the user should know of the choice.

    Raises:
        InputError: there are several ids and none of them is 1, or ``wanted`` is a name.
    """
    found = sorted(set(category_ids))
    if wanted is not None:
        text = str(wanted).strip()
        if not text.isdecimal() or len(text) > 18:
            raise InputError(f"{path}: a list of detections says no names of categories; give --category an id")
        return int(text), ""
    if len(found) <= 1:
        return (found[0] if found else 1), ""
    if 1 in found:
        others = _shortened([str(number) for number in found if number != 1])
        return 1, f"{path}: boxes of category 1 are taken for people's (there are {others}, too; --category chooses)"
    raise InputError(
        f"{path}: boxes have the category ids {_shortened(list(map(str, found)))}; which are people's? "
        "Choose with --category ID"
    )


def is_whole_number(value: object) -> bool:
    """Whether a value of JSON is an integer that fits 64 bits; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def listing(categories: Iterable[tuple[object, object]]) -> str:
    """``1 (person), 2 (dog)``, of ids and names."""
    return _shortened([f"{_short(number)} ({_short(name, bare=True)})" for number, name in categories]) or "none"


def _people(chosen: Sequence[Json], note: str = "") -> PersonCategories:
    return PersonCategories({category["id"]: str(category.get("name")) for category in chosen}, chosen[0], note)


def _with_keypoints(document: Json) -> list[Json]:
    return [category for category in document["categories"] if category.get("keypoints")]


def _of_kind(having: Sequence[Json]) -> list[Json]:
    """Of the categories with keypoints: the only one, the one named person, or several with the same keypoints.

    A person goes before several: a file of people and something else was read as people before several could be read
    together, and still is.
    """
    if len(having) == 1:
        return list(having)
    same = len(having) > 1 and all(category["keypoints"] == having[0]["keypoints"] for category in having)
    return _named_person(having) or (list(having) if same else [])


def _named_person(categories: Sequence[Json]) -> list[Json]:
    """The one named person, if there is exactly one."""
    exactly = [category for category in categories if category.get("name") == "person"]
    named = exactly or [category for category in categories if _folded(category.get("name")) == "person"]
    return named if len(named) == 1 else []


def _asked_for(document: Json, path: Path, wanted: str | int) -> Json:
    """By id; else by name, letter for letter or else in any case."""
    categories, text = document["categories"], str(wanted)
    matches: tuple[Callable[[Json], bool], ...] = (
        lambda category: str(category.get("id")) == text.strip(),
        lambda category: category.get("name") == text,
        lambda category: _folded(category.get("name")) == _folded(text),
    )
    for match in matches:
        found = [category for category in categories if match(category)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{path}: several categories are {text!r}: {_listed(found)}; give the id of one")
    raise InputError(f"{path}: no category is {_short(text)} (data.category); there are {_listed(categories)}")


def _folded(name: object) -> str | None:
    return name.strip().casefold() if isinstance(name, str) else None


def _check(chosen: Sequence[Json], document: Json, path: Path) -> None:
    _check_ids(chosen, document, path)
    where = f"{path}: category {chosen[0].get('name')!r}"
    names, skeleton = chosen[0]["keypoints"], chosen[0].get("skeleton", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f'{where}: "keypoints" must be a list of names that differ from each other')
    if not isinstance(skeleton, list) or not all(_is_bone(pair, len(names)) for pair in skeleton):
        raise InputError(f'{where}: "skeleton" must be a list of pairs of keypoint numbers, 1 to {len(names)}')


def _check_ids(chosen: Sequence[Json], document: Json, path: Path) -> None:
    for category in chosen:
        where, number = f"{path}: category {category.get('name')!r}", category.get("id")
        if not is_whole_number(number):
            raise InputError(f'{where}: "id" must be a whole number, got {_short(number)}')
        if sum(other.get("id") == number for other in document["categories"]) > 1:
            raise InputError(f"{where}: the id {number} is used twice; give each category an id of its own")


def _is_bone(pair: Any, count: int) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(is_whole_number(end) and 1 <= end <= count for end in pair)


def _note(chosen: Sequence[Json], having: Sequence[Json], path: Path) -> str:
    if len(chosen) > 1:
        return (
            f"{path}: {len(chosen)} categories have the same keypoints and count as one kind: {_listed(chosen)}; "
            "data.category names one"
        )
    if len(having) > 1:
        left_out = [category for category in having if category is not chosen[0]]
        return (
            f"{path}: of {len(having)} categories with keypoints, {_listed(chosen)} alone is read; left out: "
            f"{_listed(left_out)} (data.category names another)"
        )
    return ""


def _undecided(document: Json, path: Path, what: str) -> InputError:
    having = _with_keypoints(document)
    if having:
        what = f"{len(having)} categories have different keypoints, and none of them is the one named person"
    return InputError(f"{path}: {what}; there are {_listed(document['categories'])}; {HOW_TO_CHOOSE}")


def _listed(categories: Sequence[Json]) -> str:
    return listing((category.get("id"), category.get("name")) for category in categories)


def _shortened(words: Sequence[str]) -> str:
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return ", ".join(words[:LISTED]) + more


def _short(value: object, bare: bool = False) -> str:
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "one of more than 64 bits"
    text = value if bare and isinstance(value, str) else repr(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:41])
    return text if len(text) <= 40 else text[:37] + "..."
