"""Trust, as docs/rules.md reads it, over a dictionary that is one agent's row."""

from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

from .numbers import CEILING, COMPLETED, CREATION, DAY_MS, DECAY, FAILED, LOWER, REGISTRATION, VIOLATION

Row = dict[str, Any]
FULL = 1_000_000


def new_row(now: int) -> Row:
    """A key seen for the first time: unregistered, T0, score 0."""
    return {
        "points": 0, "told": 0, "last": None, "since": now, "tier": 0, "registered": False, "suspended": False,
        "retired": False, "class": "black_box", "losses": 0, "why": "none",
    }  # fmt: skip


def status(row: Row) -> str:
    """The first that holds."""
    for name in ("retired", "suspended"):
        if row[name]:
            return name
    return "active" if row["registered"] else "unregistered"


def factor(days: int) -> Fraction:
    """What is left of the points after `days` without an event."""
    for (d0, f0), (d1, f1) in pairwise(DECAY):
        if days < d1:
            return f0 + (f1 - f0) * Fraction(days - d0, d1 - d0)
    return DECAY[-1][1]


def delta_of(event: dict[str, Any]) -> int:
    """The event's own delta in thousandths, losses tripled."""
    kind, delta = event["event_type"], Fraction(0)
    if kind == "execution_completed":
        delta = Fraction(COMPLETED[event["risk"] or "medium"] * 1000)
    elif kind == "execution_failed":
        delta = Fraction(FAILED[event["risk"] or "medium"] * 1000)
    elif kind == "security_violation":
        delta = Fraction(VIOLATION[event["severity"] or "minor"] * 1000)
    elif kind == "security_incident":
        delta = Fraction(VIOLATION["critical"] * 1000)
    elif kind == "trust_signal" and event["signal_weight"] is not None:
        delta = Fraction(round(Fraction(10_000.0 * max(-1.0, min(1.0, event["signal_weight"])))))
    elif kind in ("feedback_positive", "feedback_negative"):
        delta = Fraction(2000 if kind == "feedback_positive" else -2000)
    elif kind in ("approval_granted", "approval_denied") and event["escalation"]:
        delta = Fraction(2000 if event["escalation"] == "right" else -5000)
    return int(delta * 3 if delta < 0 else delta)


def tier_of(points: int, tier: int) -> int:
    """Down with 25 points of hysteresis, then up without."""
    while tier > 0 and points < (LOWER[tier] - 25) * 1000:
        tier -= 1
    while tier < 5 and points >= LOWER[tier + 1] * 1000:
        tier += 1
    return tier


def decide(row: Row, event: dict[str, Any], now: int) -> list[dict[str, Any]]:
    """Move `row` on by one event; answers the changes to tell, in order, all with the tiers at its start and end."""
    changes: list[dict[str, Any]] = []
    before, tier = row["points"], row["tier"]
    if row["last"] is not None:
        row["points"] = floor(row["points"] * factor((now - row["last"]) // DAY_MS))
    decayed = row["points"]
    if decayed != before:
        tell_score(row, "decay", changes)
    known = row["registered"]
    moved = apply(row, event)
    if event["event_type"] != "agent_registered" or not known:
        set_class(row, event)
    uncut = row["points"]
    row["points"] = min(row["points"], CEILING[row["class"]] * 1000)
    cause = cause_of(event, decayed != before, moved, row["points"] != uncut)
    if row["points"] != before:
        row["why"] = cause
    tell_score(row, cause, changes)
    tell_tier(row, before, cause, now, changes)
    row["last"] = now
    return [{**change, "tier_before": tier, "tier_after": row["tier"]} for change in changes]


def cause_of(event: dict[str, Any], decayed: bool, moved: bool, cut: bool) -> str:
    """Why the points are what they are after the event."""
    if cut and not moved:
        return "ceiling"
    if decayed and not moved:
        return "decay"
    return str(event["event_type"])


def tell_score(row: Row, cause: str, changes: list[dict[str, Any]]) -> None:
    """Tell a score that is five points from the last one told."""
    if abs(row["points"] - row["told"]) >= 5000:
        changes.append({"kind": "score_changed", "before": row["told"], "after": row["points"], "cause": cause})
        row["told"] = row["points"]


def tell_tier(row: Row, before: int, cause: str, now: int, changes: list[dict[str, Any]]) -> None:
    """Tell every change of the tier."""
    tier = tier_of(row["points"], row["tier"])
    if tier != row["tier"]:
        changes.append({"kind": "tier_changed", "before": before, "after": row["points"], "cause": cause})
        row["tier"], row["since"] = tier, now


def apply(row: Row, event: dict[str, Any]) -> bool:
    """Registration, delta and lifecycle; answers whether they changed the points."""
    kind, points = event["event_type"], row["points"]
    if kind == "agent_registered" and not row["registered"]:
        row["registered"] = True
        start = (REGISTRATION + CREATION[event["creation"] or "fresh"]) * 1000 + row["losses"]
        row["points"] = max(0, min(FULL, start))
    elif kind == "agent_suspended" and not row["retired"]:
        row["suspended"] = True
    elif kind == "agent_reinstated" and row["suspended"] and not row["retired"]:
        row["suspended"], row["points"] = False, 0
    elif kind == "agent_retired":
        row["retired"] = True
    else:
        add(row, delta_of(event))
    return bool(row["points"] != points)


def add(row: Row, delta: int) -> None:
    """A delta on a row of any status."""
    where = status(row)
    if where == "unregistered":
        row["losses"] += min(0, delta)
    elif where == "active":
        row["points"] = max(0, min(FULL, row["points"] + delta))
        if delta < 0 and row["points"] == 0:
            row["suspended"] = True


def set_class(row: Row, event: dict[str, Any]) -> None:
    """Some events carry the observability class."""
    if event["event_type"] in ("agent_registered", "agent_updated", "observability_changed"):
        row["class"] = event["observability"] or row["class"]
