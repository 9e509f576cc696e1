"""`python -m tests.fuzz`: runs the cases in a process of its own and watches it die, hang or grow.

`--only CASE` with the seed of a run does one case of it again, in this process, with whatever it raises.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil

from connectors.state_folder import use_kernel_cache

CASE_SECONDS = 10
"""No case may take longer."""
GROWTH_BYTES = 32 << 20
"""What the process may gain between a fifth of the run and its end."""


def _checked_kernels() -> None:
    """Bounds checking in all kernels, compiled into a folder of their own; before numba is imported."""
    if "NUMBA_BOUNDSCHECK" not in os.environ:
        os.environ["NUMBA_BOUNDSCHECK"] = "1"
        os.environ["NUMBA_CACHE_DIR"] = str(use_kernel_cache()) + "-checked"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many to try (a million)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many (60)")
    parser.add_argument("--target", help="only this one, as the table names it")
    parser.add_argument("--only", type=int, metavar="CASE", help="do this case again; needs --target and the seed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was counted to FILE")
    parser.add_argument("--said", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(asked: argparse.Namespace) -> None:
    import faulthandler

    from schemas.kernels import warm

    from .cases import fuzz, report

    faulthandler.enable()
    for _ in warm():
        pass
    print(json.dumps(report(fuzz(asked.seed, asked.inputs, asked.minutes * 60, asked.said, asked.target))))


def _again(asked: argparse.Namespace) -> None:
    from .cases import targets

    for target, _ in targets(asked.seed, asked.target):
        print(target.name, dict(target.run(Random(f"{asked.seed}/{target.name}/{asked.only}"))))


class _Watch:
    """What is seen of the child from outside."""

    def __init__(self, child: subprocess.Popen[bytes], said: Path, inputs: int) -> None:
        self.child, self.said, self.inputs = child, said, inputs
        self.process = psutil.Process(child.pid)
        self.sizes: list[tuple[int, int]] = []
        self.trouble = ""

    def until_the_end(self) -> None:
        """Look every half second; kill a child that hangs."""
        last, since = "", time.monotonic()
        while self.child.poll() is None:
            time.sleep(0.5)
            words = self.said.read_text().strip() if self.said.exists() else ""
            if words != last or not words:
                last, since = words, time.monotonic()
                self._weigh(words)
            elif time.monotonic() - since > CASE_SECONDS:
                self.trouble = f"case {last} takes longer than {CASE_SECONDS} s"
                self.child.kill()
                self.child.wait()
                return
        if self.child.returncode:
            self.trouble = f"the process ended with {self.child.returncode} in case {last}"

    def _weigh(self, words: str) -> None:
        try:
            if words:
                self.sizes.append((int(words.split()[1]), self.process.memory_info().rss))
        except psutil.NoSuchProcess:
            return

    def memory(self) -> tuple[int, int]:
        """The most that the process held around a fifth of the run, and in its last fifth."""
        done = self.sizes[-1][0] if self.sizes else 0
        early = [size for at, size in self.sizes if at <= done * 0.25]
        late = [size for at, size in self.sizes if at >= done * 0.8]
        return max(early, default=0), max(late, default=0)


def _table(told: dict[str, Any]) -> None:
    for name, row in told.get("targets", {}).items():
        words = ", ".join(f"{what} {count:,}" for what, count in list(row["outcomes"].items())[:8])
        print(f"{name:26} {row['inputs']:>10,} inputs {row['seconds']:>8} s  {words}")


def main() -> int:
    """0 when every law held."""
    asked = _arguments()
    _checked_kernels()
    if asked.only is not None:
        _again(asked)
        return 0
    if asked.said is not None:
        _child(asked)
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said, out = Path(folder) / "said", Path(folder) / "out"
        with out.open("wb") as file:
            child = subprocess.Popen([sys.executable, "-m", "tests.fuzz", *sys.argv[1:], "--said", said], stdout=file)
            watch = _Watch(child, said, asked.inputs)
            watch.until_the_end()
        told: dict[str, Any] = json.loads(out.read_text() or "{}")
    return _verdict(asked, told, watch, time.monotonic() - begun)


def _verdict(asked: argparse.Namespace, told: dict[str, Any], watch: _Watch, seconds: float) -> int:
    _table(told)
    early, late = watch.memory()
    inputs, sizes = told.get("inputs", 0), f"{early >> 20} -> {late >> 20} MiB"
    print(f"seed {asked.seed}: {inputs:,} inputs in {seconds:.0f} s; memory {sizes}")
    trouble = [_told(asked.seed, finding) for finding in told.get("findings", ())]
    trouble += [f"{watch.trouble} (its number, inputs before it, target)"] if watch.trouble else []
    trouble += [f"the process has grown: {sizes}"] if late - early > GROWTH_BYTES else []
    for words in trouble:
        print(f"\nFINDING: {words}")
    if asked.json:
        seen = {"seed": asked.seed, "seconds": round(seconds), "rss": [early, late], "trouble": trouble}
        asked.json.write_text(json.dumps(told | seen, indent=1))
    return int(bool(trouble))


def _told(seed: int, finding: dict[str, Any]) -> str:
    again = f"--seed {seed} --target {finding['target']!r} --only {finding['case']}"
    return f"{finding['times']} times; again by {again}\n{finding['raised']}"


if __name__ == "__main__":
    sys.exit(main())
