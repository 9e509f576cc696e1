"""Hypothesis strategies for events and policies."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from schemas.event_types import EventType

from .stages import DAY, HOUR, T0, Event

gaps = st.one_of(
    st.integers(-5_000, 5_000),
    st.integers(0, 2 * HOUR),
    st.integers(0, 20 * DAY),
    st.sampled_from([0, 1, 999, 1_000, HOUR, DAY - 1, DAY, 7 * DAY, 182 * DAY, 400 * DAY]),
)
"""Between record timestamps; they may also go backwards."""

weights = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.00005, -0.00005, 0.00015, -0.00015, 2.0, -1e300, 1e300, 5e-324]),
    st.floats(-1, 1),
)
money = st.one_of(
    st.sampled_from([0.5, 1.5, 2.5, -0.5, 299_999.5, 300_000.0, 1e308, -1e308, -0.0]), st.floats(-2e6, 2e6)
)


def maybe(last: int) -> st.SearchStrategy[int | None]:
    """Index of an enum with symbols 0..last, or null."""
    return st.none() | st.integers(0, last)


@st.composite
def histories(
    draw: st.DrawFn, *, agents: int = 1, most: int = 40, kinds: Sequence[EventType] = tuple(EventType)
) -> list[Event]:
    """Up to `most` events in the order of their offsets."""
    drawn = draw(
        st.lists(
            st.builds(
                Event,
                kind=st.sampled_from(kinds),
                at=gaps,
                agent=st.integers(0, agents - 1),
                risk=maybe(3),
                severity=maybe(2),
                escalation=maybe(1),
                creation=maybe(4),
                observability=maybe(4),
                signal_weight=st.none() | weights,
                revenue_usd=st.none() | money,
                user_facing=st.booleans(),
                security_relevant=st.booleans(),
            ),
            min_size=1,
            max_size=most,
        )
    )
    return timed(drawn)


def timed(events: list[Event]) -> list[Event]:
    """Events whose `at` is a gap, laid out in time from T0 on."""
    now, laid = T0, []
    for event in events:
        now = max(now + event.at, 1)
        laid.append(Event(**{**vars(event), "at": now}))
    return laid
