"""Which actions a tier opens: the table of capabilities, and how an action is looked up in it.

An action is `domain:verb`, with a scope behind a slash where it has one: `data:read/public`. A capability is an action,
or the beginning of many: `financial:*` and `comm:internal/*` open whatever follows the colon or the slash, but
something must follow. A tier opens its own capabilities and those of all tiers below. What stands nowhere in the table
is opened to nobody: a new action must be put there by somebody who decided who may take it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from schemas.errors import CognistreamError

LONGEST_ACTION: Final = 128
ACTION: Final = r"[a-z][a-z0-9_-]*:[a-z0-9_-]+(/[a-z0-9_-][a-z0-9._-]*)*"
"""An action as a regular expression."""

_ACTION: Final = re.compile(ACTION)
_CAPABILITY: Final = re.compile(rf"{ACTION}(/\*)?|[a-z][a-z0-9_-]*:\*")

DEFAULT: Final[tuple[tuple[str, ...], ...]] = (
    ("sandbox:*",),
    ("data:read/public", "comm:internal/*"),
    ("data:read/internal", "comm:external/email", "execute:internal/*"),
    ("data:read/sensitive", "comm:external/api", "execute:external/*"),
    ("data:write/*", "financial:*", "admin:read/*"),
    ("admin:write/*",),
)
"""What each tier adds, T0 to T5."""


class ActionError(CognistreamError):
    """An action or a capability that is not written as one."""


class Capabilities:
    """The table: `opens[tier]` is what each tier adds, from the lowest up. Raises ActionError for what is none."""

    def __init__(self, opens: Sequence[Sequence[str]] = DEFAULT) -> None:
        self._exact: dict[str, int] = {}
        self._beginnings: dict[str, int] = {}
        for tier, names in enumerate(opens):
            for name in names:
                self._add(name, tier)

    def tier_for(self, action: str) -> int | None:
        """The lowest tier that may take `action`, None when no tier may. Raises ActionError."""
        check_action(action)
        found = [self._exact[action]] if action in self._exact else []
        found += [self._beginnings[start] for start in _beginnings(action) if start in self._beginnings]
        return min(found, default=None)

    def _add(self, name: str, tier: int) -> None:
        if not _CAPABILITY.fullmatch(name):
            raise ActionError(
                f"{name!r} is no capability: write an action like data:read/public, or its beginning and a star as in "
                "financial:* or comm:internal/*"
            )
        table, key = (self._beginnings, name[:-1]) if name.endswith("*") else (self._exact, name)
        table[key] = min(tier, table.get(key, tier))


def check_action(action: str) -> None:
    """ActionError when `action` is not written as one."""
    if len(action) > LONGEST_ACTION or not _ACTION.fullmatch(action):
        raise ActionError(
            f"{action[:LONGEST_ACTION]!r} is no action: write domain:verb or domain:verb/scope in lower case, like "
            f"data:read/public, at most {LONGEST_ACTION} characters"
        )


def _beginnings(action: str) -> list[str]:
    """`a:b/c` begins with `a:` and `a:b/`."""
    return [action[: place.end()] for place in re.finditer("[:/]", action)]
