"""The policy: what a file may say, how a mistake is named, and which policies are the same."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from streams import priority, ratelimit, trust
from streams.policy import Policy, PolicyError
from streams.policy_text import line_of


def refused(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "fleet.toml")
    return str(caught.value)


def test_an_empty_file_is_the_default() -> None:
    assert Policy.parse("") == Policy()


def test_the_printed_default_is_the_default() -> None:
    assert Policy.parse(Policy().to_toml()) == Policy()


def test_the_version_of_the_default_is_the_one_that_is_told() -> None:
    """It changes only when a number does: then say so in the changelog, and here."""
    assert Policy().version == "p-12885fc6aa53ec1b"


def test_how_a_policy_is_written_makes_no_difference() -> None:
    one = Policy.parse("# strict\n[trust]\npenalty = 4\ntell = 5.0\n[limits]\nviolations = 2\n")
    other = Policy.parse("[limits]\nviolations=2\n[trust]\npenalty = 4.000")
    assert one.version == other.version
    assert re.fullmatch("p-[0-9a-f]{16}", one.version)


def test_every_number_makes_a_difference() -> None:
    versions = {Policy().version}
    for place, value in numbers(Policy()):
        changed = nested(place, value)
        try:
            versions.add(Policy.model_validate(changed).version)
        except ValueError:
            continue
    assert len(versions) > 50


def numbers(section: BaseModel, place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """Each single number of a policy with its place, a little larger."""
    found: list[tuple[tuple[str, ...], object]] = []
    for name, value in section:
        if isinstance(value, BaseModel):
            found += numbers(value, (*place, name))
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            found += [((*place, name), value + 1), ((*place, name), value - Decimal("0.001"))]
    return found


def nested(place: tuple[str, ...], value: object) -> dict[str, object]:
    return {place[0]: nested(place[1:], value) if len(place) > 1 else value}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[trust]\ntell = 5\npenalti = 3\n",
            "fleet.toml:3: trust.penalti: there is no such field; did you mean penalty?",
        ),
        ("[trusted]\n", "fleet.toml:1: trusted: there is no such field; did you mean trust?"),
        (
            "[trust.tiers]\n\nlower = [0, 100, 300, 200, 700, 900]",
            "fleet.toml:3: trust.tiers.lower: tiers must begin at 0 and rise",
        ),
        ("[trust.tiers]\nlower = [0, 1]", "fleet.toml:2: trust.tiers.lower: Tuple should have at least 6 items"),
        ('[limits]\nviolations = "3"', "fleet.toml:2: limits.violations: write a number, without quotes"),
        ("[limits]\nviolations = true", "fleet.toml:2: limits.violations: write a number, without quotes"),
        ("[limits]\nviolations = 2.5", "fleet.toml:2: limits.violations: Input should be a valid integer"),
        ("[limits]\nviolations = 0", "fleet.toml:2: limits.violations: Input should be greater than or equal to 1"),
        ("limits.violations = 0", "fleet.toml:1: limits.violations: Input should be greater"),
        ("limits = {violations = 0}", "fleet.toml:1: limits.violations: Input should be greater"),
        (
            "[limits]\ncapacity = [\n  1, 2, 3,\n  4, 5, 0,\n]",
            "fleet.toml:2: limits.capacity.5: Input should be greater",
        ),
        ("[trust]\npenalty = nan", "fleet.toml:2: trust.penalty: Input should be a finite number"),
        ("[trust]\npenalty = 3.0001", "fleet.toml:2: trust.penalty: Decimal input should have no more than 3 decimal"),
        ("[trust.deltas.failed]\nlow = 15", "fleet.toml:2: trust.deltas.failed.low: Input should be less than"),
        ("[[trust.decay]]\ndays = 3", "fleet.toml:1: trust.decay.0.factor: Field required"),
        ("[trust.registration.creation]\ncloned = 5", "cloned must be below fresh"),
        ("[priority.pools]\nnormal = 0.9", "fleet.toml:1: priority.pools: normal must not be above urgent"),
        (
            "[priority]\nimpact_weight = 0.5",
            "fleet.toml:1: priority: surprise_weight and impact_weight must not exceed 1",
        ),
        ("[admission]\nto_year = 1990", "fleet.toml:1: admission: to_year must be later than from_year"),
        ("[admission]\nfrom_year = 1980", "fleet.toml:1: admission: at most 100 years"),
        ("[trust", "fleet.toml: not TOML: Expected ']'"),
        ("trust.tell = " + "9" * 5_000, "fleet.toml: not TOML: Exceeds the limit"),
        ("trust.tell = 1e9999999999999999999", "fleet.toml: not TOML: 1e9999999999999999999 is beyond every number"),
        ("trust.tell = " + "[" * 5_000, "fleet.toml: not TOML: maximum recursion depth"),
        ("[admission]\nmax_unregistered = 1e999999999", "max_unregistered: write a number of at most 30 digits"),
        ("[admission]\nmax_unregistered = 1e-999999999", "max_unregistered: write a number of at most 30 digits"),
        (
            "[admission]\nmax_unregistered = 1000000000000",
            "fleet.toml:2: admission.max_unregistered: Input should be less",
        ),
        (
            "[trust.tiers]\nnames = ['a\"', 'b', 'c', 'd', 'e', 'f']",
            "fleet.toml:2: trust.tiers.names.0: String should match",
        ),
    ],
)
def test_a_mistake_is_named_with_line_and_field(text: str, complaint: str) -> None:
    assert complaint in refused(text)


def test_all_mistakes_are_named_at_once() -> None:
    assert len(refused("[trust]\npenalty = 0\n[limits]\nviolations = 0\nfoo = 1").splitlines()) == 3


def test_a_file_that_is_not_there_or_not_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"missing\.toml: the policy cannot be read"):
        Policy.load(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"binary\.toml: the policy cannot be read"):
        Policy.load(tmp_path / "binary.toml")


def test_a_file_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[trust]\npenalty = 2.5", "utf-8")
    assert Policy.load(file).trust.penalty == Decimal("2.5")


def test_a_policy_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Policy().trust.penalty = Decimal(1)


def test_a_place_that_a_text_does_not_name_has_no_line() -> None:
    assert line_of("[limits]\nviolations = 2", ("trust", "penalty")) == 0


decimals = st.decimals(0, 1000, places=3)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies with other numbers in places of every kind."""
    lower = draw(
        st.lists(st.decimals(Decimal("0.001"), 1000, places=3), min_size=5, max_size=5, unique=True).map(sorted)
    )
    days = draw(st.lists(st.integers(1, 3650), max_size=12, unique=True).map(sorted))
    factors = sorted((draw(st.decimals(0, 1, places=6)) for _ in days), reverse=True)
    return Policy.model_validate(
        {
            "trust": {
                "penalty": draw(st.decimals(1, 1000, places=3)),
                "decay": [{"days": day, "factor": factor} for day, factor in zip(days, factors, strict=True)],
                "tiers": {"lower": [0, *lower], "hysteresis": draw(decimals)},
                "ceiling": {"black_box": draw(decimals)},
                "deltas": {"failed": {"low": -draw(decimals)}, "completed": {"low": draw(decimals)}},
            },
            "limits": {
                "by_tier": draw(st.booleans()),
                "refill_per_s": draw(st.lists(st.decimals("0.1", 10**6, places=6), min_size=6, max_size=6)),
                "capacity": draw(st.lists(st.integers(1, 10_000), min_size=6, max_size=6)),
            },
            "priority": {"impact": {"revenue_scale": draw(st.decimals(1, 10**9, places=2))}},
        }
    )


@given(policies())
@settings(max_examples=100, deadline=None)
def test_a_printed_policy_is_the_same_policy(policy: Policy) -> None:
    again = Policy.parse(policy.to_toml())
    assert again == policy
    assert again.version == policy.version
    assert tomllib.loads(policy.to_toml()).keys() == Policy.model_fields.keys()


@given(policies())
@settings(max_examples=50, deadline=None)
def test_every_policy_compiles_to_exact_integers(policy: Policy) -> None:
    rules, numbers = policy.trust, trust.compile_policy(policy)[0]
    assert numbers.lower.tolist() == [lower * 1000 for lower in rules.tiers.lower]
    assert numbers.penalty == rules.penalty * 1000
    for point in rules.decay:
        above, below = numbers.decay[point.days].tolist()
        assert Decimal(above) == point.factor * below
    limits = ratelimit.compile_policy(policy)[0]
    assert (limits.interval >= 1).all()
    assert (limits.burst >= 0).all()
    priority.compile_policy(policy)
