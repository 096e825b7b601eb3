"""Architectures from the dictionaries of an MMPose config, and back.

What the classes ``ViPNAS_ResNet``, ``ViPNAS_MobileNetV3`` and ``ViPNASHead`` (0.x: ``ViPNASHeatmapSimpleHead``) build
from their arguments, as documented in MMPose 0.x and 1.x. Two things there surprise: ``ViPNAS_ResNet`` makes a stage
``wid · expan`` channels wide, with ``wid`` channels inside; and of a depth of 0 it makes one block. RTMPose's backbone,
and the heads with SimCC, are in ``rtmpose``; HRNet in ``hrnet``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..architecture import PoseArchitecture
from ..errors import InputError
from ..parts import Activation, Head, Stage, Stem
from .hrnet import HRNET, hrnet, hrnet_dictionary
from .rtmpose import CSPNEXT, SIMCC_HEADS, cspnext, cspnext_dictionary, simcc_dictionary, simcc_head
from .settings import Settings, check_layers

__all__ = ["from_mmpose", "to_mmpose"]

RESNET, MOBILENETV3 = "ViPNAS_ResNet", "ViPNAS_MobileNetV3"
HEAD_1X, HEAD_0X = "ViPNASHead", "ViPNASHeatmapSimpleHead"
HEATMAP_HEAD = "HeatmapHead"
"""Of CSPNeXt's and HRNet's heatmap networks; as ``ViPNASHead``, wider and without groups."""
HEATMAP_HEAD_0X = "TopdownHeatmapSimpleHead"

_ACTIVATIONS: dict[str, Activation] = {"ReLU": "relu", "HSwish": "hardswish"}

_RESNET_DEFAULTS: dict[str, Any] = {
    "depth": 50,
    "in_channels": 3,
    "num_stages": 4,
    "strides": (1, 2, 2, 2),
    "dilations": (1, 1, 1, 1),
    "out_indices": None,  # the last stage
    "style": "pytorch",
    "deep_stem": False,
    "avg_down": False,
    "wid": (48, 80, 160, 304, 608),
    "expan": (None, 1, 1, 1, 1),
    "dep": (None, 4, 6, 7, 3),
    "ks": (7, 3, 5, 5, 5),
    "group": (None, 16, 16, 16, 16),
    "att": (None, True, False, True, True),
    "conv_cfg": None,
    "norm_cfg": {"type": "BN"},
}
_MOBILENETV3_DEFAULTS: dict[str, Any] = {
    "wid": (16, 16, 24, 40, 80, 112, 160),
    "expan": (None, 1, 5, 4, 5, 5, 6),
    "dep": (None, 1, 4, 4, 4, 4, 4),
    "ks": (3, 3, 7, 7, 5, 7, 5),
    "group": (None, 8, 120, 20, 100, 280, 240),
    "att": (None, True, True, False, True, True, True),
    "stride": (2, 1, 2, 2, 2, 1, 2),
    "act": ("HSwish", "ReLU", "ReLU", "ReLU", "HSwish", "HSwish", "HSwish"),
    "conv_cfg": None,
    "norm_cfg": {"type": "BN"},
}
_HEAD_1X_DEFAULTS: dict[str, Any] = {
    "in_channels": None,  # the backbone's; the class has no default
    "out_channels": 17,  # COCO's keypoints; the class has no default
    "deconv_out_channels": (144, 144, 144),
    "deconv_kernel_sizes": (4, 4, 4),
    "deconv_num_groups": (16, 16, 16),
    "conv_out_channels": None,
    "conv_kernel_sizes": None,
    "final_layer": {"kernel_size": 1},
    "has_final_layer": True,
}
_HEATMAP_HEAD_DEFAULTS: dict[str, Any] = {
    **{name: value for name, value in _HEAD_1X_DEFAULTS.items() if name != "deconv_num_groups"},
    "deconv_out_channels": (256, 256, 256),
}
_HEAD_0X_DEFAULTS: dict[str, Any] = {
    "in_channels": None,
    "out_channels": 17,
    "num_deconv_layers": 3,
    "num_deconv_filters": (144, 144, 144),
    "num_deconv_kernels": (4, 4, 4),
    "num_deconv_groups": (16, 16, 16),
    "extra": None,
    "input_transform": None,
    "align_corners": False,
}
_HEATMAP_HEAD_0X_DEFAULTS: dict[str, Any] = {
    **{name: value for name, value in _HEAD_0X_DEFAULTS.items() if name != "num_deconv_groups"},
    "num_deconv_filters": (256, 256, 256),
}

# What does not change the network that the weights are for.
_BACKBONE_IGNORED = frozenset(
    ("type", "_scope_", "frozen_stages", "norm_eval", "with_cp", "zero_init_residual", "init_cfg", "pretrained")
)
_HEAD_IGNORED = frozenset(
    # ``in_index`` chooses among feature maps, of which the backbone gives one.
    ("type", "_scope_", "decoder", "init_cfg", "loss", "loss_keypoint", "train_cfg", "test_cfg", "in_index")
)
_STAGE_LISTS = ("wid", "expan", "dep", "ks", "group", "att")


def from_mmpose(
    backbone: Mapping[str, Any], head: Mapping[str, Any], *, input_size: tuple[int, int] | None = None
) -> PoseArchitecture:
    """The architecture that an MMPose config describes.

    Args:
        backbone: the config's ``model.backbone``. A missing key has the class's default. Without ``type``, the class
            is the one whose keys are used (``stride`` and ``act``, or ``strides``, ``depth``, …), else the one whose
            number of stages fits the longest list (up to five entries: ``ViPNAS_ResNet``), else the one whose default
            width is the head's ``in_channels``; ``CSPNeXt`` and ``HRNet`` need their ``type``.
        head: ``model.head`` (1.x) or ``model.keypoint_head`` (0.x). The two arguments for which the classes have no
            default may be missing too: ``in_channels`` is then the backbone's, ``out_channels`` 17.
        input_size: (height, width); None takes it from the head's ``input_size`` or ``decoder``, or (256, 192).

    Raises:
        InputError: a setting is not legal, or not supported (it is named).
    """
    for where, value in (("backbone", backbone), ("head", head)):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise InputError(f"{where}: expected a dictionary of an MMPose config, got {type(value).__name__}")
    kind = _backbone_class(backbone, head)
    family, read = _READERS[kind]
    stem, stages = read(backbone)
    name = None if head.get("type") is None else _class_name("head", head, _heads_of(kind))
    size = input_size or _input_size(head)
    if name in SIMCC_HEADS:
        alone = Head(widths=(), groups=(), kernel_sizes=())
        plain = PoseArchitecture(family=family, stem=stem, stages=stages, head=alone, input_size=size)
        read_head = simcc_head(name, head, plain.parts[-1].inputs[0], size)
    else:
        read_head = _head(name, head, stages[-1].width)
    return PoseArchitecture(family=family, stem=stem, stages=stages, head=read_head, input_size=size)


def to_mmpose(architecture: PoseArchitecture) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dictionaries ``model.backbone`` and ``model.head`` of MMPose 1.x, every argument spelled out.

    Raises:
        InputError: MMPose has no class for the family or no head with a softmax, or the class cannot have that many
            stages, or stages that differ so.
    """
    stem, stages, head = architecture.stem, architecture.stages, architecture.head
    if head.normalization != "none":
        raise InputError(f"head.normalization={head.normalization}: MMPose has no such head; search a space without it")
    if head.upsampling != "deconvolution":
        raise InputError(f"head.upsampling={head.upsampling}: MMPose's heads have deconvolutions alone")
    lists: dict[str, list[Any]] = {
        "wid": [stem.width, *(stage.width for stage in stages)],
        "expan": [None, *(stage.expansion for stage in stages)],
        "dep": [None, *(stage.depth for stage in stages)],
        "ks": [stem.kernel_size, *(stage.kernel_size for stage in stages)],
        "group": [None, *(stage.groups for stage in stages)],
        "att": [None, *(stage.attention for stage in stages)],
    }
    if architecture.family == "resnet":
        backbone = _resnet_dictionary(architecture, lists)
    elif architecture.family == "mobilenetv3":
        names = {activation: name for name, activation in _ACTIVATIONS.items()}
        strides = [stem.stride, *(stage.stride for stage in stages)]
        activations = [names[stem.activation], *(names[stage.activation] for stage in stages)]
        backbone = {"type": MOBILENETV3, **lists, "stride": strides, "act": activations}
    elif architecture.family == "cspnext":
        backbone = cspnext_dictionary(stem, stages)
    elif architecture.family == "hrnet":
        backbone = hrnet_dictionary(stem, stages)
    else:
        known = ", ".join(family for family, _ in _READERS.values())
        raise InputError(f"MMPose has no backbone of the family {architecture.family!r}; it has {known}")
    if architecture.is_simcc:
        return backbone, simcc_dictionary(head, architecture.parts[-1].inputs[0], architecture.input_size)
    if head.kernel_size != 1:
        raise InputError(f"head: kernel_size={head.kernel_size}; {HEAD_1X} of MMPose has 1")
    if architecture.family == "hrnet" and max(head.groups, default=1) == 1:
        return backbone, {
            "type": HEATMAP_HEAD,
            "in_channels": stages[-1].width,
            "out_channels": head.keypoints,
            "deconv_out_channels": head.widths or None,
            "deconv_kernel_sizes": head.kernel_sizes or None,
        }
    return backbone, {
        "type": HEAD_1X,
        "in_channels": stages[-1].width,
        "out_channels": head.keypoints,
        "deconv_out_channels": head.widths or None,
        "deconv_kernel_sizes": head.kernel_sizes or None,
        "deconv_num_groups": head.groups or None,
    }


def _resnet_dictionary(architecture: PoseArchitecture, lists: dict[str, list[Any]]) -> dict[str, Any]:
    stages = architecture.stages
    if len(stages) > 4:
        raise InputError(f"{RESNET} has at most 4 stages; this architecture has {len(stages)}")
    return {
        "type": RESNET,
        "depth": 50,
        "num_stages": len(stages),
        "strides": tuple(stage.stride for stage in stages),
        "dilations": (1,) * len(stages),
        "out_indices": (len(stages) - 1,),
        **lists,
        "wid": [architecture.stem.width, *(stage.width // stage.expansion for stage in stages)],
    }


# Backbones ----------------------------------------------------------------------------------------------------------


def _backbone_class(backbone: Mapping[str, Any], head: Mapping[str, Any]) -> str:
    if backbone.get("type") is not None:
        return _class_name("backbone", backbone, tuple(_READERS))
    mobile = set(backbone) & (set(_MOBILENETV3_DEFAULTS) - set(_RESNET_DEFAULTS))
    residual = set(backbone) & (set(_RESNET_DEFAULTS) - set(_MOBILENETV3_DEFAULTS))
    if bool(mobile) != bool(residual):
        return MOBILENETV3 if mobile else RESNET
    lengths = [len(backbone[name]) for name in _STAGE_LISTS if isinstance(backbone.get(name), Sequence)]
    if lengths:
        return RESNET if max(lengths) <= 5 else MOBILENETV3
    for name, defaults in ((RESNET, _RESNET_DEFAULTS), (MOBILENETV3, _MOBILENETV3_DEFAULTS)):
        if head.get("in_channels") == defaults["wid"][-1]:
            return name
    raise InputError(f"backbone: give its type, {RESNET!r} or {MOBILENETV3!r}")


def _heads_of(backbone: str) -> tuple[str, ...]:
    """The classes of heads that go with a backbone here."""
    plain = {CSPNEXT: (HEATMAP_HEAD,), HRNET: (HEATMAP_HEAD, HEATMAP_HEAD_0X)}.get(backbone, ())
    return (HEAD_1X, HEAD_0X, *SIMCC_HEADS, *plain)


def _class_name(where: str, given: Mapping[str, Any], supported: tuple[str, ...]) -> str:
    name = str(given["type"]).rpartition(".")[2]  # 'mmpose.ViPNAS_ResNet' has a scope
    if name not in supported:
        raise InputError(f"{where}: type={name!r} is not supported; {', '.join(supported)} are")
    return name


def _resnet(given: Mapping[str, Any]) -> tuple[Stem, tuple[Stage, ...]]:
    settings = Settings("backbone", given, _RESNET_DEFAULTS, _BACKBONE_IGNORED)
    settings.only(depth=50, in_channels=3, deep_stem=False, avg_down=False)
    check_layers(settings)
    count, strides = settings.integer("num_stages"), settings.integers("strides")
    if count > 4 or len(strides) != count:
        raise InputError(f"backbone: num_stages={count} with {len(strides)} strides; up to 4, one stride a stage")
    settings.check_lengths(_STAGE_LISTS, count + 1)
    if set(settings.items("dilations")) - {1}:
        raise InputError(f"backbone: dilations={settings['dilations']} are not supported; 1 is")
    if settings["style"] != "pytorch" and max(strides) > 1:
        raise InputError(f"backbone: style={settings['style']!r} is not supported; 'pytorch' is")
    outputs = settings["out_indices"]
    if outputs is not None and max(settings.items("out_indices"), default=None) != count - 1:
        raise InputError(f"backbone: out_indices={outputs} are not supported; ({count - 1},), the last stage, is")
    stages = []
    for index, stride in enumerate(strides, 1):
        expansion = settings.entry("expan", index, none=1)
        stages.append(
            Stage(
                width=settings.entry("wid", index) * expansion,
                depth=max(1, settings.entry("dep", index, low=0)),
                kernel_size=settings.entry("ks", index),
                groups=settings.entry("group", index),
                attention=bool(settings["att"][index]),
                stride=stride,
                expansion=expansion,
            )
        )
    return Stem(width=settings.entry("wid", 0), kernel_size=settings.entry("ks", 0)), tuple(stages)


def _mobilenetv3(given: Mapping[str, Any]) -> tuple[Stem, tuple[Stage, ...]]:
    settings = Settings("backbone", given, _MOBILENETV3_DEFAULTS, _BACKBONE_IGNORED)
    check_layers(settings)
    length = len(settings.items("dep"))
    settings.check_lengths((*_STAGE_LISTS, "stride", "act"), length)
    stages = []
    for index in range(1, length):
        width, expansion = settings.entry("wid", index), settings.entry("expan", index)
        depth = settings.entry("dep", index, low=0)
        if depth == 0 and width == settings.entry("wid", index - 1):
            continue  # no block is made, and nothing changes
        stages.append(
            Stage(
                width=width,
                depth=depth,
                kernel_size=settings.entry("ks", index),
                groups=settings.entry("group", index, none=width * expansion),
                attention=bool(settings["att"][index]),
                stride=settings.entry("stride", index),
                expansion=expansion,
                activation=_activation(settings, index),
            )
        )
    if not stages:
        raise InputError(f"backbone: dep={settings['dep']}; at least one stage with a block is needed")
    stem = Stem(
        width=settings.entry("wid", 0),
        kernel_size=settings.entry("ks", 0),
        stride=settings.entry("stride", 0),
        activation=_activation(settings, 0),
    )
    return stem, tuple(stages)


def _activation(settings: Settings, index: int) -> Activation:
    name = settings["act"][index]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise InputError(f"backbone: act[{index}]={name!r} is not supported; {' and '.join(_ACTIVATIONS)} are")
    return _ACTIVATIONS[name]


_READERS: dict[str, tuple[str, Callable[[Mapping[str, Any]], tuple[Stem, tuple[Stage, ...]]]]] = {
    RESNET: ("resnet", _resnet),
    MOBILENETV3: ("mobilenetv3", _mobilenetv3),
    CSPNEXT: ("cspnext", cspnext),
    HRNET: ("hrnet", hrnet),
}
"""Of the class of a backbone, its family and what reads its settings."""


# Head ---------------------------------------------------------------------------------------------------------------


def _head(name: str | None, given: Mapping[str, Any], channels: int) -> Head:
    is_0x = any(key.startswith("num_deconv") for key in given) if name is None else name in (HEAD_0X, HEATMAP_HEAD_0X)
    plain = {HEATMAP_HEAD: _HEATMAP_HEAD_DEFAULTS, HEATMAP_HEAD_0X: _HEATMAP_HEAD_0X_DEFAULTS}
    defaults = plain.get(name or "", _HEAD_0X_DEFAULTS if is_0x else _HEAD_1X_DEFAULTS)
    settings = Settings("head", given, defaults, _HEAD_IGNORED)
    in_channels = settings["in_channels"]
    if in_channels not in (None, channels, [channels], (channels,)):
        raise InputError(f"head: in_channels={in_channels}; the backbone gives {channels}")
    widths, groups, kernel_sizes = _deconvolutions_0x(settings) if is_0x else _deconvolutions_1x(settings)
    return Head(widths=widths, groups=groups, kernel_sizes=kernel_sizes, keypoints=settings.integer("out_channels"))


_Deconvolutions = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _deconvolutions_1x(settings: Settings) -> _Deconvolutions:
    if settings["conv_out_channels"]:
        raise InputError(f"head: conv_out_channels={settings['conv_out_channels']} are not supported; None is")
    if settings["final_layer"] not in ({"kernel_size": 1}, {}) or not settings["has_final_layer"]:
        raise InputError(f"head: final_layer={settings['final_layer']} is not supported; dict(kernel_size=1) is")
    if not settings["deconv_out_channels"]:
        return (), (), ()
    widths = settings.integers("deconv_out_channels")
    groups = settings.integers("deconv_num_groups") if settings.has("deconv_num_groups") else (1,) * len(widths)
    return widths, groups, settings.integers("deconv_kernel_sizes")


def _deconvolutions_0x(settings: Settings) -> _Deconvolutions:
    extra = settings["extra"] or {}
    if extra.get("final_conv_kernel", 1) != 1 or extra.get("num_conv_layers", 0) != 0:
        raise InputError(f"head: extra={extra} is not supported; a final 1×1 convolution alone is")
    settings.only(input_transform=None)
    count = settings.integer("num_deconv_layers", low=0)
    if count == 0:
        return (), (), ()
    widths = settings.integers("num_deconv_filters")
    groups = settings.integers("num_deconv_groups") if settings.has("num_deconv_groups") else (1,) * len(widths)
    if len(widths) != count:
        raise InputError(f"head: num_deconv_layers={count} with {len(widths)} num_deconv_filters")
    return widths, groups, settings.integers("num_deconv_kernels")


def _input_size(head: Mapping[str, Any]) -> tuple[int, int]:
    """The head's or its codec's (width, height) turned round; the published size where neither has one."""
    decoder = head.get("decoder")
    if head.get("input_size") is not None:
        decoder = {"input_size": head["input_size"]}
    if not isinstance(decoder, Mapping) or "input_size" not in decoder:
        return (256, 192)
    size = Settings("head.decoder", decoder, {"input_size": None}, decoder).integers("input_size")
    if len(size) != 2:
        raise InputError(f"head.decoder: input_size={decoder['input_size']}; expected (width, height)")
    return size[1], size[0]
