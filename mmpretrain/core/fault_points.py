"""Named places where a test can make a run fail as the world does: killed, stopped, out of space, with a wrong number.

One environment variable drives them: MMPRETRAIN_FAULT="POINT=ACTION[@COUNT][#RANK]", several with commas between,
such as `save.rename=kill@2#0`: rank 0 is killed when it comes to that place for the second time. COUNT is 1 and RANK
any where they are left out. Without the variable a place costs a look into an empty dictionary.
"""

import errno
import functools
import os
import re
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import did_you_mean

if TYPE_CHECKING:  # files are also written by commands that do without torch
    from torch import nn

Point = Literal[
    "load",
    "data",
    "forward",
    "loss",
    "backward",
    "step",
    "weights",
    "evaluate",
    "save",
    "save.file",
    "save.manifest",
    "save.rename",
    "save.latest",
    "save.prune",
    "append",
]
"""Every place; a test holds that each is reached by some test."""
Action = Literal["kill", "raise", "stop", "sleep", "nospace", "nan", "inf", "flip"]
"""kill: SIGKILL; raise: an exception that nobody expects; stop: SIGSTOP; sleep: an hour; nospace: a full disk; nan, inf
and flip: the place itself writes a wrong number."""
VARIABLE = "MMPRETRAIN_FAULT"
SLEEP_SECONDS = 3600.0
_FORM = re.compile(r"(?P<point>[\w.]+)=(?P<action>\w+)(@(?P<count>\d+))?(#(?P<rank>\d+))?")


class Planned(NamedTuple):
    """What is to happen, and when."""

    action: Action
    at: int
    rank: int | None


def parse(text: str) -> dict[str, Planned]:
    """What each place is to do.

    Raises:
        ConfigError: a part that cannot be read, or names no place or action.
    """
    planned = {}
    for part in filter(None, text.split(",")):
        match = _FORM.fullmatch(part)
        if not match:
            raise ConfigError(f"{VARIABLE}: {part!r} is not POINT=ACTION[@COUNT][#RANK]")
        for kind, known in (("point", get_args(Point)), ("action", get_args(Action))):
            if match[kind] not in known:
                raise ConfigError(f"{VARIABLE}: {match[kind]!r} is no {kind}{did_you_mean(match[kind], known)}")
        rank = None if match["rank"] is None else int(match["rank"])
        planned[match["point"]] = Planned(match["action"], int(match["count"] or 1), rank)  # type: ignore[arg-type]
    return planned


@functools.cache
def _planned(text: str) -> dict[str, Planned]:
    return parse(text)


_reached: Counter[str] = Counter()


def reach(point: Point) -> Action | None:
    """Come to a place. Actions that a place has to do itself are returned: nan, inf and flip."""
    planned = _planned(os.environ.get(VARIABLE, "")).get(point)
    if planned is None:
        return None
    _reached[point] += 1
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))
    if _reached[point] != planned.at or planned.rank not in (None, rank):
        return None
    return _act(planned.action, point)


def _act(action: Action, point: Point) -> Action | None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(SLEEP_SECONDS)
        case "raise":
            raise RuntimeError(f"planned at {point}")
        case "nospace":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return action if action in ("nan", "inf", "flip") else None


def flip_bit(module: "nn.Module") -> None:
    """What a cosmic ray does: one bit of the mantissa of the first weight."""
    import torch

    weight = next(parameter for parameter in module.parameters() if parameter.requires_grad)
    # the weight's own memory, whatever the order of its dimensions
    weight.data.view(torch.int32)[(0,) * weight.dim()] ^= 1 << 12
