"""Rounding half to even, the one way in which decisions round: exact in integers, so the same in every language."""

from __future__ import annotations

from schemas.kernels import helper


@helper
def half_even(a, b):  # type: ignore[no-untyped-def]
    """Integer nearest to a / b (b > 0, |2a| + b < 2^63); a tie goes to the even one.

    Rounds ties up and mends them: a tie is rare, so the processor guesses right, which it cannot between up and down.
    """
    whole = (2 * a + b) // (2 * b)
    if whole & 1 and 2 * a + b == whole * 2 * b:
        return whole - 1
    return whole


@helper
def nearest(x):  # type: ignore[no-untyped-def]
    """Integer nearest to the double `x` (|x| < 2^52); a tie goes to the even one. Truncation and rest are exact."""
    whole = int(x)
    rest = x - whole
    if rest > 0.5 or (rest == 0.5 and whole & 1):
        return whole + 1
    if rest < -0.5 or (rest == -0.5 and whole & 1):
        return whole - 1
    return whole
