"""Rate limits: a virtual scheduling clock per agent (GCRA), in integer microseconds."""

from typing import Any

from .numbers import ASKS, CAPACITY, REFILL

Row = dict[str, Any]


def new_row(now_us: int, tier: int) -> Row:
    """The limiter of an agent at its first event."""
    return {"tat": now_us, "tier": tier, "violations": 0, "opened": 0, "throttled_until": 0}


def decide(row: Row, event: dict[str, Any], now: int, tier: int, status: str) -> dict[str, Any] | None:
    """Move the limiter on; answers a decision when the event asks for capacity. `now` in ms."""
    now_us = now * 1000
    if tier != row["tier"]:
        new, old = (1_000_000 // REFILL[t] for t in (tier, row["tier"]))
        row["tat"] = now_us + max(0, row["tat"] - now_us) * new // old
        row["tier"] = tier
    return ask(row, now, tier, status) if event["event_type"] in ASKS else None


def ask(row: Row, now: int, tier: int, status: str) -> dict[str, Any]:
    """Capacity for one request, or why not."""
    now_us, step, capacity = now * 1000, 1_000_000 // REFILL[tier], CAPACITY[tier]
    if status in ("suspended", "retired"):
        return answer(row, now_us, "deny", "suspension", 0, None)
    if now_us < row["throttled_until"]:
        return answer(row, now_us, "throttle", "throttle", 0, row["throttled_until"] - now_us)
    room = (capacity - 1) * step
    if max(row["tat"], now_us) - now_us <= room:
        row["tat"] = max(row["tat"], now_us) + step
        slack = room - (row["tat"] - now_us)
        return answer(row, now_us, "allow", "bucket", 0 if slack < 0 else slack // step + 1, 0)
    started = violate(row, now)
    wait = max(row["tat"], now_us) - now_us - room
    if started:
        wait = max(wait, row["throttled_until"] - now_us)
    return {**answer(row, now_us, "deny", "bucket", 0, wait), "throttle_started": started}


def violate(row: Row, now: int) -> bool:
    """Count a denial of the bucket; answers whether it starts a throttle."""
    if row["violations"] == 0 or now >= row["opened"] + 3_600_000:
        row["opened"], row["violations"] = now, 1
    else:
        row["violations"] += 1
    if row["violations"] < 3:
        return False
    seconds = min(30 * 2 ** (row["violations"] - 3), 3600)
    row["throttled_until"] = now * 1000 + seconds * 1_000_000
    return True


def answer(row: Row, now_us: int, decision: str, limit: str, remaining: int, retry_after: int | None) -> dict[str, Any]:
    """One decision in the words of `ratelimit.decisions`."""
    return {
        "decision": decision, "limit": limit, "remaining": remaining, "retry_after_us": retry_after,
        "reset_us": max(0, row["tat"] - now_us), "throttle_started": False,
    }  # fmt: skip
