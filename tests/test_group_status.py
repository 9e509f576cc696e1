"""How a group stands, as a table of cases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.group_status import WINDOW, Look, Status, judge, worst


def looks(committed: list[int | None], lags: list[int], *, owned: bool = True) -> list[Look]:
    return [Look(at, lag, owned) for at, lag in zip(committed, lags, strict=True)]


N = WINDOW
FLAT: list[int | None] = [500] * N
MOVING: list[int | None] = list(range(0, N * 100, 100))
NEVER: list[int | None] = [None] * N


@pytest.mark.parametrize(
    ("about", "seen", "expected"),
    [
        ("nothing was seen yet", [], Status.FINE),
        ("it keeps up", looks(MOVING, [0] * N), Status.FINE),
        ("much waits, and once nothing did", looks(MOVING, [10**6] * (N - 1) + [0]), Status.FINE),
        ("it catches up a little", looks(MOVING, [9_000] * (N - 1) + [8_999]), Status.FINE),
        ("it moves, and as much waits as before", looks(MOVING, [9_000] * N), Status.FALLING_BEHIND),
        ("it moves, and more waits", looks(MOVING, list(range(1, N + 1))), Status.FALLING_BEHIND),
        ("it does not move, and nothing comes", looks(FLAT, [7] * N), Status.STALLED),
        ("it does not move, and more waits", looks(FLAT, list(range(1, N + 1))), Status.STALLED),
        ("it never committed", looks(NEVER, list(range(1, N + 1))), Status.STALLED),
        ("nobody is there, and work waits", looks(FLAT, [7] * N, owned=False), Status.STOPPED),
        ("nobody is there at the first look", looks([500], [7], owned=False), Status.STOPPED),
        ("nobody is there, and nothing waits", looks(FLAT, [0] * N, owned=False), Status.FINE),
        ("nobody was there, and somebody commits without a group", looks(MOVING, [7] * N, owned=False),
         Status.FALLING_BEHIND),
        ("too little was seen", looks(FLAT[1:], [7] * (N - 1)), Status.FINE),
        ("it was set back", looks([500] * (N - 1) + [100], [7] * (N - 1) + [407]), Status.FINE),
        ("a broker told less than what is committed", looks(FLAT, [-3] * N), Status.FINE),
        ("only the last looks count", [Look(1, 0), *looks(FLAT, [7] * N)], Status.STALLED),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_a_partition_is_judged_by_what_was_seen(about: str, seen: list[Look], expected: Status) -> None:
    assert judge(seen) is expected, about


def test_a_group_stands_as_its_worst_partition() -> None:
    assert worst([]) is Status.FINE
    assert worst([Status.FINE, Status.STALLED, Status.FALLING_BEHIND]) is Status.STALLED


@given(st.lists(st.builds(Look, st.none() | st.integers(0, 100), st.integers(-5, 100), st.booleans()), max_size=25))
def test_who_had_nothing_waiting_is_fine(seen: list[Look]) -> None:
    assert judge([*seen, Look(100, 0)]) is Status.FINE
