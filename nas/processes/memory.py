"""How the C library hands memory out; it decides a few per cent of a training step on a CPU."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_KEPT = 32 << 20
"""Larger blocks come from the system as before: glibc before 2.35 refuses more, and those of small networks, to which
it matters most, are smaller."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next allocation, in place of giving it back to the system each time.

    A step allocates and frees the same activations as the step before it; what went back to the system has to be
    mapped and zeroed again, page by page. For processes of our own that compute and then end: it cannot be undone, and
    up to 1 GiB stays with them. Returns whether the C library can do it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, 1 << 30))
