"""A worker that decides everything and writes nothing, as a process: what deciding costs by itself.

The lanes are the product's; what they want written is dropped, and a transaction of nothing is not made. With the
argument `silent` nothing is encoded either: no record of any topic is made, no row written, no output hashed; what is
left is reading, admission, the three stages and the hash of what was read.
"""

from __future__ import annotations

import sys
from typing import Any

from agents.deciding import Deciders
from agents.runtime.commit import Commit
from agents.runtime.decider import Decider, DeciderFactory
from agents.settings import Settings
from agents.worker import run
from streams import pipeline
from streams.outputs import Outbox
from streams.pipeline import Effects, Lane


class _NoBodies(Outbox):
    """Takes records and keeps none."""

    def append(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def mute(lane: Lane) -> Lane:
    """Let `lane` answer its steps without outputs."""
    step = lane.step

    def quiet(*args: Any, **more: Any) -> Effects:
        effects = step(*args, **more)
        effects.outputs = {}
        return effects

    lane.step = quiet  # type: ignore[method-assign]
    return lane


def muted(new: DeciderFactory) -> DeciderFactory:
    """A factory of mute lanes."""

    def make(partition: int, partitions: int) -> Decider:
        lane = new(partition, partitions)
        assert isinstance(lane, Lane)  # noqa: S101  made by `Deciders`
        return mute(lane)

    return make


async def _write_nothing(*_: Any) -> None:
    """A commit of nothing."""


if __name__ == "__main__":
    Commit.write = _write_nothing  # type: ignore[assignment]
    if sys.argv[1:] == ["silent"]:
        vars(pipeline)["Outbox"] = _NoBodies
    found = Settings.read()
    sys.exit(run(found, muted(Deciders(found))))
