"""How far the random views of training go. No torch here: help texts and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

from annotated_types import Interval

from nas.run.ranges import Ranged, Share, ShareUnderOne

__all__ = ["NO_AUGMENTATION", "Augmentation"]


@dataclass(frozen=True, kw_only=True)
class Augmentation(Ranged):
    """How far and how often a person is turned, scaled and moved in training.

    Raises:
        InputError: a probability outside 0 to 1, or a range that makes no sense.
    """

    flip_probability: Share = 0.5
    """Mirror the image, left and right keypoints exchanged; never where their pairs are not known
    (``data.flip_pairs``)."""
    half_body_probability: Share = 0.3
    """Show the upper or the lower body alone, of people with at least 9 labelled keypoints."""
    rotation_deg: Annotated[float, Interval(ge=0, le=180)] = 60.0
    """Largest rotation."""
    rotation_probability: Share = 0.6
    """How often a person is rotated at all."""
    scale: ShareUnderOne = 0.25
    """Largest change of the crop's size: from 1 - scale to 1 + scale."""
    shift: ShareUnderOne = 0.16
    """Largest move of the crop, as a part of its size."""
    shift_probability: Share = 0.3
    """How often the crop is moved at all."""
    distribution: Literal["truncated", "clipped"] = "truncated"
    """How rotation, scale and shift are drawn within their bounds: as MMPose 1.x, or clipped as MMPose 0.x."""
    color: ShareUnderOne = 0.0
    """Strength of random brightness, contrast and tint; 0 is none, 0.2 is light."""
    blur_probability: Share = 0.0
    """Smooth the crop with a box of 3, 5 or 7 pixels; and, drawn anew, with a median of as many."""
    erase_probability: Share = 0.0
    """Black out one rectangle of the crop, each of its sides 0.2 to 0.4 of the crop's: what is hidden is to be guessed
    from the rest."""

    def __str__(self) -> str:
        """All fields but those that came later, where they do nothing: checkpoints of before know this text."""
        later = ("blur_probability", "erase_probability")
        shown = (field.name for field in fields(self) if field.name not in later or getattr(self, field.name))
        return f"Augmentation({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def reaching(self, other: Augmentation | None) -> Augmentation:
        """One whose views go as far as the views of both."""
        if other is None:
            return self
        shifts = [one.shift if one.shift_probability else 0.0 for one in (self, other)]
        return replace(
            self, scale=max(self.scale, other.scale), shift=max(shifts), shift_probability=float(max(shifts) > 0)
        )


NO_AUGMENTATION = Augmentation(
    flip_probability=0, half_body_probability=0, rotation_probability=0, scale=0, shift_probability=0
)
