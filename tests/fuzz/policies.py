"""Policy files: taken or refused with a message, whatever stands in them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from streams import priority, ratelimit, trust
from streams.admission import times_of
from streams.policy import Policy, PolicyError

from .mutate import mutated
from .target import Outcomes

_NUMBER = re.compile(r"(?<=[ \[])-?\d[\d.]*")
_STRANGE = (
    "0", "-0.0", "1e-7", "1e400", "-1e400", "1e999999999", "1e-999999999", "nan", "inf", "-inf", "0x7f", "0b1", "1_000",
    "true", '"3"', '""', "[]", "{}", "[[1]]", "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "9" * 30, "9" * 5_000,
    "0." + "3" * 5_000, "[" * 3_000, "{a=" * 3_000, "'''x", '"\\uD800"', "\x00", "\N{ARABIC-INDIC DIGIT THREE}",
)  # fmt: skip


class PolicyFiles:
    """Files as `Policy.load` reads them; what it takes must compile, and be the same when printed and read again."""

    name = "policy files"

    def __init__(self, _rng: Random) -> None:
        self._sections = ["[" + part for part in Policy().to_toml().split("\n[")]
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "fleet.toml"

    def run(self, rng: Random) -> Outcomes:
        """One file."""
        self._file.write_bytes(self._text(rng))
        try:
            policy = Policy.load(self._file)
        except PolicyError as error:
            return Counter({_kind(str(error)): 1})
        _used(policy)
        return Counter({"taken": 1})

    def _text(self, rng: Random) -> bytes:
        text = "\n".join(rng.sample(self._sections, rng.choice((1, 1, 1, 2, 3))))
        way = rng.randrange(4)
        if way < 2:
            places = list(_NUMBER.finditer(text))
            for place in reversed(rng.sample(places, min(len(places), rng.choice((1, 1, 2))))):
                text = text[: place.start()] + rng.choice((*_STRANGE, _near(rng, place[0]))) + text[place.end() :]
        return mutated(rng, text.encode()) if way else text.encode()


def _kind(refusal: str) -> str:
    """Of which kind a refusal is."""
    if "not TOML" in refusal or "cannot be read" in refusal:
        return "not TOML" if "not TOML" in refusal else "not text"
    return "unknown field" if "no such field" in refusal else "bad value"


def _near(rng: Random, number: str) -> str:
    """A number not far from `number`."""
    return rng.choice((number + "0", number + ".5", "-" + number, number[:-1] or "1", str(rng.randrange(100))))


def _used(policy: Policy) -> None:
    """What a lane does with a policy, and what `policy show` prints of it."""
    for stage in (trust, ratelimit, priority):
        stage.compile_policy(policy)
    times_of(policy)
    assert Policy.parse(policy.to_toml()).version == policy.version, "printed and read again it is another one"
