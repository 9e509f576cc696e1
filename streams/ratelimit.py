"""Rate limits: whether an agent that asks for capacity gets it now.

A token bucket kept as one number, the theoretical arrival time (GCRA, ITU-T I.371), in integer microseconds; its speed
and size come with the agent's tier. An agent that keeps running into its bucket is throttled, each time for longer.
Rules and readings: docs/rules.md, "Rate limits". A row of zeros is an agent without an event.
"""

from __future__ import annotations

from fractions import Fraction

import numba
import numpy as np
from numpy.typing import NDArray

from schemas.event_types import EventType
from schemas.kernels import helper, kernel
from schemas.prefetch import AHEAD, prefetch

from .policy import Policy
from .policy_model import TIERS
from .trust import RETIRED_STATUS, SUSPENDED_STATUS

LIMIT = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("tat_us", np.int64),  # theoretical arrival time: when the bucket will be full; 0: no event yet
                ("throttled_until_us", np.int64),
                ("opened", np.int64),  # ms, when the window of violations was opened
                ("violations", np.int32),
                ("tier", np.int8),  # tier of the bucket
            ],
            align=True,
        ),
    )
)

ALLOW, DENY, THROTTLE = range(3)
"""Index in the Avro enum `LimitDecision`."""
BUCKET_LIMIT, THROTTLE_LIMIT, SUSPENSION_LIMIT = range(3)
"""Index in the Avro enum `Limit`."""

INTENT_DECLARED = int(EventType.INTENT_DECLARED)
EXECUTION_STARTED = int(EventType.EXECUTION_STARTED)
REQUEST_SUBMITTED = int(EventType.REQUEST_SUBMITTED)

LONGEST_SHIFT = 30
"""Doublings after which every throttle is the longest."""


PARAMETERS = np.dtype(
    (
        np.record,
        [
            ("interval", np.int64, (TIERS,)),  # us in which a bucket earns one request, T of the rule
            ("burst", np.int64, (TIERS,)),  # us, (capacity - 1) T
            ("violations", np.int64),
            ("window", np.int64),  # ms
            ("throttle", np.int64),  # us
            ("longest", np.int64),  # us
        ],
    )
)
"""The policy in integers."""


def compile_policy(policy: Policy) -> NDArray[np.void]:
    """The numbers of `policy.limits` as the kernel takes them: one element of PARAMETERS."""
    rules, made = policy.limits, np.zeros(1, PARAMETERS)
    p = made[0]
    refill = rules.refill_per_s if rules.by_tier else [rules.flat_refill_per_s] * TIERS
    p.interval = [round(1_000_000 / Fraction(speed)) for speed in refill]
    p.burst = p.interval * (np.array(rules.capacity if rules.by_tier else rules.flat_capacity) - 1)
    p.violations = rules.violations
    p.window = rules.window_s * 1000
    p.throttle, p.longest = rules.throttle_s * 1_000_000, rules.longest_throttle_s * 1_000_000
    return made


@helper
def asks_for_capacity(kind):  # type: ignore[no-untyped-def]
    """Whether an event of this type wants to run something."""
    return kind in (INTENT_DECLARED, EXECUTION_STARTED, REQUEST_SUBMITTED)


_I = numba.int64[::1]
_SIGNATURE = numba.void(numba.from_dtype(LIMIT)[::1], *(_I,) * 5, numba.from_dtype(PARAMETERS)[::1], *(_I,) * 8)


@kernel(_SIGNATURE)
def decide(  # type: ignore[no-untyped-def]
    table,
    row,
    time,
    kind,
    tier,
    status,
    policy,
    decision,
    asked,
    limit,
    remaining,
    retry_after,
    retry_known,
    reset,
    started,
):
    """Decide the requests among n events in order, changing `table` (LIMIT).

    In, shape (n,): `row` of each event's agent, negative for an event not to decide; `kind` unified event type; `time`
    (ms), `tier` and `status` as the trust stage decided them; `policy` of `compile_policy`. Out, shape (n,), untouched
    for events not decided: `decision` and `asked` (its presence: 1 for a request, else 0 and all the others are 0),
    `limit` that bound, `remaining` requests, `retry_after` (us) and `retry_known` (its presence), `reset` (us), and
    `started`: 0, or the number of violations with which a throttle began.
    """
    p = policy[0]
    for i in range(len(row)):
        if row[i] < 0:
            continue
        prefetch(table, row, i + AHEAD)
        agent = table[row[i]]
        now = time[i] * 1000
        t = tier[i]

        # 1. The bucket follows the tier: what is owed is owed at the new speed.
        if agent.tat_us == 0:
            agent.tat_us = now
            agent.tier = t
        elif agent.tier != t:
            owed = max(agent.tat_us - now, 0)
            agent.tat_us = now + owed * p.interval[t] // p.interval[agent.tier]
            agent.tier = t

        asked[i] = asks_for_capacity(kind[i])
        decision[i] = 0
        limit[i] = 0
        remaining[i] = 0
        retry_after[i] = 0
        retry_known[i] = 0
        reset[i] = 0
        started[i] = 0
        if not asked[i]:
            continue

        # 2. The first limit that binds: suspension, throttle, bucket.
        slack = p.burst[t] - max(agent.tat_us - now, 0)
        if status[i] == SUSPENDED_STATUS or status[i] == RETIRED_STATUS:
            decision[i] = DENY
            limit[i] = SUSPENSION_LIMIT
        elif now < agent.throttled_until_us:
            decision[i] = THROTTLE
            limit[i] = THROTTLE_LIMIT
            retry_known[i] = 1
            retry_after[i] = agent.throttled_until_us - now
        elif slack >= 0:
            decision[i] = ALLOW
            agent.tat_us = max(agent.tat_us, now) + p.interval[t]
            slack -= p.interval[t]
            remaining[i] = slack // p.interval[t] + 1 if slack >= 0 else 0
            retry_known[i] = 1
        else:
            # 3. A violation: counted in a window that the first one opens; from the policy's number on, a throttle.
            decision[i] = DENY
            if agent.violations == 0 or time[i] >= agent.opened + p.window:
                agent.opened = time[i]
                agent.violations = 1
            else:
                agent.violations += 1
            if agent.violations >= p.violations:
                doublings = min(agent.violations - p.violations, LONGEST_SHIFT)
                agent.throttled_until_us = now + min(p.throttle << doublings, p.longest)
                started[i] = agent.violations
            retry_known[i] = 1
            retry_after[i] = max(-slack, agent.throttled_until_us - now)
        reset[i] = max(agent.tat_us - now, 0)
