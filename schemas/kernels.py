"""How a decision becomes machine code: every compiled loop of the product is declared with `@kernel`.

A kernel is a plain Python loop with an explicit numba signature. It compiles once, at its first call or in `warm`
(which a start shows as progress), and lands in the cache folder that `NUMBA_CACHE_DIR` names. The same function stays
callable uncompiled as `.py_func`: the oracle of the compiled one. Small functions that kernels share are declared with
`@helper`; they have no signature of their own and are compiled into their callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numba

_njit: Any = numba.njit  # its types do not know `_nrt`

helper = _njit(nogil=True, _nrt=False)
"""Marks a function that kernels call; compiled into each of them. It makes no arrays: without numba's counting of
references, which is atomic and cost more than the work of small functions, it cannot."""

inlined = _njit(nogil=True, _nrt=False, forceinline=True)
"""As `helper`, but never a call: for small functions that take arrays, each of which is passed as seven words. Doubles
the speed of loops that call them for every field; costs compile time at every place that calls."""


class Kernel:
    """A compiled loop: call it as the function it was made from; `.py_func` is that function, uncompiled."""

    def __init__(self, function: Callable[..., Any], signature: str | Any) -> None:
        self.name = f"{function.__module__}.{function.__name__}"
        self.py_func = function
        self.__doc__ = function.__doc__
        self._signature = signature
        self._dispatcher: Any = None

    def compile(self) -> None:
        """Compile, or load from the cache; does nothing the second time."""
        if self._dispatcher is None:
            self._dispatcher = _njit(self._signature, nogil=True, cache=True)(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Run compiled code on `arguments`; TypeError when they do not fit the signature."""
        if self._dispatcher is None:
            self.compile()
        return self._dispatcher(*arguments)


_declared: list[Kernel] = []


def kernel(signature: str | Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a compiled loop with its numba signature, e.g. `"int64(uint8[::1], int64)"`."""

    def declare(function: Callable[..., Any]) -> Kernel:
        made = Kernel(function, signature)
        _declared.append(made)
        return made

    return declare


def warm() -> Iterator[tuple[int, int, str]]:
    """Compile every kernel declared so far; yields (done, all, name) after each, for a progress bar."""
    for number, made in enumerate(list(_declared), 1):
        made.compile()
        yield number, len(_declared), made.name
