"""Where a stream stands in its topic, as text: the `id:` of a server-sent event, and the `Last-Event-ID` of its reader.

`0:17,1:4` says that of partition 0 the next offset to read is 17, of partition 1 it is 4. All partitions are named, so
that an id alone says where to go on: offsets only rise, what lies below was told, what lies at or above was not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from schemas.errors import CognistreamError

_PART: Final = re.compile(r"(0|[1-9][0-9]{0,8}):(0|[1-9][0-9]{0,18})")
_LAST: Final = (1 << 63) - 1
_LONGEST: Final = 40
"""Characters of a partition and an offset at most."""


class PlacesError(CognistreamError):
    """A text that says no place in a topic."""


def told(places: Sequence[int]) -> str:
    """The text of `places`: by partition, the next offset to read."""
    return ",".join(f"{partition}:{offset}" for partition, offset in enumerate(places))


def read(text: str, partitions: int) -> list[int]:
    """The places that `text` says of a topic with so many `partitions`. Raises PlacesError with the reason."""
    if len(text) > partitions * _LONGEST:
        raise PlacesError("it is longer than any id of this stream")
    found: dict[int, int] = {}
    for part in text.split(","):
        said = _PART.fullmatch(part)
        if said is None:
            raise PlacesError("it is not a list like 0:17,1:4 of partitions and offsets")
        partition, offset = int(said[1]), int(said[2])
        if partition in found:
            raise PlacesError(f"it names partition {partition} twice")
        if partition >= partitions or offset > _LAST:
            raise PlacesError(f"there is no offset {offset} of a partition {partition}: there are {partitions}")
        found[partition] = offset
    if len(found) != partitions:
        raise PlacesError(f"it names {len(found)} of {partitions} partitions")
    return [found[partition] for partition in range(partitions)]
