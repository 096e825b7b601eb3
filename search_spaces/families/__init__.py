"""What families of networks there are, and the rules of each: one module a family."""

from .rules import Family, check_own_fields, family, family_names

__all__ = ["Family", "check_own_fields", "family", "family_names"]
