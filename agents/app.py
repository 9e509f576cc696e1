"""The application: an agent on each of the three sources hands what Faust delivers to the lane of its partition."""

from __future__ import annotations

from typing import Any

import mode
from faust.auth import SASLCredentials, SSLCredentials
from yarl import URL

from agents.runtime.app import ColumnApp
from agents.runtime.consumer import ColumnSchema
from agents.runtime.decider import DeciderFactory
from agents.settings import Settings
from schemas.topics import SOURCE_TOPICS

SESSION_SECONDS = 10.0
"""After this long without a heartbeat the partitions of a worker go to others."""

PATIENCE_SECONDS = 86_400.0
"""How long recovery waits for a broker that is away. When this time is over, Faust ends the recovery without a word and
stays in the group: so it waits as long as anybody would. Single requests end sooner."""


def build(settings: Settings, partitions: int, new: DeciderFactory) -> ColumnApp:
    """The app of one worker, not started; call it in the event loop that will run it."""
    app = ColumnApp(settings, partitions, new, **_faust(settings))
    for source in SOURCE_TOPICS:
        _agent(app, source.name)
    return app


def _agent(app: ColumnApp, name: str) -> None:
    topic = app.topic(app.settings.topic(name), schema=ColumnSchema(), key_type=bytes, value_type=bytes)

    async def decide(stream: Any) -> None:
        async for event in stream.noack().events():
            await app.take(event)

    # A stock agent that raises starts again behind the batch that failed; this one ends the worker.
    app.agent(topic, name=f"decide.{name}", supervisor_strategy=mode.CrashingSupervisor)(decide)


def _faust(settings: Settings) -> dict[str, Any]:
    return {
        "broker": [URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")],
        "broker_credentials": _credentials(settings),
        "store": "memory://",
        "web_enabled": False,
        "table_standby_replicas": settings.standbys,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",  # recovery of an empty changelog waits for ever with another
        "stream_wait_empty": False,  # a revoke would wait for messages that are not acked
        "stream_buffer_maxsize": 4,  # counts events, and an event is a whole fetch
        "broker_max_poll_records": 64,
        "broker_commit_interval": 1.0,
        "broker_request_timeout": PATIENCE_SECONDS,
        "broker_session_timeout": SESSION_SECONDS,
        "broker_heartbeat_interval": SESSION_SECONDS / 4,
        "consumer_max_fetch_size": settings.fetch_bytes,
    }


def _credentials(settings: Settings) -> Any:
    context = settings.ssl_context()
    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)
