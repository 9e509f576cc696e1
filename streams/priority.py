"""Cognitive priority: how much an event deserves attention, being unlike the agent's habits or with much at stake.

Habits are the decayed counts of the event types an agent shows, and the mean gap between events of a type; eight types
are kept. All in integers: weights of 2^-20 events, shares of 1e-6, rounded half to even. Rules and readings:
docs/rules.md, "Priority". A row of zeros is an agent without an event.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.event_types import EventType
from schemas.kernels import helper, kernel
from schemas.prefetch import AHEAD, prefetch

from .facts import amount, flag
from .half_life import BITS, HALF_LIFE, STEPS
from .policy import Policy
from .rounding import half_even, nearest

KEPT_TYPES = 8
"""Event types that a row remembers; fixed by the format of the state."""

HABIT = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("ref", np.int64),  # ms, time that the weights refer to; 0: no event yet
                ("kept", np.int8),  # slots in use, always the first ones; the others have weight 0
                ("type", np.int8, (KEPT_TYPES,)),  # event type of each slot
                ("weight", np.int64, (KEPT_TYPES,)),  # 2^-20 events
                ("last", np.int64, (KEPT_TYPES,)),  # ms, last event of the type
                ("mean", np.int64, (KEPT_TYPES,)),  # ms, mean gap; 0 after the first event
            ],
            align=True,
        ),
    )
)
"""Read `mean` as an item, habit["mean"]: numpy's records have a method of that name."""

ONE = 1 << 20
"""One event as a weight."""
MOST = 1 << 38
"""The highest weight: products with the table of half-lives stay below 2^63."""
MICRO = 1_000_000

URGENT, NORMAL, BACKGROUND = range(3)
"""Pools, in the order of the topics."""

FIELDS = ("user_facing", "security_relevant", "revenue_usd")
"""What the stage reads of an event, in the order of `where`."""
USER_FACING, SECURITY_RELEVANT, REVENUE = range(3)

OLDEST_SHIFT = 62


PARAMETERS = np.dtype(
    (
        np.record,
        [
            ("half_life", np.int64, (STEPS,)),
            ("override", np.int64, (len(EventType),)),  # impact whatever the sum, -1 for none
            ("step", np.int64),  # ms
            ("prior", np.int64),  # 2^-20 events
            ("rarity", np.int64),
            ("timing", np.int64),
            ("every", np.int64),
            ("user_facing", np.int64),
            ("security_relevant", np.int64),
            ("revenue", np.float64),  # 1e-6 a dollar
            ("revenue_most", np.int64),
            ("surprise_weight", np.int64),
            ("impact_weight", np.int64),
            ("urgent", np.int64),
            ("normal", np.int64),
        ],
    )
)
"""The policy in integers of 1e-6, except where another unit is said."""


def compile_policy(policy: Policy) -> NDArray[np.void]:
    """The numbers of `policy.priority` as the kernel takes them: one element of PARAMETERS."""
    rules, made = policy.priority, np.zeros(1, PARAMETERS)
    p, surprise, impact = made[0], rules.surprise, rules.impact
    p.half_life, p.step, p.prior = HALF_LIFE, surprise.step_ms, surprise.prior_kinds * ONE
    p.rarity, p.timing = _micro(surprise.rarity), _micro(surprise.timing)
    p.every, p.user_facing, p.security_relevant = map(
        _micro, (impact.base, impact.user_facing, impact.security_relevant)
    )
    p.revenue, p.revenue_most = float(MICRO / Fraction(impact.revenue_scale)), _micro(impact.revenue_most)
    p.override = -1
    for kind in (EventType.SECURITY_VIOLATION, EventType.SECURITY_INCIDENT):
        p.override[kind] = _micro(impact.violation)
    p.override[EventType.AGENT_SUSPENDED] = _micro(impact.suspended)
    p.surprise_weight, p.impact_weight = _micro(rules.surprise_weight), _micro(rules.impact_weight)
    p.urgent, p.normal = _micro(rules.pools.urgent), _micro(rules.pools.normal)
    return made


def _micro(share: Decimal) -> int:
    return int(share * MICRO)


@helper
def age(habit, now, p):  # type: ignore[no-untyped-def]
    """Let the weights decay by the whole steps up to `now`; answers their sum."""
    if now - habit.ref >= p.step:
        steps = (now - habit.ref) // p.step
        habit.ref += steps * p.step
        factor = p.half_life[steps % STEPS]
        halvings = min(steps // STEPS, OLDEST_SHIFT)
        for k in range(KEPT_TYPES):
            habit.weight[k] = (habit.weight[k] * factor >> BITS) >> halvings
    total = 0
    for k in range(KEPT_TYPES):
        total += habit.weight[k]
    return total


@helper
def slot_of(habit, kind):  # type: ignore[no-untyped-def]
    """Slot in which the row keeps this event type, -1 when it does not.

    Looks at all slots, because where to stop cannot be guessed. The first match counts: one in use before a free one.
    """
    slot = KEPT_TYPES
    for k in range(KEPT_TYPES - 1, -1, -1):
        if habit.type[k] == kind:
            slot = k
    return slot if slot < habit.kept else -1


@helper
def free_slot(habit):  # type: ignore[no-untyped-def]
    """Slot for a type not kept: a free one, else that of the lightest type (tie: higher number)."""
    if habit.kept < KEPT_TYPES:
        habit.kept += 1
        return habit.kept - 1
    lightest = 0
    for k in range(1, KEPT_TYPES):
        heavier = habit.weight[k] > habit.weight[lightest]
        if not heavier and (habit.weight[k] < habit.weight[lightest] or habit.type[k] > habit.type[lightest]):
            lightest = k
    return lightest


@helper
def impact_of(kind, facts, doubles, where, i, p):  # type: ignore[no-untyped-def]
    """What is at stake with event `i`, in 1e-6."""
    if p.override[kind] >= 0:
        return p.override[kind]
    revenue = amount(facts, doubles, where[REVENUE], i) * p.revenue
    total = p.every
    total += p.user_facing * flag(facts, where[USER_FACING], i)
    total += p.security_relevant * flag(facts, where[SECURITY_RELEVANT], i)
    total += min(nearest(min(max(revenue, -1_000_000.0), 1_000_000.0)), p.revenue_most)
    return min(max(total, 0), MICRO)


_I = numba.int64[::1]
_I2 = numba.int64[:, ::1]
_D = numba.float64[::1]
_SIGNATURE = numba.void(
    numba.from_dtype(HABIT)[::1], _I, _I, _I, _I2, _I, numba.from_dtype(PARAMETERS)[::1], _D, _D, _D, _I
)


@kernel(_SIGNATURE)
def decide(table, row, time, kind, facts, where, policy, score, surprise, impact, pool):  # type: ignore[no-untyped-def]
    """Give each of n events its pool, in order, changing `table` (HABIT).

    In, shape (n,): `row` of each event's agent, negative for an event not to decide; `kind` unified event type; `time`
    (ms) as the trust stage decided it. `facts` is the frame's matrix, `where` of `facts.where(layout, FIELDS)`,
    `policy` of `compile_policy`. Out, shape (n,), untouched for events not decided: `score`, `surprise` and `impact`
    0..1 (whole 1e-6 as doubles), `pool`.
    """
    doubles = facts.view(np.float64)
    p = policy[0]
    for i in range(len(row)):
        if row[i] < 0:
            continue
        prefetch(table, row, i + AHEAD)
        habit = table[row[i]]
        now = time[i]
        if habit.ref == 0:
            habit.ref = now

        # 1. What the agent usually does, up to now.
        total = age(habit, now, p)
        k = slot_of(habit, kind[i])

        # 2. The deviation from the usual gap, and the habit as it is from now on.
        weight = 0
        t = MICRO
        if k < 0:
            k = free_slot(habit)
            habit.type[k] = kind[i]
            habit["mean"][k] = 0
        else:
            weight = habit.weight[k]
            gap = now - habit.last[k]
            mean = habit["mean"][k]
            if mean == 0:
                t = 0
                habit["mean"][k] = max(gap, 1)
            else:
                off = abs(gap - mean)
                t = half_even(off * MICRO, mean) if off < mean else MICRO
                habit["mean"][k] = max(mean + (gap - mean) // 8, 1)
        habit.weight[k] = min(weight + ONE, MOST)
        habit.last[k] = now

        # 3. Surprise, impact, score, pool.
        f = half_even((weight + ONE) * MICRO, total + p.prior)
        s = min(max(half_even(p.rarity * (MICRO - f) + p.timing * t, MICRO), 0), MICRO)
        m = impact_of(kind[i], facts, doubles, where, i, p)
        worth = half_even(p.surprise_weight * s + p.impact_weight * m, MICRO)
        score[i] = worth / MICRO
        surprise[i] = s / MICRO
        impact[i] = m / MICRO
        pool[i] = URGENT if worth >= p.urgent else NORMAL if worth >= p.normal else BACKGROUND
