"""Which events may be dropped first when nothing else helps: those that change no decision.

An event of these types moves no trust, asks for no capacity and is of no security; when nobody waits for it either, it
is background. It is the sender's own estimate: what a worker makes of an event depends on the agent's history.
"""

from __future__ import annotations

from typing import Final

from .events import Event, KaizenEvent

BACKGROUND: Final = {
    "policy_evaluated",
    "policy_decision",
    "access_granted",
    "agent_updated",
    "request_cancelled",
    "session_started",
    "session_ended",
}


def is_background(event: Event) -> bool:
    """Whether `event` is of little consequence."""
    if event.event_type not in BACKGROUND:
        return False
    return not (isinstance(event, KaizenEvent) and (event.user_facing or event.security_relevant))
