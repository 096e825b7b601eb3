"""A device beside the CPU, for tests of where tensors lie: ``other:0``.

Its tensors wrap a CPU tensor and compute there, so that results are equal to the CPU's; but an operation that is given
tensors of both devices is refused, as CUDA refuses it. Operations, copies between the devices, and reads of a value
(for which a GPU's host waits) are counted, each with the line of ours that asked for it.

Import it before anything of ours, in a process of its own: a backend is for good, and some of torch's factories are
replaced. It is torch's experimental Python backend, so it is tied to the release that ``constraints.txt`` names. There
is no autocast on it, no stream and no memory of its own.
"""

from __future__ import annotations

import collections
import contextlib
import traceback
import weakref
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_iter, tree_map

__all__ = ["NAME", "OTHER", "launches", "reset", "waits"]

NAME = "other"
launches: collections.Counter[str] = collections.Counter()
"""Operation → how often it ran on the device. Views are no operations: nothing runs."""
waits: collections.Counter[str] = collections.Counter()
"""``kind file:line`` → how often the host read a value, or copied between the devices."""

NO_LAUNCH = frozenset({
    "view", "_unsafe_view", "t", "transpose", "permute", "slice", "select", "expand", "as_strided", "detach", "alias",
    "unsqueeze", "squeeze", "split", "split_with_sizes", "unflatten", "diagonal", "unbind", "_reshape_alias", "narrow",
    "movedim", "lift_fresh", "empty_like", "new_empty", "empty", "empty_strided",
})  # fmt: skip
READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select"}
"""What the host cannot go on without."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""CUDA takes indices from the CPU, and copies them."""
SCALARS_TOO = {"cat", "stack", "index_select", "convolution", "native_batch_norm", "where"}
"""Refuse a CPU tensor of no dimension as well; elsewhere CUDA takes it for a number."""
OURS = ("/nas/", "/supernet/", "/evaluators/")


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a device's module."""

    def synchronize(self, *_: Any) -> None:
        _wait("synchronize")

    def set_device(self, *_: Any) -> None: ...

    def get_rng_state(self, *_: Any) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, *_: Any) -> None: ...

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
OTHER = torch.device(NAME, 0)


class OnOther(torch.Tensor):
    """A tensor of the device."""

    inside: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> OnOther:
        made: OnOther = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inside.size(), strides=inside.stride(), storage_offset=inside.storage_offset(), dtype=inside.dtype,
            layout=inside.layout, device=OTHER,
        )  # fmt: skip
        made.inside = inside
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"OnOther({self.inside!r})"

    def tolist(self) -> Any:
        _wait("read")
        return self.inside.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert a tensor of {OTHER} to numpy; use .cpu() first")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inside.detach().clone().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy: Any = OnOther(self.inside.detach().clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy


def reset() -> None:
    launches.clear()
    waits.clear()


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = operation._schema.name.partition("::")[2]
    if name == "_to_copy":
        return _moved(operation, args[0], dict(kwargs))
    if name == "copy_":
        into, source = args[:2]
        if isinstance(into, OnOther) != isinstance(source, OnOther) and not _goes_on(source, args[2:], kwargs):
            _wait("copy")
        _inside(into).copy_(_inside(source))
        launches[name] += 1
        return into
    given = [one for one in tree_iter((args, kwargs)) if isinstance(one, torch.Tensor)]
    _refuse_foreigners(operation, name, [one for one in given if not isinstance(one, OnOther)])
    if name in READS:
        _wait("read")
    if name not in NO_LAUNCH:
        launches[name] += _kernels(name, args)
    where = kwargs.get("device")
    to_cpu = where is not None and torch.device(where).type == "cpu"
    if where is not None:
        if to_cpu:
            _wait("copy")
        kwargs = {**kwargs, "device": where if torch.device(where).type == "meta" else torch.device("cpu")}
    found = operation(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if to_cpu or name == "_local_scalar_dense":
        return found
    known = {id(one.inside): one for one in given if isinstance(one, OnOther)}  # what is changed in place stays itself

    def outside(one: Any) -> Any:
        if not isinstance(one, torch.Tensor) or isinstance(one, OnOther) or one.device.type == "meta":
            return one
        return known[id(one)] if id(one) in known else OnOther(one)

    return tree_map(outside, found)


def _kernels(name: str, args: Any) -> int:
    """One, but for operations on lists that CUDA carries out one tensor at a time.

    It takes lists together where their tensors are dense and of equal strides (``can_use_fast_route``), and joins
    tensors that are not contiguous where they have at most four dimensions.
    """
    lists = [one for one in args if isinstance(one, list | tuple) and one and isinstance(one[0], torch.Tensor)]
    if name.startswith("_foreach"):
        alike = all(len({one.stride() for one in several}) == 1 for several in zip(*lists, strict=True))
        return 1 if alike and all(_is_dense(one) for one in lists[0]) else len(lists[0])
    if name in ("cat", "stack") and not all(one.is_contiguous() for one in lists[0]):
        return 1 if lists[0][0].dim() + (name == "stack") <= 4 else len(lists[0])
    return 1


def _is_dense(tensor: torch.Tensor) -> bool:
    return bool(torch.ops.aten.is_non_overlapping_and_dense(_inside(tensor)))


def _moved(operation: Any, source: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """To another device, type or layout."""
    target = torch.device(kwargs.pop("device", None) or source.device)
    kwargs.pop("pin_memory", None)
    if target.type == "meta":
        return operation(_inside(source), device=target, **kwargs)
    if isinstance(source, OnOther) != (target.type == NAME) and not _goes_on(source, (), kwargs):
        _wait("copy")
    found = operation(_inside(source), **kwargs)
    if target.type != NAME:
        return found
    launches["_to_copy"] += 1
    return OnOther(found)


def _goes_on(source: torch.Tensor, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the host does not wait for a copy: from page-locked memory; and to the host, where it synchronizes."""
    is_asked = bool(args[0] if args else kwargs.get("non_blocking"))
    return is_asked and (isinstance(source, OnOther) or any(source is one for one in _page_locked))


def _refuse_foreigners(operation: Any, name: str, foreign: list[torch.Tensor]) -> None:
    bad = [one for one in foreign if one.dim() > 0 or name in SCALARS_TOO or one.device.type == "meta"]
    if not bad:
        return
    if name in INDEXING and all(one.device.type == "cpu" for one in bad):
        _wait("copy")
        return
    shapes = [(one.device.type, tuple(one.shape)) for one in bad]
    raise RuntimeError(f"{operation}: operands {shapes} beside those of {OTHER}, at {_line_of_ours()}")


def _inside(one: Any) -> Any:
    return one.inside if isinstance(one, OnOther) else one


def _wait(kind: str) -> None:
    waits[f"{kind} {_line_of_ours()}"] += 1


def _line_of_ours() -> str:
    for frame in reversed(traceback.extract_stack()):
        if any(folder in frame.filename for folder in OURS) and "/tests/" not in frame.filename:
            return "/".join(frame.filename.rsplit("/", 3)[1:]) + f":{frame.lineno}"
    return "elsewhere"


# How torch makes tensors there ---------------------------------------------------------------------------------------


def _empty(size: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None,
           memory_format: Any = None) -> torch.Tensor:  # fmt: skip
    kind = memory_format or torch.contiguous_format
    return OnOther(torch.empty(size, dtype=dtype or torch.get_default_dtype(), memory_format=kind, device="cpu"))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, layout: Any = None, device: Any = None,
                   pin_memory: Any = None) -> torch.Tensor:  # fmt: skip
    return OnOther(torch.empty_strided(size, stride, dtype=dtype or torch.get_default_dtype(), device="cpu"))


_operations = torch.library.Library("aten", "IMPL")
_operations.impl("empty.memory_format", _empty, "PrivateUse1")
_operations.impl("empty_strided", _empty_strided, "PrivateUse1")
_others = torch.library.Library("_", "IMPL")
_others.fallback(lambda operation, *args, **kwargs: _run(operation, args, kwargs), "PrivateUse1")


def _made_here_first(factory: Any, is_computed: bool) -> Any:
    """These factories write their values through a pointer, which a wrapper does not have.

    Args:
        is_computed: a GPU makes the values itself; others are copied there.
    """

    def make(*args: Any, device: Any = None, requires_grad: bool = False, **kwargs: Any) -> torch.Tensor:
        if args and isinstance(args[0], OnOther):
            return args[0] if device is None else args[0].to(device)
        found: torch.Tensor = factory(*args, **kwargs)
        if device is not None and is_computed and torch.device(device).type == NAME:
            launches["made"] += 1
            found = OnOther(found)
        elif device is not None:
            found = found.to(device)
        return found.requires_grad_(True) if requires_grad else found

    return make


for _name in ("tensor", "as_tensor", "arange"):
    setattr(torch, _name, _made_here_first(getattr(torch, _name), _name == "arange"))


_page_locked: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()


def _lock_pages(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    found = tensor.clone()
    _page_locked.add(found)
    return found


torch.Tensor.pin_memory = _lock_pages  # type: ignore[method-assign]


_autocast = torch.autocast
torch.autocast = lambda device_type, *args, **kwargs: (  # type: ignore[assignment, misc]
    contextlib.nullcontext() if device_type == NAME else _autocast(device_type, *args, **kwargs)
)
