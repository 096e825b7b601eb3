"""The program ``vipnas``: finds the command, runs it, and turns what went wrong into one line and an exit code.

Nothing heavy is imported here: ``vipnas --help`` answers at once, and a command imports what it uses when it runs.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from nas.cli.commands import find_command, is_group, overview
from nas.cli.failures import (
    INTERRUPTED,
    STOPPED,
    USER_ERROR,
    describe_interruption,
    describe_stop,
    describe_user_error,
)
from nas.cli.parsing import make_parser
from nas.run.stopped import is_interruption

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 2 when the user's input is at fault; 1 when the command stopped for another reason; 130 when interrupted
        (Ctrl-C or SIGTERM).
        A fault of ours leaves as an exception, so that the interpreter prints the traceback and exits with 1.
    """
    _treat_termination_as_interrupt()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `vipnas spaces | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if is_interruption(error):
            print(f"vipnas: {describe_interruption(error)}", file=sys.stderr)
            return INTERRUPTED
        message, code = describe_user_error(error), USER_ERROR
        if message is None:
            message, code = describe_stop(error), STOPPED
        if message is None:
            raise
        print(f"vipnas: error: {message}", file=sys.stderr)
        return code


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(overview(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else USER_ERROR
    if argv[0] == "--version":
        print(f"vipnas {_version()}")
        return 0
    if is_group(argv[0]) and argv[1:] in (["-h"], ["--help"]):
        print(overview(argv[0]))
        return 0
    command, rest = find_command(argv)
    module = importlib.import_module(f"nas.cli.{command.module}")
    return int(module.run(make_parser(command, module).parse_args(rest)))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vipnas")
    except PackageNotFoundError:
        return "(not installed: run from its source)"


def _treat_termination_as_interrupt() -> None:
    """SIGTERM unwinds as Ctrl-C does, so that files are closed and state is kept."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


if __name__ == "__main__":
    sys.exit(main())
