"""The schema registry, for clusters whose readers know ids only from there.

Speaks what Confluent's, Karapace and Apicurio (its `ccompat` path) share. The client looks up and registers nothing: a
schema that the registry does not know is an error at start, not a new version made by whichever service came first.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from .catalog import Schema, plain, source_of
from .errors import RegistryError

TIMEOUT: Final = 5.0
_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class Registry:
    """One registry; `url` may carry a login (`https://name:password@host/path`). Raises RegistryError."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError(f"the registry's address {url!r} is no http or https address; give one")
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Accept": f"{_TYPE}, application/json", "Content-Type": _TYPE}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        self._schemas: dict[int, Schema] = {}

    def id_of(self, topic: str) -> int:
        """The id under which the registry knows the schema of `topic` (without prefix)."""
        answer = self._ask(f"/subjects/{quote(topic, safe='')}-value", {"schema": source_of(topic)})
        if not isinstance(answer.get("id"), int):
            raise RegistryError(f"the registry {self._url} answers without an id for {topic}; is it a schema registry?")
        return int(answer["id"])

    def schema_with(self, number: int) -> Schema:
        """The schema of an id; asked once."""
        if number not in self._schemas:
            answer = self._ask(f"/schemas/ids/{number}", None)
            try:
                self._schemas[number] = plain(json.loads(answer["schema"]))
            except (KeyError, ValueError, TypeError) as error:
                raise RegistryError(f"the registry {self._url} answers without a schema for id {number}") from error
        return self._schemas[number]

    def _ask(self, path: str, body: dict[str, str] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers)  # noqa: S310 - http or https, checked
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                found = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise RegistryError(f"the registry {self._url} answers {error.code} to {path}: {_told(error)}") from error
        except (OSError, ValueError) as error:
            raise RegistryError(f"the registry {self._url} gives no answer to {path}: {error}") from error
        return found if isinstance(found, dict) else {}


def _told(error: urllib.error.HTTPError) -> str:
    hints = {401: "give its login in the address", 404: "register it first: cognistream schemas register"}
    return hints.get(error.code, error.reason)
