"""The forms in which people have the weights of an MMPose network, brought to the one that MMPose writes itself.

A checkpoint is a dictionary; the weights may lie in any entry of it (``state_dict``, ``model``, ``net`` …), behind any
prefix (``model.`` of Lightning), inside wrappers (``module.`` of data-parallel training, ``_orig_mod.`` of
``torch.compile``), with averaged copies beside them, without ``num_batches_tracked``, in half precision. What is taken
is found by the names of the network itself, and everything that was done to get there is said.

Of plain and averaged weights the plain ones are taken. It is they that MMPose evaluates: the averaging hooks of mmcv
and mmengine exchange the two before a checkpoint is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from search_spaces import InputError

from .finite import check_finite

__all__ = ["FoundWeights", "find_weights", "shortened"]

NAMED_IN_ERRORS = 10
DEPTH = 4
"""So many dictionaries in one another are looked into."""
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that mean nothing to the network, wherever they stand."""
NETWORK = {"backbone": "backbone", "head": "head", "keypoint_head": "head"}
"""The parts of a pose network, and what MMPose 1.x calls them."""
COUNTERS = ("n_averaged", "steps")
"""Of averaged models: how often they were averaged."""
PREPROCESSOR = "data_preprocessor."
TRACKED = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Weights under the names of MMPose 1.x, of the types that the network has."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    """What was stripped, left out, filled in or turned into another type, in words."""
    preprocessor: dict[str, Tensor]
    """``mean`` and ``std`` of the images that the network was trained on, where the checkpoint has them."""


def find_weights(content: Any, expected: Mapping[str, Tensor]) -> FoundWeights:
    """The weights of a network in a checkpoint, or in a state dict.

    Args:
        content: what was read.
        expected: the network's own, under the names of MMPose 1.x.

    Raises:
        InputError: none fit (missing, surplus and misshapen ones are named in one line), several do (they are listed),
            or a weight is not finite or not a plain tensor of floating-point numbers.
    """
    candidate = _chosen(list(_candidates(content)), expected)
    tensors, notes = {}, []
    cast, filled = set(), 0
    for name, own in expected.items():
        found = candidate.tensors.get(name)
        if found is None:
            filled += 1
            tensors[name] = torch.zeros_like(own, device="cpu")
            continue
        if found.dtype != own.dtype and own.is_floating_point():
            cast.add(f"{str(found.dtype).removeprefix('torch.')} made {str(own.dtype).removeprefix('torch.')}")
        tensors[name] = found.to(own.dtype)
    check_finite(tensors, candidate.label)
    if candidate.path:
        notes.append(f"weights of {'.'.join(candidate.path)!r}")
    taken_off = [*([f"{candidate.prefix}."] if candidate.prefix else []), *(f"{name}." for name in candidate.wrappers)]
    if taken_off:
        notes.append(f"{' and '.join(map(repr, taken_off))} taken off the names")
    if left_out := candidate.left_out(expected):
        notes.append(f"left out: {shortened(left_out)}")
    if filled:
        notes.append(f"{filled} {TRACKED} filled in with 0")
    notes += sorted(cast)
    return FoundWeights(tensors=tensors, notes=tuple(notes), preprocessor=candidate.preprocessor)


def shortened(names: list[str]) -> str:
    """The first ten, and how many more there are."""
    more = f", and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else ""
    return ", ".join(names[:NAMED_IN_ERRORS]) + more


# Candidates ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Candidate:
    """The weights in one dictionary that stand behind one prefix."""

    path: tuple[str, ...]
    """Of the dictionary in the checkpoint."""
    prefix: str
    beside: tuple[str, ...]
    """Other entries of the dictionaries on the path."""
    tensors: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    """Behind the same prefix, of no part of a pose network."""
    strangers: dict[str, None] = field(default_factory=dict)
    """In the same dictionary, behind another prefix or none; of other networks the prefix."""
    wrappers: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        place = repr(".".join(self.path)) if self.path else ""
        behind = f"the names that begin with {self.prefix + '.'!r}" if self.prefix else ""
        return f"{place}: {behind}" if place and behind else place or behind

    @property
    def is_averaged(self) -> bool:
        words = re.split(r"[^a-z]+", ".".join([*self.path, self.prefix]).lower())
        return any(word in ("ema", "swa", "avg", "average", "averaged") for word in words)

    @property
    def preprocessor(self) -> dict[str, Tensor]:
        found = {name: self.others.get(PREPROCESSOR + name) for name in ("mean", "std")}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def left_out(self, expected: Mapping[str, Tensor]) -> list[str]:
        """What is in the checkpoint and not taken, in words."""
        copies = [name for name in self.others if _is_averaged_copy(name, expected)]
        named = [name for name in self.others if name not in copies]
        counted = [f"{len(copies)} averaged copies (ema_…)"] if copies else []
        return [*self.beside, *counted, *named, *self.strangers]

    def problems(self, expected: Mapping[str, Tensor]) -> list[str]:
        """What keeps these weights from being those of the network."""
        surplus = [name for name in self.tensors if name not in expected]
        surplus += [
            name for name in self.others
            if not (name in COUNTERS or name.startswith(PREPROCESSOR) or _is_averaged_copy(name, expected))
        ]  # fmt: skip
        missing = [name for name in expected if name not in self.tensors and not name.endswith(TRACKED)]
        common = [name for name in expected if name in self.tensors]
        shapes = {
            name: _shape(self.tensors[name]) for name in common if _shape(self.tensors[name]) != expected[name].shape
        }
        misshapen = [f"{name} {shape} in place of {tuple(expected[name].shape)}" for name, shape in shapes.items()]
        kinds = {"missing": sorted(missing), "surplus": sorted(surplus), "misshapen": sorted(misshapen)}
        return [f"{len(names)} {kind} ({shortened(names)})" for kind, names in kinds.items() if names]


def _is_averaged_copy(name: str, expected: Mapping[str, Tensor]) -> bool:
    """Whether it is what mmcv's averaging hook keeps of a weight: a buffer without dots in its name."""
    if not name.startswith("ema_"):
        return False
    plain = name.removeprefix("ema_")
    plain = "head_" + plain.removeprefix("keypoint_head_") if plain.startswith("keypoint_head_") else plain
    return plain in {known.replace(".", "_") for known in expected}


def _candidates(content: Any) -> Iterator[_Candidate]:
    if not isinstance(content, Mapping):
        raise InputError(f"expected a state dict (name: tensor), got {type(content).__name__}")
    for path, beside, mapping in _dictionaries(content, (), ()):
        yield from _by_prefix(path, beside, mapping)


def _dictionaries(
    mapping: Mapping[Any, Any], path: tuple[str, ...], beside: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Mapping[Any, Any]]]:
    """Those that hold a tensor, the outer ones first."""
    if any(isinstance(value, Tensor) for value in mapping.values()):
        yield path, beside, mapping
    for name, value in mapping.items():
        if isinstance(name, str) and isinstance(value, Mapping) and len(path) < DEPTH:
            others = tuple(str(other) for other in mapping if other != name)
            yield from _dictionaries(value, (*path, name), (*beside, *others))


def _by_prefix(path: tuple[str, ...], beside: tuple[str, ...], mapping: Mapping[Any, Any]) -> Iterator[_Candidate]:
    """The weights of a dictionary, apart by what stands before ``backbone`` and ``head``."""
    split = {name: _split(name) for name in mapping if isinstance(name, str) and not isinstance(mapping[name], Mapping)}
    prefixes = dict.fromkeys(one.prefix for one in split.values() if one.is_of_network) or {"": None}
    for prefix in prefixes:
        candidate = _Candidate(path=path, prefix=prefix, beside=beside)
        behind = f"{prefix}." if prefix else ""
        wrappers: dict[str, None] = {}
        for given, one in split.items():
            if one.is_of_network and one.prefix == prefix:
                if one.name in candidate.tensors:
                    raise InputError(f"holds {one.name} twice, once as {given}; save a state dict with one of them")
                candidate.tensors[one.name] = mapping[given]
                wrappers |= dict.fromkeys(one.wrappers)
            elif not one.is_of_network and one.name.startswith(behind):
                candidate.others[one.name.removeprefix(behind)] = mapping[given]
            else:
                of_other = f"names that begin with {one.prefix + '.'!r}"
                candidate.strangers[of_other if one.is_of_network and one.prefix else given] = None
        candidate.wrappers = tuple(wrappers)
        yield candidate


@dataclass(frozen=True)
class _SplitName:
    prefix: str
    name: str
    """From ``backbone`` or ``head`` on; of what is of no part of a network the whole."""
    is_of_network: bool
    wrappers: tuple[str, ...]


def _split(given: str) -> _SplitName:
    parts = given.split(".")
    wrappers = tuple(part for part in WRAPPERS if part in parts)
    parts = [part for part in parts if part not in WRAPPERS]
    start = next((index for index, part in enumerate(parts[:-1]) if part in NETWORK), None)
    if start is None:
        return _SplitName("", ".".join(parts), False, wrappers)
    name = ".".join([NETWORK[parts[start]], *parts[start + 1 :]])
    return _SplitName(".".join(parts[:start]), name, True, wrappers)


# The choice ---------------------------------------------------------------------------------------------------------


def _chosen(candidates: list[_Candidate], expected: Mapping[str, Tensor]) -> _Candidate:
    fitting = [one for one in candidates if not one.problems(expected)]
    for one in fitting:
        _check_types(one)
    fitting = [one for one in fitting if not one.is_averaged] or fitting
    different: list[_Candidate] = []
    for one in fitting:
        if not any(_same(one, other) for other in different):
            different.append(one)
    if len(different) > 1:
        labels = "; ".join(one.label or "the outermost" for one in different)
        raise InputError(f"holds several sets of weights that fit ({labels}); save the state dict that is meant alone")
    if different:
        return different[0]
    if not candidates:
        raise InputError("holds no state dict (name: tensor)")
    nearest = max(candidates, key=lambda one: (len(one.tensors.keys() & expected.keys()), len(one.tensors)))
    _check_types(nearest)
    where = f"{nearest.label}: " if nearest.label else ""
    raise InputError(f"{where}not a state dict of this architecture: {'; '.join(nearest.problems(expected))}")


def _same(one: _Candidate, other: _Candidate) -> bool:
    """Whether two hold the same weights: then it does not matter which is taken."""
    return one.tensors.keys() == other.tensors.keys() and all(
        _equal(value, other.tensors[name]) for name, value in one.tensors.items() if not name.endswith(TRACKED)
    )


def _equal(value: Tensor, other: Tensor) -> bool:
    return value is other or (value.dtype == other.dtype and torch.equal(value, other))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _check_types(candidate: _Candidate) -> None:
    for name, value in candidate.tensors.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise InputError(f"not a state dict: {name!r} is {type(value).__name__}, expected a plain tensor")
        if not (value.is_floating_point() or name.endswith(TRACKED)):
            dtype = str(value.dtype).removeprefix("torch.")
            raise InputError(f"not a state dict: {name!r} holds {dtype}, expected floating-point numbers")
