"""The registry client over real HTTP: what is believed, what waits, and what is asked only once."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from connectors.registry import UNKNOWN_FOR_S, RegisteredIds, Registry, RegistryRefused
from schemas.catalog import LocalIds, RegistryUnreachable, schema_of
from schemas.errors import CognistreamError

from .registry_contract import RegistryContract
from .registry_server import SchemaStore, schema_server

RECORD = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}


@pytest.fixture
def store() -> Iterator[SchemaStore]:
    with schema_server() as running:
        yield running


@pytest.fixture
def registry(store: SchemaStore) -> Registry:
    return Registry(store.url)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestRegistryInMemory(RegistryContract):
    pass


def test_local_ids_are_known_without_asking(store: SchemaStore, registry: Registry) -> None:
    assert RegisteredIds(registry).writer_schema(LocalIds().id_of("kaizen.events")) == schema_of("kaizen.events")
    assert store.requests == []


def test_a_schema_is_fetched_once(store: SchemaStore, registry: Registry) -> None:
    number = store.add(json.dumps(RECORD))
    ids = RegisteredIds(registry)
    first = ids.writer_schema(number)
    assert first == RECORD
    assert ids.writer_schema(number) is first
    assert store.requests == [f"GET /schemas/ids/{number}"]


def test_an_unknown_id_is_asked_for_again_only_after_a_while(store: SchemaStore, registry: Registry) -> None:
    clock = Clock()
    ids = RegisteredIds(registry, clock=clock)
    assert ids.writer_schema(1) is None
    store.add(json.dumps(RECORD))
    assert ids.writer_schema(1) is None
    clock.now += UNKNOWN_FOR_S
    assert ids.writer_schema(1) == RECORD
    assert len(store.requests) == 2


@pytest.mark.parametrize("number", [-1, 0, 1 << 31, (1 << 32) - 1])
def test_a_number_that_is_no_id_is_not_waited_for(store: SchemaStore, registry: Registry, number: int) -> None:
    assert registry.schema(number) is None
    assert store.requests == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>no such page</html>"),
        (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
        (200, b"<html>please log in</html>"),
        (200, b"[]"),
        (302, b""),
        (429, b"{}"),
        (500, b'{"error_code": 50001, "message": "Error in the backend data store"}'),
        (503, b""),
    ],
)
def test_what_is_not_a_registry_s_clear_answer_makes_us_wait(
    store: SchemaStore, registry: Registry, status: int, body: bytes
) -> None:
    store.answer = status, body
    ids = RegisteredIds(registry)
    with pytest.raises(RegistryUnreachable, match=f"/schemas/ids/1 answers {status}"):
        ids.writer_schema(1)
    with pytest.raises(RegistryUnreachable, match="answers"):
        ids.register_all()
    store.answer = None
    assert ids.writer_schema(1) is None


@pytest.mark.parametrize("answer", [(404, b"<html>no such page</html>"), (200, b"{}"), (503, b""), (401, b"{}")])
@pytest.mark.parametrize(
    "question",
    [
        lambda registry: registry.versions("s"),
        lambda registry: registry.latest("s"),
        lambda registry: registry.registered("s", RECORD),
        lambda registry: registry.takes("s", 1, RECORD),
        lambda registry: registry.level("s"),
        lambda registry: registry.set_level("s", "FULL"),
    ],
    ids=["versions", "latest", "registered", "takes", "level", "set_level"],
)
def test_no_question_is_answered_by_a_stranger(
    store: SchemaStore, registry: Registry, question: Callable[[Registry], object], answer: tuple[int, bytes]
) -> None:
    store.answer = answer
    with pytest.raises(RegistryUnreachable, match=f"answers {answer[0]}"):
        question(registry)


def test_a_registry_that_is_not_there_makes_us_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(RegistryUnreachable, match=rf"127\.0\.0\.1:{port} does not answer .* SCHEMA_REGISTRY_URL"):
        Registry(f"http://127.0.0.1:{port}").schema(1)


def test_a_registry_that_says_nothing_makes_us_wait() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(RegistryUnreachable, match="does not answer"),
    ):
        Registry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.1).schema(1)


def test_a_login_travels_in_the_header_and_not_in_messages(store: SchemaStore) -> None:
    store.login = "Basic d29ya2VyOnMvZWNyZXQ="
    registry = Registry(store.url.replace("http://", "http://worker:s%2Fecret@"))
    assert registry.schema(1) is None
    store.login = "Basic another"
    with pytest.raises(RegistryUnreachable, match=r"401 Unauthorized; give its login") as caught:
        registry.schema(1)
    assert "ecret" not in str(caught.value)


def test_a_schema_that_contradicts_older_versions_is_refused(store: SchemaStore, registry: Registry) -> None:
    store.closed_subjects.add("trust.levels-value")
    with pytest.raises(RegistryRefused, match=r"trust\.levels-value: Schema being registered is incompatible"):
        RegisteredIds(registry).register_all()


def test_a_schema_of_another_kind_is_none_of_ours(store: SchemaStore, registry: Registry) -> None:
    number = store.add('syntax = "proto3";')
    store.schema_type = "PROTOBUF"
    assert registry.schema(number) is None


@pytest.mark.parametrize("text", ['"string"', '["null", "string"]'])
def test_a_schema_of_no_record_is_handed_on_to_be_refused_as_unresolvable(
    store: SchemaStore, registry: Registry, text: str
) -> None:
    assert registry.schema(store.add(text)) == {"type": json.loads(text)}


@pytest.mark.parametrize("url", ["", "localhost:8081", "ftp://registry", "http://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(CognistreamError, match="SCHEMA_REGISTRY_URL"):
        Registry(url)
