"""Files of Maven repositories, exactly those that a lock file names.

A lock file lists every file with its size and SHA-256, so that a start downloads without resolving anything, the same
on every machine, and a file that was cut off or altered on its way is never run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import CognistreamError

_TRIES = 3
_TIMEOUT = 60

Report = Callable[[str], None]
"""Takes a line that tells a person how far a long step is."""


def silent(_line: str) -> None:
    """A `Report` that says nothing."""


class DownloadFailed(CognistreamError):
    """A file of what the project brings itself could not be had."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A line of a lock file: `coordinate size sha256`; the coordinate as jgo reads it."""

    coordinate: str
    size: int
    sha256: str

    def intact(self, path: Path) -> bool:
        """Whether the file is there, whole and unaltered."""
        return path.is_file() and path.stat().st_size == self.size and sha256(path) == self.sha256


def locked(lock: Path) -> list[Jar]:
    """The files that a lock file names, in its order."""
    lines = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return [Jar(coordinate, int(size), digest) for coordinate, size, digest in lines]


def fetched(
    folder: Path, wanted: Sequence[Jar], name: str, report: Report = silent, repositories: dict[str, str] | None = None
) -> list[Path]:
    """The files of `wanted`, in order; downloads into `folder` (a Maven repository) what is not there yet.

    `name` says to people what they belong to. `repositories` are Maven repositories by name, Maven Central when None.
    Raises DownloadFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock"):
        context = maven_context(folder, repositories)
        paths = {jar: _path(context, jar) for jar in wanted}
        missing = [jar for jar, path in paths.items() if not jar.intact(path)]
        if missing:
            _download(context, missing, name, report)
    return list(paths.values())


def maven_context(folder: Path, repositories: dict[str, str] | None = None) -> Any:
    """What jgo sees of `repositories`, Maven Central when None, with copies in `folder`."""
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=folder, remote_repos=repositories, timeout=_TIMEOUT)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time: another that starts meanwhile waits, and then finds the files."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """SHA-256 of a file, as people write it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _path(context: Any, jar: Jar) -> Path:
    path: Path = context.create_dependency(jar.coordinate).artifact.cached_path
    return path


def _trust_as_the_machine_does() -> None:
    """`requests` trusts the authorities that a package lists; those of a company stand in the machine's own store."""
    store = ssl.get_default_verify_paths().cafile
    if store is not None:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", store)


def _download(context: Any, jars: list[Jar], name: str, report: Report) -> None:
    _trust_as_the_machine_does()
    total, done = sum(jar.size for jar in jars), 0
    report(f"Downloading {name}: {len(jars)} files, {total / 1e6:.0f} MB")
    with ThreadPoolExecutor(8) as pool:
        running = {pool.submit(_fetch, context, jar): jar for jar in jars}
        try:
            for number, finished in enumerate(as_completed(running), 1):
                finished.result()
                done += running[finished].size
                megabytes = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
                report(f"Downloading {name}: {number} of {len(jars)} files, {megabytes}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(context: Any, jar: Jar) -> None:
    """One file, tried a few times; a damaged one never stays."""
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
            problem = "its SHA-256 is not the one of the lock file"
        path.unlink(missing_ok=True)
        time.sleep(attempt / 2)
    raise DownloadFailed(
        f"{jar.coordinate} could not be downloaded: {problem}. Check the connection to Maven Central "
        "(HTTPS_PROXY and REQUESTS_CA_BUNDLE are honoured), or use a server of your own: BOOTSTRAP_SERVERS names a "
        "Kafka, SCHEMA_REGISTRY_URL a registry."
    )
