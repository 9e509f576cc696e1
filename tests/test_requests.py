"""A produce request put together once is, byte for byte, the one that aiokafka puts together."""

from __future__ import annotations

from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7
from hypothesis import given
from hypothesis import strategies as st

from agents.runtime.requests import UnjoinedRequest

batches = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.binary(max_size=50)), max_size=4)
topics = st.lists(st.tuples(st.text(max_size=8), batches), max_size=4)


@given(st.none() | st.text(max_size=8), st.integers(-1, 1), st.integers(0, 2**31 - 1), topics)
def test_the_parts_make_the_bytes_that_aiokafka_makes(
    transactional_id: str | None, acks: int, timeout: int, topics: list[tuple[str, list[tuple[int, bytes]]]]
) -> None:
    said = {"transactional_id": transactional_id, "required_acks": acks, "timeout": timeout, "topics": topics}
    ours = UnjoinedRequest(**said).build(ProduceRequest_v7).encode()
    headed = b"header" + ours
    theirs = b"header" + ProduceRequest(**said).build(ProduceRequest_v7).encode()
    assert len(headed) == len(theirs)
    assert bytes(b"size" + headed) == b"size" + theirs
