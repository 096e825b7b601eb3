"""What families of networks there are, and the rules of each: one module a family."""

from .rules import Family, family, family_names

__all__ = ["Family", "family", "family_names"]
