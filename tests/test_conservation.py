"""On a real broker: every event comes out exactly once, and the journal proves it to whoever reads the topics."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parent.parent
TRACES = ROOT.parent / "shared" / "data"
SOURCES = ["generator"]
SOURCES += [f"azure-llm:{path}" for path in TRACES.glob("azure_llm*.csv")]
SOURCES += [f"tau-bench:{path}" for path in TRACES.glob("tau_bench*.json.gz")]
"""The generator, and the real traces where they lie beside the project."""


def cognistream(*arguments: str) -> str:
    """Standard output of a command that must succeed."""
    command = [sys.executable, "-m", "agents.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.split(":")[0])
def test_every_event_comes_out_once_and_the_journal_is_true(
    source: str, kafka: str, prefix: str, tmp_path: Path
) -> None:
    told = tmp_path / "report.json"
    where = ("--bootstrap", kafka, "--prefix", prefix)
    traffic = ("--seconds", "4", "--rate", "5000") if source == "generator" else ("--seconds", "60", "--rate", "max")
    flaws = ("--repeats", "0.02", "--poison", "0.02")
    cognistream("demo", *where, "--source", source, *traffic, *flaws, "--json", str(told), "--keep")
    report: dict[str, Any] = json.loads(told.read_text())
    assert report["conservation"]["holds"]
    assert report["events_published"] == report["events_decided"] + report["repeats"] + report["dead_letters"]
    assert min(report["events_decided"], report["repeats"], report["dead_letters"]) > 0

    verdict = json.loads(cognistream("audit", "verify", *where, "--json"))
    assert verdict["ok"]
    assert sum(part["records"] for part in verdict["partitions"].values()) == report["events_published"]
    assert all(part["out_of_reach"] == 0 for part in verdict["partitions"].values())
    assert all(first == 0 for part in verdict["partitions"].values() for first, _ in part["spans"].values())
