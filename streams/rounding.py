"""Rounding half to even, the one way in which decisions round: exact in integers, so the same in every language."""

from __future__ import annotations

from schemas.kernels import helper


@helper
def half_even(a, b):  # type: ignore[no-untyped-def]
    """Integer nearest to a / b (b > 0); a tie goes to the even one."""
    whole = a // b
    twice = 2 * (a - whole * b)
    if twice > b or (twice == b and whole & 1):
        return whole + 1
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
