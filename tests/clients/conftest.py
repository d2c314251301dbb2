"""Servers and connections for the tests. Each server is stopped by SIGTERM and must end cleanly."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client

from harness import Server, binary

# Leaves out the shell's own settings of the server under test.
for name in [name for name in os.environ if name == "PORT" or name.startswith("MCP_V8_") and name != "MCP_V8_BIN_DIR"]:
    del os.environ[name]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def http_server(tmp_path_factory):
    server = Server("http", tmp_path_factory.mktemp("http"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def sse_server(tmp_path_factory):
    server = Server("sse", tmp_path_factory.mktemp("sse"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["http", "sse"])
def server(request):
    """A server of each kind: REST and health are the same on both."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def start_server(tmp_path):
    """Starts servers with flags of the test's own."""
    servers = []

    def start(kind: str, *arguments: str) -> Server:
        servers.append(Server(kind, tmp_path, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


# --- connections of the Python SDK ---------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A transport and what the client negotiates: `legacy`, `auto` or a revision."""

    transport: str
    mode: str

    def __str__(self) -> str:
        return f"{self.transport}-{self.mode}"


MODERN = "2026-07-28"
LINKS = [
    Link("http", "legacy"),
    Link("http", "auto"),
    Link("http", MODERN),
    Link("sse", "legacy"),
    Link("sse", "auto"),
    Link("stdio", "legacy"),
    Link("stdio", "auto"),
    Link("stdio", MODERN),
]


@pytest.fixture(params=LINKS, ids=str)
def link(request) -> Link:
    return request.param


@asynccontextmanager
async def ungrouped():
    """Takes a test's failure out of the exception groups that the SDK's task groups wrap it in."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
            leaf = leaf.exceptions[0]
        raise leaf from None


@pytest.fixture
def connect(link: Link, request, tmp_path):
    """`async with connect() as client`: the SDK's client over the transport of this test."""

    @asynccontextmanager
    async def over_network(**options):
        server = request.getfixturevalue(f"{link.transport}_server")
        target = server.mcp_url if link.transport == "http" else sse_client(server.mcp_url)
        async with ungrouped(), Client(target, mode=link.mode, **options) as client:
            yield client

    @asynccontextmanager
    async def over_stdio(**options):
        stdio = RecordedStdio(tmp_path)
        async with ungrouped(), Client(stdio.parameters, mode=link.mode, **options) as client:
            yield client
        stdio.check()

    # The server starts outside the test's event loop.
    if link.transport != "stdio":
        request.getfixturevalue(f"{link.transport}_server")
        return over_network
    return over_stdio


class RecordedStdio:
    """`mcp-v8` on stdio, with a copy of its standard output and its exit code kept in files."""

    def __init__(self, directory: Path) -> None:
        self.out, self.code, self.log = directory / "stdout", directory / "exit-code", directory / "stderr"
        script = f'"$@" 2>{self.log} | tee {self.out}; echo "${{PIPESTATUS[0]}}" >{self.code}'
        server = [binary("mcp-v8"), f"--session-db-path={directory / 'state'}", "--max-concurrent-executions=4"]
        self.parameters = StdioServerParameters(command="bash", args=["-c", script, "bash", *server])

    def check(self) -> None:
        """The client closed the server's standard input: it ended by itself, and said nothing but protocol."""
        log = f"--- the server's log:\n{self.log.read_text(errors='replace')[-4000:]}"
        assert self.code.exists(), f"the server did not end when its input ended\n{log}"
        assert self.code.read_text().strip() == "0", f"exit code {self.code.read_text()}{log}"
        for line in self.out.read_text().splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0", line
