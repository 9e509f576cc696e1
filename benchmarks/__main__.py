"""`python -m benchmarks`: measure, tell, and say which targets were met.

    python -m benchmarks --quick                      all of it, small: minutes; ratios only
    python -m benchmarks --only throughput --events 1000000 --json out.json

Progress goes to standard error, the answer to standard output. Exit status 1 when a target that must be met is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from connectors.state_folder import use_kernel_cache

use_kernel_cache()  # before a kernel is imported; children find it in the environment

from schemas.errors import CognistreamError  # noqa: E402

from . import latency, memory, throughput, tiny  # noqa: E402
from .comparison import FIRST  # noqa: E402
from .figures import Result  # noqa: E402
from .rig import Rig, rig  # noqa: E402

NAMES = ("throughput", "tiny", "latency", "memory")
QUIET = 200.0
BUSY = 75_000.0
"""Events a second for the busy latency when throughput was not measured: a tenth of what is aimed at."""


def arguments() -> argparse.Namespace:
    """What a person typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure cognistream on this machine.")
    parser.add_argument("--quick", action="store_true", help="small amounts, one round: shows that everything runs")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure only this (may be given again)")
    parser.add_argument("--events", type=int, help="events of the throughput measurement (3,000,000)")
    parser.add_argument("--rounds", type=int, help="rounds of interleaved measurements (3)")
    parser.add_argument("--codec", action="append", choices=throughput.CODECS, help="codecs of throughput (all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def measurements(given: argparse.Namespace) -> dict[str, Callable[[Rig, dict[str, Result]], Awaitable[Result]]]:
    """The measurements by name, as large as asked for."""
    quick = given.quick
    agents, rounds = (20_000 if quick else 100_000), given.rounds or (1 if quick else 3)
    events = given.events or (300_000 if quick else 3_000_000)
    rates = throughput.Sizes(events, agents, rounds, 3_000 if quick else 30_000)
    batches = tiny.Sizes(100_000 if quick else 1_000_000, agents, rounds)
    fleets = memory.Sizes((10_000, 50_000) if quick else (100_000, 1_000_000), 10)

    def latencies(done: dict[str, Result]) -> latency.Sizes:
        return latency.Sizes(4.0 if quick else 25.0, 1000, (QUIET, busy_rate(done)))

    return {
        "throughput": lambda on, _: throughput.measure(on, rates, given.codec or throughput.CODECS),
        "tiny": lambda on, _: tiny.measure(on, batches),
        "latency": lambda on, done: latency.measure(on, latencies(done)),
        "memory": lambda on, _: memory.measure(on, fleets),
    }


def busy_rate(done: dict[str, Result]) -> float:
    """A tenth of the worker's rate, as measured if it was."""
    if "throughput" not in done:
        return BUSY
    rates = next(iter(done["throughput"].figures.values()))["events_per_s"]
    return float(round(rates[FIRST]["median"] / 10, -3)) or 1000.0


async def run(on: Rig, given: argparse.Namespace) -> dict[str, Result]:
    """All that was asked for, one after the other."""
    done: dict[str, Result] = {}
    for name, measure in measurements(given).items():
        if not given.only or name in given.only:
            on.say(f"{name}: load of the machine before it {os.getloadavg()[0]:.1f}")
            done[name] = await measure(on, done)
    return done


def tell(done: dict[str, Result]) -> None:
    """The answer, for people."""
    for name, result in done.items():
        print(f"\n{name}\n" + "\n".join(result.lines))
        print("\n".join(target.told() for target in result.targets))


def machine() -> dict[str, object]:
    """What it ran on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "load": os.getloadavg()}  # fmt: skip


def warm(on: Rig) -> None:
    """Compile the kernels here, where progress can be seen; the workers load them."""
    import agents.demo.run  # noqa: F401
    import streams.pipeline  # noqa: F401
    from agents.worker import warm

    warm(on.folder, lambda done, total, name: on.say(f"kernels: {done} of {total}, {name}") if done == total else None)


def main() -> int:
    """Everything; the exit status."""
    given = arguments()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with rig(lambda line: print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)) as on:
            warm(on)
            done = asyncio.run(run(on, given))
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except CognistreamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    tell(done)
    if given.json:
        figures = {"machine": machine(), **{name: result.as_json() for name, result in done.items()}}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(t.met or not t.must for result in done.values() for t in result.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
