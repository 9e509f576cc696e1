"""The contenders of the throughput measurement side by side: rates, CPU, stages, and the ratios that were asked for."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from .figures import Result, Run, Spread, Target, spread_of, table
from .rig import PARTITIONS

FIRST = "worker"
MUTE = "worker, nothing written"
SILENT = "worker, nothing encoded"
FAUST = "stock Faust"
RAW = "raw loop"
RAW_WIDE = f"raw loop, {PARTITIONS} producers"

Runs = Mapping[str, Sequence[Run]]


def add(result: Result, codec: str, events: int, runs: Runs, volume: Mapping[str, float]) -> None:
    """Add what the runs of one codec showed, with `volume` as bytes and records an event."""
    rate = {name: spread_of(found, lambda run: run.rate) for name, found in runs.items()}
    cpu = {name: _cpu(found) for name, found in runs.items()}
    stages = _stages(runs[FIRST], events)
    result.figures[codec] = {
        "events_per_s": {name: asdict(spread) for name, spread in rate.items()},
        "cpu_us_per_event": cpu,
        "events_per_cpu_s": {name: 1e6 / used["process"] for name, used in cpu.items()},
        "stage_ns_per_event": stages,
        "rss_mb": max(run.rss_mb for run in runs[FIRST]),
        "per_event": dict(volume),
        "runs": {name: [asdict(run) for run in found] for name, found in runs.items()},
    }
    result.lines += [
        f"codec {codec}: {volume['bytes_in']:.0f} bytes an event in; {volume['bytes_out']:.0f} bytes and "
        f"{volume['records_out']:.2f} records an event out",
        *_table(rate, cpu),
        "stages, ns an event, over both cores: " + ", ".join(f"{name} {ns:.0f}" for name, ns in stages.items()),
        "",
    ]
    result.targets += _targets(codec, {name: spread.median for name, spread in rate.items()})


def _targets(codec: str, rate: Mapping[str, float]) -> list[Target]:
    return [
        Target(f"{codec}: worker / stock Faust", rate[FIRST] / rate[FAUST], 40),
        Target(f"{codec}: worker / raw loop", rate[FIRST] / rate[RAW], 0.6),
        Target(f"{codec}: worker / raw loop, {PARTITIONS} producers", rate[FIRST] / rate[RAW_WIDE], 0.6, must=False),
        Target(f"{codec}: worker, events/s", rate[FIRST], 750_000, must=False),
        Target(f"{codec}: nothing written, events/s", rate[MUTE], 2_000_000, must=False),
        Target(f"{codec}: nothing encoded, events/s", rate[SILENT], 2_000_000, must=False),
    ]


def _table(rate: Mapping[str, Spread], cpu: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = ["", "events/s: median (min..max)", "per own CPU second", "CPU us an event: own", "broker", "others"]
    rows = [
        [name, spread.told(), f"{1e6 / cpu[name]['process']:,.0f}", *(f"{used:.2f}" for used in cpu[name].values())]
        for name, spread in rate.items()
    ]
    return table(heads, rows)


def _cpu(runs: Sequence[Run]) -> dict[str, float]:
    """Median microseconds of CPU an event, by whose they are."""
    return {who: statistics.median(run.cpu[who] / run.events * 1e6 for run in runs) for who in runs[0].cpu}


def _stages(runs: Sequence[Run], events: int) -> dict[str, float]:
    """Median nanoseconds an event by stage, the dearest first; of all lanes together."""
    found = {name: statistics.median(run.stages[name] for run in runs) / events * 1e9 for name in runs[0].stages}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
