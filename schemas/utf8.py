"""Whether bytes are UTF-8, asked inside kernels: strict as Unicode 15 table 3-7 (and Python) is."""

from __future__ import annotations

from .kernels import helper, inlined
from .memory import ascii_only


@inlined
def valid(buf, start, end):  # type: ignore[no-untyped-def]
    """True when `buf[start:end]` is UTF-8; nearly all texts are ASCII and cost no call."""
    return ascii_only(buf, start, end) or _sequences(buf, start, end)


@helper
def _sequences(buf, start, end):  # type: ignore[no-untyped-def]
    """Whether `buf[start:end]` is UTF-8: nothing over-long, no surrogates, nothing above U+10FFFF."""
    p = start
    while p < end:
        lead = buf[p]
        p += 1
        if lead < 0x80:
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if end - p < more or buf[p] < low or buf[p] > high:
            return False
        for k in range(p + 1, p + more):
            if buf[k] < 0x80 or buf[k] > 0xBF:
                return False
        p += more
    return True
