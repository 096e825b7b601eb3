"""What this machine has, in a few lines that an issue report should contain."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluators.latency.fingerprint import machine_fingerprint
from nas.processes.cores import available_cores
from nas.processes.precision import cpu_has_bf16

__all__ = ["Fact", "machine_facts"]

PACKAGES = ("torch", "numpy", "opencv-python", "pycocotools", "ray", "onnx", "onnxruntime", "openvino")
NETWORK_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "ceph", "glusterfs", "beegfs", "fuse.sshfs", "9p")
LITTLE_DISK_GB, LITTLE_SHARED_GB, FEW_FILES = 20.0, 1.0, 4096


@dataclass(frozen=True)
class Fact:
    """One line about the machine."""

    name: str
    value: str
    warning: str = ""
    """What it costs, and what to do."""


def machine_facts(cache: Path) -> list[Fact]:
    """Versions, processor, memory, GPUs and disk, with what is likely to be in the way.

    Args:
        cache: the folder of decoded crops and pictures; it need not exist yet.
    """
    print_of_cpu = machine_fingerprint("torch", torch.__version__, 1, "float32")
    facts = [
        Fact("system", f"{platform.platform()}, Python {platform.python_version()}"),
        Fact("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)),
        Fact("processor", f"{print_of_cpu.cpu}, {available_cores()} of {os.cpu_count()} cores usable"),
        Fact("instruction sets", " ".join(print_of_cpu.flags) or "unknown"),
        Fact("bfloat16 on the processor", "native" if cpu_has_bf16() else "emulated: float32 is used"),
        Fact("memory", _memory()),
    ]
    return [*facts, *_gpus(), _disk(cache), *_limits()]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "–"


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    page = os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    return f"{os.sysconf('SC_PHYS_PAGES') * page / 2**30:.1f} GiB, {free * page / 2**30:.1f} of them free"


def _gpus() -> list[Fact]:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        if built is None:
            return [Fact("GPU", "none; this build of torch is for the processor alone")]
        text = "there may be no GPU, or its driver is older than this build needs: see nvidia-smi"
        return [Fact("GPU", f"none found by torch built for {built}", text)]
    facts = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        value = (
            f"{found.name}, {found.total_memory / 2**30:.0f} GiB, compute capability {found.major}.{found.minor}, "
            f"CUDA {torch.version.cuda}, bfloat16 {'native' if native else 'emulated: float32 is used'}"
        )
        facts.append(Fact(f"GPU {index}", value))
    if not torch.distributed.is_nccl_available() and len(facts) > 1:
        facts.append(Fact("NCCL", "missing", "gradients of several GPUs would go over gloo, slowly"))
    return facts


def _disk(cache: Path) -> Fact:
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    free, kind = shutil.disk_usage(place).free / 1e9, _file_system(place)
    warnings = []
    if free < LITTLE_DISK_GB:
        warnings.append(f"COCO's crops alone take some {LITTLE_DISK_GB:.0f} GB")
    if kind.startswith(NETWORK_DISKS):
        warnings.append("a disk over the network")
    text = f"{'; '.join(warnings)}: name a folder on a local disk with --data.cache" if warnings else ""
    return Fact("cache of crops", f"{cache}: {free:.0f} GB free, {kind}", text)


def _file_system(place: Path) -> str:
    """The kind of the file system that a folder lies on, as the kernel calls it."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "file system unknown"
    target, best, kind = str(place.resolve()), "", "file system unknown"
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _limits() -> list[Fact]:
    facts = []
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / 2**30
        text = "Ray's objects and sums of several processes lie there: give a container --shm-size 8g"
        facts.append(Fact("shared memory", f"{size:.1f} GiB", text if size < LITTLE_SHARED_GB else ""))
    try:
        import resource
    except ImportError:  # not Unix
        return facts
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "many workers need more: ulimit -n 65536" if files != resource.RLIM_INFINITY and files < FEW_FILES else ""
    facts.append(Fact("open files", "unlimited" if files == resource.RLIM_INFINITY else str(files), text))
    return facts
