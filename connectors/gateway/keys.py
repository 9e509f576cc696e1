"""API keys: who asks, for which tenant, and what they may do. Only the hash of a key's secret is ever kept.

A key reads `csk_NUMBER_SECRET`. The number is public: lists and logs show it. The secret has 256 bits of chance, so
that one SHA-256 is hash enough: there is nothing to guess. Records of the topic `gateway.keys`, keyed by number, say
what a key may; a revoked key stays there, marked, so that nobody wonders where it went.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from schemas.errors import CognistreamError

Verb = Literal["check", "read", "publish"]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
"""Ask about agents; read what is known of them; publish events."""

_KEY: Final = re.compile(r"csk_([a-z2-7]{16})_([A-Za-z0-9_-]{43})")
_TENANT: Final = re.compile(r"[a-z0-9-]{1,64}")


class KeyRefused(CognistreamError):
    """A key that cannot be made so, or is not there."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret; times in ms since 1970. `sources` are those that it may publish to."""

    number: str
    name: str
    tenant_id: str
    verbs: tuple[Verb, ...]
    sources: tuple[str, ...]
    secret_hash: bytes
    created: int
    expires: int | None = None
    revoked: int | None = None

    def state(self, now_ms: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "active" if self.expires is None or now_ms < self.expires else "expired"

    def record(self) -> dict[str, Any]:
        """The value of its record in `gateway.keys`."""
        return {**asdict(self), "verbs": list(self.verbs), "sources": list(self.sources)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ApiKey:
        """The key of a record."""
        return cls(**{**record, "verbs": tuple(record["verbs"]), "sources": tuple(record["sources"])})


def make(
    name: str,
    tenant_id: str,
    verbs: tuple[Verb, ...],
    sources: tuple[str, ...],
    now_ms: int,
    expires: int | None = None,
) -> tuple[str, ApiKey]:
    """A new key: the text to hand to its holder, which is nowhere kept, and what is kept. Raises KeyRefused."""
    if not _TENANT.fullmatch(tenant_id):
        raise KeyRefused(f"tenant {tenant_id!r} is not 1 to 64 of a-z, 0-9 and '-'")
    if not verbs or not set(verbs) <= set(VERBS):
        raise KeyRefused(f"verbs are one or more of {', '.join(VERBS)}")
    number = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    secret = secrets.token_urlsafe(32)
    return f"csk_{number}_{secret}", ApiKey(
        number, name, tenant_id, verbs, sources, _hash(secret), created=now_ms, expires=expires
    )


class KeyRing:
    """All keys by number, the newest record of each. One thread feeds it, any may ask."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    def take(self, key: ApiKey) -> None:
        """A new or a changed key."""
        self._keys[key.number] = key

    def find(self, text: str, now_ms: int) -> ApiKey | None:
        """The active key that `text` is, None when it is none."""
        parts = _KEY.fullmatch(text)
        key = self._keys.get(parts[1]) if parts else None
        if key is None or parts is None or not hmac.compare_digest(_hash(parts[2]), key.secret_hash):
            return None
        return key if key.state(now_ms) == "active" else None

    def number(self, number: str) -> ApiKey:
        """The key of that number. Raises KeyRefused."""
        if number not in self._keys:
            raise KeyRefused(f"there is no key {number!r}: `cognistream keys list` shows them")
        return self._keys[number]

    def __iter__(self) -> Iterator[ApiKey]:
        return iter(sorted(self._keys.values(), key=lambda key: key.created))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
