"""Faust, mode and aiokafka behave where the runtime leans on them as they did when that was read and found right."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from importlib.metadata import version

import pytest

import agents.runtime
from tests.seams import FINGERPRINTS, SEAMS, Seam, fingerprint, known

FOREIGN = ("faust", "mode", "aiokafka")
UNSUPPORTED = {"_has_key", "_get_key", "_set_key", "_del_key", "as_ansitable", "hopping", "tumbling", "using_window"}
"""Overridden only to refuse."""
PLAIN = {
    "mundane_level", "logger", "_abc_impl", "_tasks", "BootStrategy", "Consumer", "_CLASSES", "build", "getall",
    "_unpack_records",
}  # fmt: skip
"""Settings, what metaclasses add, and methods of classes that are in the table as a whole."""


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.target)
def test_a_library_is_as_it_was_read(seam: Seam) -> None:
    assert fingerprint(seam.target) == known().get(seam.target), (
        f"{seam.target} is other than the runtime was written for (now: faust-streaming {version('faust-streaming')}, "
        f"mode-streaming {version('mode-streaming')}, aiokafka {version('aiokafka')}). agents/runtime/{seam.ours}.py "
        f"relies on it: {seam.because}. Read what changed, mend that module if it must be, and then write the new "
        f"fingerprints: python -m tests.seams > {FINGERPRINTS.name}"
    )


def test_every_method_that_the_runtime_overrides_is_in_the_table() -> None:
    told = {seam.target.rpartition(".")[2] for seam in SEAMS}
    assert not {f"{ours}.{name}" for ours, name in overridden() if name not in told | UNSUPPORTED | PLAIN}


def test_the_table_names_modules_that_exist() -> None:
    modules = {found.name for found in pkgutil.iter_modules(agents.runtime.__path__)}
    assert {seam.ours for seam in SEAMS} <= modules


def overridden() -> set[tuple[str, str]]:
    """(class of ours, attribute) that replaces one of a class of the libraries; constructors and records left out."""
    found: set[tuple[str, str]] = set()
    for module in pkgutil.iter_modules(agents.runtime.__path__):
        for ours in vars(importlib.import_module(f"agents.runtime.{module.name}")).values():
            if inspect.isclass(ours) and ours.__module__.startswith("agents.runtime"):
                theirs = {
                    name for base in ours.__mro__ if base.__module__.split(".")[0] in FOREIGN for name in vars(base)
                }
                found |= {(ours.__name__, name) for name in theirs & vars(ours).keys() if not name.startswith("__")}
    return found
