"""Makes typed events of what callers send, and names everything that is wrong with it.

A draft is an event as a request tells it: fields by their names in the Avro schema, wherever in the request they stood.
What it leaves out is filled in: an id, the time, the tenant of the key. Whether the event is one that cognistream takes
is the client's judgement (`cognistream_client.faults`), so that HTTP refuses exactly what the client would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from cognistream_client import AgentAnchorEvent, AuraisEvent, Event, KaizenEvent, Origin, faults
from connectors.gateway.keys import ApiKey
from connectors.gateway.problems import Problem, wrong

KINDS: Final[tuple[type[Event], ...]] = (KaizenEvent, AgentAnchorEvent, AuraisEvent)
KIND_OF: Final[dict[str, type[Event]]] = {
    name: kind for kind in KINDS for name in get_args(get_type_hints(kind)["event_type"])
}
"""The class of each event type: no two sources share one."""
FIELDS: Final = {kind: frozenset(field.name for field in fields(kind)) for kind in KINDS}
MOST_FAULTS: Final = 100
"""Faults that an answer tells."""

_WHOLE: Final = {
    kind: tuple(name for name, told in get_type_hints(kind).items() if told in (int, int | None)) for kind in KINDS
}
_JSON_WORDS: Final = (("True or False", "true or false"), ("None", "null"), ("a mapping of", "an object of"))


class Draft(NamedTuple):
    """`place` is the JSON pointer of the event, `inside` that of its fields; `elsewhere` has the paths of others."""

    told: Mapping[str, Any]
    place: str = ""
    inside: str = ""
    elsewhere: Mapping[str, str] = {}
    origin: Origin = Origin()

    def path(self, field: str) -> str:
        """Where in the request a field stands, or would."""
        return self.elsewhere.get(field) or f"{self.inside}/{field[:128].replace('~', '~0').replace('/', '~1')}"


class Filling(NamedTuple):
    """What stands for what a draft leaves out: `event_id` of the draft's index, and the time in ms since 1970."""

    event_id: Callable[[int], str]
    occurred_at: int


def authorise(drafts: Sequence[Draft], key: ApiKey) -> None:
    """Raises Problem 403 when the key may not publish one of the events, right or wrong."""
    for draft in drafts:
        if draft.told.get("tenant_id", key.tenant_id) != key.tenant_id:
            raise Problem(403, "not-your-tenant", f"event {draft.place or '/'} is another tenant's")
        kind = KIND_OF.get(_name(draft.told.get("event_type")))
        if kind is not None and kind.SOURCE not in key.sources:
            raise Problem(403, "not-your-source", f"the key may not publish events of {kind.SOURCE}")


def events_of(drafts: Sequence[Draft], tenant_id: str, filling: Filling) -> list[Event]:
    """The events. Raises Problem 422 that names every wrong field of every event."""
    found: list[tuple[str, str]] = []
    events: list[Event] = []
    for index, draft in enumerate(drafts):
        event = _event(draft, index, tenant_id, filling, found)
        if event is not None:
            events.append(event)
        if len(found) >= MOST_FAULTS:
            break
    if found:
        raise wrong(found[:MOST_FAULTS])
    return events


def _event(draft: Draft, index: int, tenant_id: str, filling: Filling, found: list[tuple[str, str]]) -> Event | None:
    """The event of a draft, None when something is wrong with it, which is put into `found`."""
    kind = KIND_OF.get(_name(draft.told.get("event_type")))
    if kind is None:
        found.append((draft.path("event_type"), f"not one of {', '.join(KIND_OF)}"))
        return None
    strange = draft.told.keys() - FIELDS[kind]
    found += [(draft.path(name), f"{kind.SOURCE} has no such field") for name in sorted(strange)]
    if "agent_id" not in draft.told:
        found.append((draft.path("agent_id"), "is missing"))
    if strange or "agent_id" not in draft.told:
        return None
    event = kind(**_filled(draft.told, kind, index, tenant_id, filling))
    complaints = faults(event)
    found += [(draft.path(fault.field), f"not {_in_json(fault.expected)}") for fault in complaints]
    return None if complaints else event


def _filled(told: Mapping[str, Any], kind: type[Event], index: int, tenant_id: str, filling: Filling) -> dict[str, Any]:
    made = {"tenant_id": tenant_id, "occurred_at": filling.occurred_at, **told}
    if "event_id" not in made:
        made["event_id"] = filling.event_id(index)
    for name in _WHOLE[kind]:  # JSON has one kind of number: 3.0 is 3
        value = made.get(name)
        if type(value) is float and value.is_integer():
            made[name] = int(value)
    return made


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _in_json(expected: str) -> str:
    for python, json in _JSON_WORDS:
        expected = expected.replace(python, json)
    return expected
