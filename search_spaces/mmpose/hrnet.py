"""What MMPose's ``HRNet`` backbone builds from its arguments, and back.

Two things there surprise: its stem has 64 channels whatever the config says, and where the widths of a branch differ
between stages, the transition takes the coarsest branch in place of that one: here all stages have one width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..families.hrnet import branch_widths
from ..parts import Stage, Stem
from .settings import Settings, check_layers

__all__ = ["HRNET", "hrnet", "hrnet_dictionary"]

HRNET = "HRNet"
STEM_WIDTH, STAGES, EXPANSION = 64, 4, 4
"""Fixed by the class."""

_DEFAULTS: dict[str, Any] = {
    "extra": None,  # the class has no default
    "in_channels": 3,
    "conv_cfg": None,
    "norm_cfg": {"type": "BN"},
}
_IGNORED = frozenset(
    ("type", "_scope_", "frozen_stages", "norm_eval", "with_cp", "zero_init_residual", "init_cfg", "pretrained")
)
_STAGE_DEFAULTS: dict[str, Any] = {
    "num_modules": None,
    "num_branches": None,
    "block": None,
    "num_blocks": None,
    "num_channels": None,
    "multiscale_output": False,
}
_NEAREST: dict[str, Any] = {"mode": "nearest", "align_corners": None}


def hrnet(given: Mapping[str, Any]) -> tuple[Stem, tuple[Stage, ...]]:
    """Of ``model.backbone``; raises InputError for what is not supported."""
    settings = Settings("backbone", given, _DEFAULTS, _IGNORED)
    settings.only(in_channels=3)
    check_layers(settings)
    extra = settings["extra"]
    if not isinstance(extra, Mapping):
        raise settings.error(f"extra={extra!r}; expected a dictionary with stage1 to stage{STAGES}")
    names = [f"stage{number}" for number in range(1, STAGES + 1)]
    inner = Settings("backbone.extra", extra, {**dict.fromkeys(names), "upsample": _NEAREST}, ())
    if inner["upsample"] not in (_NEAREST, {"mode": "nearest"}):
        raise inner.error(f"upsample={inner['upsample']} is not supported; {_NEAREST} is")
    stages = tuple(_stage(number, inner[name]) for number, name in enumerate(names, 1))
    return Stem(width=STEM_WIDTH, kernel_size=3), stages


def _stage(number: int, given: Any) -> Stage:
    where = f"backbone.extra.stage{number}"
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: expected a dictionary, got {given!r}")
    settings = Settings(where, given, _STAGE_DEFAULTS, ())
    settings.only(num_branches=number, block="BOTTLENECK" if number == 1 else "BASIC", multiscale_output=False)
    modules = settings.integer("num_modules")
    blocks, widths = (_branches(settings, name, number) for name in ("num_blocks", "num_channels"))
    if len(set(blocks)) > 1:
        raise settings.error(f"num_blocks={blocks} are not supported; one number for all branches is")
    if number == 1:
        settings.only(num_modules=1)
        return Stage(width=widths[0] * EXPANSION, depth=blocks[0], expansion=EXPANSION, stride=1)
    stage = Stage(
        width=widths[0], depth=blocks[0], stride=1, branches=number, modules=modules, merge=number == STAGES
    )
    if widths != branch_widths(stage):
        raise settings.error(f"num_channels={widths} are not supported; each branch must have twice the one before")
    return stage


def _branches(settings: Settings, name: str, count: int) -> tuple[int, ...]:
    values = settings.integers(name)
    if len(values) != count:
        raise settings.error(f"{name}={values}; expected {count}, one a branch")
    return values


def hrnet_dictionary(stem: Stem, stages: Sequence[Stage]) -> dict[str, Any]:
    """``model.backbone`` of MMPose 1.x.

    Raises:
        InputError: the class has no such network: it has plain blocks with kernels of 3, four stages, and one stem.
    """
    if (stem.width, stem.kernel_size) != (STEM_WIDTH, 3):
        raise InputError(
            f"stem: width={stem.width}, kernel_size={stem.kernel_size}; {HRNET} of MMPose has {STEM_WIDTH} and 3 alone"
        )
    if len(stages) != STAGES:
        raise InputError(f"{HRNET} of MMPose has {STAGES} stages; this architecture has {len(stages)}")
    for index, stage in enumerate(stages, 1):
        for name, only in (("kernel_size", 3), ("groups", 1), ("attention", False), ("stride", 1)):
            if getattr(stage, name) != only:
                raise InputError(f"stage {index}: {name}={getattr(stage, name)}; {HRNET} of MMPose has {only} alone")
    if stages[0].expansion != EXPANSION:
        raise InputError(f"stage 1: expansion={stages[0].expansion}; {HRNET} of MMPose has {EXPANSION} alone")
    extra = {f"stage{index}": _stage_dictionary(stage) for index, stage in enumerate(stages, 1)}
    return {"type": HRNET, "in_channels": 3, "norm_cfg": {"type": "BN"}, "extra": extra}


def _stage_dictionary(stage: Stage) -> dict[str, Any]:
    is_first = stage.branches == 1
    return {
        "num_modules": stage.modules,
        "num_branches": stage.branches,
        "block": "BOTTLENECK" if is_first else "BASIC",
        "num_blocks": (stage.depth,) * stage.branches,
        "num_channels": (stage.width // EXPANSION,) if is_first else branch_widths(stage),
    }
