"""The gateway over HTTP: who may ask, what is answered, and that whatever is wrong is told as what it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.checking import Checker
from connectors.gateway.keys import ApiKey, KeyRefused, KeyRing, make
from connectors.gateway.limits import LimitsAway

from .test_gateway_checking import Away, checker
from .test_gateway_view import DAY, KEY, NOW, decision, level

ASK = {"agent": "acme/agent-7", "action": "data:read/internal"}


class Keys:
    """A ring of keys, and the text of each."""

    def __init__(self) -> None:
        self.ring = KeyRing()
        self.all = self.new()
        self.reader = self.new(verbs=("read",))
        self.other = self.new(tenant="other")
        self.expired = self.new(expires=NOW)
        self.revoked = self.new(revoked=NOW - 1)

    def new(
        self,
        tenant: str = "acme",
        verbs: Any = ("check", "read"),
        sources: tuple[str, ...] = (),
        revoked: int | None = None,
        **more: Any,
    ) -> str:
        text, key = make("test", tenant, verbs, sources, NOW, **more)
        self.ring.take(ApiKey.of({**key.record(), "revoked": revoked}))
        return text


def client_of(gateway: Gateway, key: str | None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app_of(gateway), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def client(keys: Keys) -> AsyncIterator[httpx.AsyncClient]:
    """Of a tenant that may check and read; one agent, T3 with 600, is known."""
    async with client_of(Gateway(checker(), keys.ring, lambda: NOW), keys.all) as made:
        yield made


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"].startswith("urn:cognistream:problem:")
    assert "Traceback" not in answer.text
    return told


async def test_a_check_is_answered_with_all_that_a_caller_needs_to_go_on(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/check", json=ASK)
    assert answer.status_code == 200
    assert answer.json() == {
        "decision": "ALLOW", "reason": "allowed", "detail": "within its tier and its limits", "tier": "T3",
        "score": 600, "needs": None, "bound": "bucket", "limit": 20, "remaining": 19, "retry_after": 0.0, "reset": 0.1,
        "place": None,
    }  # fmt: skip


async def test_a_cost_is_a_number_however_json_writes_it(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/check", json={**ASK, "cost": 3.0})).json()["remaining"] == 17


async def test_being_told_no_is_an_answer_too(client: httpx.AsyncClient) -> None:
    told = (await client.post("/v1/check", json={**ASK, "action": "financial:pay"})).json()
    assert (told["decision"], told["needs"]) == ("ESCALATE", "T4")
    told = (await client.post("/v1/check", json={**ASK, "agent": "acme/nobody"})).json()
    assert (told["decision"], told["reason"], told["tier"]) == ("DENY", "unknown_agent", None)


async def test_a_run_that_ended_makes_room_for_the_one_that_waits(client: httpx.AsyncClient) -> None:
    told = [(await client.post("/v1/check", json={**ASK, "run": f"run {number}"})).json() for number in range(11)]
    assert (told[10]["reason"], told[10]["place"]) == ("run_waits", 0)
    assert (await client.delete("/v1/agents/acme%2Fagent-7/runs/run%204")).status_code == 204
    assert (await client.post("/v1/check", json={**ASK, "run": "run 10"})).json()["decision"] == "ALLOW"


async def test_what_is_known_of_an_agent_is_told_with_its_age(keys: Keys) -> None:
    asked = checker()
    asked.view.take_decision(KEY, NOW, decision("throttle", 20_000_000, limit="throttle"))
    async with client_of(Gateway(asked, keys.ring, lambda: NOW), keys.reader) as client:
        for path in ("/v1/agents/acme/agent-7", "/v1/agents/acme%2Fagent-7"):
            told = (await client.get(path)).json()
            assert (told["agent"], told["score"], told["tier"], told["age_s"]) == ("acme/agent-7", 600, "T3", 1.0)
            assert (told["status"], told["why"], told["throttled_until"]) == ("active", "trust.signal", NOW + 20_000)
        problem(await client.get("/v1/agents/acme/nobody"), 404)


def fleet() -> Checker:
    """Agents of two tenants: acme/a-00 to a-24, of T3 with 600 and every fifth idle for half a year, and another's."""
    asked = checker()
    for number in range(25):
        told = level(points=600_000, tier="T3", last=NOW - (0 if number % 5 else 182 * DAY))
        asked.view.take_level(b"acme/a-%02d" % number, 0, told)
    asked.view.take_level(b"acme-2/a-00", 0, level())
    asked.view.take_level(b"acm/a-00", 0, level())
    return asked


async def paged(client: httpx.AsyncClient, **query: Any) -> list[list[dict[str, Any]]]:
    """All pages, each as its agents."""
    pages, cursor = [], None
    while not pages or cursor is not None:
        more = {} if cursor is None else {"cursor": cursor}
        told = (await client.get("/v1/agents", params=query | more)).json()
        pages.append(told["agents"])
        cursor = told["next"]
    return pages


async def test_the_agents_of_the_tenant_are_told_in_pages_each_once(keys: Keys) -> None:
    async with client_of(Gateway(fleet(), keys.ring, lambda: NOW), keys.reader) as client:
        pages = await paged(client, limit=10)
        one = (await client.get("/v1/agents/acme/a-07")).json()
    assert [len(page) for page in pages] == [10, 10, 6]
    agents = [agent for page in pages for agent in page]
    assert [agent["agent"] for agent in agents] == [*(f"acme/a-{number:02d}" for number in range(25)), "acme/agent-7"]
    assert one in agents


async def test_agents_are_chosen_by_the_tier_in_force_after_decay(keys: Keys) -> None:
    async with client_of(Gateway(fleet(), keys.ring, lambda: NOW), keys.reader) as client:
        (found,) = await paged(client, tier="T2")
    assert [agent["agent"] for agent in found] == [f"acme/a-{number:02d}" for number in range(0, 25, 5)]
    assert {(agent["score"], agent["stored_score"], agent["stored_tier"]) for agent in found} == {(300, 600, "T3")}


async def test_pages_stay_whole_while_agents_come_and_go(keys: Keys) -> None:
    asked = fleet()
    async with client_of(Gateway(asked, keys.ring, lambda: NOW), keys.reader) as client:
        first = (await client.get("/v1/agents", params={"limit": 10})).json()
        asked.view.take_level(b"acme/a-09", 0, None)
        asked.view.take_level(b"acme/a-03x", 0, level())
        asked.view.take_level(b"acme/a-10x", 0, level())
        second = (await client.get("/v1/agents", params={"limit": 2, "cursor": first["next"]})).json()
    assert [agent["agent"] for agent in second["agents"]] == ["acme/a-10", "acme/a-10x"]


async def test_one_request_looks_at_so_many_agents_and_says_where_to_go_on(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.gateway.agent_routes.LOOKED_AT", 7)
    async with client_of(Gateway(fleet(), keys.ring, lambda: NOW), keys.reader) as client:
        pages = await paged(client, tier="T2", limit=500)
    assert [len(page) for page in pages] == [2, 1, 2, 0]


async def test_a_tenant_without_agents_has_an_empty_page(keys: Keys) -> None:
    async with client_of(Gateway(fleet(), keys.ring, lambda: NOW), keys.new(tenant="nobody")) as client:
        assert (await client.get("/v1/agents")).json() == {"agents": [], "next": None}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"tier": "T6"}, "/tier"),
        ({"limit": "0"}, "/limit"),
        ({"limit": "501"}, "/limit"),
        ({"limit": "x"}, "/limit"),
        ({"cursor": "é"}, "/cursor"),
        ({"cursor": "a"}, "/cursor"),
        ({"cursor": "a" * 1_025}, "/cursor"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, query: dict[str, str], path: str) -> None:
    told = problem(await client.get("/v1/agents", params=query), 422)
    assert [error["path"] for error in told["errors"]] == [path]


@pytest.mark.parametrize("which", ["expired", "revoked"])
async def test_a_key_that_is_over_opens_nothing(keys: Keys, which: str) -> None:
    async with client_of(Gateway(checker(), keys.ring, lambda: NOW), getattr(keys, which)) as client:
        told = problem(await client.post("/v1/check", json=ASK), 401)
    assert told["type"] == "urn:cognistream:problem:no-key"


@pytest.mark.parametrize("text", [None, "", "csk_", "csk_aaaaaaaaaaaaaaaa_" + "A" * 43, "x" * 10_000])
async def test_without_a_key_nothing_is_answered_and_nothing_is_read(keys: Keys, text: str | None) -> None:
    async with client_of(Gateway(checker(), keys.ring, lambda: NOW), text) as client:
        answer = await client.post("/v1/check", content=b"x" * 100_000)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        problem(await client.get("/v1/agents/acme/agent-7"), 401)
        problem(await client.delete("/v1/agents/acme/agent-7/runs/r"), 401)
        problem(await client.get("/v1/agents/no-agent"), 401)


async def test_the_number_of_a_key_with_anothers_secret_opens_nothing(keys: Keys) -> None:
    forged = f"{keys.all.rsplit('_', 1)[0]}_{keys.other[-43:]}"
    async with client_of(Gateway(checker(), keys.ring, lambda: NOW), forged) as client:
        problem(await client.post("/v1/check", json=ASK), 401)


async def test_a_key_serves_its_own_tenant_and_its_own_verbs(keys: Keys) -> None:
    gateway = Gateway(checker(), keys.ring, lambda: NOW)
    async with client_of(gateway, keys.other) as client:
        assert problem(await client.post("/v1/check", json=ASK), 403)["detail"] == "the agent is another tenant's"
        problem(await client.get("/v1/agents/acme/agent-7"), 403)
        problem(await client.delete("/v1/agents/acme/agent-7/runs/r"), 403)
    async with client_of(gateway, keys.reader) as client:
        assert problem(await client.post("/v1/check", json=ASK), 403)["detail"] == "the key may not check"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"agent": None}, "/agent"),
        ({"agent": "agent-7"}, "/agent"),
        ({"agent": "Acme/agent-7"}, "/agent"),
        ({"agent": "acme/"}, "/agent"),
        ({"agent": "acme/a\n"}, "/agent"),
        ({"agent": "acme/" + "é" * 65}, "/agent"),
        ({"action": "Data:Read"}, "/action"),
        ({"action": ""}, "/action"),
        ({"action": 7}, "/action"),
        ({"cost": 0}, "/cost"),
        ({"cost": "1"}, "/cost"),
        ({"cost": 1.5}, "/cost"),
        ({"cost": True}, "/cost"),
        ({"cost": 10**30}, "/cost"),
        ({"run": ""}, "/run"),
        ({"run": "r" * 129}, "/run"),
        ({"cots": 1}, "/cots"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, change: dict[str, Any], path: str) -> None:
    told = problem(await client.post("/v1/check", json={**ASK, **change}), 422)
    assert [error["path"] for error in told["errors"]] == [path]
    assert told["errors"][0]["detail"]


async def test_a_missing_field_and_all_other_mistakes_are_told_at_once(client: httpx.AsyncClient) -> None:
    told = problem(await client.post("/v1/check", json={"cost": 0}), 422)
    assert {error["path"] for error in told["errors"]} == {"/agent", "/action", "/cost"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"agent": "\\ud800"}', b"[" * 8_000, b'{"a":' * 1_500, b"NaN"],
)
async def test_what_is_no_request_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


async def test_a_body_that_is_too_large_is_refused_while_it_comes(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1_024

    headers = {"Content-Type": "application/json"}
    problem(await client.post("/v1/check", content=endless(), headers=headers), 413)
    assert sent < 12


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_taken(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    problem(await client.post("/v1/check", content=json.dumps(ASK), headers=headers), 415)


async def test_what_there_is_not_is_a_problem_too(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/nothing"), 404)
    problem(await client.get("/v1/check"), 405)
    problem(await client.get("/v1/agents/acme"), 422)


async def test_a_run_that_cannot_be_ended_says_so_without_telling_where_redis_is(keys: Keys) -> None:
    gateway = Gateway(checker(limits=Away(LimitsAway("redis at 10.0.0.7"))), keys.ring, lambda: NOW)
    async with client_of(gateway, keys.all) as client:
        told = problem(await client.delete("/v1/agents/acme/agent-7/runs/r"), 503)
        assert "10.0.0.7" not in json.dumps(told)
        assert (await client.post("/v1/check", json=ASK)).json()["reason"] == "limits_away"


async def test_a_fault_of_ours_is_a_500_without_a_trace(keys: Keys) -> None:
    gateway = Gateway(checker(limits=Away(ZeroDivisionError("secret"))), keys.ring, lambda: NOW)
    async with client_of(gateway, keys.all) as client:
        told = problem(await client.delete("/v1/agents/acme/agent-7/runs/r"), 500)
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(
    ("age", "waits", "status"), [(1, [], 200), (16, [], 503), (None, [], 503), (1, ["the keys"], 503)]
)
async def test_a_gateway_is_ready_when_it_could_admit(
    keys: Keys, age: int | None, waits: list[str], status: int
) -> None:
    gateway = Gateway(checker(age_s=age), keys.ring, lambda: NOW, lambda: list(waits))
    async with client_of(gateway, None) as client:
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["ready"]) == (status, status == 200)
        assert answer.json()["agents"] == 1
        assert (await client.get("/health")).status_code == 200
        measured = (await client.get("/metrics")).text
    assert "cognistream_view_age_seconds" in measured


async def test_the_openapi_document_names_every_route_with_its_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert set(document["paths"]) >= {"/v1/check", "/v1/agents/{agent}", "/v1/agents/{agent}/runs/{run}"}
    check = document["paths"]["/v1/check"]["post"]
    assert check["requestBody"]["content"]["application/json"]["schema"]["properties"]["action"]
    assert set(check["responses"]) == {"200", "400", "401", "403", "408", "413", "415", "422"}


def test_a_new_key_is_told_once_and_only_its_hash_is_kept() -> None:
    text, key = make("billing", "acme", ("check",), (), NOW)
    kept = repr(key.record())
    assert key.number in text
    assert text[-43:] not in kept
    assert make("billing", "acme", ("check",), (), NOW)[0] != text


@pytest.mark.parametrize(("tenant", "verbs"), [("Acme", ("check",)), ("acme", ()), ("acme", ("own",))])
def test_a_key_for_nobody_or_nothing_is_not_made(tenant: str, verbs: Any) -> None:
    with pytest.raises(KeyRefused):
        make("x", tenant, verbs, (), NOW)
