"""MCP as bytes: curl against /mcp (old and new revision), /sse and /message, and stdio by hand."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from typing import Any, Iterator

import pytest

from harness import HANG, STOP_DEADLINE, Answer, BackgroundCurl, Server, assert_gone, binary, curl, descendants, wait_until

MODERN = "2026-07-28"
ACCEPT = ("-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream")


def message(method: str, params: dict | None = None, id: int | None = None) -> str:
    document: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    if id is not None:
        document["id"] = id
    return json.dumps(document)


def initialize(version: str = "2025-11-25") -> str:
    client = {"name": "by-hand", "version": "1"}
    return message("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client}, id=0)


def run_js(id: int, code: str, **arguments: Any) -> str:
    params = {"name": "run_js", "arguments": {"code": code, **arguments}, "_meta": {"progressToken": f"token-{id}"}}
    return message("tools/call", params, id=id)


def reply(answer: Answer) -> dict:
    """The JSON-RPC response in a body that is JSON or a stream of events."""
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json()
    assert answer.headers["content-type"].startswith("text/event-stream"), answer
    lines = [line[5:].strip() for line in answer.text.splitlines() if line.startswith("data:")]
    documents = [json.loads(line) for line in lines if line]
    return next(document for document in documents if "result" in document or "error" in document)


def statuses(server: Server) -> dict[str, str]:
    rows = curl(f"{server.url}/api/executions?limit=1000").json()["executions"]
    return {row["execution_id"]: row["status"] for row in rows}


def new_execution(server: Server, before: dict[str, str]) -> str:
    """The id of the one execution that came since, once it has printed something."""
    [execution_id] = wait_until(lambda: set(statuses(server)) - set(before), "the execution is listed")
    url = f"{server.url}/api/executions/{execution_id}/output"
    wait_until(lambda: curl(url).json()["total_bytes"], "the script prints its first line")
    return execution_id


def until_cancelled(server: Server, execution_id: str) -> None:
    wait_until(lambda: statuses(server)[execution_id] == "cancelled", "the execution is cancelled")


# --- Streamable HTTP, revisions with `initialize` ------------------------------------------------


@pytest.fixture
def session(http_server) -> Iterator[list[str]]:
    """The headers of an initialised session."""
    answer = curl(http_server.mcp_url, *ACCEPT, data=initialize())
    assert answer.status == 200
    assert reply(answer)["result"]["serverInfo"]["name"] == "mcp-v8"
    headers = [
        *ACCEPT,
        "-H",
        f"Mcp-Session-Id: {answer.headers['mcp-session-id']}",
        "-H",
        "MCP-Protocol-Version: 2025-11-25",
    ]
    assert curl(http_server.mcp_url, *headers, data=message("notifications/initialized")).status == 202
    yield headers
    curl(http_server.mcp_url, *headers, "-X", "DELETE")


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_revision_with_a_handshake_is_spoken(http_server, version):
    result = reply(curl(http_server.mcp_url, *ACCEPT, data=initialize(version)))["result"]
    assert result["protocolVersion"] == version


def test_a_session_runs_a_script_and_ends(http_server, session):
    result = reply(curl(http_server.mcp_url, *session, data=run_js(1, "console.log('x'); 1 + 1")))["result"]
    assert result["structuredContent"]["result"] == "2" and not result.get("isError")
    assert curl(http_server.mcp_url, *session, "-X", "DELETE").status in (200, 202, 204)
    assert curl(http_server.mcp_url, *session, data=message("tools/list", id=2)).status == 404


def test_a_session_that_does_not_exist_is_not_found(http_server):
    headers = (*ACCEPT, "-H", "Mcp-Session-Id: 018f0000-0000-7000-8000-000000000000")
    assert curl(http_server.mcp_url, *headers, data=message("tools/list", id=1)).status == 404


def test_the_cancelled_notification_stops_the_script(http_server, session):
    before = statuses(http_server)
    with BackgroundCurl(http_server.mcp_url, *session, data=run_js(7, HANG)):
        execution_id = new_execution(http_server, before)
        cancelled = message("notifications/cancelled", {"requestId": 7, "reason": "test"})
        assert curl(http_server.mcp_url, *session, data=cancelled).status == 202
        until_cancelled(http_server, execution_id)


def test_progress_notifications_have_the_clients_token(http_server, session):
    with BackgroundCurl(http_server.mcp_url, *session, data=run_js(9, "console.log('tick'); 5")) as call:
        documents = []
        for _event, data in call.events():
            documents.append(json.loads(data))
            if "result" in documents[-1]:
                break
    *notifications, result = documents
    assert result["id"] == 9 and result["result"]["structuredContent"]["result"] == "5"
    assert notifications, "no progress before the result"
    for notification in notifications:
        assert notification["method"] == "notifications/progress"
        assert notification["params"]["progressToken"] == "token-9"
    assert "".join(n["params"].get("message", "") for n in notifications).strip() == "tick"


# --- Streamable HTTP, 2026-07-28 -----------------------------------------------------------------


def modern(method: str, name: str | None = None) -> list[str]:
    headers = [*ACCEPT, "-H", f"MCP-Protocol-Version: {MODERN}", "-H", f"Mcp-Method: {method}"]
    return headers + (["-H", f"Mcp-Name: {name}"] if name else [])


def with_meta(text: str) -> str:
    document = json.loads(text)
    document["params"].setdefault("_meta", {}).update(
        {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    )
    return json.dumps(document)


def test_modern_requests_need_no_session(http_server):
    answer = curl(http_server.mcp_url, *modern("server/discover"), data=with_meta(message("server/discover", id=1)))
    assert answer.status == 200 and "mcp-session-id" not in answer.headers
    assert MODERN in reply(answer)["result"]["supportedVersions"]
    answer = curl(http_server.mcp_url, *modern("tools/call", "run_js"), data=with_meta(run_js(2, "2 + 2")))
    assert reply(answer)["result"]["structuredContent"]["result"] == "4"


def test_closing_the_stream_of_a_modern_request_cancels_its_script(http_server):
    before = statuses(http_server)
    with BackgroundCurl(http_server.mcp_url, *modern("tools/call", "run_js"), data=with_meta(run_js(3, HANG))) as call:
        execution_id = new_execution(http_server, before)
        assert statuses(http_server)[execution_id] == "running"
        call.drop()
    until_cancelled(http_server, execution_id)


def test_a_header_that_contradicts_the_body_is_refused(http_server):
    answer = curl(http_server.mcp_url, *modern("tools/call", "get_execution"), data=with_meta(run_js(4, "1")))
    assert answer.status == 400
    assert answer.json()["error"]["code"] == -32020


# --- Streamable HTTP, mistakes -------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b"", b"nonsense", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"', b'"\xff"'])
def test_what_is_not_json_is_refused(http_server, body):
    answer = curl(http_server.mcp_url, *ACCEPT, data=body)
    assert answer.status == 400
    assert answer.body.strip(), "no word about what is wrong"
    assert reply(curl(http_server.mcp_url, *ACCEPT, data=initialize()))["result"]


@pytest.mark.parametrize("body", ["[]", "5", "null", "{}", '{"jsonrpc":"1.0","id":1,"method":"initialize"}', '{"id":1}'])
def test_what_is_no_json_rpc_is_refused(http_server, body):
    answer = curl(http_server.mcp_url, *ACCEPT, data=body)
    assert 400 <= answer.status < 500, answer
    assert answer.body.strip(), "no word about what is wrong"
    assert reply(curl(http_server.mcp_url, *ACCEPT, data=initialize()))["result"]


def test_an_unknown_method_is_refused(http_server, session):
    error = reply(curl(http_server.mcp_url, *session, data=message("tools/destroy", id=5)))["error"]
    assert error["code"] == -32601


def test_an_unacceptable_answer_format_is_refused(http_server):
    headers = ("-H", "Content-Type: application/json", "-H", "Accept: text/html")
    assert curl(http_server.mcp_url, *headers, data=initialize()).status == 406


def test_a_script_of_more_than_four_mebibytes_fits_in_a_call(http_server):
    """The transport's own limit must not be below the 16 MiB that scripts may have."""
    code = "//".ljust(12 * 1024 * 1024, "x") + "\n7"
    call = with_meta(run_js(6, code))
    answer = curl(http_server.mcp_url, *modern("tools/call", "run_js"), data=call, deadline=50)
    assert answer.status == 200, answer.body[:500]
    assert reply(answer)["result"]["structuredContent"]["result"] == "7"


# --- HTTP+SSE ------------------------------------------------------------------------------------


def open_session(server: Server, stream: BackgroundCurl) -> tuple[str, Iterator[tuple[str, str]]]:
    """Reads the first event of a stream and shakes hands. Returns where to POST, and the events."""
    events = stream.events()
    event, data = next(events)
    assert event == "endpoint"
    assert data.startswith("/message?sessionId="), data
    endpoint = server.url + data
    answer = curl(endpoint, *ACCEPT, data=initialize("2024-11-05"))
    assert answer.status == 202
    event, data = next(events)
    assert event == "message" and json.loads(data)["result"]["serverInfo"]["name"] == "mcp-v8"
    assert curl(endpoint, *ACCEPT, data=message("notifications/initialized")).status == 202
    return endpoint, events


def test_sse_by_hand(sse_server):
    with BackgroundCurl(sse_server.mcp_url, "-H", "Accept: text/event-stream") as stream:
        endpoint, events = open_session(sse_server, stream)
        assert curl(endpoint, *ACCEPT, data=run_js(1, "console.log('x'); 3 * 3")).status == 202
        documents = [json.loads(next(events)[1])]
        while "id" not in documents[-1]:
            documents.append(json.loads(next(events)[1]))
        assert documents[0]["params"]["message"].strip() == "x", "console text comes as progress"
        assert documents[-1]["result"]["structuredContent"]["result"] == "9"


def test_sse_head(sse_server):
    with BackgroundCurl(sse_server.mcp_url, "--include") as stream:
        head = {}
        for line in stream.process.stdout:
            if not line.strip():
                break
            name, _, value = line.partition(":")
            head[name.lower()] = value.strip()
    assert head["content-type"].startswith("text/event-stream")
    assert "no-cache" in head["cache-control"]


def test_sse_unknown_session_is_not_found(sse_server):
    answer = curl(f"{sse_server.url}/message?sessionId=nonsense", *ACCEPT, data=initialize())
    assert answer.status == 404
    missing = curl(f"{sse_server.url}/message", *ACCEPT, data=initialize())
    assert missing.status == 400 and "sessionId" in missing.text


@pytest.mark.parametrize("body", ["{", "", "[]", '{"jsonrpc":"1.0"}'])
def test_sse_malformed_messages_are_refused(sse_server, body):
    with BackgroundCurl(sse_server.mcp_url) as stream:
        endpoint, events = open_session(sse_server, stream)
        answer = curl(endpoint, *ACCEPT, data=body)
        assert answer.status == 400
        assert answer.body.strip(), "no word about what is wrong"
        assert curl(endpoint, *ACCEPT, data=message("tools/list", id=2)).status == 202
        assert json.loads(next(events)[1])["result"]["tools"], "the session goes on"


def test_sse_closing_the_stream_ends_the_session_and_its_scripts(sse_server):
    before = statuses(sse_server)
    with BackgroundCurl(sse_server.mcp_url) as stream:
        endpoint, _events = open_session(sse_server, stream)
        assert curl(endpoint, *ACCEPT, data=run_js(1, HANG)).status == 202
        execution_id = new_execution(sse_server, before)
        stream.drop()
    until_cancelled(sse_server, execution_id)
    wait_until(lambda: curl(endpoint, *ACCEPT, data=message("tools/list", id=2)).status == 404, "the session is gone")


def test_sse_cancelled_notification_stops_the_script(sse_server):
    before = statuses(sse_server)
    with BackgroundCurl(sse_server.mcp_url) as stream:
        endpoint, _events = open_session(sse_server, stream)
        assert curl(endpoint, *ACCEPT, data=run_js(8, HANG)).status == 202
        execution_id = new_execution(sse_server, before)
        assert curl(endpoint, *ACCEPT, data=message("notifications/cancelled", {"requestId": 8})).status == 202
        until_cancelled(sse_server, execution_id)


# --- stdio ---------------------------------------------------------------------------------------


class Stdio:
    """`mcp-v8` on pipes. Every line of its standard output must be JSON-RPC."""

    def __init__(self, directory) -> None:
        command = [binary("mcp-v8"), f"--session-db-path={directory / 'state'}"]
        self.log = directory / "stderr"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout])
        self.reader.start()

    def send(self, text: str | bytes) -> None:
        self.process.stdin.write((text.encode() if isinstance(text, str) else text) + b"\n")
        self.process.stdin.flush()

    def receive(self, id: int | None) -> dict:
        """The response to request `id`; notifications before it are read over."""
        while True:
            line = self.lines.get(timeout=15)
            document = json.loads(line)
            assert document["jsonrpc"] == "2.0", line
            if "method" not in document and document.get("id") == id:
                return document

    def handshake(self) -> None:
        self.send(initialize())
        assert self.receive(0)["result"]["serverInfo"]["name"] == "mcp-v8"
        self.send(message("notifications/initialized"))

    def end(self, how: str, deadline: float = STOP_DEADLINE) -> None:
        """Ends its input or sends a signal: it stops with code 0 and leaves nothing behind."""
        pid = self.process.pid
        family = {p.key for p in descendants(pid)}
        if how == "end of input":
            self.process.stdin.close()
        else:
            self.process.send_signal(getattr(signal, how))
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {deadline} s after {how}\n{self.log.read_text()[-4000:]}") from None
        assert code == 0, self.log.read_text()[-4000:]
        assert_gone(family, session=pid)
        self.reader.join()
        while not self.lines.empty():
            assert json.loads(self.lines.get())["jsonrpc"] == "2.0"


@pytest.fixture
def stdio(tmp_path):
    stdio = Stdio(tmp_path)
    yield stdio
    for process in descendants(stdio.process.pid):
        subprocess.run(["kill", "-KILL", str(process.pid)], stderr=subprocess.DEVNULL)
    stdio.process.kill()
    stdio.process.wait()
    stdio.process.stdin.close()
    stdio.reader.join()


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
def test_stdio_says_nothing_but_protocol_and_ends(stdio, how):
    stdio.handshake()
    stdio.send(run_js(1, "console.log('not on stdout'); console.error('nor this'); 1 + 1"))
    assert stdio.receive(1)["result"]["structuredContent"]["output"] == "not on stdout\n[ERROR] nor this\n"
    stdio.send(run_js(2, "throw new Error('no')"))
    assert stdio.receive(2)["result"]["isError"] is True
    stdio.end(how)


@pytest.mark.parametrize("code", [HANG, "console.log('x'); while (true) {}"], ids=["waiting", "hot loop"])
def test_stdio_ends_soon_though_a_script_runs(stdio, code):
    """The client has gone: nobody waits for what its scripts would say. Clients kill after two seconds."""
    stdio.handshake()
    stdio.send(run_js(1, code))
    assert json.loads(stdio.lines.get(timeout=15))["method"] == "notifications/progress"
    stdio.end("end of input", deadline=1.8)


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"", b'"\xff"', b"[]", b'{"jsonrpc":"1.0","id":5,"method":"x"}'])
def test_stdio_survives_malformed_lines(stdio, line):
    stdio.handshake()
    stdio.send(line)
    stdio.send(run_js(1, "1 + 1"))
    assert stdio.receive(1)["result"]["structuredContent"]["result"] == "2"
    stdio.end("end of input")
