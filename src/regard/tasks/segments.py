"""The ids of one window -> stretches of speech with their times, and where the next window starts.

Radford et al. 2022, section 4.5: a window is cut at its last complete stretch, and the next one starts there.
"""

from collections.abc import Sequence
from typing import NamedTuple

FRAMES = 2  # that a step of a timestamp stands for: the encoder halves their number


class Stretch(NamedTuple):
    """first, last: its times, in steps of a timestamp from the window's start. ids: with the timestamps around it."""

    first: int
    last: int
    ids: tuple[int, ...]


class Stretches(NamedTuple):
    found: list[Stretch]
    frames: int  # how far the next window is from this one


def stretches(ids: Sequence[int], first_time: int, frames: int) -> Stretches:
    """Cut what a window of `frames` real frames gave, without eos, where two timestamps stand side by side.

    What follows the last such pair has no end yet, and is left to the next window. As in Transformers, where there is
    no pair all is one stretch; it lasts until its only timestamp above 0, or to the window's end.
    """
    is_time = [token >= first_time for token in ids]
    cuts = [place for place in range(1, len(ids)) if is_time[place - 1] and is_time[place]]
    if not cuts:
        times = [token - first_time for token in ids if token >= first_time]
        last = times[-1] if times and times[-1] > 0 else frames // FRAMES
        return Stretches([Stretch(0, last, tuple(ids))], frames)
    ends_alone = is_time[-1] and not is_time[-2]
    if ends_alone:  # nothing is said after it
        cuts.append(len(ids))
    found = [
        Stretch(ids[start] - first_time, ids[stop - 1] - first_time, tuple(ids[start:stop]))
        for start, stop in zip([0, *cuts], cuts, strict=False)
    ]
    # Nothing may keep a window where it is, whatever the search was told to do.
    return Stretches(found, frames if ends_alone or found[-1].last <= 0 else found[-1].last * FRAMES)
