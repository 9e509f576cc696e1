"""The schema registry, for clusters that have one: what a foreign schema id means, and which ids our records get.

Speaks the protocol that Confluent's, Karapace and Apicurio (its `ccompat` path) share: a few requests, JSON over HTTP.
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
from schemas.topics import TOPICS, full_name, topic

TIMEOUT_S: Final = 5.0
UNKNOWN_FOR_S: Final = 10.0
"""How long an id that the registry did not know is not asked for again."""
UNKNOWN_IDS: Final = 10_000
"""How many such ids are remembered."""
MAX_ID: Final = (1 << 31) - 1
"""Ids are positive Java ints; the four bytes of a frame can say more."""

_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_SCHEMA_NOT_FOUND: Final = 40403
_NOTHING_REGISTERED: Final = (40401, 40402, _SCHEMA_NOT_FOUND)
"""No such subject, version or schema."""


class RegistryRefused(CognistreamError):
    """The registry answered, and will not take a schema."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a registry says: an object, else an empty `body`; a list, else `listed` is None."""

    status: int
    body: dict[str, Any]
    listed: list[Any] | None


@dataclass(frozen=True, slots=True)
class Version:
    """A schema that a subject has; versions count from 1. `schema` is None when it is not Avro."""

    number: int
    schema_id: int
    schema: Schema | None


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
        path = _path("subjects", subject, "versions")
        answer = self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer.status in (409, 422):
            told = answer.body.get("message", "no reason given")
            raise RegistryRefused(f"the registry {self.url} refuses the schema of {subject}: {told}")
        if answer.status != 200 or not isinstance(answer.body.get("id"), int):
            raise self._unclear(path, answer)
        return int(answer.body["id"])

    def versions(self, subject: str) -> list[Version]:
        """All versions of `subject`, oldest first; none when nothing is registered under it."""
        path = _path("subjects", subject, "versions")
        answer = self._ask("GET", path)
        if _nothing(answer):
            return []
        if answer.status != 200 or answer.listed is None:
            raise self._unclear(path, answer)
        found = (self._version(subject, number) for number in sorted(answer.listed))
        return [version for version in found if version is not None]

    def latest(self, subject: str) -> Version | None:
        """The newest version of `subject`, None when nothing is registered under it."""
        return self._version(subject, "latest")

    def registered(self, subject: str, schema: Schema) -> Version | None:
        """The version of `subject` that is `schema`, None when there is none; how texts are compared is its affair."""
        path = _path("subjects", subject)
        answer = self._ask("POST", path, {"schema": json.dumps(schema)})
        return self._version_of(path, answer)

    def takes(self, subject: str, version: int, schema: Schema) -> bool:
        """Whether `schema` fits that version of `subject`, at the level that is set there.

        Asked version by version: not all registries can be asked about all at once.
        """
        path = _path("compatibility", "subjects", subject, "versions", str(version))
        answer = self._ask("POST", path, {"schema": json.dumps(schema)})
        if answer.status == 422:
            return False
        if answer.status != 200 or not isinstance(answer.body.get("is_compatible"), bool):
            raise self._unclear(path, answer)
        return bool(answer.body["is_compatible"])

    def level(self, subject: str) -> str:
        """The compatibility level that holds for `subject`: its own, else the registry's."""
        path = _path("config", subject)
        answer = self._ask("GET", path)
        if answer.status == 404 and isinstance(answer.body.get("error_code"), int):
            answer = self._ask("GET", path := "/config")
        if answer.status != 200 or "compatibilityLevel" not in answer.body:
            raise self._unclear(path, answer)
        return str(answer.body["compatibilityLevel"])

    def set_level(self, subject: str, level: str) -> None:
        """Set the compatibility level of `subject`, which need not have a schema yet."""
        path = _path("config", subject)
        answer = self._ask("PUT", path, {"compatibility": level})
        if answer.status != 200 or answer.body.get("compatibility") != level:
            raise self._unclear(path, answer)

    def _version(self, subject: str, number: int | str) -> Version | None:
        path = _path("subjects", subject, "versions", str(number))
        return self._version_of(path, self._ask("GET", path))

    def _version_of(self, path: str, answer: _Answer) -> Version | None:
        if _nothing(answer):
            return None
        if answer.status != 200 or not {"version", "id", "schema"} <= set(answer.body):
            raise self._unclear(path, answer)
        return Version(int(answer.body["version"]), int(answer.body["id"]), _avro(answer.body))

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> _Answer:
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, self.url + path, body=data, headers=self._headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise RegistryUnreachable(
                f"the schema registry {self.url} does not answer ({error}); start it, or correct SCHEMA_REGISTRY_URL"
            ) from error
        return _answer(answer.status, answer.data)

    def _unclear(self, path: str, answer: _Answer) -> RegistryUnreachable:
        hint = "; give its login in SCHEMA_REGISTRY_URL" if answer.status in (401, 403) else ""
        told = answer.body.get("message", "without a message of a registry")
        return RegistryUnreachable(f"{self.url}{path} answers {answer.status} {told}{hint}")


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _nothing(answer: _Answer) -> bool:
    return answer.status == 404 and answer.body.get("error_code") in _NOTHING_REGISTERED


def _answer(status: int, data: bytes) -> _Answer:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    return _Answer(status, found if isinstance(found, dict) else {}, found if isinstance(found, list) else None)


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
    """`SchemaIds` by the local table first and a registry second; what an id means is asked once.

    Topics are those under `prefix`.
    """

    def __init__(
        self,
        registry: Registry,
        local: SchemaIds | None = None,
        clock: Callable[[], float] = time.monotonic,
        prefix: str = "",
    ) -> None:
        self._registry = registry
        self._prefix = prefix
        self._local = local or LocalIds()
        self._clock = clock
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, Schema] = {}
        self._unknown: OrderedDict[int, float] = OrderedDict()

    def register_all(self) -> dict[str, int]:
        """Register the schema of every topic under `TOPIC-value` and answer the ids by topic (without prefix).

        Levels of compatibility are left as they are. Raises RegistryRefused or RegistryUnreachable.
        """
        self._ids = {
            row.name: self._registry.register(subject(row.name, self._prefix), schema_of(row.name)) for row in TOPICS
        }
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


def subject(name: str, prefix: str = "") -> str:
    """The registry subject of topic `name` under `prefix`, as every serializer names it unless told otherwise."""
    return f"{full_name(prefix, name)}-value"
