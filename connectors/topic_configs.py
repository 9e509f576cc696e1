"""Changes single settings of topics and brokers; all others stay as somebody has set them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

_TIMEOUT: Final = 10.0


def set_configs(
    client: AdminClient, name: str, values: Mapping[str, str | None], kind: ResourceType = ResourceType.TOPIC
) -> None:
    """Set these of a topic (full name) or of a broker (its id); None: back to what the cluster has for all.

    Raises KafkaException when the broker refuses.
    """
    entries = [
        ConfigEntry(
            key,
            value or "",
            incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
        )
        for key, value in values.items()
    ]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    for answer in client.incremental_alter_configs([resource], request_timeout=_TIMEOUT).values():
        answer.result(_TIMEOUT)
