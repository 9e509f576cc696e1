"""Publishes events of AI agents to cognistream, and reads what it decided.

>>> from cognistream_client import KaizenEvent, Publisher
>>> with Publisher("127.0.0.1:9092") as publisher:  # doctest: +SKIP
...     publisher.publish(
...         KaizenEvent(tenant_id="acme", agent_id="planner-1", event_type="execution_completed", risk="low")
...     )
"""

from .cloudevents import Origin
from .consumer import Consumer, Received
from .errors import (
    ClientError,
    InvalidEvent,
    LeftOut,
    NotDecodable,
    NotDelivered,
    PublisherClosed,
    RegistryError,
    SpoolBusy,
    SpoolFull,
)
from .events import AgentAnchorEvent, AuraisEvent, Event, KaizenEvent
from .forms import faults
from .handles import Handle, Handles
from .publisher import Publisher
from .records import Pressure, PriorityEvent, RateLimitDecision, Record, TrustChange, TrustLevel

__all__ = [
    "AgentAnchorEvent",
    "AuraisEvent",
    "ClientError",
    "Consumer",
    "Event",
    "Handle",
    "Handles",
    "InvalidEvent",
    "KaizenEvent",
    "LeftOut",
    "NotDecodable",
    "NotDelivered",
    "Origin",
    "Pressure",
    "PriorityEvent",
    "Publisher",
    "PublisherClosed",
    "RateLimitDecision",
    "Received",
    "Record",
    "RegistryError",
    "SpoolBusy",
    "SpoolFull",
    "TrustChange",
    "TrustLevel",
    "faults",
]
