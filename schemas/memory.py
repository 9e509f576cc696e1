"""Words and spans moved whole, where numba would go byte by byte.

numba lets an index count from the end when it is negative, which keeps LLVM from joining eight bytes into one word.
These helpers read and write unaligned little-endian words (as x86-64 and ARM64 do) at places that their callers have
checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .kernels import inlined

SLACK = 16
"""Bytes behind its end that `copy` may write over."""

_HIGH_BITS = np.uint64(0x8080808080808080)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, width: int) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.IntType(width).as_pointer())


def _load64_code(typing, array, index):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], 64), align=1)

    return types.uint64(array, types.int64), generate


_load64: Any = intrinsic(_load64_code)


def _store64_code(typing, array, index, word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1], 64), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), generate


_store64: Any = intrinsic(_store64_code)


def _copy16_code(typing, source, start, out, p):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], 128), align=1)
        builder.store(word, _pointer(context, builder, signature.args[2], args[2], args[3], 128), align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, out, types.int64), generate


_copy16: Any = intrinsic(_copy16_code)


@inlined
def load64(buf, p):  # type: ignore[no-untyped-def]
    """The eight bytes at `p`, as a uint64."""
    return _load64(buf, p)


@inlined
def store64(out, p, word):  # type: ignore[no-untyped-def]
    """Write a uint64 at `p`; answers the position after it."""
    _store64(out, p, word)
    return p + 8


@inlined
def copy(source, start, length, out, p):  # type: ignore[no-untyped-def]
    """Copy a span to `p`; answers the position after it. What follows there, up to SLACK bytes, is written over."""
    if start + length + SLACK <= source.shape[0]:
        for k in range(0, length, 16):
            _copy16(source, start + k, out, p + k)
    else:
        for k in range(length):
            out[p + k] = source[start + k]
    return p + length


@inlined
def ascii_only(buf, start, end):  # type: ignore[no-untyped-def]
    """Whether all bytes of `buf[start:end]` are below 0x80."""
    every = np.uint64(0)
    p = start
    while end - p >= 8:
        every |= load64(buf, p)
        p += 8
    if p < end:
        if buf.shape[0] - p >= 8:  # the last bytes, with what follows shifted out
            every |= load64(buf, p) << np.uint64(8 * (8 - (end - p)))
        else:
            for k in range(p, end):
                every |= np.uint64(buf[k])
    return (every & _HIGH_BITS) == np.uint64(0)
