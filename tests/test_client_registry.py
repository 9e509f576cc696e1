"""With a registry the client's events bear the registry's ids, and it reads what other releases wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cognistream_client import NotDecodable, Publisher, RegistryError
from cognistream_client.catalog import TOPICS
from cognistream_client.reader import Reader
from cognistream_client.registry import Registry
from schemas.catalog import schema_of
from schemas.examples import examples
from schemas.wire import FRAME

from .registry_server import SchemaStore, schema_server


class Lookups(SchemaStore):
    """A store that answers the client's look-ups: a POST to a subject itself registers nothing."""

    def post(self, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        if subject != "subjects":
            return super().post(subject, body)
        if body["schema"] not in self.texts:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, {"id": self.add(body["schema"])}


@pytest.fixture
def store() -> Iterator[SchemaStore]:
    with schema_server(Lookups()) as running:
        yield running


def test_ids_are_those_of_the_schemas_that_cognistream_registers(store: SchemaStore) -> None:
    registered = {name: store.add(json.dumps(schema_of(name))) for name in TOPICS}
    registry = Registry(store.url)
    assert {name: registry.id_of(name) for name in TOPICS} == registered


def test_a_schema_that_nobody_registered_is_told_at_start(store: SchemaStore) -> None:
    with pytest.raises(RegistryError, match=r"answers 404 to /subjects/kaizen.events-value: register it first"):
        Publisher("127.0.0.1:9", registry=store.url)
    assert store.texts == []


def test_an_unreachable_registry_and_a_wrong_address_are_told() -> None:
    with pytest.raises(RegistryError, match="gives no answer"):
        Registry("http://127.0.0.1:9").id_of("kaizen.events")
    with pytest.raises(RegistryError, match="no http or https address"):
        Registry("ftp://registry")


def test_a_record_of_a_foreign_id_is_read_by_the_schema_that_wrote_it(store: SchemaStore) -> None:
    number = store.add(json.dumps(schema_of("trust.levels")))
    example = examples("trust.levels")[0]
    value = FRAME.pack(0, number) + example.framed[FRAME.size :]
    assert vars(Reader("trust.levels", Registry(store.url)).decode(value, "here")) == example.value
    with pytest.raises(NotDecodable, match="here: schema 1 is not of this release; give the registry"):
        Reader("trust.levels", None).decode(value, "here")
