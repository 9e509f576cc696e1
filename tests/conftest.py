"""What tests share: one real broker for the session, and names that no other test uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from connectors.local_kafka import borrowed_kafka
from connectors.local_registry import borrowed_registry
from connectors.state_folder import state_folder, use_kernel_cache

use_kernel_cache()  # before any test imports a kernel

from agents.worker import warm  # noqa: E402


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a broker that lives as long as the session; tests share it under prefixes of their own."""
    with borrowed_kafka(state_folder() / "test-brokers", state_folder() / "maven") as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def registry_url() -> Iterator[str]:
    """Address of a real schema registry that lives as long as the session; tests share it under prefixes."""
    with borrowed_registry(state_folder() / "test-registries", state_folder() / "programs") as registry:
        yield registry.address


@pytest.fixture(scope="session")
def warm_kernels() -> None:
    """All kernels of a worker compiled: those of a test would do it side by side, and be late."""
    warm(state_folder())


@pytest.fixture
def prefix() -> str:
    """A topic prefix that nobody else has, `t-3f2a9c1b`."""
    return f"t-{uuid.uuid4().hex[:8]}"
