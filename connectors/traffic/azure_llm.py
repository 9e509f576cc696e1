"""The Azure LLM inference trace as traffic: one request of a production service is one task of an agent.

The file (AzurePublicDataset, "Splitwise", CC-BY-4.0) has a line a request: TIMESTAMP, ContextTokens, GeneratedTokens.
Times and token counts are its own; agents, durations and prices are not in it and are assigned by the rules below,
which docs/traces.md tells. The same file always gives the same events.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from .generator import ZIPF
from .stretch import SOURCES
from .trace import Event, Trace, TraceError, text_of
from .words import scrambled

KAIZEN, ANCHOR, AURAIS = SOURCES
COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
AGENTS = 200
TENANT = "azure-llm"
MS_A_CONTEXT_TOKEN, MS_A_GENERATED_TOKEN = 0.3, 28.0
"""Rates of the GPUs of the paper, rounded: 1,000 tokens read in 0.3 s, 36 tokens written a second."""
DOLLARS_A_CONTEXT_TOKEN, DOLLARS_A_GENERATED_TOKEN = 3e-6, 15e-6


def read(path: Path) -> Trace:
    """The traffic of the file; TraceError names the line that is not as the format has it."""
    return Trace(_events(path))


def _events(path: Path) -> Iterator[Event]:
    rows = csv.reader(io.StringIO(text_of(path).decode("utf-8-sig", "replace")))
    if next(rows, None) != COLUMNS:
        raise TraceError(f"{path}:1: an Azure LLM trace begins with the line {','.join(COLUMNS)}")
    known: set[str] = set()
    for number, row in enumerate(rows):
        try:
            time, context, generated = row
            yield from _request(number, _ms(time), int(context), int(generated), known)
        except ValueError as error:
            raise TraceError(f"{path}:{number + 2}: not a time and two numbers of tokens: {row}") from error


def _request(number: int, ms: int, context: int, generated: int, known: set[str]) -> Iterator[Event]:
    """The events of request `number`, before them the registration of an agent that is not `known` yet."""
    agent = f"llm-{_agent(number):03d}"
    task = f"az-{number:06d}"
    duration = round(context * MS_A_CONTEXT_TOKEN + generated * MS_A_GENERATED_TOKEN, 1)
    if agent not in known:
        known.add(agent)
        yield Event(ANCHOR, ms, TENANT, agent, "agent.registered", f"{task}-0", {"creation": "fresh"})
    link = {"correlation_id": task}
    kaizen = link | {"component": "inference", "user_facing": True}
    used = {
        "duration_ms": duration,
        "tokens_in": context,
        "tokens_out": generated,
        "cost_usd": context * DOLLARS_A_CONTEXT_TOKEN + generated * DOLLARS_A_GENERATED_TOKEN,
    }
    yield Event(AURAIS, ms, TENANT, agent, "request.submitted", f"{task}-1", link | {"request_kind": "conversation"})
    yield Event(KAIZEN, ms, TENANT, agent, "execution.started", f"{task}-2", kaizen)
    yield Event(KAIZEN, ms + round(duration), TENANT, agent, "execution.completed", f"{task}-3", kaizen | used)


_SHARES = np.cumsum(np.arange(1, AGENTS + 1) ** -ZIPF)


def _agent(number: int) -> int:
    """Agent of a request: a draw by Zipf's law that depends on the request's number alone."""
    draw = float(scrambled(np.array([number + 1], np.uint64))[0]) / 2.0**64
    return int(np.searchsorted(_SHARES, draw * _SHARES[-1]))


def _ms(text: str) -> int:
    """Milliseconds of a time such as 2023-11-16 18:15:46.6805900, which is UTC."""
    whole, _, fraction = text.partition(".")
    seconds = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return int(seconds) * 1000 + int(fraction.ljust(3, "0")[:3])
