"""The house stays as it was drawn: which folder may import which, and what deciding code may never touch.

Read from the source text, so that an import inside a function or under `TYPE_CHECKING` counts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("schemas", "streams", "connectors", "agents")
MODULES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))

MAY_IMPORT = {
    "schemas": {"schemas"},
    "streams": {"schemas", "streams"},
    "connectors": {"schemas", "streams", "connectors"},
    "agents": {"schemas", "streams", "connectors", "agents"},
}
OUTSIDE = {
    "aiohttp", "asyncio", "confluent_kafka", "http", "multiprocessing", "os", "redis", "requests", "select", "signal",
    "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "urllib", "urllib3",
}  # fmt: skip
"""Modules through which deciding code would reach the machine, the network or the environment."""
CLOCK_AND_CHANCE = {"datetime", "random", "secrets", "time", "uuid"}
FAUST = {"faust", "mode"}
AIOKAFKA_WITHOUT_SOCKETS = ("aiokafka.codec", "aiokafka.record", "aiokafka.util")
READERS = {"schemas/catalog.py", "schemas/examples.py", "streams/half_life.py", "streams/policy.py"}
"""What reads files: committed tables beside the code, and a policy whose path somebody else names."""
FILE_NAMES = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """The syntax tree of a file, laid flat; the module itself comes first."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports."""
    package = path.relative_to(ROOT).parent.parts
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *((node.module or "").split(".") if node.module else ())))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top(module: str) -> str:
    return module.split(".")[0]


every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
deciding_module = pytest.mark.parametrize(
    "path", [path for path in MODULES if folder_of(path) in ("schemas", "streams")], ids=name_of
)


@every_module
def test_a_folder_imports_only_what_stands_below_it(path: Path) -> None:
    ours = {top(module) for module in imports(path)} & set(OURS)
    assert ours <= MAY_IMPORT[folder_of(path)]


@every_module
def test_faust_is_known_to_agents_only(path: Path) -> None:
    if folder_of(path) != "agents":
        assert not {top(module) for module in imports(path)} & FAUST


@every_module
def test_the_client_is_known_to_the_gateway_only(path: Path) -> None:
    if not name_of(path).startswith(("connectors/gateway/", "connectors/client/", "agents/gateway.py")):
        assert "cognistream_client" not in {top(module) for module in imports(path)}


@deciding_module
def test_deciding_code_reaches_nothing_outside(path: Path) -> None:
    found = set(imports(path))
    assert not {top(module) for module in found} & OUTSIDE
    assert all(
        module == "aiokafka" or module.startswith(AIOKAFKA_WITHOUT_SOCKETS)
        for module in found
        if top(module) == "aiokafka"
    )


@deciding_module
def test_deciding_code_knows_no_clock_and_no_chance(path: Path) -> None:
    found = set(imports(path))
    assert not {top(module) for module in found} & CLOCK_AND_CHANCE
    assert not {module for module in found if module.startswith("numpy.random")}
    assert not {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)} & {"random", "now", "utcnow"}


@deciding_module
def test_deciding_code_opens_no_files(path: Path) -> None:
    if name_of(path) in READERS:
        return
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            assert node.attr not in FILE_NAMES, f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "open", f"line {node.lineno}"


@every_module
def test_every_module_says_why_it_exists(path: Path) -> None:
    module = nodes(path)[0]
    assert isinstance(module, ast.Module)
    assert ast.get_docstring(module) or not module.body


@every_module
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400
