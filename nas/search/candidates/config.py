"""The section ``candidate`` of a configuration. No torch here: help texts and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nas.run.ranges import NonNegativeInt, PositiveFloat, PositiveInt, Ranged

__all__ = ["CandidateConfig", "Precision"]

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateConfig(Ranged):
    """How a candidate of the search is evaluated."""

    persons: PositiveInt = 500
    """Validation people a candidate is evaluated on: all people of randomly chosen images, until there are so many; in
    videos, the people in the frames of random clips (for PoseTrack's AP, of random whole videos)."""
    calibration_crops: PositiveInt = 64
    """Training crops, or clips, for the BatchNorm statistics. 64 rank as 512 do on a trained tiny supernet (Kendall τ
    1.00)."""
    chunk: PositiveInt = 32
    """People, or clips, a forward pass, and between two decisions of the race."""
    first_look: NonNegativeInt = 48
    """People, the first of ``persons``, of a first look, in which BatchNorm is calibrated on them. A guided search
    evaluates in full only what that lets it hope from. 0: every candidate is evaluated at once. Only searches of image
    networks look first."""
    racing: bool = True
    """Stop a candidate that is significantly worse than one that costs no more."""
    racing_z: PositiveFloat = 2.0
    """How many standard errors of the paired difference in OKS make it significant. There is a look after each chunk,
    so 2 is no test at 5 %; who is dropped wrongly is hardly better than one that costs no more. Over 100 candidates,
    values from 3.5 to 1 left fronts of equal hypervolume (docs/benchmarks.md)."""
    precision: Precision = "auto"
    """``auto`` takes bfloat16 where this machine's CPU runs it faster, for the whole search; on GPUs float32."""
    cache_mb: NonNegativeInt = 1024
    """Memory a worker may use for the crops (half of it at most) and for the activations that candidates share."""
    latency: Literal["table", "measure"] = "table"
    """A candidate's latency: predicted by a table of the space's blocks, or measured. The front is always measured."""
