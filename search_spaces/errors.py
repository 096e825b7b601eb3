"""The one exception that means "what the user gave is wrong"."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input: the message says in one line what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
