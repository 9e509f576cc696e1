"""The short form of `make fuzz`: some thousand inputs, in this process, with the kernels as they run in production.

No bounds checking here, but memory that ends at a page which may not be touched, and neighbours that may not matter.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import MAKERS, fuzz, report, targets
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Outcomes, Target


def test_what_comes_from_outside_is_refused_by_name_and_nothing_else_happens(tmp_path: Path) -> None:
    run = fuzz(seed=20, inputs=6_000, seconds=250, said=tmp_path / "said")
    assert report(run)["findings"] == []
    assert set(run.outcomes) == {target.name for target, _ in targets(0)}
    assert run.inputs >= 6_000


@pytest.mark.parametrize("number", range(len(MAKERS)))
def test_every_target_meets_both_what_is_taken_and_what_is_refused(number: int) -> None:
    """A target whose inputs all fail at the first byte, or are all sound, finds nothing."""
    target = MAKERS[number][0](Random(1))
    told = sum((target.run(Random(case)) for case in range(60)), Outcomes())
    taken = sum(told[word] for word in ("read", "ok", "taken", "decided", "found"))
    assert 0.05 < taken / told.total() < 0.8


class Broken:
    """A target with a law that does not always hold."""

    name = "broken"

    def run(self, rng: Random) -> Outcomes:
        """Fails every now and then."""
        assert rng.randrange(5), "the law is broken"
        return Outcomes(kept=1)


def test_a_finding_names_the_case_that_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def makes(_rng: Random) -> Target:
        return Broken()

    monkeypatch.setattr("tests.fuzz.cases.MAKERS", ((makes, 1),))
    (finding,) = fuzz(seed=3, inputs=100, seconds=10, said=tmp_path / "said").findings.values()
    assert "the law is broken" in finding.raised
    assert 5 < finding.times < 50
    with pytest.raises(AssertionError, match="the law is broken"):
        Broken().run(Random(f"3/broken/{finding.case}"))
    assert "broken" in (tmp_path / "said").read_text()


def test_harm_follows_from_the_seed_and_does_harm() -> None:
    sound = bytes(range(100))
    made = [mutated(Random(seed), sound) for seed in range(200)]
    assert made == [mutated(Random(seed), sound) for seed in range(200)]
    assert len(set(made) - {sound}) > 150
