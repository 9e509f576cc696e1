"""Trust: what an agent has earned, in thousandths of a score, and the tier that it opens.

At each event in order: decay of the idle days, the event's delta, the ceiling of what can be observed, the tier. Losing
is quick and gaining slow: an agent that fails once in ten times gains nothing, and a new name starts low. Rules and
readings: docs/rules.md, "Trust". A row of zeros is an agent without an event; decision times are above 0.
"""

from __future__ import annotations

from decimal import Decimal

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.columns import Longs
from schemas.event_types import CAUSE_CEILING, CAUSE_DECAY, CAUSE_OF_EVENT, EventType
from schemas.kernels import helper, kernel
from schemas.prefetch import AHEAD, prefetch

from .facts import amount, choice
from .policy import Policy
from .policy_model import LAST_DECAY_DAY, TIERS
from .reading import decay_table, decayed
from .rounding import half_even, nearest

TRUST = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("last", np.int64),  # ms, decision time of the last event; 0: none yet
                ("since", np.int64),  # ms, when the tier began
                ("losses", np.int64),  # thousandths, at most 0: what was lost before registration
                ("points", np.int32),
                ("told", np.int32),  # points last told in trust.changes
                ("tier", np.int8),
                ("observability", np.int8),
                ("flags", np.int8),  # REGISTERED | SUSPENDED | RETIRED
                ("why", np.int8),  # number of the cause of the last change of points
            ],
            align=True,
        ),
    )
)
"""Read `flags` as an item, agent["flags"]: numpy's records have an attribute of that name."""
REGISTERED, SUSPENDED, RETIRED = 1, 2, 4

ACTIVE_STATUS, UNREGISTERED_STATUS, SUSPENDED_STATUS, RETIRED_STATUS = range(4)
"""Index in the Avro enum `Status`."""

SCORE_CHANGED, TIER_CHANGED, BECAME_SUSPENDED = range(3)
"""Kinds of a row of changes; the first two are indices of the Avro enum of trust.changes, the third is the audit's."""

EVENT, KIND, BEFORE, AFTER, TIER_BEFORE, TIER_AFTER, CAUSE = range(7)
"""Rows of the matrix of changes."""
CHANGES_PER_EVENT = 4

FIELDS = ("risk", "severity", "escalation", "creation", "observability", "signal_weight")
"""What the stage reads of an event, in the order of `where`."""
CREATION, OBSERVABILITY, WEIGHT = 3, 4, 5

CLASSES = ("black_box", "gray_box", "white_box", "attested", "verified")
"""Symbols of the Avro enum `Observability`, which are the names of their ceilings in the policy."""

TOP = 1_000_000
"""The highest points: a score of 1000."""


PARAMETERS = np.dtype(
    (
        np.record,
        [
            ("decay", np.int64, (LAST_DECAY_DAY + 1, 2)),  # fraction per whole day idle
            ("graded_by", np.int64, (len(EventType),)),  # which of FIELDS grades the delta of a type, -1 for none
            ("delta", np.int64, (len(EventType), 5)),  # thousandths; columns: null, then the enum's order
            ("registration", np.int64, (6,)),  # base + creation; null, then the enum's order
            ("ceiling", np.int64, (5,)),
            ("lower", np.int64, (TIERS,)),  # points at which each tier begins
            ("signal", np.float64),  # thousandths of a signal of weight 1
            ("penalty", np.int64),  # factor of negative deltas, in thousandths
            ("hysteresis", np.int64),
            ("tell", np.int64),
        ],
    )
)
"""The policy in integers, points in thousandths."""


def compile_policy(policy: Policy) -> NDArray[np.void]:
    """The numbers of `policy.trust` as the kernel takes them: one element of PARAMETERS."""
    rules, made = policy.trust, np.zeros(1, PARAMETERS)
    p = made[0]
    p.decay = decay_table(policy)
    p.graded_by = -1
    for kind, grade in _GRADED.items():
        p.graded_by[kind] = FIELDS.index(grade)
    for kind, deltas in _deltas(policy).items():
        p.delta[kind, : len(deltas)] = deltas
    p.registration = _thousandths(*(rules.registration.base + extra for extra in _creation(policy)))
    p.ceiling = _thousandths(*(getattr(rules.ceiling, symbol) for symbol in CLASSES))
    p.lower = _thousandths(*rules.tiers.lower)
    p.signal = float(rules.deltas.signal * 1000)
    p.penalty, p.hysteresis, p.tell = _thousandths(rules.penalty, rules.tiers.hysteresis, rules.tell)
    return made


def _creation(policy: Policy) -> list[Decimal]:
    by = policy.trust.registration.creation
    return [by.fresh, by.fresh, by.cloned, by.evolved, by.promoted, by.imported]


_GRADED = {
    EventType.EXECUTION_COMPLETED: "risk",
    EventType.EXECUTION_FAILED: "risk",
    EventType.SECURITY_VIOLATION: "severity",
    EventType.APPROVAL_GRANTED: "escalation",
    EventType.APPROVAL_DENIED: "escalation",
}


def _deltas(policy: Policy) -> dict[EventType, Longs]:
    deltas = policy.trust.deltas
    done, failed, broken, asked = deltas.completed, deltas.failed, deltas.violation, deltas.escalation
    approval = _thousandths(Decimal(0), asked.right, asked.needless)
    return {
        EventType.EXECUTION_COMPLETED: _thousandths(done.medium, done.low, done.medium, done.high, done.critical),
        EventType.EXECUTION_FAILED: _thousandths(
            failed.medium, failed.low, failed.medium, failed.high, failed.critical
        ),
        EventType.SECURITY_VIOLATION: _thousandths(broken.minor, broken.minor, broken.major, broken.critical),
        EventType.SECURITY_INCIDENT: _thousandths(broken.critical),
        EventType.FEEDBACK_POSITIVE: _thousandths(deltas.feedback_positive),
        EventType.FEEDBACK_NEGATIVE: _thousandths(deltas.feedback_negative),
        EventType.APPROVAL_GRANTED: approval,
        EventType.APPROVAL_DENIED: approval,
    }


def _thousandths(*scores: Decimal) -> Longs:
    return np.array([int(score * 1000) for score in scores], np.int64)


SIGNAL = int(EventType.TRUST_SIGNAL)
REGISTERED_EVENT = int(EventType.AGENT_REGISTERED)
UPDATED_EVENT = int(EventType.AGENT_UPDATED)
OBSERVED_EVENT = int(EventType.OBSERVABILITY_CHANGED)
SUSPENDED_EVENT = int(EventType.AGENT_SUSPENDED)
REINSTATED_EVENT = int(EventType.AGENT_REINSTATED)
RETIRED_EVENT = int(EventType.AGENT_RETIRED)


@helper
def status_of(flags):  # type: ignore[no-untyped-def]
    """Index of the Avro enum `Status`: the first that holds of retired, suspended, unregistered, active."""
    if flags & RETIRED:
        return RETIRED_STATUS
    if flags & SUSPENDED:
        return SUSPENDED_STATUS
    return ACTIVE_STATUS if flags & REGISTERED else UNREGISTERED_STATUS


@helper
def delta_of(kind, facts, doubles, where, i, p):  # type: ignore[no-untyped-def]
    """Thousandths that event `i` is worth, negative ones multiplied."""
    if kind == SIGNAL:
        weight = amount(facts, doubles, where[WEIGHT], i)
        delta = nearest(p.signal * min(max(weight, -1.0), 1.0))
    else:
        field = p.graded_by[kind]
        grade = choice(facts, where[field], i) if field >= 0 else 0
        delta = p.delta[kind, grade]
    if delta < 0:
        delta = half_even(delta * p.penalty, 1000)
    return delta


@helper
def tier_of(tier, points, p):  # type: ignore[no-untyped-def]
    """The tier after `tier` at these points: down only when clearly below, up as soon as reached."""
    while tier > 0 and points < p.lower[tier] - p.hysteresis:
        tier -= 1
    while tier + 1 < TIERS and points >= p.lower[tier + 1]:
        tier += 1
    return tier


@helper
def tell(changes, used, i, kind, before, after, tier_before, tier_after, cause):  # type: ignore[no-untyped-def]
    """Write column `used` of the changes; answers how many are used now."""
    changes[EVENT, used] = i
    changes[KIND, used] = kind
    changes[BEFORE, used] = before
    changes[AFTER, used] = after
    changes[TIER_BEFORE, used] = tier_before
    changes[TIER_AFTER, used] = tier_after
    changes[CAUSE, used] = cause
    return used + 1


_I = numba.int64[::1]
_M = numba.int64[:, ::1]


@kernel(
    numba.int64(numba.from_dtype(TRUST)[::1], _I, _I, _I, _M, _I, numba.from_dtype(PARAMETERS)[::1], _I, _I, _I, _I, _M)
)
def decide(table, row, ts, kind, facts, where, policy, time, points, tier, status, changes):  # type: ignore[no-untyped-def]
    """Decide trust of n events in order, changing `table` (TRUST); answers how many columns of `changes` are used.

    In, shape (n,): `row` of each event's agent, negative for an event not to decide; `ts` record timestamp in ms;
    `kind` unified event type. `facts` is the frame's matrix, `where` of `facts.where(layout, FIELDS)`, `policy`
    of `compile_policy`. Out, shape (n,), untouched for events not decided: decision `time` in ms, `points` after the
    event, `tier`, `status`.
    `changes`, shape (7, CHANGES_PER_EVENT * n): rows EVENT (index), KIND, BEFORE, AFTER (points), TIER_BEFORE,
    TIER_AFTER, CAUSE.
    """
    doubles = facts.view(np.float64)
    p = policy[0]
    used = 0
    for i in range(len(row)):
        if row[i] < 0:
            continue
        prefetch(table, row, i + AHEAD)
        agent = table[row[i]]
        e = kind[i]
        now = max(ts[i], agent.last)
        if agent.last == 0:
            agent.since = now
        start = int(agent.points)
        flags = int(agent["flags"])
        tier_before = int(agent.tier)
        was_suspended = flags & SUSPENDED

        # 1. Decay of the days since the agent's last event.
        held = decayed(start, now - agent.last, p.decay)

        # 2. What the event does: register, steer the agent's status, or a delta for an agent that is free to act.
        acted = held
        first = False
        if e == REGISTERED_EVENT:
            first = flags & REGISTERED == 0
            if first:
                base = p.registration[choice(facts, where[CREATION], i)]
                acted = min(max(base + agent.losses, 0), TOP)
                flags |= REGISTERED
        elif e == REINSTATED_EVENT:
            if flags & (SUSPENDED | RETIRED) == SUSPENDED:
                acted = 0
                flags &= ~SUSPENDED
        elif e == SUSPENDED_EVENT:
            if flags & RETIRED == 0:
                flags |= SUSPENDED
        elif e == RETIRED_EVENT:
            flags |= RETIRED
        elif flags & (SUSPENDED | RETIRED) == 0:
            delta = delta_of(e, facts, doubles, where, i, p)
            if flags & REGISTERED:
                acted = min(max(held + delta, 0), TOP)
                if delta < 0 and acted == 0:
                    flags |= SUSPENDED
            elif delta < 0:
                agent.losses += delta

        # 3. The ceiling of what can be observed of the agent.
        if first or e in (UPDATED_EVENT, OBSERVED_EVENT):
            observed = choice(facts, where[OBSERVABILITY], i)
            if observed > 0:
                agent.observability = observed - 1
        after = min(acted, p.ceiling[agent.observability])

        # 4. The tier, and why the points are what they are.
        tier_after = tier_of(tier_before, after, p)
        if tier_after != tier_before:
            agent.since = now
        if acted != held:
            cause = CAUSE_OF_EVENT + e
        elif after != acted:
            cause = CAUSE_CEILING
        elif held != start:
            cause = CAUSE_DECAY
        else:
            cause = CAUSE_OF_EVENT + e
        if after != start:
            agent.why = cause

        # 5. Tell what is worth telling: the decay, the event, the tier, a suspension.
        known = int(agent.told)
        if held != start and abs(held - known) >= p.tell:
            used = tell(changes, used, i, SCORE_CHANGED, known, held, tier_before, tier_after, CAUSE_DECAY)
            known = held
        if abs(after - known) >= p.tell:
            used = tell(changes, used, i, SCORE_CHANGED, known, after, tier_before, tier_after, cause)
            known = after
        if tier_after != tier_before:
            used = tell(changes, used, i, TIER_CHANGED, start, after, tier_before, tier_after, cause)
        if flags & SUSPENDED and not was_suspended:
            used = tell(changes, used, i, BECAME_SUSPENDED, start, after, tier_before, tier_after, CAUSE_OF_EVENT + e)

        agent.last = now
        agent.points = after
        agent.told = known
        agent.tier = tier_after
        agent["flags"] = flags
        time[i] = now
        points[i] = after
        tier[i] = tier_after
        status[i] = status_of(flags)
    return used
