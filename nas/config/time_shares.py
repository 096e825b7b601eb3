"""A configuration that says how long all may take, and nothing of its stages: shares of the time, and a recipe.

The recipe is the quickstart's, which is measured (docs/benchmarks.md). What a configuration says itself stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.config.yaml_source import Located, deep_merge, read_yaml_file

__all__ = ["with_shared_time"]

RECIPE = Path(__file__).with_name("time_shares.yaml")
VIDEO_RECIPE = Path(__file__).with_name("time_shares_video.yaml")
TRAININGS = ("train", "finalists", "retrain", "video.train", "video.retrain")
BUDGETS = ("minutes", "steps", "epochs")
SCHEDULED = "finalists.epochs"
"""No budget of a stage: how long the course of each finalist's learning rate is, within the stage's minutes."""
TOGETHER = ("optimizer", "learning_rate", "schedule")
"""Of a recipe: a learning rate is that of its optimizer, so that whoever says one of them says them all."""
LONG_MINUTES = 30.0
"""From here on people are seen often enough that turned, moved and half views of them pay."""


def with_shared_time(source: Located) -> Located:
    """What was read, laid over shares of ``minutes`` and a recipe, if no stage has a budget of its own.

    The minutes in the recipe are shares: whoever reads them scales them to the sum that is wanted.
    """
    minutes, frames = _found(source, "minutes"), _found(source, "video.frames")
    if not isinstance(minutes, (int, float)) or isinstance(minutes, bool):
        return source  # none given, or what is no number, which building the configuration says
    budgets = {"search.minutes", *(f"{name}.{budget}" for name in TRAININGS for budget in BUDGETS)} - {SCHEDULED}
    if any(_found(source, dotted) is not None for dotted in budgets):
        return source
    recipe = read_yaml_file(VIDEO_RECIPE if isinstance(frames, int) and frames > 0 else RECIPE)
    if minutes >= LONG_MINUTES:
        recipe = _without(recipe, "data.augmentation")
    for name in TRAININGS:
        if any(_found(source, f"{name}.{one}") is not None for one in TOGETHER):
            for one in TOGETHER:
                recipe = _without(recipe, f"{name}.{one}")
    return deep_merge(recipe, source)


def _found(source: Located, dotted: str) -> Any:
    """The plain value of that dotted name; None where there is none."""
    inside: Located | None = source
    for key in dotted.split("."):
        inside = inside.value.get(key) if inside is not None and isinstance(inside.value, dict) else None
    return None if inside is None else inside.plain()


def _without(source: Located, dotted: str) -> Located:
    """The same without what is called so."""
    key, _, rest = dotted.partition(".")
    if not isinstance(source.value, dict) or key not in source.value:
        return source
    inside = {name: one for name, one in source.value.items() if rest or name != key}
    if rest:
        inside[key] = _without(source.value[key], rest)
    return Located(inside, source.where)
