"""Asks the processor to bring a table's row near before it is needed.

Events meet rows at random, and a row that is in main memory costs more time than deciding the event. A kernel that asks
for the rows of the events ahead does not wait for them. It changes nothing but time: called uncompiled it does nothing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

AHEAD = 8
"""How many events ahead a kernel asks: about the time that main memory takes to answer."""

CACHE_LINE = 64


def prefetch(table: Any, row: Any, i: int) -> None:
    """Bring `table[row[i]]` near. An `i` past the end of `row` (not empty) is its last, a negative row is row 0: no
    branches, with which the compiler would count references at every event.
    """


@overload(prefetch)
def _prefetch(table, row, i):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba picks by these names
    # Not inline="always": numba 0.68 then takes stores into nested arrays of the caller's records for dead.
    def compiled(table, row, i):  # type: ignore[no-untyped-def]
        _prefetch_row(table, max(row[min(i, len(row) - 1)], 0))  # type: ignore[call-arg]

    return compiled


@intrinsic
def _prefetch_row(typingctx, table, index):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba calls it so
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        start = builder.bitcast(builder.gep(array.data, [arguments[1]]), cgutils.voidptr_t)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        call = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
        )
        for offset in (*range(0, size - 1, CACHE_LINE), size - 1):
            place = builder.gep(start, [ir.Constant(ir.IntType(64), offset)])
            builder.call(call, [place, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(table, index), generate
