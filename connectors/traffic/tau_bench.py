"""Runs of tau-bench as traffic: a conversation of a real agent with its tool calls, tool errors and reward.

The file (sierra-research/tau-bench, MIT; JSON, gzip or plain) is a list of runs. A task of the benchmark is one agent
here, its trials are that agent's work in order. Runs carry no times: a clock is invented by the rules below, which
docs/traces.md tells. User names become pseudonyms. The same file always gives the same events.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .stretch import SOURCES
from .trace import Event, Trace, TraceError, text_of

KAIZEN, ANCHOR, AURAIS = SOURCES
TENANT = "tau-bench"
START = 1_715_785_200_000
"""15 May 2024, 15:00 UTC: the day the benchmark's policy says it is."""
RUN_EVERY_MS = 45_000
TURN_MS = {"user": 8_000, "assistant": 2_000, "tool": 400}
"""Time before a message of each role."""
MS_A_CHARACTER = 5
"""Time an assistant takes a character: some 50 tokens a second."""

WRITES = ("book_", "cancel_", "update_", "modify_", "exchange_", "return_", "send_")
ESCALATES = "transfer_to_human_agents"
_ERROR_LENGTH = 200


def read(path: Path) -> Trace:
    """The traffic of the file; TraceError names the run that is not as the format has it."""
    data, known = text_of(path), set[str]()
    try:
        runs = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        ordered = sorted(runs, key=lambda run: (run["trial"], run["task_id"]))
    except (ValueError, OSError, EOFError, KeyError, TypeError) as error:
        raise TraceError(
            f"{path}: a tau-bench file is a JSON list of runs with trial and task_id: {error!r}"
        ) from error
    return Trace(event for number, run in enumerate(ordered) for event in _checked(path, number, run, known))


def _checked(path: Path, number: int, run: Mapping[str, Any], known: set[str]) -> list[Event]:
    try:
        return list(_Run(number, run).events(known))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        place = f"trial {run['trial']}, task {run['task_id']}"
        raise TraceError(f"{path}: run of {place} lacks what a run has: {error!r}") from error


class _Run:
    """One run being told: its clock, its numbering of events, its agent."""

    def __init__(self, number: int, run: Mapping[str, Any]) -> None:
        self._run = run
        self._ms = START + number * RUN_EVERY_MS
        self._count = 0
        self._agent = f"airline-{int(run['task_id']):03d}"
        self._task = f"tau-{run['trial']}-{int(run['task_id']):03d}"
        user = hashlib.sha256(str(run["info"]["task"]["user_id"]).encode()).hexdigest()[:16]
        self._person = {"user": f"u-{user}", "session": self._task}
        self._handed_over = False

    def events(self, known: set[str]) -> Iterator[Event]:
        """All events of the run, in order; an agent that is not `known` yet registers first."""
        if self._agent not in known:
            known.add(self._agent)
            yield self._event(ANCHOR, "agent.registered", creation="fresh")
        yield self._event(AURAIS, "session.started", **self._person)
        for message in self._run["traj"]:
            if message["role"] in TURN_MS:
                self._ms += TURN_MS[message["role"]]
                yield from self._message(message)
        yield from self._end(float(self._run["reward"]) == 1.0)

    def _message(self, message: Mapping[str, Any]) -> Iterator[Event]:
        text = message.get("content") or ""
        if message["role"] == "user":
            yield self._event(AURAIS, "request.submitted", request_kind="airline", **self._person)
        elif message["role"] == "tool":
            yield self._outcome(message["name"], text)
        else:
            self._ms += len(text) * MS_A_CHARACTER
            for call in message.get("tool_calls") or ():
                yield from self._call(call["function"]["name"])

    def _call(self, tool: str) -> Iterator[Event]:
        says = self._tool(tool)
        yield self._event(KAIZEN, "intent.declared", intent=f"call {tool}", **says)
        if tool == ESCALATES:
            self._handed_over = True
            yield self._event(KAIZEN, "policy.escalated", decision="ESCALATE", **says)
        yield self._event(KAIZEN, "execution.started", **says)

    def _outcome(self, tool: str, text: str) -> Event:
        if text.startswith("Error"):
            return self._event(KAIZEN, "execution.failed", error=text[:_ERROR_LENGTH], **self._tool(tool))
        return self._event(KAIZEN, "execution.completed", **self._tool(tool))

    def _end(self, rewarded: bool) -> Iterator[Event]:
        self._ms += TURN_MS["user"]
        if self._handed_over:
            word = "right" if rewarded else "needless"
            yield self._event(AURAIS, "approval.granted", escalation=word, **self._person)
        feedback = ("feedback.positive", 5) if rewarded else ("feedback.negative", 1)
        yield self._event(AURAIS, feedback[0], rating=feedback[1], **self._person)
        yield self._event(AURAIS, "session.ended", **self._person)
        yield self._event(
            ANCHOR, "trust.signal", signal_kind="tau-bench reward", signal_weight=1.0 if rewarded else -1.0
        )

    def _tool(self, tool: str) -> dict[str, Any]:
        risk = "high" if tool.startswith(WRITES) else "low"
        return {"action": f"tool:{tool}", "risk": risk, "component": "tools", "model": "gpt-4o", "user_facing": True}

    def _event(self, topic: str, event_type: str, **says: Any) -> Event:
        event_id = f"{self._task}-{self._count:03d}"
        self._count += 1
        return Event(topic, self._ms, TENANT, self._agent, event_type, event_id, {"correlation_id": self._task} | says)
