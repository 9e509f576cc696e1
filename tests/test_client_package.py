"""The client is a distribution of its own: it needs two libraries, and nothing of this repository."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from connectors.client_generator import FOLDER

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / FOLDER).rglob("*.py"))

ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from cognistream_client import KaizenEvent, Publisher
assert sys.modules["cognistream_client"].__file__.startswith(sys.argv[1])
with Publisher("127.0.0.1:9") as publisher:
    pass
print(sorted({name.split(".")[0] for name in sys.modules} & {"schemas", "streams", "connectors", "agents", "numba"}))
"""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_nothing_but_the_standard_library_and_what_is_declared(path: Path) -> None:
    declared = {"confluent_kafka", "fastavro", "opentelemetry"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = set() if node.level else {(node.module or "").split(".")[0]}
        else:
            continue
        assert found <= declared | sys.stdlib_module_names


def test_its_wheel_works_alone_and_brings_its_schemas_and_types(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT / "connectors" / "client", check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("cognistream_client-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert (tmp_path / "site" / "cognistream_client" / "py.typed").exists()
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path / "site")], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
