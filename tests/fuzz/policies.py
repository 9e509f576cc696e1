"""Policy files: taken or refused with a message, whatever stands in them."""

from __future__ import annotations

import re
from collections import Counter
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
    """The texts of files; what it takes must compile, and be the same when printed and read again."""

    name = "policy files"

    def __init__(self, _rng: Random) -> None:
        self._sections = ["[" + part for part in Policy().to_toml().split("\n[")]

    def taken(self, rng: Random) -> Policy:
        """A policy of other numbers; the default if they cannot be taken."""
        try:
            return Policy.parse(self._with_other_numbers(rng))
        except PolicyError:
            return Policy()

    def run(self, rng: Random) -> Outcomes:
        """One file."""
        try:
            policy = Policy.parse(self._text(rng))
        except PolicyError as error:
            return Counter({_kind(str(error)): 1})
        _used(policy)
        return Counter({"taken": 1})

    def _text(self, rng: Random) -> str:
        way = rng.randrange(4)
        text = self._with_other_numbers(rng) if way < 2 else self._some_sections(rng)
        return mutated(rng, text.encode()).decode(errors=("replace", "ignore")[way % 2]) if way else text

    def _some_sections(self, rng: Random) -> str:
        return "\n".join(rng.sample(self._sections, rng.choice((1, 1, 1, 2, 3))))

    def _with_other_numbers(self, rng: Random) -> str:
        text = self._some_sections(rng)
        places = list(_NUMBER.finditer(text))
        for place in reversed(rng.sample(places, min(len(places), rng.choice((1, 1, 2))))):
            text = text[: place.start()] + _other(rng, place[0]) + text[place.end() :]
        return text


def _kind(refusal: str) -> str:
    """Of which kind a refusal is."""
    if "not TOML" in refusal:
        return "not TOML"
    return "unknown field" if "no such field" in refusal else "bad value"


def _other(rng: Random, number: str) -> str:
    """A number not far from `number`, or none at all."""
    if rng.random() < 0.5:
        return rng.choice(_STRANGE)
    return rng.choice((number + "0", number + ".5", "-" + number, number[:-1] or "1", str(rng.randrange(100))))


def _used(policy: Policy) -> None:
    """What a lane does with a policy, and what `policy show` prints of it."""
    for stage in (trust, ratelimit, priority):
        stage.compile_policy(policy)
    times_of(policy)
    assert Policy.parse(policy.to_toml()).version == policy.version, "printed and read again it is another one"
