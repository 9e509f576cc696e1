"""What is no entry of a lane is refused as such, however well it decodes."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import FormatError
from schemas.examples import examples
from schemas.wire import decode, encode
from streams.journal import JOURNAL, entries, entry_of

from .lanes import IDS, Record, batch_of


def step() -> dict[str, Any]:
    """A sound entry of a step."""
    return next(value for _, value in (decode(e.framed, IDS) for e in examples(JOURNAL)) if value["step"] is not None)


def test_an_entry_says_what_its_step_did() -> None:
    sound = step()
    entry = entry_of(encode(JOURNAL, sound, IDS), IDS)
    assert (entry.number, entry.says) == (sound["entry"], sound["step"])


def test_an_entry_that_says_nothing_of_its_step_is_refused() -> None:
    value = encode(JOURNAL, step() | {"step": None}, IDS)
    with pytest.raises(FormatError, match="says nothing of its step"):
        list(entries([batch_of(JOURNAL, 0, 0, [Record(JOURNAL, 1, b"0", value)])], IDS))
