"""`python -m chaos`: do harm, compare, tell, and say by the exit status whether everything held.

    python -m chaos                                  every scenario as often as docs/chaos.md says: about 55 minutes
    python -m chaos --minutes 10 --seed 7            all of it in about ten minutes
    python -m chaos --only kill --only broker        these two
    python -m chaos --short                          what .ci/run does: less than five minutes

Progress goes to standard error, the table to standard output. Exit status 1 when anything differs; logs and ledgers of
such a scenario are kept, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from connectors.state_folder import state_folder, use_kernel_cache

use_kernel_cache()  # before a kernel is imported; children find it in the environment

from agents.worker import warm  # noqa: E402
from connectors.local_kafka import LocalKafka, borrowed_kafka  # noqa: E402
from schemas.errors import CognistreamError  # noqa: E402

from .play import Outcome, play  # noqa: E402
from .scenarios import BY_NAME, SCENARIOS, Scenario  # noqa: E402

WHOLE_MINUTES = 55.0
"""About what all scenarios take when played as often as their table says."""


def arguments() -> argparse.Namespace:
    """What a person typed."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Do harm to workers and compare the books.")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES, help="about how long all scenarios take (55)")
    parser.add_argument("--seed", type=int, default=1, help="draws traffic, moments and victims (1)")
    parser.add_argument("--only", action="append", choices=BY_NAME, help="play only this (may be given again)")
    parser.add_argument("--short", action="store_true", help="few scenarios, few times: what CI does")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts there")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[tuple[Scenario, int]]:
    """Scenarios and how often each does its harm."""
    asked = [one for one in SCENARIOS if not given.only or one.name in given.only]
    if given.short:
        return [(one, one.short) for one in asked if one.short]
    return [(one, max(1, round(one.times * given.minutes / WHOLE_MINUTES))) for one in asked]


async def run(kafka: LocalKafka, given: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> list[Outcome]:
    """All that was asked for, one after the other."""
    done = []
    warm(folder, lambda number, all_, _: say("the kernels are ready") if number == all_ else None)
    for scenario, times in chosen(given):
        say(f"{scenario.name}: {scenario.about} (x{times})")
        outcome = await play(kafka, scenario, times, given.seed, folder, say)
        say(f"{scenario.name}: {'holds' if outcome.ok else 'DIFFERS'}, {outcome.seconds:.0f} s")
        done.append(outcome)
    return done


def tell(done: list[Outcome]) -> None:
    """The answer, for people."""
    for outcome in done:
        counts = ", ".join(f"{count:,} {what}" for what, count in outcome.counts.items() if count)
        print(f"{'ok  ' if outcome.ok else 'FAIL'} {outcome.scenario} ({outcome.seconds:.0f} s): {counts}")
        for problem in outcome.problems:
            print(f"     {problem}")
        if not outcome.ok:
            print(f"     logs and ledger: {outcome.folder}")


def main() -> int:
    """Everything; the exit status."""
    given, began = arguments(), time.monotonic()
    if not chosen(given):
        print("chaos: the short form leaves out all that --only names; say it without --short", file=sys.stderr)
        return 2
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of each try to reach a broker that is away
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="cognistream-chaos-"))

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        jars = state_folder() / "maven"
        with borrowed_kafka(folder / "kafka", jars, say) as broker:
            done = asyncio.run(run(LocalKafka(Path(broker.folder), jars, brief=True), given, folder, say))
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except CognistreamError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder / "kafka", ignore_errors=True)
    tell(done)
    if given.json:
        given.json.write_text(json.dumps([asdict(outcome) for outcome in done], indent=2) + "\n")
    if all(outcome.ok for outcome in done):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
