"""What MMPose's ``CSPNeXt`` backbone and its SimCC heads build from their arguments, and back.

Two things there surprise: ``CSPNeXt`` has BatchNorms with an eps of 1e-3 where a config does not say otherwise (those
of RTMPose do, and have 1e-5), and the ``SimCCHead`` ignores groups of deconvolutions unless its ``deconv_type`` is
``vipnas``, which in turn ignores their kernel sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from ..families.cspnext import POOLS
from ..layers import ATTENTION_EXPANSION, ATTENTION_KEYS, FeatureMap, Size
from ..parts import SIMCC_SPLIT, Activation, Head, Stage, Stem
from .settings import Settings, check_layers

__all__ = ["CSPNEXT", "SIMCC_HEADS", "cspnext", "cspnext_dictionary", "simcc_dictionary", "simcc_head"]

CSPNEXT = "CSPNeXt"
SIMCC, RTMCC = "SimCCHead", "RTMCCHead"
SIMCC_HEADS = (SIMCC, RTMCC)

_ACTIVATIONS: dict[str, Activation] = {"SiLU": "silu", "Swish": "silu", "ReLU": "relu", "HSwish": "hardswish"}
_ROWS: dict[str, tuple[tuple[int, int, int, bool, bool], ...]] = {
    "P5": ((64, 128, 3, True, False), (128, 256, 6, True, False), (256, 512, 6, True, False),
           (512, 1024, 3, False, True)),
    "P6": ((64, 128, 3, True, False), (128, 256, 6, True, False), (256, 512, 6, True, False),
           (512, 768, 3, True, False), (768, 1024, 3, False, True)),
}  # fmt: skip
"""Channels in and out, blocks, whether a block has a shortcut, whether there is a pyramid."""
_BACKBONE_DEFAULTS: dict[str, Any] = {
    "arch": "P5",
    "deepen_factor": 1.0,
    "widen_factor": 1.0,
    "out_indices": (2, 3, 4),
    "use_depthwise": False,
    "expand_ratio": 0.5,
    "arch_ovewrite": None,
    "spp_kernel_sizes": POOLS,
    "channel_attention": True,
    "conv_cfg": None,
    "norm_cfg": {"type": "BN", "momentum": 0.03, "eps": 1e-3},
    "act_cfg": {"type": "SiLU"},
}
_BACKBONE_IGNORED = frozenset(("type", "_scope_", "frozen_stages", "norm_eval", "init_cfg"))
_HEAD_DEFAULTS: dict[str, Any] = {
    "in_channels": None,  # the backbone's; the classes have no default
    "out_channels": 17,  # COCO's keypoints; the classes have no default
    "input_size": None,
    "in_featuremap_size": None,
    "simcc_split_ratio": 2.0,
}
_SIMCC_DEFAULTS: dict[str, Any] = {
    **_HEAD_DEFAULTS,
    "deconv_type": "heatmap",
    "deconv_out_channels": (256, 256, 256),
    "deconv_kernel_sizes": (4, 4, 4),
    "deconv_num_groups": (16, 16, 16),
    "conv_out_channels": None,
    "conv_kernel_sizes": None,
    "has_final_layer": True,
}
_RTMCC_DEFAULTS: dict[str, Any] = {**_HEAD_DEFAULTS, "final_layer_kernel_size": 1, "gau_cfg": {}}
_ATTENTION_DEFAULTS: dict[str, Any] = {
    "hidden_dims": 256,
    "s": 128,
    "expansion_factor": 2,
    "dropout_rate": 0.0,
    "drop_path": 0.0,
    "act_fn": "ReLU",
    "use_rel_bias": False,
    "pos_enc": False,
}
_HEAD_IGNORED = frozenset(("type", "_scope_", "decoder", "init_cfg", "loss"))


def cspnext(given: Mapping[str, Any]) -> tuple[Stem, tuple[Stage, ...]]:
    """Of ``model.backbone``; raises InputError for what is not supported."""
    settings = Settings("backbone", given, _BACKBONE_DEFAULTS, _BACKBONE_IGNORED)
    settings.only(use_depthwise=False)
    check_layers(settings)
    if tuple(settings.items("spp_kernel_sizes")) != POOLS:
        raise settings.error(f"spp_kernel_sizes={settings['spp_kernel_sizes']} are not supported; {POOLS} are")
    rows = settings["arch_ovewrite"] or _ROWS.get(str(settings["arch"]))
    if rows is None:
        raise settings.error(f"arch={settings['arch']!r} is not supported; P5 and P6 are")
    if max(settings.items("out_indices"), default=None) != len(rows):
        raise settings.error(f"out_indices={settings['out_indices']} are not supported; ({len(rows)},), the last, is")
    widen, deepen, ratio = (settings.number(name) for name in ("widen_factor", "deepen_factor", "expand_ratio"))
    activation = _activation(settings)
    stages = []
    for index, row in enumerate(rows):
        if not isinstance(row, Sequence) or len(row) != 5 or any(not isinstance(value, int) for value in row):
            raise settings.error(f"arch_ovewrite[{index}]={row}; expected in, out, blocks, add_identity, use_spp")
        _, out_channels, blocks, has_shortcut, has_pyramid = row
        if bool(has_shortcut) == bool(has_pyramid):
            raise settings.error(f"arch_ovewrite[{index}]={row}: add_identity is supported where use_spp is not, alone")
        width = int(out_channels * widen)
        inner = int(width * ratio)
        if inner < 1 or width % inner:
            raise settings.error(f"expand_ratio={ratio} of {width} channels; it must be 1, 1/2, 1/3 …")
        stages.append(
            Stage(
                width=width,
                depth=max(round(blocks * deepen), 1),
                kernel_size=5,
                groups=inner,
                attention=bool(settings["channel_attention"]),
                expansion=width // inner,
                activation=activation,
                pyramid=bool(has_pyramid),
            )
        )
    return Stem(width=int(rows[0][0] * widen), kernel_size=3, activation=activation), tuple(stages)


def _activation(settings: Settings) -> Activation:
    given = settings["act_cfg"]
    name = given.get("type") if isinstance(given, Mapping) and set(given) <= {"type", "inplace"} else None
    if name not in _ACTIVATIONS:
        raise settings.error(f"act_cfg={given} is not supported; {', '.join(_ACTIVATIONS)} are")
    return _ACTIVATIONS[name]


def cspnext_dictionary(stem: Stem, stages: Sequence[Stage]) -> dict[str, Any]:
    """``model.backbone`` of MMPose 1.x.

    Raises:
        InputError: the class has no such network: it has one attention, expansion and activation for all stages.
    """
    first = stages[0]
    if {stem.kernel_size, *(stage.stride + 1 for stage in stages)} != {3}:
        raise InputError(f"{CSPNEXT} has a stem with kernels of 3 and stages of stride 2 alone")
    for index, stage in enumerate(stages, 1):
        if stage.kernel_size != 5 or stage.groups != stage.width // stage.expansion:
            raise InputError(f"stage {index}: {CSPNEXT} has depthwise convolutions with kernels of 5 alone")
        if int(stage.width * (1 / stage.expansion)) != stage.width // stage.expansion:
            raise InputError(f"stage {index}: {CSPNEXT} rounds width={stage.width} / expansion={stage.expansion} off")
        for name in ("attention", "expansion"):
            if getattr(stage, name) != getattr(first, name):
                raise InputError(f"stage {index}: {CSPNEXT} has one {name} for all stages")
        if stage.activation != stem.activation:
            raise InputError(f"stage {index}: {CSPNEXT} has one activation for the stem and all stages")
    widths = (stem.width, *(stage.width for stage in stages))
    names = {activation: name for name, activation in reversed(_ACTIVATIONS.items())}
    return {
        "type": CSPNEXT,
        "arch_ovewrite": [
            [widths[index], stage.width, stage.depth, not stage.pyramid, stage.pyramid]
            for index, stage in enumerate(stages)
        ],
        "expand_ratio": 1 / first.expansion,
        "out_indices": (len(stages),),
        "channel_attention": first.attention,
        "norm_cfg": {"type": "BN"},
        "act_cfg": {"type": names[stem.activation]},
    }


# Heads --------------------------------------------------------------------------------------------------------------


def simcc_head(name: str, given: Mapping[str, Any], features: FeatureMap, input_size: Size) -> Head:
    """Of ``model.head``, for a backbone that gives ``features`` of an input of (height, width)."""
    settings = Settings("head", given, _RTMCC_DEFAULTS if name == RTMCC else _SIMCC_DEFAULTS, _HEAD_IGNORED)
    channels, (height, width) = features
    if settings["in_channels"] not in (None, channels, [channels], (channels,)):
        raise settings.error(f"in_channels={settings['in_channels']}; the backbone gives {channels}")
    for setting, expected in (("input_size", input_size[::-1]), ("in_featuremap_size", (width, height))):
        if settings[setting] is not None and settings.integers(setting) != expected:
            raise settings.error(f"{setting}={settings[setting]}; (width, height) are {expected} here")
    settings.only(simcc_split_ratio=float(SIMCC_SPLIT))
    keypoints = settings.integer("out_channels")
    return _rtmcc(settings, keypoints) if name == RTMCC else _simcc(settings, keypoints)


def _rtmcc(settings: Settings, keypoints: int) -> Head:
    given = settings["gau_cfg"]
    if not isinstance(given, Mapping):
        raise settings.error(f"gau_cfg={given!r}; expected a dictionary")
    attention = Settings("head.gau_cfg", given, _ATTENTION_DEFAULTS, ())
    attention.only(s=ATTENTION_KEYS, expansion_factor=ATTENTION_EXPANSION, dropout_rate=0, drop_path=0)
    attention.only(act_fn="SiLU", use_rel_bias=False, pos_enc=False)
    kernel_size, width = settings.integer("final_layer_kernel_size"), attention.integer("hidden_dims")
    return Head(
        widths=(), groups=(), kernel_sizes=(), keypoints=keypoints, output="simcc", kernel_size=kernel_size,
        attention=width,
    )  # fmt: skip


def _simcc(settings: Settings, keypoints: int) -> Head:
    settings.only(has_final_layer=True)
    if settings["conv_out_channels"]:
        raise settings.error(f"conv_out_channels={settings['conv_out_channels']} are not supported; None is")
    if settings["deconv_type"] not in ("heatmap", "vipnas"):
        raise settings.error(f"deconv_type={settings['deconv_type']!r} is not supported; 'heatmap' and 'vipnas' are")
    widths: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    kernel_sizes: tuple[int, ...] = ()
    if settings["deconv_out_channels"]:
        widths = settings.integers("deconv_out_channels")
        groups, kernel_sizes = (1,) * len(widths), settings.integers("deconv_kernel_sizes")
        if settings["deconv_type"] == "vipnas":
            groups, kernel_sizes = settings.integers("deconv_num_groups"), (4, 4, 4)
    return Head(widths=widths, groups=groups, kernel_sizes=kernel_sizes, keypoints=keypoints, output="simcc")


def simcc_dictionary(head: Head, features: FeatureMap, input_size: Size) -> dict[str, Any]:
    """``model.head`` of MMPose 1.x; raises InputError where it has none."""
    common = {
        "in_channels": features.channels,
        "out_channels": head.keypoints,
        "input_size": input_size[::-1],
        "in_featuremap_size": features.size[::-1],
        "simcc_split_ratio": float(SIMCC_SPLIT),
    }
    if head.attention:
        if head.widths:
            raise InputError(f"head: {RTMCC} of MMPose has no deconvolutions; this one has {len(head.widths)}")
        attention = {**_ATTENTION_DEFAULTS, "hidden_dims": head.attention, "act_fn": "SiLU"}
        return {"type": RTMCC, **common, "final_layer_kernel_size": head.kernel_size, "gau_cfg": attention}
    if head.kernel_size != 1:
        raise InputError(f"head: kernel_size={head.kernel_size}; {SIMCC} of MMPose has 1")
    has_groups = max(head.groups, default=1) > 1
    if has_groups and head.kernel_sizes != (4, 4, 4):
        raise InputError(f"head: {SIMCC} of MMPose has deconvolutions with groups only as three with kernels of 4")
    return {
        "type": SIMCC,
        **common,
        "deconv_type": "vipnas" if has_groups else "heatmap",
        "deconv_out_channels": head.widths or None,
        "deconv_kernel_sizes": head.kernel_sizes or None,
        "deconv_num_groups": head.groups or None,
    }
