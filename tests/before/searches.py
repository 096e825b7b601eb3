"""The searches whose journals are kept whole."""

from __future__ import annotations

__all__ = ["FIRST", "JOURNALS", "QUICK"]

QUICK = 20
"""So many candidates of a search are evaluated on every change of the code, all of them by ``-m slow``."""

BY_SIZE = ("--search.objectives", "[macs, params]", "--candidate.racing", "false")
"""Who is asked does not depend on how well anybody does, so not on how a machine rounds."""
BY_AP = ("--candidate.racing", "true")

JOURNALS = {
    "images-by-ap": ("images", 100, BY_AP),
    "videos-by-ap": ("videos", 100, BY_AP),
    "images-by-size": ("images", QUICK, (*BY_SIZE, "--search.constraints", '["macs >= 600000"]')),
    "videos-by-size": ("videos", QUICK, (*BY_SIZE, "--search.constraints", '["macs >= 2000000"]')),
}
"""Name, the run whose supernet is searched, how many candidates, and options."""
FIRST = {"images": 8, "guided": 8, "videos": 6}
"""So many are drawn before anything is known: the size of the population."""
