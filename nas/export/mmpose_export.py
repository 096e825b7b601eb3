"""A network for MMPose 1.x: a config that stands alone, and a checkpoint that MMPose loads strictly.

The config holds the network, its codec, the data pipelines and the schedule of the released S-ViPNAS (Adam 5e-4, 210
epochs, batch 512), so that MMPose can test the network and train it again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas.data.codecs import Codec
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SET, KeypointSet
from nas.data.simcc import SHARPNESS, SimCCCodec
from nas.run.files import atomic_write_bytes, atomic_write_text
from search_spaces import InputError, PoseArchitecture, to_mmpose
from search_spaces.parts import SIMCC_SPLIT
from supernet import PoseNet
from supernet.mmpose import mmpose_state_dict

__all__ = ["CHECKPOINT", "CONFIG", "export_mmpose", "mmpose_config"]

CONFIG, CHECKPOINT = "mmpose_config.py", "mmpose_checkpoint.pth"


def export_mmpose(
    net: PoseNet, folder: Path, codec: Codec | None = None, keypoints: KeypointSet | Sequence[str] | None = None
) -> tuple[Path, Path]:
    """Write ``mmpose_config.py`` and ``mmpose_checkpoint.pth``.

    Args:
        net: with its BatchNorm (not folded).
        folder: where to; made if it is not there.
        codec: what the heatmaps mean; None is the Gaussian of the release, of SimCC RTMPose's.
        keypoints: or their names, in the order of the heatmaps; None is COCO's where there are 17.

    Returns:
        The paths of the config and of the checkpoint.

    Raises:
        InputError: MMPose has no such network, or the codec or the names do not fit the network.
    """
    text = mmpose_config(net.architecture, codec, keypoints)
    meta = {"architecture": net.architecture.id, "source": "vipnas"}
    buffer = io.BytesIO()
    state_dict = {name: value.cpu() for name, value in mmpose_state_dict(net).items()}
    torch.save({"meta": meta, "state_dict": state_dict}, buffer)
    atomic_write_bytes(folder / CHECKPOINT, buffer.getvalue())
    atomic_write_text(folder / CONFIG, text)
    return folder / CONFIG, folder / CHECKPOINT


def mmpose_config(
    architecture: PoseArchitecture, codec: Codec | None = None, keypoints: KeypointSet | Sequence[str] | None = None
) -> str:
    """The text of the config; see :func:`export_mmpose`."""
    backbone, head = to_mmpose(architecture)
    codec = _checked(codec or _usual(architecture), architecture)
    if not isinstance(keypoints, KeypointSet):
        names = keypoints or (COCO_KEYPOINT_NAMES if architecture.keypoints == 17 else None)
        keypoints = KeypointSet.of(names or [f"keypoint_{i}" for i in range(1, architecture.keypoints + 1)])
    if len(keypoints) != architecture.keypoints:
        raise InputError(f"{len(keypoints)} keypoint names for a network of {architecture.keypoints} keypoints")
    can_flip = keypoints.can_mirror
    is_coco = keypoints == COCO_KEYPOINT_SET
    return _TEMPLATE.format(
        architecture=architecture.id,
        config=CONFIG,
        checkpoint=CHECKPOINT,
        codec=_code(_codec_dictionary(codec)),
        backbone=_code(backbone, 4),
        head=_code({**head, "loss": _loss(architecture), "decoder": _CODEC}, 4),
        test_cfg=_code_line(_test(architecture, can_flip, codec)),
        flip="    dict(type='RandomFlip', direction='horizontal'),\n" if can_flip else "",
        use_udp=", use_udp=True" if codec.udp else "",
        metainfo="None" if is_coco else _code(_dataset_info(keypoints)),
    )


def _usual(architecture: PoseArchitecture) -> Codec:
    size = architecture.input_size
    if architecture.is_simcc:
        return SimCCCodec(input_size=size)
    return Codec.of("gaussian", size).resized(architecture.heatmap_size)


def _checked(codec: Codec, architecture: PoseArchitecture) -> Codec:
    if architecture.is_simcc:
        if not isinstance(codec, SimCCCodec) or codec.input_size != architecture.input_size:
            raise InputError(f"the network gives SimCC of inputs of {architecture.input_size}, the codec is {codec}")
        return codec
    ours, theirs = (architecture.input_size, architecture.heatmap_size), (codec.input_size, codec.heatmap_size)
    if ours != theirs:
        raise InputError(f"the codec is for input and heatmaps of {theirs}, the network for {ours}")
    return codec


def _codec_dictionary(codec: Codec) -> dict[str, Any]:
    """MMPose has sizes as (width, height)."""
    if isinstance(codec, SimCCCodec):
        size, split = codec.input_size[::-1], float(SIMCC_SPLIT)
        return {
            "type": "SimCCLabel", "input_size": size, "sigma": codec.axis_sigmas, "simcc_split_ratio": split,
            "normalize": False, "use_dark": False,
        }  # fmt: skip
    sizes = {"input_size": codec.input_size[::-1], "heatmap_size": codec.heatmap_size[::-1], "sigma": codec.sigma}
    if codec.udp:
        return {"type": "UDPHeatmap", **sizes}
    return {"type": "MSRAHeatmap", **sizes, **({"unbiased": True} if codec.name == "dark" else {})}


def _loss(architecture: PoseArchitecture) -> dict[str, Any]:
    if architecture.is_simcc:
        return {"type": "KLDiscretLoss", "use_target_weight": True, "beta": SHARPNESS, "label_softmax": True}
    return {"type": "KeypointMSELoss", "use_target_weight": True}


def _test(architecture: PoseArchitecture, can_flip: bool, codec: Codec) -> dict[str, Any]:
    of_heatmaps = {} if architecture.is_simcc else {"flip_mode": "heatmap", "shift_heatmap": codec.flip_shift}
    return {"flip_test": can_flip, **of_heatmaps}


def _code_line(value: dict[str, Any]) -> str:
    """Python code of a dictionary in one line."""
    return f"dict({', '.join(f'{key}={item!r}' for key, item in value.items())})"


def _dataset_info(keypoints: KeypointSet) -> dict[str, Any]:
    """What MMPose must know of keypoints that are not COCO's."""
    mirrored = {}
    for left, right in keypoints.flip_pairs:
        mirrored[left], mirrored[right] = keypoints.names[right], keypoints.names[left]
    information = {
        index: {
            "name": name,
            "id": index,
            "color": [51, 153, 255],
            "type": "lower" if keypoints.is_lower_body[index] else "upper",
            "swap": mirrored.get(index, ""),
        }
        for index, name in enumerate(keypoints.names)
    }
    return {
        "dataset_name": "custom",
        "keypoint_info": information,
        "skeleton_info": {},
        "joint_weights": [1.0] * len(keypoints),
        "sigmas": [round(float(sigma), 6) for sigma in keypoints.sigmas],
    }


class _Name(str):
    """Stands for a variable of the config."""


_CODEC = _Name("codec")


def _code(value: Any, indent: int = 0) -> str:
    """Python code of a value; a dictionary has a line an entry."""
    if isinstance(value, _Name):
        return str(value)
    if not isinstance(value, dict) or not value:
        return repr(value)
    inside = " " * (indent + 4)
    if all(isinstance(key, str) for key in value):
        entries = [f"{inside}{key}={_code(item, indent + 4)},\n" for key, item in value.items()]
        return "dict(\n" + "".join(entries) + " " * indent + ")"
    entries = [f"{inside}{key!r}: {_code(item, indent + 4)},\n" for key, item in value.items()]
    return "{\n" + "".join(entries) + " " * indent + "}"


_TEMPLATE = """\
# Architecture {architecture}, written by vipnas for MMPose 1.x.
#   python tools/test.py {config} {checkpoint}
#   python tools/train.py {config}        (8 GPUs of 64 people; with fewer add --auto-scale-lr)
default_scope = 'mmpose'

codec = {codec}

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone={backbone},
    head={head},
    test_cfg={test_cfg},
)

# Data: a folder of COCO. None stands for COCO's own 17 keypoints.
data_root = 'data/coco/'
metainfo = {metainfo}
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
{flip}    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', rotate_factor=60, scale_factor=(0.75, 1.25)),
    dict(type='TopdownAffine', input_size=codec['input_size']{use_udp}),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']{use_udp}),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        data_mode='topdown',
        metainfo=metainfo,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        data_mode='topdown',
        metainfo=metainfo,
        ann_file='annotations/person_keypoints_val2017.json',
        bbox_file=data_root + 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator

# Schedule of the released S-ViPNAS.
train_cfg = dict(by_epoch=True, max_epochs=210, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=210, milestones=[170, 200], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=512)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=10, save_best='coco/AP', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PoseVisualizationHook', enable=False),
)
custom_hooks = [dict(type='SyncBuffersHook')]
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='PoseLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True, num_digits=6)
log_level = 'INFO'
load_from = None
resume = False
"""
