"""Every revision of MCP over every transport, by hand: what is agreed on, and what an answer looks like then."""

from __future__ import annotations

import json

import pytest

from harness import BackgroundCurl, curl
from test_mcp_wire import ACCEPT, MODERN, Stdio, initialize, message, modern, reply, run_js, with_meta

WITH_HANDSHAKE = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
NEWEST_WITH_HANDSHAKE = WITH_HANDSHAKE[-1]


class Http:
    """A session over Streamable HTTP."""

    def __init__(self, server, version: str) -> None:
        self.url = server.mcp_url
        self.headers = [*ACCEPT]
        answer = curl(self.url, *self.headers, data=initialize(version))
        self.agreed = reply(answer)["result"]
        self.headers += ["-H", f"Mcp-Session-Id: {answer.headers['mcp-session-id']}"]
        # Earlier revisions have no such header.
        if self.agreed["protocolVersion"] >= "2025-06-18":
            self.headers += ["-H", f"MCP-Protocol-Version: {self.agreed['protocolVersion']}"]
        assert curl(self.url, *self.headers, data=message("notifications/initialized")).status == 202

    def ask(self, text: str) -> dict:
        return reply(curl(self.url, *self.headers, data=text))

    def end(self) -> None:
        assert curl(self.url, *self.headers, "-X", "DELETE").status == 204


class Sse:
    """A session over HTTP+SSE."""

    def __init__(self, server, version: str) -> None:
        self.stream = BackgroundCurl(server.mcp_url, "-H", "Accept: text/event-stream").__enter__()
        self.events = self.stream.events()
        self.endpoint = server.url + next(self.events)[1]
        self.agreed = self.ask(initialize(version))["result"]
        assert curl(self.endpoint, *ACCEPT, data=message("notifications/initialized")).status == 202

    def ask(self, text: str) -> dict:
        assert curl(self.endpoint, *ACCEPT, data=text).status == 202
        while True:
            document = json.loads(next(self.events)[1])
            if "method" not in document:
                return document

    def end(self) -> None:
        self.stream.__exit__(None, None, None)


class OverStdio:
    """A session over standard input and output."""

    def __init__(self, directory, version: str | None) -> None:
        self.stdio = Stdio(directory)
        if version is not None:
            self.agreed = self.ask(initialize(version))["result"]
            self.stdio.send(message("notifications/initialized"))

    def ask(self, text: str) -> dict:
        self.stdio.send(text)
        return self.stdio.receive(json.loads(text)["id"])

    def end(self) -> None:
        self.stdio.end("end of input")


@pytest.fixture(params=["http", "sse", "stdio"])
def begin(request, tmp_path):
    """Begins a session of a revision over each transport."""
    begun = []

    def begin(version: str):
        if request.param == "stdio":
            begun.append(OverStdio(tmp_path, version))
        else:
            kind = {"http": Http, "sse": Sse}[request.param]
            begun.append(kind(request.getfixturevalue(f"{request.param}_server"), version))
        return begun[-1]

    yield begin
    for session in begun:
        session.end()


@pytest.mark.parametrize("version", WITH_HANDSHAKE)
def test_every_revision_is_spoken_over_every_transport(begin, version):
    session = begin(version)
    assert session.agreed["protocolVersion"] == version
    tools = session.ask(message("tools/list", id=1))["result"]
    assert "run_js" in [tool["name"] for tool in tools["tools"]]
    answer = session.ask(run_js(2, "console.log('x'); 6 * 7"))["result"]
    assert answer["structuredContent"]["result"] == "42"
    assert json.loads(answer["content"][0]["text"]) == answer["structuredContent"]
    assert "resultType" not in answer and "resultType" not in tools, "the revision knows no such thing"
    assert session.ask(message("ping", id=3))["result"] == {}


@pytest.mark.parametrize("version", [MODERN, "1999-12-31", "nonsense"])
def test_a_handshake_for_what_has_none_is_answered_with_the_newest_that_has(begin, version):
    """2026-07-28 has no handshake, so whoever begins with one is offered what has."""
    assert begin(version).agreed["protocolVersion"] == NEWEST_WITH_HANDSHAKE


def check_discovered(result: dict) -> None:
    assert result["supportedVersions"][-1] == MODERN or MODERN in result["supportedVersions"]
    assert set(WITH_HANDSHAKE) <= set(result["supportedVersions"])
    assert {"tools", "resources"} <= set(result["capabilities"])
    assert "io.modelcontextprotocol/tasks" in result["capabilities"]["extensions"]
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-v8"
    assert result["resultType"] == "complete"


def test_server_discover_over_http(http_server):
    answer = curl(http_server.mcp_url, *modern("server/discover"), data=with_meta(message("server/discover", id=1)))
    check_discovered(reply(answer)["result"])


def test_server_discover_over_stdio(tmp_path):
    session = OverStdio(tmp_path, None)
    check_discovered(session.ask(with_meta(message("server/discover", id=1)))["result"])
    answer = session.ask(with_meta(run_js(2, "6 * 7")))["result"]
    assert answer["structuredContent"]["result"] == "42" and answer["resultType"] == "complete"
    session.end()
