"""The program's commands, in the order in which a user meets them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from search_spaces.errors import InputError

__all__ = ["COMMANDS", "Command", "find_command", "is_group", "overview"]


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
    Command("doctor", "tell what this machine has, and try every stage on it", "vipnas doctor"),
    Command("quickstart", "run the whole path once, on made-up data or yours", "vipnas quickstart --minutes 10"),
    Command("data synthesize", "make images and videos of articulated people", "vipnas data synthesize data"),
    Command("data check", "find what is wrong with a folder of COCO keypoints", "vipnas data check ~/coco"),
    Command("spaces", "list search spaces and published architectures, or show one", "vipnas spaces resnet-nano"),
    Command("describe", "show what a network is made of and what it costs", "vipnas describe s-vipnas-res50"),
    Command("train-supernet", "train the supernet of a space", "vipnas train-supernet configs/quickstart.yaml"),
    Command("search", "search networks by accuracy and latency", "vipnas search configs/quickstart.yaml"),
    Command(
        "finalists", "train networks of the front until the best are known", "vipnas finalists configs/coco_search.yaml"
    ),
    Command(
        "export", "write networks of the front, or any weights, to files", "vipnas export runs/quickstart --networks 3"
    ),
    Command("retrain", "train found or published networks", "vipnas retrain configs/quickstart.yaml"),
    Command("evaluate", "evaluate trained networks by COCO's measures", "vipnas evaluate configs/quickstart.yaml"),
    Command(
        "predict",
        "find poses in images, a video or a camera",
        "vipnas predict video.mp4 --model runs/quickstart:3f --detector people.onnx --out poses",
    ),
    Command("trust", "tell how far the supernet's ranking may be believed", "vipnas trust runs/quickstart"),
    Command("choose", "name the network to take for a latency", "vipnas choose runs/quickstart --budget 2"),
    Command("report", "write the report of a run, one HTML page", "vipnas report runs/quickstart"),
    Command(
        "convert", "read an MMPose checkpoint", "vipnas convert s_vipnas_res50.pth --architecture s-vipnas-res50"
    ),
    Command("latency build-table", "measure the blocks of a space once", "vipnas latency build-table resnet-tiny"),
    Command("latency", "measure networks on this machine", "vipnas latency s-vipnas-res50 --runtime torch"),
    Command("completion", "print a script for the shell's completion", "vipnas completion bash"),
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
    group = _group(argv[0])
    if group:  # `vipnas data`, `vipnas data chek`
        raise InputError(f"{argv[0]}: say which: {', '.join(command.name for command in group)}")
    near = difflib.get_close_matches(argv[0], [c.name for c in COMMANDS], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "vipnas --help lists the commands"
    raise InputError(f"unknown command {argv[0]!r}; {hint}")


def overview(group: str = "") -> str:
    """The text of ``vipnas --help``, or of ``vipnas data --help`` for the commands that begin with one word."""
    commands = _group(group) if group else COMMANDS
    width = max(len(command.name) for command in commands)
    lines = [
        f"usage: vipnas {group or 'COMMAND'} …",
        "",
        "Neural architecture search for fast human pose estimation: a supernet, a search by accuracy and measured",
        "latency, and the networks found, exported and retrained.",
        "",
        "commands:",
        *(f"  {command.name:<{width}}  {command.summary}" for command in commands),
        "",
        "options:",
        "  -h, --help  this text; vipnas COMMAND --help explains a command",
        "  --version   the version",
        "",
        "example:",
        f"  {commands[0].example}",
    ]
    return "\n".join(lines)


def is_group(word: str) -> bool:
    """Whether commands of two words begin with this one, which is none itself."""
    return bool(_group(word)) and all(command.name != word for command in COMMANDS)


def _group(word: str) -> tuple[Command, ...]:
    return tuple(command for command in COMMANDS if command.name.startswith(f"{word} "))
