"""The settings of one class in an MMPose config: defaults laid under what is given, and values read with checks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import InputError

__all__ = ["Settings", "check_layers"]


class Settings:
    """What a config gives to a class, with the class's defaults for what is missing.

    Args:
        where: the part of the config, for the messages.
        given: the dictionary of the config.
        defaults: the settings that make the network, with the class's defaults.
        ignored: settings that are accepted and do not change the network.

    Raises:
        InputError: ``given`` is no dictionary, or has a key that is in neither; every method likewise where a value is
            not what it must be.
    """

    def __init__(
        self, where: str, given: Mapping[str, Any], defaults: Mapping[str, Any], ignored: Collection[str]
    ) -> None:
        self.where, self.given = where, given
        for key in given:
            if key not in defaults and key not in ignored:
                near = difflib.get_close_matches(key, [*defaults, *ignored], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(defaults)}"
                raise InputError(f"{where}: unknown setting {key!r}; {hint}")
        self._values = {**defaults, **{key: value for key, value in given.items() if key in defaults}}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def has(self, name: str) -> bool:
        """Whether the class has such a setting."""
        return name in self._values

    def only(self, **supported: Any) -> None:
        """These settings may have this value alone."""
        for name, value in supported.items():
            if self[name] != value:
                raise self.error(f"{name}={self[name]!r} is not supported; {value!r} is")

    def integer(self, name: str, low: int = 1) -> int:
        """A whole number of ``low`` or more."""
        return self._whole(name, self[name], low)

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers, each 1 or more; None is an empty one."""
        if self[name] is None:
            return ()
        return tuple(self._whole(f"{name}[{i}]", value, 1) for i, value in enumerate(self.items(name)))

    def number(self, name: str) -> float:
        """A positive number."""
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.error(f"{name}={value!r}; expected a positive number")
        return float(value)

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self[name]
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.error(f"{name}={value!r}; expected a list")
        return list(value)

    def entry(self, name: str, index: int, low: int = 1, none: int | None = None) -> int:
        """The whole number at ``index`` of a list with one entry a stage; ``none`` is what None means there."""
        value = self.items(name)[index]
        return none if value is None and none is not None else self._whole(f"{name}[{index}]", value, low)

    def check_lengths(self, names: Sequence[str], length: int) -> None:
        """Lists that have one entry a stage reach to the last stage; what stands beyond is not used."""
        for name in names:
            if (found := len(self.items(name))) < length:
                raise self.error(f"{name}={self[name]!r} has {found} entries; {length} are needed")

    def error(self, message: str) -> InputError:
        return InputError(f"{self.where}: {message}")

    def _whole(self, name: str, value: Any, low: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.error(f"{name}={value!r}; expected a whole number of {low} or more")
        return value


def check_layers(settings: Settings) -> None:
    """Convolutions and norms of other kinds are other networks; SyncBN is BN on several GPUs."""
    if settings["conv_cfg"] not in (None, {"type": "Conv2d"}, {"type": "Conv"}):
        raise InputError(f"backbone: conv_cfg={settings['conv_cfg']} is not supported; None is")
    norm = settings["norm_cfg"]
    is_plain = isinstance(norm, Mapping) and norm.get("type") in ("BN", "BN2d", "SyncBN", "MMSyncBN")
    if not is_plain or set(norm) - {"type", "requires_grad", "momentum", "eps"} or norm.get("eps", 1e-5) != 1e-5:
        raise InputError(f"backbone: norm_cfg={norm} is not supported; BN and SyncBN with eps 1e-5 are")
