"""What the tiers open: the table of the rules, and laws that hold for every table and every action."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.capabilities import DEFAULT, ActionError, Capabilities

WORDS = st.sampled_from(("data", "comm", "read", "write", "internal", "sandbox", "x-1", "v1.2", "_"))
SCOPES = st.lists(WORDS, max_size=3)
NAMES = WORDS.filter(lambda word: word[0].isalpha() and "." not in word)
ACTIONS = st.builds(lambda domain, verb, scope: "/".join([f"{domain}:{verb}", *scope]), NAMES, NAMES, SCOPES)
CAPABILITIES = st.one_of(ACTIONS, ACTIONS.map(lambda action: f"{action}/*"), NAMES.map(lambda domain: f"{domain}:*"))
TABLES = st.lists(st.lists(CAPABILITIES, max_size=4), min_size=6, max_size=6)


@pytest.mark.parametrize(
    ("action", "tier"),
    [
        ("sandbox:run", 0),
        ("sandbox:run/anything", 0),
        ("data:read/public", 1),
        ("comm:internal/chat", 1),
        ("data:read/internal", 2),
        ("comm:external/email", 2),
        ("execute:internal/report", 2),
        ("data:read/sensitive", 3),
        ("comm:external/api", 3),
        ("execute:external/deploy/eu", 3),
        ("data:write/ledger", 4),
        ("financial:pay", 4),
        ("admin:read/users", 4),
        ("admin:write/users", 5),
    ],
)
def test_the_table_of_the_rules(action: str, tier: int) -> None:
    assert Capabilities().tier_for(action) == tier


@pytest.mark.parametrize(
    "action",
    ["data:read", "data:read/secret", "data:read/public/all", "data:readpublic", "comm:internal", "admin:writeall/x",
     "financials:pay", "root:shell", "xsandbox:run"],
)  # fmt: skip
def test_what_stands_nowhere_is_opened_to_nobody(action: str) -> None:
    assert Capabilities().tier_for(action) is None


@pytest.mark.parametrize(
    "action",
    ["", "sandbox", "sandbox:", ":run", "sandbox:*", "comm:internal/*", "comm:internal/", "Sandbox:run", "sandbox:run ",
     "sandbox:run\n", "data:read//public", "sandbox:../x", "sandbox:run/..", "sándbox:run", "a:b:c", "a:" + "b" * 127],
)  # fmt: skip
def test_what_is_not_written_as_an_action_is_refused_with_an_example(action: str) -> None:
    with pytest.raises(ActionError, match="is no action: write domain:verb"):
        Capabilities().tier_for(action)


@pytest.mark.parametrize("name", ["*", "*:read", "data:*/public", "data:re*", "data:read*", "data", "data:**"])
def test_a_star_stands_only_for_a_whole_rest(name: str) -> None:
    with pytest.raises(ActionError, match="is no capability"):
        Capabilities([[name]])


@given(TABLES, ACTIONS)
def test_a_higher_tier_opens_whatever_a_lower_one_opens(table: list[list[str]], action: str) -> None:
    lowest = Capabilities(table).tier_for(action)
    opened = [Capabilities(table[: tier + 1]).tier_for(action) is not None for tier in range(6)]
    assert opened == [lowest is not None and tier >= lowest for tier in range(6)]


@given(TABLES, CAPABILITIES, st.integers(0, 5), ACTIONS)
def test_a_new_capability_closes_nothing(table: list[list[str]], more: str, tier: int, action: str) -> None:
    before = Capabilities(table).tier_for(action)
    wider = [[*names, more] if number == tier else names for number, names in enumerate(table)]
    after = Capabilities(wider).tier_for(action)
    assert before is None or (after is not None and after <= before)


@given(ACTIONS, ACTIONS)
def test_a_star_opens_exactly_what_begins_so_and_goes_on(capability: str, action: str) -> None:
    opened = Capabilities([[f"{capability}/*"]]).tier_for(action) is not None
    assert opened == action.startswith(f"{capability}/")


@given(ACTIONS)
def test_an_empty_table_opens_nothing(action: str) -> None:
    assert Capabilities([]).tier_for(action) is None


def test_no_capability_of_the_rules_stands_in_two_tiers() -> None:
    names = [name for tier in DEFAULT for name in tier]
    assert len(names) == len(set(names))
