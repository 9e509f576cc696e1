"""What can go wrong between a service and cognistream. Each error says what was wrong, where, and what to do next."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of this package."""


class InvalidEvent(ClientError):
    """An event that cognistream would refuse: `field` says where, `expected` what it takes instead. Nothing was sent.

    `index` is the place among the events of one `publish_many`, else None.
    """

    def __init__(self, field: str, found: object, expected: str, index: int | None = None) -> None:
        place = field if index is None else f"event {index}, {field}"
        super().__init__(f"{place}: {_short(found)} is not {expected}")
        self.field = field
        self.found = found
        self.expected = expected
        self.index = index


class NotDelivered(ClientError):
    """An event that Kafka did not take and that no spool keeps."""


class LeftOut(ClientError):
    """An event that was not sent because cognistream is behind, and that no spool keeps."""


class SpoolFull(ClientError):
    """Kafka is away and the spool holds all that it may."""


class SpoolBusy(ClientError):
    """Another publisher uses the folder of the spool."""


class PublisherClosed(ClientError):
    """The publisher was closed before."""


class RegistryError(ClientError):
    """The schema registry does not answer, or does not know a schema."""


class NotDecodable(ClientError):
    """A record whose bytes are not of its topic's schema."""


def _short(found: object) -> str:
    shown = repr(found)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
