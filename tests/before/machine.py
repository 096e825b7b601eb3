"""Which machine and libraries made the figures: other ones round otherwise."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["Facts", "difference", "this_machine"]

ROUNDING = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm")
"""Beginnings of the instruction sets by which torch and its libraries choose in which order they add."""

Facts = dict[str, str]


def this_machine() -> Facts:
    """What decides the last bits of a result: where all of it is equal, they are."""
    import cv2
    import numpy as np
    import scipy
    import torch

    cpu: Facts = {}
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            cpu.setdefault(name.strip(), value.strip())
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    kind = [cpu[name] for name in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part") if name in cpu]
    return {
        "opencv": cv2.__version__,
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": " ".join(kind) or platform.processor(),
        "instructions": " ".join(sorted(flag for flag in flags if flag.startswith(ROUNDING))),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def difference(made_on: Facts) -> str | None:
    """The first thing in which this machine is another than the figures'; None where the bits must be equal."""
    here = this_machine()
    for name, was in made_on.items():
        if here.get(name) != was:
            return f"{name} was {was}, here it is {here.get(name)}"
    return None
