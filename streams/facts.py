"""How a stage reads the fields of an event that it decides by.

A stage works on the int64 matrix of a `Frame`, whatever source the frame comes from: `where` holds, for each field that
the stage reads, its row in the matrix, or -1 when the source has no such field, which then counts as null or false.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.columns import Layout, Longs
from schemas.kernels import helper


def where(layout: Layout, fields: Sequence[str]) -> Longs:
    """Rows of `fields` in frames of `layout`, shape (len(fields),); -1 for a field that it does not have."""
    return np.array([layout.row(name) if name in layout.by_name else -1 for name in fields], np.int64)


@helper
def choice(facts, row, i):  # type: ignore[no-untyped-def]
    """Of event `i` 1 + the index of a nullable enum, 0 for null or a field that the source does not have."""
    if row < 0 or facts[row + 1, i] == 0:
        return 0
    return facts[row, i] + 1


@helper
def flag(facts, row, i):  # type: ignore[no-untyped-def]
    """Of event `i` a boolean as 0 or 1; 0 for a field that the source does not have."""
    return facts[row, i] if row >= 0 else 0


@helper
def amount(facts, doubles, row, i):  # type: ignore[no-untyped-def]
    """Of event `i` a nullable double, 0.0 for null; `doubles` is the matrix seen as float64."""
    if row < 0 or facts[row + 1, i] == 0:
        return 0.0
    return doubles[row, i]
