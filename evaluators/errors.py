"""The one exception of this room that means "what the user gave is wrong"."""

__all__ = ["MeasureInputError"]


class MeasureInputError(ValueError):
    """Bad input to a measure: the message says in one line what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
