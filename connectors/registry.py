"""The schema registry, for clusters that have one: what a foreign schema id means, and which ids our records get.

Speaks the protocol that Confluent's, Karapace and Apicurio (its `ccompat` path) share: three requests, JSON over HTTP.
An answer is believed only when it is the registry's own: a proxy's 404 page, a redirect or a login page would otherwise
turn good records into dead letters of an unknown schema. Everything else than a clear answer is `RegistryUnreachable`,
and whoever asked waits.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import urllib3

from schemas.catalog import LocalIds, RegistryUnreachable, Schema, SchemaIds, schema_of
from schemas.errors import CognistreamError
from schemas.topics import TOPICS, topic

TIMEOUT_S: Final = 5.0
UNKNOWN_FOR_S: Final = 10.0
"""How long an id that the registry did not know is not asked for again."""
UNKNOWN_IDS: Final = 10_000
"""How many such ids are remembered."""
MAX_ID: Final = (1 << 31) - 1
"""Ids are positive Java ints; the four bytes of a frame can say more."""

_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_SCHEMA_NOT_FOUND: Final = 40403


class RegistryRefused(CognistreamError):
    """The registry answered, and will not take a schema."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: dict[str, Any]


class Registry:
    """Client of one registry; safe to use from several threads.

    `url` may carry a login (`https://name:password@host/path`); `ca` is a file of certificates to trust (PEM).
    """

    def __init__(self, url: str, *, ca: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = url.rpartition("@")[2]
            raise CognistreamError(f"SCHEMA_REGISTRY_URL: {shown!r} is no http or https address; give one")
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Accept": f"{_TYPE}, application/json", "Content-Type": _TYPE}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers |= urllib3.make_headers(basic_auth=login)
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False, ca_certs=ca, maxsize=4)

    def schema(self, schema_id: int) -> Schema | None:
        """The Avro schema of an id, None when the registry knows none; RegistryUnreachable without a clear answer.

        A number that cannot be an id is answered here: registries answer it with an unclear 404, and waiting for a
        better one would stop a partition for good.
        """
        if not 0 < schema_id <= MAX_ID:
            return None
        path = f"/schemas/ids/{schema_id}"
        answer = self._ask("GET", path)
        if answer.status == 404 and answer.body.get("error_code") == _SCHEMA_NOT_FOUND:
            return None
        if answer.status != 200 or "schema" not in answer.body:
            raise self._unclear(path, answer)
        return _avro(answer.body)

    def register(self, subject: str, schema: Schema) -> int:
        """The id of `schema` under `subject`, registered now or long ago.

        Raises RegistryRefused when it contradicts older versions, RegistryUnreachable without a clear answer.
        """
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer.status in (409, 422):
            told = answer.body.get("message", "no reason given")
            raise RegistryRefused(f"the registry {self.url} refuses the schema of {subject}: {told}")
        if answer.status != 200 or not isinstance(answer.body.get("id"), int):
            raise self._unclear(path, answer)
        return int(answer.body["id"])

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> _Answer:
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, self.url + path, body=data, headers=self._headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise RegistryUnreachable(
                f"the schema registry {self.url} does not answer ({error}); start it, or correct SCHEMA_REGISTRY_URL"
            ) from error
        return _Answer(answer.status, _object(answer.data))

    def _unclear(self, path: str, answer: _Answer) -> RegistryUnreachable:
        hint = "; give its login in SCHEMA_REGISTRY_URL" if answer.status in (401, 403) else ""
        told = answer.body.get("message", "without a message of a registry")
        return RegistryUnreachable(f"{self.url}{path} answers {answer.status} {told}{hint}")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _avro(body: Mapping[str, Any]) -> Schema | None:
    """The schema of an answer, None when it is not Avro. One that is a name or a union is wrapped as a type."""
    if body.get("schemaType", "AVRO") != "AVRO":
        return None
    try:
        schema = json.loads(body["schema"])
    except (ValueError, TypeError):
        return None
    return schema if isinstance(schema, dict) else {"type": schema}


class RegisteredIds:
    """`SchemaIds` by the local table first and a registry second; what an id means is asked once."""

    def __init__(
        self, registry: Registry, local: SchemaIds | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._local = local or LocalIds()
        self._clock = clock
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, Schema] = {}
        self._unknown: OrderedDict[int, float] = OrderedDict()

    def register_all(self) -> dict[str, int]:
        """Register the schema of every topic under `TOPIC-value` and answer the ids by topic (without prefix).

        Raises RegistryRefused or RegistryUnreachable.
        """
        self._ids = {row.name: self._registry.register(subject(row.name), schema_of(row.name)) for row in TOPICS}
        return dict(self._ids)

    def id_of(self, name: str) -> int:
        """The registry's id for records of topic `name`; the table's before `register_all`."""
        return self._ids.get(topic(name).name) or self._local.id_of(name)

    def writer_schema(self, schema_id: int) -> Schema | None:
        """The schema of an id, None when neither table nor registry knows it; else RegistryUnreachable."""
        known = self._local.writer_schema(schema_id) or self._schemas.get(schema_id)
        if known is not None or self._unknown.get(schema_id, 0.0) > self._clock():
            return known
        found = self._registry.schema(schema_id)
        if found is None:
            self._remember_unknown(schema_id)
            return None
        return self._schemas.setdefault(schema_id, found)

    def _remember_unknown(self, schema_id: int) -> None:
        self._unknown[schema_id] = self._clock() + UNKNOWN_FOR_S
        self._unknown.move_to_end(schema_id)
        while len(self._unknown) > UNKNOWN_IDS:
            self._unknown.popitem(last=False)


def subject(name: str) -> str:
    """The registry subject of topic `name` (without prefix; topics under a prefix share its ids)."""
    return f"{name}-value"
