"""The DNS-rebinding guard: what a browser sends must name an allowed host and origin."""

from __future__ import annotations

import pytest

from harness import Server, curl

JSON = ("-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream")
INITIALIZE = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
    '"capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'
)


def headers(*lines: str) -> list[str]:
    return [part for line in lines for part in ("-H", line)]


def requests(server: Server, *lines: str) -> dict[str, int]:
    """The status of a request to each door with these headers."""
    script = curl(f"{server.url}/api/exec?wait=10", *headers("Content-Type: text/plain", *lines), data="1 + 1")
    answers = {"exec": script.status, "list": curl(f"{server.url}/api/executions", *headers(*lines)).status}
    if server.kind == "http":
        answers["mcp"] = curl(f"{server.url}/mcp", *JSON, *headers(*lines), data=INITIALIZE).status
    else:
        # A stream without end: the head is enough. POST is checked before the session is looked up.
        answers["message"] = curl(f"{server.url}/message?sessionId=x", *JSON, *headers(*lines), data=INITIALIZE).status
    return answers


def accepted(server: Server) -> dict[str, int]:
    return {"exec": 200, "list": 200, **({"mcp": 200} if server.kind == "http" else {"message": 404})}


def refused(server: Server) -> dict[str, int]:
    return dict.fromkeys(accepted(server), 403)


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: http://evil.example"],
        ["Origin: null"],
        ["Origin: http://localhost.evil.example"],
        ["Origin: http://127.0.0.1.evil.example:80"],
        ["Host: evil.example", "Origin: http://evil.example"],
        ["Host: evil.example", "Sec-Fetch-Site: same-origin"],
        ["Host: evil.example", "Origin: http://localhost"],
    ],
    ids=" + ".join,
)
def test_a_strange_browser_request_is_refused(server, lines):
    assert requests(server, *lines) == refused(server)


def test_a_refusal_says_why(server):
    answer = curl(f"{server.url}/api/executions", "-H", "Origin: http://evil.example")
    assert answer.status == 403
    assert "evil.example" in answer.error and "--allowed-origins" in answer.error


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: mcp.example.com"],
        ["Host: mcp.example.com:8443"],
        ["Host: 10.1.2.3"],
        ["Origin: http://localhost:5173"],
        ["Origin: http://127.0.0.1:6274"],
        ["Origin: http://[::1]:80"],
        ["Sec-Fetch-Site: same-origin"],
    ],
    ids=" + ".join,
)
def test_proxies_and_local_pages_are_served(server, lines):
    assert requests(server, *lines) == accepted(server)


@pytest.mark.parametrize("kind", ["http", "sse"])
def test_a_list_of_hosts_holds_for_everybody(start_server, kind):
    server = start_server(kind, "--allowed-hosts=mcp.example.com,other.example", "--allowed-origins=https://app.example")
    assert requests(server, "Host: mcp.example.com") == accepted(server)
    assert requests(server, "Host: other.example:8080") == accepted(server)
    assert requests(server) == accepted(server), "loopback stays allowed"
    assert requests(server, "Host: third.example") == refused(server)
    assert requests(server, "Host: mcp.example.com", "Origin: https://app.example") == accepted(server)
    assert requests(server, "Host: mcp.example.com", "Origin: https://evil.example") == refused(server)


@pytest.mark.parametrize("kind", ["http", "sse"])
def test_a_star_opens(start_server, kind):
    server = start_server(kind, "--allowed-hosts=*", "--allowed-origins=*")
    assert requests(server, "Host: any.example", "Origin: http://evil.example") == accepted(server)


def test_the_guard_covers_the_event_stream(sse_server):
    answer = curl(sse_server.mcp_url, "-H", "Origin: http://evil.example")
    assert answer.status == 403
