"""The program's commands, in the order in which a user meets them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from search_spaces.errors import InputError

__all__ = ["COMMANDS", "Command", "find_command", "overview"]


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, what it does in one line, and an example; the code is ``nas/cli/<module>.py``."""

    name: str
    summary: str
    example: str

    @property
    def module(self) -> str:
        return self.name.replace(" ", "_").replace("-", "_")


COMMANDS = (
    Command("spaces", "list the search spaces and the published architectures", "vipnas spaces"),
)


def find_command(argv: list[str]) -> tuple[Command, list[str]]:
    """The command that the first one or two words name, and the remaining words.

    Raises:
        InputError: there is none; the nearest is named.
    """
    for command in COMMANDS:
        words = command.name.split()
        if argv[: len(words)] == words:
            return command, argv[len(words) :]
    group = [c.name for c in COMMANDS if c.name.split()[0] == argv[0]]
    if group:  # `vipnas data`, `vipnas data --help`, `vipnas data chek`
        raise InputError(f"{argv[0]}: say which: {', '.join(group)}")
    near = difflib.get_close_matches(argv[0], [c.name for c in COMMANDS], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "vipnas --help lists the commands"
    raise InputError(f"unknown command {argv[0]!r}; {hint}")


def overview() -> str:
    """The text of ``vipnas --help``."""
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: vipnas COMMAND …",
            "",
            "Neural architecture search for fast human pose estimation: a supernet, a search by accuracy and measured",
            "latency, and the networks found, exported and retrained.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help  this text; vipnas COMMAND --help explains a command",
            "  --version   the version",
            "",
            "example:",
            f"  {COMMANDS[0].example}",
        ]
    )
