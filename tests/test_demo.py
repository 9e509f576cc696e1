"""The demo: its account finds every fault, its figures are the topics', and on a real Kafka everything adds up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from agents.cli.demo import _rate
from agents.cli.main import run
from agents.demo.observations import OBSERVED, POOLS, Observations
from agents.demo.plan import Plan, SourceUnknown
from agents.demo.publisher import Told
from agents.demo.pulse import Pulse, Rates
from agents.demo.report import Account, Latency
from agents.demo.tally import Conservation, Tally
from agents.demo.view import line, screen
from connectors.admin import TopicAdmin
from connectors.traffic.batches import Packer
from connectors.traffic.trace import TraceError
from schemas.catalog import LocalIds
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from streams.pipeline import Lane
from streams.policy import Policy
from tests.test_importers import AZURE_LINES, RUNS

PARTITIONS = 2


def longs(*values: int) -> Any:
    return np.array(values, np.int64)


def whole(places: dict[tuple[int, int], int]) -> Tally:
    """An account in which all is well."""
    tally = Tally()
    for place, end in places.items():
        tally.mark(place, np.arange(end))
        tally.read(place, 0, end)
    return tally


def test_conservation_holds_when_every_record_has_one_mark() -> None:
    ends = {(0, 0): 10, (1, 0): 5000, (2, 3): 1}
    found = whole(ends).conservation(ends)
    assert found.holds
    assert found.published == 5011


@given(st.integers(0, 99), st.sampled_from(["lost", "twice", "invented", "gap", "overlap"]))
@settings(max_examples=100, deadline=None)
def test_a_single_fault_is_found(offset: int, fault: str) -> None:
    ends = {(0, 0): 100}
    tally = Tally()
    tally.mark((0, 0), np.delete(np.arange(100), offset) if fault == "lost" else np.arange(100))
    if fault == "twice":
        tally.mark((0, 0), longs(offset))
    if fault == "invented":
        tally.mark((0, 0), longs(100 + offset))
    tally.read((0, 0), 0, 50)
    tally.read((0, 0), {"gap": 51, "overlap": 49}.get(fault, 50), 100)
    found = tally.conservation(ends)
    assert not found.holds
    assert "VIOLATED" in found.sentence()
    faults = {"lost": found.lost, "twice": found.twice, "invented": found.invented}
    assert faults == {name: int(name == fault) for name in faults}
    assert found.gaps == int(fault in ("gap", "overlap"))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=400))
def test_marks_count_every_record_however_they_come(offsets: list[int]) -> None:
    tally = Tally()
    for start in range(0, len(offsets), 7):
        tally.mark((0, 0), longs(*offsets[start : start + 7]))
    counts = Counter(offsets)
    found = tally.conservation({(0, 0): 301})
    assert tally.marked == len(offsets)
    assert found.twice == sum(count > 1 for count in counts.values())
    assert found.lost == 301 - len(counts)


def test_what_is_missing_from_the_journal_violates() -> None:
    tally = whole({(0, 0): 10})
    assert tally.conservation({(0, 0): 10, (1, 0): 0}).holds
    unread = Tally()
    unread.mark((0, 0), np.arange(10))
    assert unread.conservation({(0, 0): 10}).gaps == 10


@pytest.fixture(scope="module")
def observed() -> tuple[Observations, Counter[str], Counter[tuple[int, int]], int]:
    """Traffic of a thousand tasks through real lanes, and what the observer made of their outputs."""
    plan = Plan(agents=60, repeats=0.02, poison=0.01, partitions=PARTITIONS)
    traffic, ids = plan.traffic(), LocalIds()
    seen = Observations(ids)
    packer = Packer(traffic.fleet, ids, PARTITIONS, plan.flaws, probe_every=5)
    lanes = [Lane(p, PARTITIONS, policy=Policy(), ids=ids, build="test") for p in range(PARTITIONS)]
    ends: Counter[tuple[str, int]] = Counter()
    counts: Counter[str] = Counter()
    agents: set[int] = set()
    for stretch in islice(traffic.stretches(), 2):
        packed = packer.pack(stretch, 0, stretch.n, now_ns=1_000_000_000)
        counts.update(events=packed.events, repeats=packed.repeats, poison=sum(packed.poison.values()))
        agents |= {int(agent) for part in stretch.parts for agent in part.agent}
        for (topic, partition), body in packed.bodies.items():
            batch = columns(body, topic, partition, ends[topic, partition])
            ends[topic, partition] += body.count
            for name, bodies in lanes[partition].step([batch]).outputs.items():
                for out in bodies:
                    if name in OBSERVED and out.count:
                        seen.take(columns(out, name, partition, 0), 1_004_000_000)
    sources = ["kaizen.events", "agentanchor.events", "aurais.events"]
    numbered = Counter({(sources.index(topic), partition): end for (topic, partition), end in ends.items()})
    return seen, counts, numbered, len(agents)


def columns(body: RecordsBody, topic: str, partition: int, start: int) -> Any:
    data = bytearray(frame_batch(body))
    data[:8] = start.to_bytes(8, "big")
    (batch,) = read(bytes(data), topic=topic, partition=partition, start=start)
    return batch


Observed = tuple[Observations, Counter[str], Counter[tuple[int, int]], int]


def test_observations_account_for_everything(observed: Observed) -> None:
    seen, counts, ends, _ = observed
    assert seen.tally.conservation(dict(ends)).holds
    assert (seen.decided, seen.repeats, seen.written["dead.letters"]) == (
        counts["events"],
        counts["repeats"],
        counts["poison"],
    )
    assert seen.policy_version == Policy().version


def test_latency_is_from_publishing_to_arrival(observed: Observed) -> None:
    seen, counts, _, _ = observed
    assert set(seen.latencies_ms) == {4.0}
    assert len(seen.latencies_ms) == pytest.approx(counts["events"] / 5, rel=0.02)


def test_every_agent_stands_in_one_tier(observed: Observed) -> None:
    seen, _, _, agents = observed
    tiers = seen.tiers(agents)
    assert sum(tiers) == agents
    assert len([count for count in tiers if count]) > 2
    assert seen.rose > 0 < seen.fell


def test_what_scrolls_by_is_there(observed: Observed) -> None:
    seen = observed[0]
    assert seen.urgent
    assert all(0.8 <= one.number <= 1 for one in seen.urgent)
    assert {one.more for one in seen.denied} <= {"deny", "throttle"}
    assert all(one.what[:1] == "T" for one in seen.moved)
    asked = sum(seen.limits.values())
    assert asked == seen.written["ratelimit.decisions"]


def test_a_pulse_fits_a_line_and_a_screen(observed: Observed) -> None:
    seen, counts, _, agents = observed
    told = Told(published=sum(counts.values()), events=counts["events"], agents=agents, time_ms=1_767_571_200_000)
    pulse = Pulse(12.0, "publishing", told, seen, 20_000.0, 19_000.0, 210.0)
    assert pulse.lag == 0
    assert "20,000/s" in line(pulse)
    console = Console(width=120, height=40, record=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(screen(pulse))
    text = console.export_text()
    console.file.close()
    for part in ("urgent pool", "denied capacity", "rise and fall", "T5 Autonomous", "Mon 05 Jan 2026", "p50 4 ms"):
        assert part in text


def test_rates_are_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates.look(0.0, 0, 0) == (0.0, 0.0)
    assert rates.look(1.0, 100, 50) == (100.0, 50.0)
    for second in range(2, 20):
        last = rates.look(float(second), 100, 50 + second)
    assert last == (0.0, 1.0)


def test_a_report_without_probes_says_so() -> None:
    assert Latency.of([]).p50 is None
    assert Latency.of([1.0, 2.0, 3.0]).model_dump() == {"p50": 2.0, "p99": 2.98, "max": 3.0, "probes": 3}
    assert not Account.of(Conservation(10, 1, 0, 0, 0)).holds


def test_rates_people_type() -> None:
    assert _rate("max") is None
    assert _rate("200") == 200.0
    for wrong in ("fast", "-1", "0", "inf", "nan"):
        with pytest.raises(typer.BadParameter):
            _rate(wrong)


@pytest.mark.parametrize("source", ["kafka", "azure-llm", "azure-llm:", "tau:x"])
def test_an_unknown_source_is_named_with_the_known_ones(source: str) -> None:
    with pytest.raises(SourceUnknown, match=r"tau-bench:FILE"):
        Plan(source=source).traffic()


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv"):
        Plan(source=f"azure-llm:{tmp_path / 'none.csv'}").traffic()


def test_a_source_that_cannot_be_read_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--source", "tau-bench:nowhere.json"]) == 1
    assert "nowhere.json" in capsys.readouterr().err


# ---------------------------------------------------------------------- on a real Kafka


def command(kafka: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agents.cli", "demo", "--bootstrap", kafka, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=240)
    return said


def adds_up(report: dict[str, Any]) -> None:
    """Conservation, by the figures of the report alone."""
    out = report["records_out"]
    assert report["events_published"] == report["events_decided"] + report["dead_letters"] + report["repeats"] > 0
    assert report["events_decided"] == sum(out.get(pool, 0) for pool in POOLS)
    assert report["duplicates"] == report["lag_end"] == 0
    assert report["conservation"]["holds"]
    assert report["problem"] == ""


@pytest.mark.kafka
def test_a_short_demo_accounts_for_every_event(kafka: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    flaws = ("--repeats", "0.01", "--poison", "0.01")
    process = command(
        kafka, "--seconds", "3", "--rate", "1000", "--agents", "50", "--json", str(file), "--prefix", prefix, *flaws
    )
    said = finished(process)
    assert process.returncode == 0, said
    assert "conservation holds" in said
    report = json.loads(file.read_text())
    adds_up(report)
    assert report["repeats"] > 0 < report["dead_letters"] == sum(report["dead_letters_by_reason"].values())
    assert report["latency_ms"]["max"] >= report["latency_ms"]["p99"] >= report["latency_ms"]["p50"] > 0
    assert report["worker_rss_mb"] > 50
    assert report["throughput_per_s"] > 0
    assert report["wall_s"] > 3
    assert report["policy_version"].startswith("p-")
    assert report["agents"] <= 50


@pytest.mark.kafka
@pytest.mark.parametrize("name", ["azure-llm", "tau-bench"])
def test_a_trace_is_governed_to_its_end(kafka: str, prefix: str, tmp_path: Path, name: str) -> None:
    trace, file = tmp_path / "trace", tmp_path / "report.json"
    trace.write_text(AZURE_LINES if name == "azure-llm" else json.dumps(RUNS))
    events = 12 if name == "azure-llm" else 20
    process = command(
        kafka, "--source", f"{name}:{trace}", "--rate", "max", "--seconds", "60", "--poison", "0", "--repeats", "0",
        "--prefix", prefix, "--json", str(file),
    )  # fmt: skip
    said = finished(process)
    assert process.returncode == 0, said
    report = json.loads(file.read_text())
    adds_up(report)
    assert report["events_published"] == events
    assert report["wall_s"] < 60, "a trace that has ended is not waited for"


@pytest.mark.kafka
def test_ctrl_c_ends_a_demo_cleanly(kafka: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    process = command(kafka, "--seconds", "120", "--rate", "500", "--json", str(file), "--prefix", prefix)
    assert process.stdout is not None
    for said in process.stdout:
        if "| decided" in said and "decided 0 " not in said:
            break
    process.send_signal(signal.SIGINT)
    said = finished(process)
    assert process.returncode == 0, said
    report = json.loads(file.read_text())
    adds_up(report)
    assert report["interrupted"]


@pytest.mark.kafka
def test_a_prefix_with_topics_is_not_taken_over(kafka: str, prefix: str) -> None:
    admin = TopicAdmin({"bootstrap.servers": kafka}, prefix)
    admin.create(["audit.log"])
    process = command(kafka, "--prefix", prefix)
    said = finished(process)
    assert process.returncode == 1, said
    assert "already" in said
    assert [standing.topic.name for standing in admin.describe()] == ["audit.log"]
