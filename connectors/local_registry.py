"""The schema registry that the project brings itself: Apicurio Registry, run as `local_server` says.

Nothing needs it: without a registry the ids of the committed table are used. It is downloaded (159 MB) when somebody
asks for it. Its folder holds `data/`, a database of one file that is kept from one start to the next. Clients speak to
it as to Confluent's.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from connectors.local_server import HOST, HUSH, Command, LocalServer, Running, ServerNotStarted, borrowed, java
from connectors.maven import Jar, Report, alone, fetched, locked, silent
from connectors.state_folder import state_folder

APICURIO_VERSION = "3.3.3"
LOCK = Path(__file__).with_name("apicurio.lock")
_PATH = "/apis/ccompat/v7"
_HEAP = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PATIENCE = urllib3.Retry(5, connect=0, read=0, status_forcelist=(500,), backoff_factor=0.2, raise_on_status=False)
_ITS_OWN = ("APICURIO_", "QUARKUS_", "REGISTRY_")


@dataclass(frozen=True, slots=True)
class RunningRegistry(Running):
    """A registry that runs."""

    @property
    def address(self) -> str:
        """What clients take as the address of a registry."""
        return f"http://{HOST}:{self.port}{_PATH}"


@dataclass(frozen=True, slots=True)
class LocalRegistry(LocalServer[RunningRegistry]):
    """The registry of one folder; `programs` is where the program is unpacked, and may be shared by many."""

    programs: Path

    NAME = "Apicurio Registry"
    VERSION = APICURIO_VERSION
    CARD = "registry.json"

    @classmethod
    def default(cls) -> LocalRegistry:
        """That of this machine's user."""
        return cls(state_folder() / "registry", state_folder() / "programs")

    def _card(self, pid: int, began: float, port: int, version: str, folder: str) -> RunningRegistry:
        return RunningRegistry(pid, began, port, version, folder)

    def _install(self, report: Report) -> str:
        return str(program(self.programs, report) / "quarkus-run.jar")

    def _command(self, installed: str, port: int, inner_port: int, report: Report) -> Command:  # noqa: ARG002
        strange = {name: value for name, value in os.environ.items() if not name.startswith(_ITS_OWN)}
        return Command([java(), *_HEAP, *HUSH, "-jar", installed], strange | self._environment(port, inner_port))

    def _environment(self, port: int, inner_port: int) -> dict[str, str]:
        return {
            # Without these two it listens on all addresses of the machine.
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_MANAGEMENT_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(port),
            "QUARKUS_MANAGEMENT_PORT": str(inner_port),
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            # The database is a file: what fails at first will fail again.
            "APICURIO_STORAGE_CONNECTION_RETRY_ENABLED": "false",
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self.folder / 'data' / 'registry'}",
            "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "2",
            "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "2",
            "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "20",
        }

    def _serves(self, running: RunningRegistry) -> bool:
        """A registry that has no database goes on running, and says so to whoever asks."""
        try:
            answer = urllib3.request("GET", f"{running.address}/subjects", timeout=5.0, retries=_PATIENCE)
        except urllib3.exceptions.HTTPError:
            return False
        if answer.status == 500:
            said = answer.data.decode(errors="replace")
            raise ServerNotStarted(f"{self.NAME} runs and cannot work: {said} (log: {self.log})")
        return answer.status == 200


def program(programs: Path, report: Report = silent) -> Path:
    """The folder with Apicurio unpacked, below `programs`; downloads it unless it is there. Raises DownloadFailed.

    Its name bears the hash of the archive, and it appears when it is complete.
    """
    (archive,) = locked(LOCK)
    folder = programs / f"apicurio-{APICURIO_VERSION}-{archive.sha256[:8]}"
    programs.mkdir(parents=True, exist_ok=True)
    with alone(programs / ".lock"):
        if not folder.exists():
            _unpack(archive, folder, report)
    return folder


def _unpack(archive: Jar, folder: Path, report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        (file,) = fetched(Path(new) / "maven", [archive], f"Apicurio Registry {APICURIO_VERSION}", report)
        report(f"Unpacking Apicurio Registry {APICURIO_VERSION}")
        with tarfile.open(file) as content:
            content.extractall(Path(new) / "program", filter="data")
        (Path(new) / "program").rename(folder)


def borrowed_registry(root: Path, programs: Path, report: Report = silent) -> AbstractContextManager[RunningRegistry]:
    """A fresh registry for as long as the block runs; see `borrowed`."""
    return borrowed(root, lambda folder: LocalRegistry(folder, programs), report)
