"""What `cognistream kafka` and `cognistream registry` share: a server of our own is started, stopped, asked after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli.options import progress, say, say_json

if TYPE_CHECKING:
    from connectors.local_server import LocalServer, Running

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0: the last one, or a free one.")]


@dataclass(frozen=True, slots=True)
class ServerCommands:
    """The commands of `server`, which people know as `cognistream WORD`; `address` is its name in JSON."""

    server: LocalServer[Any]
    word: str
    address: str

    def start(self, port: int, as_json: bool) -> None:
        """Start it or find it running, and say where."""
        with progress() as report:
            running = self.server.start(port, report)
        self._tell(running, as_json)

    def stop(self, as_json: bool) -> None:
        """Stop it, and say whether it ran."""
        running = self.server.stop()
        if as_json:
            say_json({"stopped": running is not None})
        elif running is None:
            say(f"the local {self.server.NAME} did not run")
        else:
            say(f"stopped {self.server.NAME} {running.version} (process {running.pid})")

    def status(self, as_json: bool) -> None:
        """Say whether it runs; exit status 1 when it does not."""
        running = self.server.status()
        self._tell(running, as_json)
        if running is None:
            raise typer.Exit(1)

    def _tell(self, running: Running | None, as_json: bool) -> None:
        if as_json:
            card = {} if running is None else {**asdict(running), self.address: running.address}
            say_json({"running": running is not None, "log": str(self.server.log), **card})
        elif running is None:
            say(f"the local {self.server.NAME} does not run; start it with `cognistream {self.word} start`")
        else:
            say(f"{self.server.NAME} {running.version} runs on {running.address} (process {running.pid})")
            say(f"log: {self.server.log}")
