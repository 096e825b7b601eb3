"""Which failures are the user's to mend, and what to tell them in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from evaluators.errors import MeasureInputError
from nas.run.stopped import Interrupted, Stopped
from search_spaces.errors import InputError

__all__ = [
    "INTERRUPTED",
    "STOPPED",
    "USER_ERROR",
    "describe_interruption",
    "describe_stop",
    "describe_user_error",
]

STOPPED = 1
USER_ERROR = 2
INTERRUPTED = 130
_OF_THE_FILE_SYSTEM = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EFBIG, errno.EIO, errno.ESTALE,
}  # fmt: skip
_HOW_TO_GO_ON = "free some space, then give the command again (--resume where there is a run)"


def describe_interruption(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return f"interrupted: state kept in {error.folder}; go on with --resume"
    return "interrupted"


def describe_user_error(error: BaseException) -> str | None:
    """One line for what the user can mend; None for a fault of ours."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" at {cause.filename}" if cause.filename else ""
            return f"disk full{where}: {cause.strerror}; {_HOW_TO_GO_ON}"
        if "No space left on device" in str(cause):
            return f"disk full: No space left on device; {_HOW_TO_GO_ON}"
    for cause in _chain(error):
        if isinstance(cause, (InputError, MeasureInputError)):
            return _one_line(_innermost_message(cause))
    if isinstance(error, OSError) and error.errno in _OF_THE_FILE_SYSTEM:
        return f"{error.filename}: {error.strerror}" if error.filename else _one_line(str(error))
    return None


def describe_stop(error: BaseException) -> str | None:
    """One line where the program stopped through no mistake in the input, and no traceback would tell more."""
    return _one_line(str(error)) if isinstance(error, Stopped) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it; ``cause`` is where Ray keeps the error of a worker."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__


def _innermost_message(error: BaseException) -> str:
    """Ray makes an error that is also an ``InputError``, whose text is a worker's whole traceback."""
    cause = getattr(error, "cause", None)
    return str(cause) if isinstance(cause, BaseException) else str(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())
