"""Cognitive priority: how surprising an event is for its agent, and how much it matters."""

from fractions import Fraction
from typing import Any

from .numbers import HALF_LIFE, TYPES

Row = dict[str, Any]
ONE = 2**20
MILLION = 1_000_000


def new_row(now: int) -> Row:
    """No habits yet. `types` lists the kept types in slot order."""
    return {"ref": now, "types": []}


def decide(row: Row, event: dict[str, Any], now: int) -> dict[str, Any]:
    """Surprise, impact, score (integers of 1e-6) and pool of one event; learns the event."""
    decay(row, now)
    kind = event["event_type"]
    kept = next((slot for slot in row["types"] if slot["type"] == kind), None)
    weight, total = (kept["weight"] if kept else 0), sum(slot["weight"] for slot in row["types"])
    f = round(Fraction((weight + ONE) * MILLION, total + 32 * ONE))
    t = timing(kept, now)
    surprise = round(Fraction(max(0, min(MILLION * MILLION, 700_000 * (MILLION - f) + 300_000 * t)), MILLION))
    learn(row, kept, kind, now)
    impact = impact_of(event)
    score = round(Fraction(600_000 * surprise + 400_000 * impact, MILLION))
    pool = "urgent" if score >= 800_000 else "normal" if score >= 400_000 else "background"
    return {"surprise": surprise, "impact": impact, "score": score, "pool": pool}


def decay(row: Row, now: int) -> None:
    """Half of every weight an hour, in steps of whole seconds."""
    s = (now - row["ref"]) // 1000
    row["ref"] += 1000 * s
    for slot in row["types"]:
        slot["weight"] = (slot["weight"] * HALF_LIFE[s % 3600] >> 24) >> min(s // 3600, 62)


def timing(kept: Row | None, now: int) -> int:
    """How unusual the gap since the last event of the type is; moves the mean on."""
    if kept is None:
        return MILLION
    gap = now - kept["last"]
    if kept["mean"] == 0:
        kept["mean"] = max(1, gap)
        return 0
    mean = kept["mean"]
    t = round(min(Fraction(MILLION), Fraction(abs(gap - mean) * MILLION, mean)))
    kept["mean"] = max(1, mean + (gap - mean) // 8)
    return t


def learn(row: Row, kept: Row | None, kind: str, now: int) -> None:
    """Add the event to its type; a ninth type takes the place of the lightest."""
    if kept is None:
        kept = {"type": kind, "weight": 0, "mean": 0, "last": now}
        if len(row["types"]) < 8:
            row["types"].append(kept)
        else:
            lightest = min(row["types"], key=lambda slot: (slot["weight"], -TYPES.index(slot["type"])))
            row["types"][row["types"].index(lightest)] = kept
    kept["weight"] = min(kept["weight"] + ONE, 2**38)
    kept["last"] = now


def impact_of(event: dict[str, Any]) -> int:
    """How much the event matters, in 1e-6."""
    kind = event["event_type"]
    if kind in ("security_violation", "security_incident"):
        return MILLION
    if kind == "agent_suspended":
        return 900_000
    revenue = event.get("revenue_usd")
    money = 0 if revenue is None else round(max(Fraction(-MILLION), min(Fraction(300_000), Fraction(revenue))))
    points = 500_000 + 300_000 * bool(event.get("user_facing")) + 200_000 * bool(event.get("security_relevant"))
    return max(0, min(MILLION, points + money))
