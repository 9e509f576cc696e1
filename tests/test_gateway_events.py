"""Publishing over HTTP: every form of event becomes the record that the client writes, all of a request or none."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import fastavro
import httpx
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from cognistream_client import Publisher
from cognistream_client.catalog import id_of, schema_of
from connectors.gateway.limits import LimitsAway
from connectors.gateway.publishing import Publishing
from connectors.gateway.redis_turns import RedisTurns

from .publishing_gateway import SOURCES, Shelf, Written, shelf
from .test_gateway_checking import Away
from .test_gateway_http import client_of, problem
from .test_gateway_view import NOW

pytestmark = pytest.mark.kafka

URL = "/v1/events"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = 1_767_225_600_007
FIELDS = {"risk": "low", "duration_ms": 12.5, "tokens_in": 7, "attributes": {"region": "eu"}}
EVENT = {
    "event_id": "e-1", "tenant_id": "acme", "agent_id": "é/1", "event_type": "execution_completed", "occurred_at": AT,
    **FIELDS,
}  # fmt: skip
ATTRIBUTES = {
    "specversion": "1.0", "id": "e-1", "source": "/services/planner", "type": "cognistream.kaizen.execution.completed",
    "subject": "acme/é/1", "time": "2026-01-01T01:00:00.007+01:00",
}  # fmt: skip
CLOUDEVENT = {**ATTRIBUTES, "datacontenttype": "application/json", "comexample": 7, "data": FIELDS}
FEEDBACK = {"agent_id": "bot", "event_type": "feedback_positive", "rating": 5}

Form = tuple[dict[str, str], bytes]


def form(media: str, body: Any, **headers: str) -> Form:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"Content-Type": media, **headers}, data


def avro(event: dict[str, Any], topic: str = "kaizen.events") -> bytes:
    out = io.BytesIO(struct.pack(">bi", 0, id_of(topic)))
    out.seek(5)
    blank = {row["name"]: row.get("default") for row in schema_of(topic)["fields"]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema_of(topic)), {**blank, **event})
    return out.getvalue()


CE_HEADERS = {f"ce-{name}": quote(value) for name, value in ATTRIBUTES.items()}
FORMS: dict[str, Form] = {
    "plain": form("application/json", EVENT),
    "array": form("Application/JSON; Charset=UTF-8", [EVENT]),
    "cloudevent": form("application/cloudevents+json", CLOUDEVENT),
    "batch": form("application/cloudevents-batch+json", [CLOUDEVENT]),
    "binary": form("application/json", FIELDS, **CE_HEADERS),
    "binary, fields told twice": form("application/json", EVENT, **CE_HEADERS),
    "avro": form("application/avro", avro(EVENT), **CE_HEADERS),
    "stream": form("application/x-ndjson", EVENT),
    "stream of cloudevents": form("application/x-ndjson", json.dumps(CLOUDEVENT).encode() + b"\r\n"),
}
CLOUDEVENTS = {name for name in FORMS if name not in ("plain", "array", "stream")}


@pytest.fixture(scope="module")
def topics(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with shelf(kafka, f"t-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("turns")) as made:
        yield made


@pytest.fixture
async def client(topics: Shelf) -> AsyncIterator[httpx.AsyncClient]:
    async with topics.client() as made:
        yield made


async def send(client: httpx.AsyncClient, one: Form, **headers: str) -> httpx.Response:
    return await client.post(URL, content=one[1], headers={**one[0], **headers})


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(text) for text in answer.text.splitlines()]


@pytest.mark.parametrize("name", FORMS)
async def test_every_form_becomes_the_record_that_the_client_writes(
    topics: Shelf, client: httpx.AsyncClient, name: str
) -> None:
    ends = topics.ends()
    answer = await send(client, FORMS[name], traceparent=TRACE)
    assert answer.status_code == 202, answer.text
    (written,) = topics.since(ends)
    assert written.topic == "kaizen.events"
    assert written.key == "acme/é/1".encode()
    assert {field: written.event[field] for field in EVENT} == {**EVENT, "occurred_at": written.event["occurred_at"]}
    assert written.event["occurred_at"] in (AT, datetime.fromtimestamp(AT / 1000, UTC))
    source = b"/services/planner" if name in CLOUDEVENTS else b"/kaizen"
    assert written.headers["ce_source"] == source
    assert written.headers["traceparent"] == TRACE.encode()
    assert (written.headers["ce_id"], written.headers["ce_time"]) == (b"e-1", b"2026-01-01T00:00:00.007Z")


async def test_what_is_acknowledged_is_told_with_its_place(topics: Shelf, client: httpx.AsyncClient) -> None:
    ends = topics.ends()
    answer = await client.post(URL, json=[EVENT, FEEDBACK, {**EVENT, "event_id": "e-2"}])
    told = answer.json()["events"]
    assert [one["topic"] for one in told] == ["kaizen.events", "aurais.events", "kaizen.events"]
    assert [told[0]["event_id"], told[2]["event_id"]] == ["e-1", "e-2"]
    assert told[2]["offset"] == told[0]["offset"] + 1
    assert {written.event["event_id"] for written in topics.since(ends)} == {one["event_id"] for one in told}


async def test_id_time_and_tenant_are_filled_in(topics: Shelf, client: httpx.AsyncClient) -> None:
    ends, before = topics.ends(), time.time()
    (told,) = (await client.post(URL, json={**FEEDBACK, "rating": 5.0})).json()["events"]
    (written,) = topics.since(ends)
    assert uuid.UUID(told["event_id"]).version == 7
    assert (written.event["event_id"], written.event["tenant_id"]) == (told["event_id"], "acme")
    assert written.event["rating"] == 5
    at = written.event["occurred_at"]
    assert before - 1 <= (at.timestamp() if isinstance(at, datetime) else at / 1000) <= time.time() + 1


@pytest.mark.parametrize("trace", ["", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + TRACE[2:], TRACE.upper(), "é"])
async def test_a_trace_that_is_none_is_left_out(topics: Shelf, client: httpx.AsyncClient, trace: str) -> None:
    ends = topics.ends()
    assert (await client.post(URL, json=FEEDBACK, headers={"traceparent": trace.encode()})).status_code == 202  # type: ignore[dict-item]
    assert "traceparent" not in topics.since(ends)[0].headers


@pytest.mark.parametrize("make", [to_structured, to_binary])
async def test_what_the_cloudevents_sdk_sends_is_taken(topics: Shelf, client: httpx.AsyncClient, make: Any) -> None:
    ends = topics.ends()
    attributes = {**ATTRIBUTES, "time": datetime(2026, 1, 1, tzinfo=UTC), "datacontenttype": "application/json"}
    message = make(CloudEvent(attributes, FIELDS), JSONFormat())
    assert (await client.post(URL, content=message.body, headers=message.headers)).status_code == 202
    (written,) = topics.since(ends)
    assert (written.key, written.event["risk"]) == ("acme/é/1".encode(), "low")


def deep(levels: int) -> bytes:
    return b'{"agent_id":' * levels + b"1" + b"}" * levels


WRONG: dict[str, tuple[Form, int]] = {
    "no json": (form("application/json", b"{"), 400),
    "nothing": (form("application/json", b""), 400),
    "bytes that are no UTF-8": (form("application/json", b'{"agent_id": "\xff"}'), 400),
    "UTF-16": (form("application/json", json.dumps(EVENT).encode("utf-16")), 400),
    "half of a surrogate": (form("application/json", b'{"agent_id": "\\ud800"}'), 400),
    "a mark before it": (form("application/json", b"\xef\xbb\xbf" + json.dumps(EVENT).encode()), 400),
    "no number": (form("application/json", b'{"cost_usd": NaN}'), 400),
    "a number beyond measure": (form("application/json", b"9" * 5_000), 400),
    "too deep": (form("application/json", b"[" * 100_000), 400),
    "deeper than an event": (form("application/json", deep(20)), 422),
    "null": (form("application/json", None), 422),
    "text": (form("application/json", "x"), 422),
    "an empty array": (form("application/json", []), 422),
    "arrays in arrays": (form("application/json", [[EVENT]]), 422),
    "too many": (form("application/json", [FEEDBACK] * 1_001), 422),
    "too large": (form("application/json", b" " * (5 << 20)), 413),
    "an event too large": (form("application/json", {**EVENT, "intent": "x" * 1_000_001}), 422),
    "a type that is another's": (form("text/plain", EVENT), 415),
    "no type": (form("", EVENT), 415),
    "a form": (form("application/x-www-form-urlencoded", b"a=1"), 415),
    "another charset": (form("application/json; charset=latin-1", EVENT), 415),
    "compressed": (form("application/json", EVENT, **{"Content-Encoding": "gzip"}), 415),
    "avro without headers": (form("application/avro", avro(EVENT)), 415),
    "avro cut off": (form("application/avro", avro(EVENT)[:-9], **CE_HEADERS), 400),
    "avro with more behind it": (form("application/avro", avro(EVENT) + b"x", **CE_HEADERS), 400),
    "avro of another schema": (form("application/avro", b"\0" * 40, **CE_HEADERS), 400),
    "a batch that is none": (form("application/cloudevents-batch+json", CLOUDEVENT), 422),
    "an empty stream": (form("application/x-ndjson", b"\n\n"), 422),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_event_is_refused_and_nothing_is_stored(
    topics: Shelf, client: httpx.AsyncClient, name: str
) -> None:
    ends = topics.ends()
    one, status = WRONG[name]
    told = problem(await send(client, one), status)
    assert len(json.dumps(told)) < 4_000
    assert topics.ends() == ends


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"event_id": ""}, "/event_id"),
        ({"event_id": "é" * 65}, "/event_id"),
        ({"event_id": 7}, "/event_id"),
        ({"event_id": None}, "/event_id"),
        ({"agent_id": "a\n"}, "/agent_id"),
        ({"agent_id": ["a"]}, "/agent_id"),
        ({"event_type": "feedback"}, "/event_type"),
        ({"event_type": {}}, "/event_type"),
        ({"event_type": "unknown"}, "/event_type"),
        ({"occurred_at": "2026-01-01T00:00:00Z"}, "/occurred_at"),
        ({"occurred_at": -1}, "/occurred_at"),
        ({"occurred_at": 1e300}, "/occurred_at"),
        ({"risk": "extreme"}, "/risk"),
        ({"risk": 1}, "/risk"),
        ({"tokens_in": 1.5}, "/tokens_in"),
        ({"tokens_in": True}, "/tokens_in"),
        ({"tokens_in": 1 << 63}, "/tokens_in"),
        ({"cost_usd": -0.5}, "/cost_usd"),
        ({"cost_usd": "1"}, "/cost_usd"),
        ({"user_facing": None}, "/user_facing"),
        ({"user_facing": "true"}, "/user_facing"),
        ({"action": "é" * 513}, "/action"),
        ({"attributes": {"a": 1}}, "/attributes"),
        ({"attributes": {"a": {"b": "c"}}}, "/attributes"),
        ({"attributes": None}, "/attributes"),
        ({"attributes": [["a", "b"]]}, "/attributes"),
        ({"rating": 5}, "/rating"),
        ({"a/b~": 1}, "/a~1b~0"),
        ({"x" * 5_000: 1}, "/" + "x" * 128),
    ],
)
async def test_a_wrong_field_is_named_and_keeps_the_whole_request_out(
    topics: Shelf, client: httpx.AsyncClient, change: dict[str, Any], path: str
) -> None:
    ends = topics.ends()
    answer = await client.post(URL, json=[EVENT, {**EVENT, **change}, EVENT])
    told = problem(answer, 422)
    assert [error["path"] for error in told["errors"]] == [f"/1{path}"]
    assert topics.ends() == ends


async def test_all_mistakes_are_told_at_once(client: httpx.AsyncClient) -> None:
    wrong = [{"event_type": "intent_declared"}, {**EVENT, "risk": 1, "cost_usd": -1}, EVENT, {**EVENT, "x": 1}]
    told = problem(await client.post(URL, json=wrong), 422)
    assert [one["path"] for one in told["errors"]] == ["/0/agent_id", "/1/risk", "/1/cost_usd", "/3/x"]
    assert told["errors"][1]["detail"] == "not one of low, medium, high, critical, or null"
    many = problem(await client.post(URL, json=[{"agent_id": 1, "event_type": "x"}] * 1_000), 422)
    assert len(many["errors"]) == 100


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"id": 7}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"source": ""}, "source"),
        ({"type": "com.example"}, "type"),
        ({"type": ["a"]}, "type"),
        ({"subject": "acme"}, "subject"),
        ({"subject": "acme/"}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2026-01-01T00:00:00"}, "time"),
        ({"time": "1969-12-31T00:00:00Z"}, "time"),
        ({"datacontenttype": "text/xml"}, "datacontenttype"),
        ({"data": {"risk": "extreme"}}, "data/risk"),
        ({"data": {"event_id": "e-2"}}, "data/event_id"),
        ({"data": [1]}, "data"),
    ],
)
async def test_a_wrong_attribute_of_a_cloudevent_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], path: str
) -> None:
    for media, body, place in (("", {**CLOUDEVENT, **change}, "/"), ("-batch", [{**CLOUDEVENT, **change}], "/0/")):
        told = problem(await send(client, form(f"application/cloudevents{media}+json", body)), 422)
        assert [error["path"] for error in told["errors"]] == [place + path]


async def test_a_wrong_header_of_a_cloudevent_is_named(client: httpx.AsyncClient) -> None:
    for name, value in (("ce-type", "x"), ("ce-time", "x"), ("ce-subject", "x"), ("ce-specversion", "2")):
        told = problem(await send(client, form("application/json", FIELDS, **{**CE_HEADERS, name: value})), 422)
        assert [error["path"] for error in told["errors"]] == [name]


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (form("application/json", [EVENT, {**EVENT, "tenant_id": "other"}]), "not-your-tenant"),
        (form("application/json", [EVENT, {**EVENT, "tenant_id": 7, "risk": 7}]), "not-your-tenant"),
        (form("application/cloudevents+json", {**CLOUDEVENT, "subject": "other/bot"}), "not-your-tenant"),
        (form("application/json", FIELDS, **{**CE_HEADERS, "ce-subject": "other/bot"}), "not-your-tenant"),
        (form("application/avro", avro({**EVENT, "agent_id": "bot"}), **{**CE_HEADERS, "ce-subject": "o/bot"}), None),
        (form("application/json", [EVENT, FEEDBACK]), "not-your-source"),
    ],
)
async def test_a_key_publishes_for_its_own_tenant_and_its_own_sources(
    topics: Shelf, one: Form, kind: str | None
) -> None:
    ends = topics.ends()
    async with topics.client(topics.keys.new(verbs=("publish",), sources=("kaizen",))) as client:
        if kind is None:
            problem(await send(client, one), 422)
        else:
            assert problem(await send(client, one), 403)["type"].endswith(kind)
    assert topics.ends() == ends


async def test_without_the_right_key_nothing_is_published(topics: Shelf) -> None:
    ends = topics.ends()
    for key, status in (("", 401), ("csk_no", 401), (topics.keys.expired, 401), (topics.keys.all, 403)):
        async with topics.client(key or "-") as client:
            problem(await client.post(URL, json=EVENT), status)
    assert topics.ends() == ends


async def test_a_body_that_ends_early_or_comes_too_slowly_is_told_so(
    topics: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.gateway.events_routes.BODY_S", 0.05)
    monkeypatch.setattr("connectors.gateway.event_stream.STREAM_S", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    ends = topics.ends()
    async with topics.client() as client:
        for media in ("application/json", "application/x-ndjson"):
            answer = await client.post(URL, content=slow(), headers={"Content-Type": media})
            problem(answer, 408)
            assert answer.headers["connection"] == "close"
    assert topics.ends() == ends


async def test_a_repeat_with_its_key_is_answered_alike_and_stored_once(
    topics: Shelf, client: httpx.AsyncClient
) -> None:
    ends = topics.ends()
    first = await client.post(URL, json=FEEDBACK, headers={"Idempotency-Key": '"one"'})
    again = await client.post(URL, json=FEEDBACK, headers={"Idempotency-Key": "one"})
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    told = problem(await client.post(URL, json=EVENT, headers={"Idempotency-Key": "one"}), 422)
    assert told["type"].endswith("key-reused")
    assert len(topics.since(ends)) == 1
    async with topics.client(topics.keys.new(verbs=("publish",), sources=SOURCES)) as other:
        assert (await other.post(URL, json=EVENT, headers={"Idempotency-Key": "one"})).status_code == 202


async def test_of_requests_at_once_with_one_key_one_is_taken(topics: Shelf, client: httpx.AsyncClient) -> None:
    ends = topics.ends()
    both = [client.post(URL, json=FEEDBACK, headers={"Idempotency-Key": "at once"}) for _ in range(5)]
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*both)])
    assert set(statuses) <= {202, 409}
    assert statuses[0] == 202
    assert len(topics.since(ends)) == 1


async def test_a_refused_request_may_be_mended_under_its_key(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "mended"}
    problem(await client.post(URL, json={**EVENT, "risk": 1}, headers=key), 422)
    assert (await client.post(URL, json=EVENT, headers=key)).status_code == 202


async def test_a_request_that_kafka_did_not_answer_is_the_same_events_when_it_comes_again(topics: Shelf) -> None:
    ends, key = topics.ends(), {"Idempotency-Key": "broken off"}
    nowhere = Publisher("127.0.0.1:1", within=0.2, linger=0)
    async with topics.client(publisher=nowhere) as client:
        answer = await client.post(URL, json=[FEEDBACK, FEEDBACK], headers=key)
        assert problem(answer, 503)["type"].endswith("kafka-away")
        assert answer.headers["retry-after"] == "1"
    with pytest.raises(Exception, match="2 events were not delivered"):
        nowhere.close()
    for _ in range(2):  # as if the first of these gateways had died before it wrote down its answer
        async with topics.client() as client:
            assert (await client.post(URL, json=[FEEDBACK, FEEDBACK], headers=key)).status_code == 202
        topics.turns._open.execute("UPDATE turns SET answer = NULL")  # type: ignore[union-attr]
    written = topics.since(ends)
    assert len(written) == 4
    assert len({one.event["event_id"] for one in written}) == 2
    assert len({one.event["occurred_at"] for one in written}) == 1


async def test_a_stream_has_no_idempotency_key(client: httpx.AsyncClient) -> None:
    problem(await send(client, FORMS["stream"], **{"Idempotency-Key": "x"}), 400)


async def test_without_the_memory_of_keys_a_request_with_one_is_refused(topics: Shelf) -> None:
    ends, nobody = topics.ends(), RedisTurns("redis://127.0.0.1:1/0", answer_s=5)
    async with topics.client(turns=nobody) as client:
        answer = await client.post(URL, json=EVENT, headers={"Idempotency-Key": "x"})
        assert problem(answer, 503)["type"].endswith("keys-away")
        assert topics.ends() == ends
        assert (await client.post(URL, json=EVENT)).status_code == 202
    await nobody.aclose()


@pytest.mark.parametrize("key", ["", "é", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post(URL, json=EVENT, headers={"Idempotency-Key": key.encode()})  # type: ignore[dict-item]
    assert problem(answer, 422)["errors"][0]["path"] == "/Idempotency-Key"


async def test_a_key_has_so_many_events_a_minute_and_is_told_what_is_left(topics: Shelf) -> None:
    ends = topics.ends()
    async with topics.client(per_minute=3) as client:
        answer = await client.post(URL, json=[FEEDBACK] * 2)
        assert answer.headers["ratelimit-policy"] == '"events";q=3;w=60'
        assert answer.headers["ratelimit"] == '"events";r=1;t=40'
        answer = await client.post(URL, json=[FEEDBACK] * 2)
        assert problem(answer, 429)["type"].endswith("too-fast")
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert answer.headers["ratelimit"].startswith('"events";r=1;t=')
        problem(await client.post(URL, json=[FEEDBACK] * 4), 413)
        assert (await client.post(URL, json=FEEDBACK)).headers["ratelimit"].startswith('"events";r=0;t=')
        async with topics.client(topics.keys.new(verbs=("publish",), sources=SOURCES)) as other:
            assert (await other.post(URL, json=FEEDBACK)).status_code == 202
    assert len(topics.since(ends)) == 4


async def test_without_the_memory_of_limits_nothing_is_published(topics: Shelf) -> None:
    ends = topics.ends()
    async with topics.client(limits=Away(LimitsAway("redis at 10.0.0.7"))) as client:
        told = problem(await client.post(URL, json=EVENT), 503)
    assert "10.0.0.7" not in json.dumps(told)
    assert topics.ends() == ends


async def test_beyond_so_many_requests_at_once_the_next_is_told_to_come_again(
    topics: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.gateway.publishing.AT_ONCE", 1)
    gateway = topics.gateway()
    assert isinstance(gateway.publishing, Publishing)
    async with client_of(gateway, topics.all) as client:
        key = gateway.keys.find(topics.all, NOW)
        assert key is not None
        with gateway.publishing.entered(key):
            answer = await client.post(URL, json=EVENT)
            assert problem(answer, 503)["type"].endswith("busy")
            assert answer.headers["retry-after"] == "1"
        assert (await client.post(URL, json=EVENT)).status_code == 202


async def test_one_key_does_not_take_every_place(topics: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.gateway.publishing.OF_A_KEY", 1)
    gateway, other = topics.gateway(), topics.keys.new(verbs=("publish",), sources=SOURCES)
    assert isinstance(gateway.publishing, Publishing)
    key = gateway.keys.find(topics.all, NOW)
    assert key is not None
    with gateway.publishing.entered(key):
        async with client_of(gateway, topics.all) as client:
            assert problem(await client.post(URL, json=EVENT), 429)["type"].endswith("busy")
        async with client_of(gateway, other) as client:
            assert (await client.post(URL, json=EVENT)).status_code == 202


def ids(written: list[Written]) -> set[str]:
    return {one.event["event_id"] for one in written}


def numbered(number: int, **change: Any) -> bytes:
    return json.dumps({**FEEDBACK, "event_id": f"s-{number}", **change}).encode() + b"\n"


async def test_each_line_of_a_stream_stands_for_itself(topics: Shelf, client: httpx.AsyncClient) -> None:
    ends = topics.ends()
    body = numbered(0) + b"{\n\n" + numbered(3, rating="x") + numbered(4, tenant_id="other") + numbered(5).strip()
    answer = await send(client, form("application/x-ndjson", body))
    assert answer.status_code == 207
    told = lines(answer)
    assert [(one["line"], one["status"]) for one in told] == [(0, 202), (1, 400), (3, 422), (4, 403), (5, 202)]
    assert told[2]["errors"][0]["path"] == "/rating"
    assert told[0]["topic"] == "aurais.events"
    assert ids(topics.since(ends)) == {"s-0", "s-5"}


async def test_a_stream_is_published_while_it_comes(topics: Shelf, client: httpx.AsyncClient) -> None:
    ends = topics.ends()

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            text = numbered(number)
            yield text[:10]
            yield text[10:]
            while len(topics.since(ends)) <= number:
                await asyncio.sleep(0.01)

    answer = await client.post(URL, content=body(), headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status_code, [one["event_id"] for one in lines(answer)]) == (202, ["s-0", "s-1", "s-2"])


async def test_a_stream_ends_where_the_key_s_minute_does(topics: Shelf) -> None:
    ends = topics.ends()

    async def body() -> AsyncIterator[bytes]:
        for number in range(9):
            yield numbered(number)

    async with topics.client(per_minute=2) as client:
        answer = await client.post(URL, content=body(), headers={"Content-Type": "application/x-ndjson"})
    assert [one["status"] for one in lines(answer)] == [202, 202, 429]
    assert int(answer.headers["retry-after"]) > 0
    assert len(topics.since(ends)) == 2


async def test_a_stream_is_bounded_by_its_lines_and_their_length(
    topics: Shelf, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = topics.ends()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield numbered(0)
        while True:
            sent += 1
            yield b" " * 65_536

    answer = await client.post(URL, content=endless(), headers={"Content-Type": "application/x-ndjson"})
    assert [one["status"] for one in lines(answer)] == [202, 413]
    assert sent < 40
    told = lines(await send(client, form("application/x-ndjson", b"{\n" * 10_000 + numbered(1))))
    assert [one["status"] for one in told] == [*[400] * 201, 422]
    monkeypatch.setattr("connectors.gateway.event_stream.MOST_LINES", 10)
    problem(await send(client, form("application/x-ndjson", b"{}\n" * 11)), 413)
    assert len(topics.since(ends)) == 1
