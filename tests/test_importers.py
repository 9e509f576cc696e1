"""Real traces become events by the documented mapping: small files of their form always, the real ones if there."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.traffic import azure_llm, tau_bench
from connectors.traffic.stretch import SOURCES, symbols_of
from connectors.traffic.trace import BLOCK, Event, Trace, TraceError

DATA = Path(__file__).parents[2] / "shared" / "data"
AZURE = DATA / "azure_llm_inference_conv.csv"
TAU = DATA / "tau_bench_gpt4o_airline.json.gz"

AZURE_LINES = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:50.99,1,0
"""


def message(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(tool: str) -> dict[str, Any]:
    return message("assistant", None, tool_calls=[{"id": "call_1", "function": {"name": tool, "arguments": "{}"}}])


def run(task: int, trial: int, reward: float, *messages: dict[str, Any]) -> dict[str, Any]:
    info = {"task": {"user_id": "ada_example_1"}}
    return {"task_id": task, "trial": trial, "reward": reward, "info": info, "traj": list(messages)}


RUNS = [
    run(4, 1, 1.0, message("user", "Again.")),
    run(
        4,
        0,
        0.0,
        message("system", "You are an airline agent."),
        message("user", "Cancel my flight."),
        message("assistant", "Which one?"),
        message("user", "That one."),
        call("cancel_reservation"),
        message("tool", "Error: reservation not found", name="cancel_reservation", tool_call_id="call_1"),
        call("transfer_to_human_agents"),
        message("tool", "Transfer successful", name="transfer_to_human_agents", tool_call_id="call_1"),
    ),
]


@pytest.fixture
def azure_file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE_LINES)
    return path


@pytest.fixture(params=["plain", "gzip"])
def tau_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "runs.json"
    data = json.dumps(RUNS).encode()
    path.write_bytes(gzip.compress(data) if request.param == "gzip" else data)
    return path


def kinds(trace: Trace) -> list[str]:
    return [event.event_type for event in trace.events]


def columns(trace: Trace) -> list[Mapping[str, Any]]:
    """The events read back from the columns, in order: null fields left out, numbers and symbols as they are."""
    rows: list[Mapping[str, Any]] = []
    for stretch in trace.stretches():
        found: dict[int, Mapping[str, Any]] = {}
        for part in stretch.parts:
            for i in range(part.frame.n):
                says = {c.name: value(part.frame, c, i) for c in part.frame.layout.columns}
                event_type = symbols_of(part.topic, "event_type")[says["event_type"]].replace("_", ".", 1)
                key = trace.fleet.key(int(part.agent[i])).decode()
                own = {"topic": part.topic, "ms": int(part.ts[i]), "key": key, "event_type": event_type}
                found[int(part.place[i])] = {k: v for k, v in (says | own).items() if v is not None}
        rows += [found[place] for place in range(stretch.n)]
    return rows


def value(frame: Any, column: Any, i: int) -> Any:
    if column.kind == "span":
        data = frame.bytes(column.name, i)
        return data if data is None or column.name == "attributes" else data.decode()
    if column.nullable and not frame.second(column.name)[i]:
        return None
    return float(frame.doubles(column.name)[i]) if column.kind == "double" else int(frame[column.name][i])


def test_an_azure_request_is_asked_for_started_and_completed(azure_file: Path) -> None:
    trace = azure_llm.read(azure_file)
    one = [row for row in columns(trace) if row.get("correlation_id") == "az-000000"]
    assert [row["event_type"] for row in one] == ["request.submitted", "execution.started", "execution.completed"]
    done = one[-1]
    assert (done["tokens_in"], done["tokens_out"], done["duration_ms"]) == (374, 44, 1344.2)
    assert done["ms"] - one[0]["ms"] == 1344
    assert one[0]["ms"] == 1_700_158_546_680
    assert "error" not in done
    assert "risk" not in done, "the trace does not say it"


def test_azure_agents_register_once_and_first(azure_file: Path) -> None:
    trace = azure_llm.read(azure_file)
    registered = [event.agent for event in trace.events if event.event_type == "agent.registered"]
    assert sorted(registered) == sorted({event.agent for event in trace.events})
    assert kinds(trace)[0] == "agent.registered"


@pytest.mark.parametrize(
    ("line", "place"), [("2023-11-16 18:15:46,1", ":5"), ("yesterday,1,2", ":5"), ("2023-11-16 18:15:46,many,2", ":5")]
)
def test_a_bad_azure_line_is_named(azure_file: Path, line: str, place: str) -> None:
    azure_file.write_text(AZURE_LINES + line + "\n")
    with pytest.raises(TraceError, match=place):
        azure_llm.read(azure_file)


def test_another_table_is_no_azure_trace(azure_file: Path) -> None:
    azure_file.write_text("a,b\n1,2\n")
    with pytest.raises(TraceError, match="TIMESTAMP"):
        azure_llm.read(azure_file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="none\\.csv"):
        azure_llm.read(tmp_path / "none.csv")


def test_a_tau_run_tells_its_calls_errors_and_reward(tau_file: Path) -> None:
    trace = tau_bench.read(tau_file)
    assert kinds(trace)[:-1] == [
        "agent.registered",
        "session.started",
        "request.submitted",
        "request.submitted",
        "intent.declared",
        "execution.started",
        "execution.failed",
        "intent.declared",
        "policy.escalated",
        "execution.started",
        "execution.completed",
        "approval.granted",
        "feedback.negative",
        "session.ended",
        "trust.signal",
        "session.started",
        "request.submitted",
        "feedback.positive",
        "session.ended",
    ]
    rows = columns(trace)
    failed = next(row for row in rows if row["event_type"] == "execution.failed")
    assert (failed["error"], failed["action"]) == ("Error: reservation not found", "tool:cancel_reservation")
    assert symbols_of(SOURCES[0], "risk")[failed["risk"]] == "high"
    approval = next(row for row in rows if row["event_type"] == "approval.granted")
    assert symbols_of(SOURCES[2], "escalation")[approval["escalation"]] == "needless"
    assert [row["signal_weight"] for row in rows if row["event_type"] == "trust.signal"] == [-1.0, 1.0]


def test_people_in_tau_runs_are_pseudonyms(tau_file: Path) -> None:
    rows = columns(tau_bench.read(tau_file))
    assert "ada_example" not in repr(rows)
    assert len({row["user"] for row in rows if "user" in row}) == 1


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', '[{"trial": 0}]', '[{"trial": 0, "task_id": 1}]', "[1]"])
def test_another_json_is_no_tau_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(TraceError, match="runs\\.json"):
        tau_bench.read(path)


def test_a_cut_gzip_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.json.gz"
    path.write_bytes(gzip.compress(json.dumps(RUNS).encode())[:-9])
    with pytest.raises(TraceError, match="runs\\.json"):
        tau_bench.read(path)


def test_columns_say_what_the_events_say(azure_file: Path) -> None:
    trace = azure_llm.read(azure_file)
    for event, row in zip(trace.events, columns(trace), strict=True):
        said = {"topic": event.topic, "ms": event.ms, "event_id": event.event_id, "event_type": event.event_type}
        assert row.items() >= (said | {"key": f"{event.tenant}/{event.agent}", "occurred_at": event.ms}).items()
        assert row.items() >= {name: v for name, v in event.says.items() if not isinstance(v, str)}.items()


def test_a_long_trace_comes_in_several_stretches() -> None:
    event = [Event(SOURCES[i % 3], i // 2, "t", f"a{i % 7}", "unknown", f"e{i}") for i in range(BLOCK + 5)]
    stretches = list(Trace(reversed(event)).stretches())
    assert [(one.first, one.n) for one in stretches] == [(0, BLOCK), (BLOCK, 5)]
    times = np.concatenate([part.ts for part in stretches[0].parts])
    assert times.max() == BLOCK // 2 - 1


def test_a_file_reads_the_same_twice(azure_file: Path, tau_file: Path) -> None:
    same_twice(azure_llm.read, azure_file)
    same_twice(tau_bench.read, tau_file)


def same_twice(read: Callable[[Path], Trace], path: Path) -> None:
    first, second = read(path), read(path)
    assert first.events == second.events
    assert len({event.event_id for event in first.events}) == len(first.events)
    for one, two in zip(first.stretches(), second.stretches(), strict=True):
        pairs = zip(one.parts, two.parts, strict=True)
        assert all(a.frame.matrix.tobytes() == b.frame.matrix.tobytes() for a, b in pairs)


if AZURE.exists():

    def test_the_real_azure_trace_is_whole() -> None:
        found = Counter(kinds(azure_llm.read(AZURE)))
        same_twice(azure_llm.read, AZURE)
        asked = ("request.submitted", "execution.started", "execution.completed")
        assert [found[kind] for kind in asked] == [19_366] * 3


if TAU.exists():

    def test_the_real_tau_runs_are_whole() -> None:
        found = Counter(kinds(tau_bench.read(TAU)))
        same_twice(tau_bench.read, TAU)
        assert found["execution.started"] == 1164
        assert found["execution.failed"] == 73
        assert (found["feedback.positive"], found["feedback.negative"]) == (84, 116)
