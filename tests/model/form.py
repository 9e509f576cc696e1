"""Step 1 of docs/rules.md: does a record have the form of an event? Answers the event, or the reason why not."""

import io
import math
import re
from typing import Any

import fastavro

from schemas.murmur import partition_of

from .numbers import YEAR_2000, YEAR_2090

TENANT = re.compile(rb"[a-z0-9-]{1,64}", re.ASCII)
DOUBLES = ("duration_ms", "cost_usd", "revenue_usd", "signal_weight", "budget_usd")
NOT_NEGATIVE = ("duration_ms", "tokens_in", "tokens_out", "cost_usd", "budget_usd")
COPIED = ("correlation_id", "action", "request_kind")


class Refused(Exception):
    """The event goes to the dead letters; the message is the reason."""


def read(value: bytes | None, writers: dict[int, Any], reader: Any) -> dict[str, Any]:
    """The event in `value`, by the writer's schema that its frame names."""
    if value is None:
        raise Refused("no_value")
    if value == b"":
        raise Refused("empty_value")
    if value[0] != 0:
        raise Refused("bad_magic")
    if len(value) < 5:
        raise Refused("truncated")
    number = int.from_bytes(value[1:5], "big")
    if number not in writers:
        raise Refused("unknown_schema")
    return decode(value[5:], writers[number], reader)


def decode(payload: bytes, writer: Any, reader: Any) -> dict[str, Any]:
    """One Avro value that takes all of `payload`."""
    stream = io.BytesIO(payload)
    try:
        event = fastavro.schemaless_reader(stream, writer, reader)
    except fastavro.read.SchemaResolutionError as problem:
        raise Refused("schema_unresolvable") from problem
    except Exception as problem:
        raise Refused("undecodable") from problem
    if stream.tell() != len(payload) or not isinstance(event, dict):
        raise Refused("undecodable")
    return event


def check(event: dict[str, Any], key: bytes | None, timestamp: int) -> None:
    """The form checks after decoding, in their order."""
    check_key(event, key)
    if not 1 <= len(event["event_id"].encode()) <= 128:
        raise Refused("bad_event_id")
    numbers = {name: event[name] for name in (*DOUBLES, *NOT_NEGATIVE) if event.get(name) is not None}
    if any(not math.isfinite(number) for number in numbers.values()):
        raise Refused("bad_number")
    if any(numbers.get(name, 0) < 0 for name in NOT_NEGATIVE):
        raise Refused("bad_number")
    if not YEAR_2000 <= timestamp < YEAR_2090:
        raise Refused("bad_timestamp")
    if any(len((event.get(name) or "").encode()) > 1024 for name in COPIED):
        raise Refused("text_too_long")


def check_key(event: dict[str, Any], key: bytes | None) -> None:
    """The key is `tenant/agent`, well formed, and the event's."""
    if not key:
        raise Refused("no_key")
    tenant, slash, agent = key.partition(b"/")
    if not slash or not TENANT.fullmatch(tenant):
        raise Refused("bad_key")
    if not agent_id_is_good(agent):
        raise Refused("bad_agent_id")
    if (tenant, agent) != (event["tenant_id"].encode(), event["agent_id"].encode()):
        raise Refused("key_mismatch")


def agent_id_is_good(agent: bytes) -> bool:
    """1-128 bytes of valid UTF-8 without control characters."""
    try:
        text = agent.decode()
    except UnicodeDecodeError:
        return False
    return 1 <= len(agent) <= 128 and not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in text)


def at_home(key: bytes, partition: int, partitions: int) -> bool:
    """Does the key belong into this partition?"""
    return partition_of(key, partitions) == partition
