"""Spans of record headers, looked through for one name."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np

from schemas.record_headers import find_header
from schemas.varint import encoded
from tests.record_batches import Headers

from .mutate import mutated
from .target import CANARIES, Outcomes, at_the_edge

_NAMES = (b"traceparent", b"traceparen", b"", b"t", "é".encode())
_INPUTS = 32


def _span(headers: Headers) -> bytes:
    parts = [encoded(len(headers))]
    for name, value in headers:
        parts += [
            encoded(len(name.encode())),
            name.encode(),
            encoded(-1 if value is None else len(value)),
            value or b"",
        ]
    return b"".join(parts)


class HeaderSpans:
    """Spans as `find_header` gets them, nearly right: `recordbatch.read` would have refused them."""

    name = "record headers"

    def __init__(self, rng: Random) -> None:
        def value() -> bytes | None:
            return rng.choice((None, rng.randbytes(rng.randrange(70))))

        self._spans = [
            _span([(rng.choice(_NAMES).decode(), value()) for _ in range(rng.randrange(6))]) for _ in range(200)
        ]

    def run(self, rng: Random) -> Outcomes:
        """Some spans, each searched between two kinds of neighbours."""
        parts = [mutated(rng, rng.choice(self._spans)) for _ in range(_INPUTS)]
        name, gap = rng.choice(_NAMES), rng.choice((1, 9, 20))
        results = [self._found(parts, canary * gap, name) for canary in CANARIES]
        assert results[0] == results[1], "what is found depends on the neighbours"
        return Counter("not found" if found is None else "found" for found in results[0])

    def _found(self, parts: list[bytes], canary: bytes, name: bytes) -> list[bytes | None]:
        lengths = np.array([len(part) for part in parts], np.int64)
        starts = len(canary) + np.concatenate(([0], np.cumsum(lengths + len(canary))))[:-1]
        buf = at_the_edge(canary + canary.join(parts))
        at, size = find_header(buf, starts, lengths, name)
        inside = (size < 0) | ((at >= starts) & (at + size <= starts + lengths))
        assert inside.all(), "a value outside its span"
        return [None if n < 0 else buf[p : p + n].tobytes() for p, n in zip(at.tolist(), size.tolist(), strict=True)]
