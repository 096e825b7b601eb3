"""What a latency was measured on. Results of two fingerprints say nothing about each other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import MeasureInputError

__all__ = ["Fingerprint", "device_fingerprint", "machine_fingerprint", "require_same_fingerprint"]

# Instruction sets that decide how fast a convolution is.
_RELEVANT_FLAGS = frozenset(
    {"avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16"}
    | {"avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """A machine, and the runtime as it was used on it."""

    cpu: str
    flags: tuple[str, ...]
    cores: int
    """0: not known, of a device that a command measures on."""
    system: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    """0: not known, as the command has it."""

    @property
    def id(self) -> str:
        """Ten hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:10]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "flags": list(self.flags)}

    @classmethod
    def from_json(cls, value: Any, where: str = "fingerprint") -> Fingerprint:
        """The inverse of :meth:`to_json`.

        Raises:
            MeasureInputError: not such an object; ``where`` names its place.
        """
        try:
            return cls(**{**value, "flags": tuple(value["flags"])})
        except (TypeError, KeyError):
            raise MeasureInputError(f"{where}: not a fingerprint of this version; measure again") from None

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        return f"{self.cpu}, {self.runtime} {self.runtime_version}, {self.precision}{threads}"


def machine_fingerprint(runtime: str, runtime_version: str, threads: int, precision: str) -> Fingerprint:
    """The fingerprint of this machine for a runtime."""
    cpu, flags = _cpu()
    return Fingerprint(
        cpu=cpu,
        flags=flags,
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        runtime=runtime,
        runtime_version=runtime_version,
        precision=precision,
        threads=threads,
    )


def device_fingerprint(name: str | None, command: str, threads: int) -> Fingerprint:
    """The fingerprint of what a user's command measures on.

    Args:
        name: what the command calls its device; None takes this machine's processor, from which the command runs.
        command: its template: another one may measure another device, or in another way.
        threads: what the command was told; 0 where it was told nothing.
    """
    return Fingerprint(
        cpu=name or _cpu()[0],
        flags=(),
        cores=0,
        system="",
        runtime="command",
        runtime_version=command,
        precision=COMMANDS_PRECISION,
        threads=threads,
    )


COMMANDS_PRECISION = "fp32 files"
"""The files have it; in what the command computes, the command knows."""


def require_same_fingerprint(fingerprints: Iterable[Fingerprint], where: str = "front") -> None:
    """Refuse to put measurements of different machines, runtimes or settings side by side.

    Raises:
        MeasureInputError: two differ; the message names the first difference.
    """
    first: Fingerprint | None = None
    for other in fingerprints:
        first = first or other
        for field in dataclasses.fields(Fingerprint):
            ours, theirs = getattr(first, field.name), getattr(other, field.name)
            if ours != theirs:
                raise MeasureInputError(
                    f"{where}: latencies of two fingerprints cannot be compared: {field.name} is {ours!r} in one and "
                    f"{theirs!r} in the other; measure them again on one machine with the same settings"
                )


@cache
def _cpu() -> tuple[str, tuple[str, ...]]:
    """The processor's name and its relevant instruction sets."""
    fields: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), ()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split()) & _RELEVANT_FLAGS
    arm = " ".join(fields[key] for key in ("CPU implementer", "CPU part") if key in fields)
    return fields.get("model name") or arm or platform.machine(), tuple(sorted(flags))
