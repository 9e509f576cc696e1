"""The instructions of the machine that decodes Avro, and the program that they make up.

A program is a table of int64, one instruction of eight words a row. Operations that read a value may read the branch of
a two-branch union first; that is one instruction, because nullable fields are what schemas are full of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .avro_schema import Node, Schema
from .columns import Bytes, Column, Layout, Longs

# Words of an instruction: unsigned, because numba would let a signed index count from the end.
OP: Final = np.uint64(0)
NULL_BRANCH: Final = np.uint64(1)  # index of the null branch before the value, or -1: no branch is written
ROW: Final = np.uint64(2)  # row of the column, or -1: nothing is stored
ABSENT: Final = np.uint64(3)  # what null puts into the second row, or REFUSE
PRESENT: Final = np.uint64(4)  # 1 when a number's second row is to say that it is there
A: Final = np.uint64(5)
B: Final = np.uint64(6)
WORDS: Final = np.uint64(8)

REFUSE: Final = -2
"""The reader has no null here: a null makes the value undecodable."""

# Operations that read a value, optional branch before it.
LONG: Final = 0
INT: Final = 1
BOOLEAN: Final = 2
ENUM: Final = 3  # A: where its table of reader's indices begins, B: symbols
TEXT: Final = 4
BYTES: Final = 5
DOUBLE: Final = 6
FLOAT: Final = 7
FIXED: Final = 8  # A: bytes
LONG_AS_DOUBLE: Final = 9
INT_AS_DOUBLE: Final = 10
NOTHING: Final = 11
# Operations that say where to go on, or store what no byte says.
UNION: Final = 12  # A: where its table of targets begins, B: branches
JUMP: Final = 13  # A: target
CALL: Final = 14  # A: target
RETURN: Final = 15
BLOCKS: Final = 16
NEXT_ITEM: Final = 17  # A: where to go after the last block, B: 1 when items take no bytes
SET: Final = 18  # ROW, A: value
SET_TEXT: Final = 19  # ROW, A: start in the constants, B: length
MARK: Final = 20  # ROW gets the position
MEASURE: Final = 21  # ROW + 1 gets the bytes since MARK
FAIL: Final = 22
END: Final = 23

JUMPS = (JUMP, CALL, NEXT_ITEM)


@dataclass(frozen=True)
class Rewrite:
    """A span column whose writer encoded it otherwise than the reader would: encoded anew as `node` of the reader.

    `reader` is the reader's schema of nothing but the field that the column is in.
    """

    column: Column
    node: Node
    reader: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How values of `writer` fill the columns of `layout`.

    `code` has shape (instructions * WORDS,); `tables` holds what enums and unions look up, `constants` the bytes of
    default texts.
    """

    writer: Schema
    reader: Schema
    layout: Layout
    code: Longs
    tables: Longs
    constants: Bytes
    rewrites: tuple[Rewrite, ...] = ()


class Program:
    """Instructions, tables and constants while they are put together."""

    def __init__(self) -> None:
        self._code: list[list[int]] = []
        self._tables: list[int] = []
        self._constants = bytearray()

    @property
    def here(self) -> int:
        """Number of the next instruction."""
        return len(self._code)

    def emit(
        self, op: int, *, null: int = -1, row: int = -1, absent: int = 0, present: int = 0, a: int = 0, b: int = 0
    ) -> int:
        """Add an instruction; answers its number."""
        self._code.append([op, null, row, absent, present, a, b, 0])
        return len(self._code) - 1

    def aim(self, jump: int, target: int) -> None:
        """Let the instruction `jump` go to instruction `target`."""
        self._code[jump][A] = target

    def table(self, entries: Sequence[int]) -> int:
        """Add a table; answers where it begins."""
        self._tables.extend(entries)
        return len(self._tables) - len(entries)

    def constant(self, data: bytes) -> int:
        """Add bytes to the constants; answers where they begin."""
        self._constants += data
        return len(self._constants) - len(data)

    def switch(self, branches: Sequence[Callable[[], None]]) -> None:
        """Read which branch was written, and do what that one of `branches` emits."""
        table = self.table([0] * len(branches))
        self.emit(UNION, a=table, b=len(branches))
        jumps = []
        for number, emit in enumerate(branches):
            self._tables[table + number] = self.here
            emit()
            jumps.append(self.emit(JUMP))
        for jump in jumps:
            self.aim(jump, self.here)

    def plan(self, writer: Schema, reader: Schema, layout: Layout, rewrites: Sequence[Rewrite]) -> Plan:
        """The finished program; targets become offsets into the flat code."""
        code = np.array(self._code, np.int64)
        code[np.isin(code[:, OP], JUMPS), A] *= int(WORDS)
        tables = np.array(self._tables or [0], np.int64)
        for a, b in code[code[:, OP] == UNION][:, [A, B]]:
            tables[a : a + b] *= int(WORDS)
        constants = np.frombuffer(bytes(self._constants), np.uint8)
        return Plan(writer, reader, layout, code.reshape(-1), tables, constants, tuple(rewrites))
