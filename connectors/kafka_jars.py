"""Brings Apache Kafka itself: the jars of the broker, exactly those that `kafka_jars.lock` names.

The lock file lists every jar with its size and SHA-256, so that a start downloads without resolving anything, the
same on every machine, and a jar that was cut off or altered on its way is never run. `python -m connectors.kafka_jars`
resolves the pinned versions anew (jgo, from their POMs) and prints the lock file: `make lock` does that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import CognistreamError

KAFKA_VERSION = "4.3.0"
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}!", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!")
"""What is resolved: the broker, and what writes its logs ("!": its own POM decides, nothing else is managed by it)."""

LOCK = Path(__file__).with_name("kafka_jars.lock")
_TRIES = 3
_TIMEOUT = 60

Report = Callable[[str], None]
"""Takes a line that tells a person how far a long step is."""


def silent(_line: str) -> None:
    """A `Report` that says nothing."""


class DownloadFailed(CognistreamError):
    """A jar of the local Kafka could not be had."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A line of the lock file: `group:artifact:version size sha256`."""

    coordinate: str
    size: int
    sha256: str

    def intact(self, path: Path) -> bool:
        """Whether the file is there, whole and unaltered."""
        return path.is_file() and path.stat().st_size == self.size and _sha256(path) == self.sha256


def locked() -> list[Jar]:
    """The jars of the lock file, in the order of the class path."""
    lines = (line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#"))
    return [Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in lines]


def class_path(
    folder: Path, report: Report = silent, repositories: dict[str, str] | None = None, jars: Sequence[Jar] | None = None
) -> str:
    """Class path of the broker; downloads into `folder` (a Maven repository) what is not there yet.

    `repositories` are Maven repositories by name, Maven Central when None. Raises DownloadFailed.
    """
    wanted = locked() if jars is None else list(jars)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / ".lock"):
        context = _context(folder, repositories)
        paths = {jar: _path(context, jar) for jar in wanted}
        missing = [jar for jar, path in paths.items() if not jar.intact(path)]
        if missing:
            _download(context, missing, report)
    return ":".join(str(path) for path in paths.values())


def _context(folder: Path, repositories: dict[str, str] | None) -> Any:
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=folder, remote_repos=repositories, timeout=_TIMEOUT)


def _path(context: Any, jar: Jar) -> Path:
    path: Path = context.create_dependency(jar.coordinate).artifact.cached_path
    return path


def _trust_as_the_machine_does() -> None:
    """`requests` trusts the authorities that a package lists; those of a company stand in the machine's own store."""
    store = ssl.get_default_verify_paths().cafile
    if store is not None:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", store)


def _download(context: Any, jars: list[Jar], report: Report) -> None:
    _trust_as_the_machine_does()
    total, done = sum(jar.size for jar in jars), 0
    with ThreadPoolExecutor(8) as pool:
        running = {pool.submit(_fetch, context, jar): jar for jar in jars}
        try:
            for number, finished in enumerate(as_completed(running), 1):
                finished.result()
                done += running[finished].size
                megabytes = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
                report(f"Downloading Apache Kafka {KAFKA_VERSION}: {number} of {len(jars)} files, {megabytes}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(context: Any, jar: Jar) -> None:
    """One jar, tried a few times; a damaged file never stays."""
    import requests

    path, problem = _path(context, jar), "?"
    for attempt in range(_TRIES):
        path.unlink(missing_ok=True)
        try:
            context.create_dependency(jar.coordinate).artifact.resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            problem = str(error)
        else:
            if jar.intact(path):
                return
            problem = f"its SHA-256 is not the one of {LOCK.name}"
        path.unlink(missing_ok=True)
        time.sleep(attempt / 2)
    raise DownloadFailed(
        f"{jar.coordinate} could not be downloaded: {problem}. Check the connection to Maven Central "
        "(HTTPS_PROXY and REQUESTS_CA_BUNDLE are honoured), or name a Kafka of your own in BOOTSTRAP_SERVERS."
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: another that starts meanwhile waits, and then finds the files."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def resolve(folder: Path) -> list[Jar]:
    """The jars that `ROOTS` need, resolved from their POMs and downloaded into `folder`."""
    context = _context(folder, None)
    inputs, needed = context.resolver.resolve([context.create_dependency(root) for root in ROOTS])
    coordinates = sorted(f"{dep.groupId}:{dep.artifactId}:{dep.version}" for dep in {*inputs, *needed})
    paths = [context.create_dependency(coordinate).artifact.resolve() for coordinate in coordinates]
    return [Jar(name, path.stat().st_size, _sha256(path)) for name, path in zip(coordinates, paths, strict=True)]


def main() -> None:
    """Print the lock file."""
    import tempfile

    print_line = sys.stdout.write
    print_line(f"# Jars of Apache Kafka {KAFKA_VERSION}: coordinate, bytes, SHA-256. Made by `make lock`.\n")
    with tempfile.TemporaryDirectory() as folder:
        for jar in resolve(Path(folder)):
            print_line(f"{jar.coordinate} {jar.size} {jar.sha256}\n")


if __name__ == "__main__":
    main()
