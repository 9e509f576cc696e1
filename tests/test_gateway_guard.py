"""The gateway on a socket: heads and bodies that do not come, heads without end, what is no HTTP, and TLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from agents.serving import serving
from agents.settings import Settings, SettingsError
from connectors.gateway.access import Gateway
from connectors.gateway.guard import HEAD_BYTES, GuardedProtocol
from connectors.gateway.keys import KeyRing

from .test_gateway_checking import checker
from .test_gateway_view import NOW

HEAD = b"GET /health HTTP/1.1\r\nHost: gateway\r\n"
SHORT_S = 0.2


@asynccontextmanager
async def served(**change: Any) -> AsyncIterator[int]:
    """The port of a gateway of its own, set up as the process does it."""
    with socket.create_server(("127.0.0.1", 0)) as where:
        server = uvicorn.Server(serving(Settings(**change), Gateway(checker(), KeyRing(), lambda: NOW)))
        task = asyncio.create_task(server.serve(sockets=[where]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield where.getsockname()[1]
        server.should_exit = True
        await task


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedProtocol, "head_s", SHORT_S)


async def answers(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the gateway hangs up."""
    return await asyncio.wait_for(reader.read(), 30)


def refused(told: bytes, status: int) -> dict[str, Any]:
    head, _, body = told.rpartition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), told
    assert b"application/problem+json" in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status
    return problem


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "sent", [b"", b"G", HEAD, b"\r\n" * 5], ids=["nothing", "a byte", "half a head", "empty lines"]
)
async def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert refused(await answers(reader), 408)["detail"] == f"the head did not come within {SHORT_S} s"
        writer.close()


@pytest.mark.usefixtures("hurried")
async def test_a_head_that_comes_byte_by_byte_gains_nothing() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)

        async def drip() -> None:
            while not reader.at_eof():
                writer.write(b"a")
                await asyncio.sleep(SHORT_S / 10)

        dripping = asyncio.create_task(drip())
        refused(await answers(reader), 408)
        dripping.cancel()
        writer.close()


@pytest.mark.usefixtures("hurried")
async def test_the_second_head_of_a_connection_is_bounded_as_the_first() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b'{"status":"ok"}')).startswith(b"HTTP/1.1 200")
        writer.write(HEAD)
        refused(await answers(reader), 408)
        writer.close()


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_goes_on_after_its_answer_is_not_waited_for() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/check HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n\r\nx")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        writer.write(b"x")
        await answers(reader)
        writer.close()


@pytest.mark.parametrize("more", [b"a: b\r\n", b"a"], ids=["many headers", "a long one"])
async def test_a_head_without_end_is_cut_off(more: bytes) -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + more * (HEAD_BYTES // len(more)))
        refused(await answers(reader), 431)
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\xff\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
async def test_what_is_no_http_is_told_so(sent: bytes) -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        refused(await answers(reader), 400)
        writer.close()


async def test_requests_behind_one_another_are_answered_in_their_order() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((HEAD + b"\r\n") * 20 + b"GET /nothing HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        told = await answers(reader)
        assert (told.count(b"HTTP/1.1 200"), told.count(b"HTTP/1.1 404")) == (20, 1)
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback and its key, made for this test."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=gateway",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


async def test_with_a_certificate_it_speaks_tls_and_nothing_else(certificate: tuple[Path, Path]) -> None:
    async with served(gateway_certificate=certificate[0], gateway_key=certificate[1]) as port:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        async with httpx.AsyncClient(verify=trust, base_url=f"https://127.0.0.1:{port}") as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
        async with httpx.AsyncClient() as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"https://127.0.0.1:{port}/health")
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"http://127.0.0.1:{port}/health")


@pytest.mark.parametrize("missing", ["gateway_key", "gateway_certificate"])
def test_a_certificate_without_its_key_is_refused_at_start(certificate: tuple[Path, Path], missing: str) -> None:
    given = {"gateway_certificate": certificate[0], "gateway_key": certificate[1]} | {missing: None}
    with pytest.raises(SettingsError, match="COGNISTREAM_GATEWAY_CERTIFICATE and COGNISTREAM_GATEWAY_KEY"):
        serving(Settings(**given), Gateway(checker(), KeyRing(), lambda: NOW))


def test_files_that_are_no_certificate_are_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    files = {"gateway_certificate": tmp_path / "x.pem", "gateway_key": tmp_path / "x.pem"}
    with pytest.raises(SettingsError, match="cannot be used"):
        serving(Settings(**files), Gateway(checker(), KeyRing(), lambda: NOW))
