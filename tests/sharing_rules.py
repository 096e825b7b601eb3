"""The rules of sharing that every family is tried with."""

from __future__ import annotations

from supernet import Sharing

SHARINGS = [
    Sharing(),
    Sharing(kernel="transform"),
    Sharing(affine="per-groups"),
    Sharing(groups="leading"),
    Sharing(kernel="transform", affine="per-groups"),
]
