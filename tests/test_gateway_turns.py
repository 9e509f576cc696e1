"""Idempotency keys: one contract that both memories keep, the file of one machine and the Redis of several."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.idempotency import (
    KEPT_MS,
    LEASE_MS,
    Answer,
    State,
    Turn,
    Turns,
    TurnsAway,
    event_id,
    name_of,
    once,
)
from connectors.gateway.problems import Problem
from connectors.gateway.redis_turns import RedisTurns
from connectors.gateway.sqlite_turns import SqliteTurns

from .redis_server import RedisServer, redis_server

BODY, OTHER = b"fingerprint", b"another"
ANSWER = Answer(202, b'{"events": []}\n\xff')


class Watch:
    """A clock that a test sets."""

    now = 1_767_225_600_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def watch() -> Watch:
    return Watch()


Maker = Callable[[], Turns]


@pytest.fixture(params=["sqlite", "redis"])
async def turns(request: pytest.FixtureRequest, tmp_path: Path, prefix: str, watch: Watch) -> AsyncIterator[Turns]:
    if request.param == "sqlite":
        made: Turns = SqliteTurns(tmp_path / "turns.sqlite", watch)
    else:
        made = RedisTurns(request.getfixturevalue("redis").url, prefix=prefix, clock=watch, answer_s=10)
    yield made
    await made.aclose()


async def test_a_key_that_is_new_is_its_sender_s_until_it_is_answered(turns: Turns, watch: Watch) -> None:
    turn = await turns.begin("k", BODY)
    assert turn == Turn(State.NEW, watch.now)
    assert (await turns.begin("k", BODY)).state is State.RUNNING
    assert (await turns.begin("other", BODY)).state is State.NEW
    await turns.finish("k", BODY, turn, ANSWER)
    watch.now += KEPT_MS - 1
    assert await turns.begin("k", BODY) == Turn(State.DONE, turn.begun, ANSWER)


async def test_the_same_key_with_another_body_is_told_apart_whatever_became_of_the_first(turns: Turns) -> None:
    turn = await turns.begin("k", BODY)
    assert (await turns.begin("k", OTHER)).state is State.OTHER
    await turns.release("k")
    assert (await turns.begin("k", OTHER)).state is State.OTHER
    await turns.finish("k", BODY, turn, ANSWER)
    assert (await turns.begin("k", OTHER)).state is State.OTHER


async def test_an_answer_is_forgotten_a_day_after_its_turn_began(turns: Turns, watch: Watch) -> None:
    turn = await turns.begin("k", BODY)
    watch.now += LEASE_MS // 2
    await turns.finish("k", BODY, turn, ANSWER)
    watch.now = turn.begun + KEPT_MS
    assert await turns.begin("k", OTHER) == Turn(State.NEW, watch.now)


async def test_a_turn_whose_gateway_died_is_taken_up_as_it_was_begun(turns: Turns, watch: Watch) -> None:
    begun = (await turns.begin("k", BODY)).begun
    watch.now += LEASE_MS - 1
    assert (await turns.begin("k", BODY)).state is State.RUNNING
    watch.now += 1
    assert await turns.begin("k", BODY) == Turn(State.RESUMED, begun)
    assert (await turns.begin("k", BODY)).state is State.RUNNING
    await turns.release("k")
    assert await turns.begin("k", BODY) == Turn(State.RESUMED, begun)


async def test_a_turn_that_never_was_leaves_its_key_free(turns: Turns) -> None:
    await turns.begin("k", BODY)
    await turns.forget("k")
    assert (await turns.begin("k", OTHER)).state is State.NEW


async def test_of_two_memories_on_one_place_only_one_gives_out_the_turn(tmp_path: Path, watch: Watch) -> None:
    both = [SqliteTurns(tmp_path / "turns.sqlite", watch) for _ in range(2)]
    assert [(await one.begin("k", BODY)).state for one in both] == [State.NEW, State.RUNNING]
    for one in both:
        await one.aclose()


async def test_answers_outlive_the_process(tmp_path: Path, watch: Watch) -> None:
    for state in (State.NEW, State.DONE):
        made = SqliteTurns(tmp_path / "new" / "turns.sqlite", watch)
        turn = await made.begin("k", BODY)
        assert turn.state is state
        if state is State.NEW:
            await made.finish("k", BODY, turn, ANSWER)
        await made.aclose()


async def test_a_memory_that_cannot_be_reached_says_so_and_is_asked_again(tmp_path: Path, watch: Watch) -> None:
    made = SqliteTurns(tmp_path / "turns.sqlite", watch)
    (tmp_path / "turns.sqlite").mkdir()
    with pytest.raises(TurnsAway, match=r"turns\.sqlite cannot be used"):
        await made.begin("k", BODY)
    (tmp_path / "turns.sqlite").rmdir()
    assert (await made.begin("k", BODY)).state is State.NEW
    await made.aclose()
    nobody = RedisTurns("redis://127.0.0.1:1/0", answer_s=5)
    for ask in (nobody.begin("k", BODY), nobody.release("k"), nobody.forget("k")):
        with pytest.raises(TurnsAway, match="the idempotency keys"):
            await ask
    await nobody.aclose()


async def test_a_file_that_is_damaged_answers_nobody(tmp_path: Path) -> None:
    (tmp_path / "turns.sqlite").write_bytes(b"not a database" * 1000)
    made = SqliteTurns(tmp_path / "turns.sqlite")
    with pytest.raises(TurnsAway) as away:
        await made.begin("k", BODY)
    assert isinstance(away.value.__cause__, sqlite3.DatabaseError)
    await made.aclose()


async def _answer(_: Turn) -> Answer:
    return ANSWER


def _raising(error: Exception) -> Any:
    async def work(_: Turn) -> Answer:
        raise error

    return work


async def test_work_is_done_once_and_its_answer_given_to_all_who_ask_again(turns: Turns) -> None:
    assert await once(turns, "k", BODY, _answer) == (ANSWER, False)
    assert await once(turns, "k", BODY, _raising(AssertionError())) == (ANSWER, True)
    with pytest.raises(Problem) as told:
        await once(turns, "k", OTHER, _answer)
    assert (told.value.status, told.value.kind) == (422, "key-reused")


async def test_a_request_under_way_keeps_its_repeat_waiting(turns: Turns) -> None:
    await turns.begin("k", BODY)
    with pytest.raises(Problem) as told:
        await once(turns, "k", BODY, _answer)
    assert (told.value.status, told.value.headers) == (409, {"Retry-After": "1"})


@pytest.mark.parametrize(
    ("error", "state"), [(Problem(422, "x", "x"), State.NEW), (Problem(503, "x", "x"), State.RESUMED),
                         (ZeroDivisionError(), State.RESUMED)],
)  # fmt: skip
async def test_a_request_that_failed_may_come_again(turns: Turns, error: Exception, state: State) -> None:
    with pytest.raises(type(error)):
        await once(turns, "k", BODY, _raising(error))
    assert (await turns.begin("k", BODY)).state is state


async def test_without_its_memory_a_key_is_refused_and_nothing_is_done() -> None:
    nobody = RedisTurns("redis://127.0.0.1:1/0", answer_s=5)
    with pytest.raises(Problem) as told:
        await once(nobody, "k", BODY, _raising(AssertionError()))
    assert (told.value.status, told.value.kind) == (503, "keys-away")
    await nobody.aclose()


@given(st.text(), st.integers(0, (1 << 48) - 1), st.integers(0, 1000))
def test_ids_made_of_a_turn_are_uuids_of_version_7_and_always_the_same(name: str, begun: int, index: int) -> None:
    made = uuid.UUID(event_id(name, begun, index))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, begun)
    assert str(made) == event_id(name, begun, index) != event_id(name, begun, index + 1)


def test_a_name_belongs_to_one_api_key_and_hides_what_was_sent() -> None:
    assert name_of("n", '"secret"') == name_of("n", "secret") != name_of("m", "secret")
    assert "secret" not in name_of("n", "secret")
