"""Brings Apache Kafka itself: the jars of the broker, exactly those that `kafka_jars.lock` names.

`python -m connectors.kafka_jars` resolves the pinned versions anew (jgo, from their POMs) and prints the lock file:
`make lock` does that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from connectors.maven import Jar, Report, fetched, locked, maven_context, sha256, silent

KAFKA_VERSION = "4.3.0"
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}!", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!")
"""What is resolved: the broker, and what writes its logs ("!": its own POM decides, nothing else is managed by it)."""

LOCK = Path(__file__).with_name("kafka_jars.lock")


def class_path(
    folder: Path, report: Report = silent, repositories: dict[str, str] | None = None, jars: Sequence[Jar] | None = None
) -> str:
    """Class path of the broker; downloads into `folder` (a Maven repository) what is not there yet.

    `repositories` are Maven repositories by name, Maven Central when None. Raises DownloadFailed.
    """
    wanted = locked(LOCK) if jars is None else jars
    return ":".join(map(str, fetched(folder, wanted, f"Apache Kafka {KAFKA_VERSION}", report, repositories)))


def resolve(folder: Path, roots: Sequence[str] = ROOTS) -> list[Jar]:
    """The jars that `roots` need, resolved from their POMs and downloaded into `folder`."""
    context = maven_context(folder)
    inputs, needed = context.resolver.resolve([context.create_dependency(root) for root in roots])
    coordinates = sorted(f"{dep.groupId}:{dep.artifactId}:{dep.version}" for dep in {*inputs, *needed})
    paths = [context.create_dependency(coordinate).artifact.resolve() for coordinate in coordinates]
    return [Jar(name, path.stat().st_size, sha256(path)) for name, path in zip(coordinates, paths, strict=True)]


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
