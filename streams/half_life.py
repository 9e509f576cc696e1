"""The committed table of 2^-x that ages the weights of habits: T[i] = round(2^24 2^(-i/3600)), i = 0..3599.

A table and not a function, because a library's exp2 differs between machines and decisions must not. It lies beside
this module as text, one number a line, for programs in other languages; a test computes it anew in exact arithmetic.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from schemas.columns import Longs

STEPS = 3_600
"""Steps in which a weight halves."""
BITS = 24
"""A weight is aged by `w * T[i] >> BITS`."""

HALF_LIFE: Longs = np.array(files(__package__).joinpath("half_life.txt").read_text("ascii").split(), np.int64)
