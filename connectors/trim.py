"""Deletes the beginning of a compacted partition: what a rebuilt state replaces must not be read again.

A broker deletes records on request only where a topic may delete. So the topic is let do both for a moment, with no
time and no size at which anything would expire, and is compacted alone again whatever comes of the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.admin import BrokerRefused
from connectors.topic_configs import set_configs

_TIMEOUT: Final = 10.0
_PAUSE: Final = 0.05
_POLICY: Final = "cleanup.policy"
_KEPT_FOR_GOOD: Final = {"retention.ms": "-1", "retention.bytes": "-1"}


def delete_before(connection: Mapping[str, str], topic: str, partition: int, offset: int) -> None:
    """Delete the records of a compacted partition (full topic name) before `offset`. Raises BrokerRefused."""
    client = AdminClient({**connection, "log_level": 0})
    place = TopicPartition(topic, partition, offset)
    try:
        set_configs(client, topic, {_POLICY: "compact,delete", **_KEPT_FOR_GOOD})
        try:
            _delete(client, place)
        finally:
            set_configs(client, topic, {_POLICY: "compact", **dict.fromkeys(_KEPT_FOR_GOOD)})
    except KafkaException as error:
        raise BrokerRefused(
            f"the records of {topic}[{partition}] before offset {offset} could not be deleted: {error.args[0].str()}"
        ) from error


def _delete(client: AdminClient, place: TopicPartition) -> None:
    """Ask until the partition's leader has heard that the topic may delete: it learns so after who asked is told."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            client.delete_records([place], request_timeout=_TIMEOUT)[place].result(_TIMEOUT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.POLICY_VIOLATION or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
