"""The Python SDK's client over every transport and protocol era.

Each test runs once per link of conftest.LINKS: Streamable HTTP, legacy HTTP+SSE and stdio, with the
`initialize` handshake (legacy), by discovery (auto), or pinned to the newest revision.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid

import anyio
import pytest
from jsonschema.validators import validator_for
from mcp import MCPError
from mcp_types import SERVER_INFO_META_KEY

from conftest import LINKS, MODERN
from harness import HANG, async_wait_until, server_version

pytestmark = pytest.mark.anyio

TOOLS = {
    "run_js": {"code", "wait_secs", "heap_memory_max_mb", "execution_timeout_secs", "idempotency_key"},
    "get_execution": {"execution_id"},
    "get_execution_output": {"execution_id", "line_offset", "line_limit", "byte_offset", "byte_limit"},
    "cancel_execution": {"execution_id"},
    "list_executions": {"limit", "cursor"},
}


async def call(client, tool: str, progress=None, **arguments) -> tuple[dict, bool]:
    """The tool's JSON and whether it is an error. Text block and structured content must agree."""
    result = await client.call_tool(tool, arguments, progress_callback=progress)
    assert result.content[0].type == "text"
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content, result.is_error


async def succeed(client, tool: str, **arguments) -> dict:
    document, is_error = await call(client, tool, **arguments)
    assert not is_error, document
    return document


async def fail(client, tool: str, **arguments) -> dict:
    document, is_error = await call(client, tool, **arguments)
    assert is_error, document
    return document


async def refusal(client, tool: str, **arguments) -> str:
    """The text of a refused call: an error result or a JSON-RPC error; both reach the model."""
    try:
        result = await client.call_tool(tool, arguments)
    except MCPError as error:
        return error.message
    assert result.is_error, result
    return result.content[0].text


async def started(client, code: str = HANG, **arguments) -> str:
    """Starts a script and returns its id once it has printed its first line."""
    run = await succeed(client, "run_js", code=code, wait_secs=0, **arguments)
    execution_id = run["execution_id"]

    async def printed():
        return (await succeed(client, "get_execution_output", execution_id=execution_id))["total_lines"]

    await async_wait_until(printed, "the script prints its first line")
    return execution_id


async def ended(client, execution_id: str) -> dict:
    """The execution once it no longer runs."""

    async def over():
        execution = await succeed(client, "get_execution", execution_id=execution_id)
        return execution if execution["status"] != "running" else None

    return await async_wait_until(over, f"execution {execution_id} ends")


def values_of(document, key: str) -> list:
    """The values of `key` at any depth."""
    if isinstance(document, list):
        return [value for item in document for value in values_of(item, key)]
    if isinstance(document, dict):
        own = [document[key]] if isinstance(document.get(key), str) else []
        return own + [value for item in document.values() for value in values_of(item, key)]
    return []


# --- what the server says of itself --------------------------------------------------------------


async def test_server_names_itself(connect, link):
    async with connect() as client:
        if link.mode == MODERN:  # pinned: the client asked nothing yet
            discovered = await client.session.send_discover(MODERN)
            info = discovered["_meta"][SERVER_INFO_META_KEY]
            assert MODERN in discovered["supportedVersions"]
            assert "tools" in discovered["capabilities"]
        else:
            info = client.server_info.model_dump()
            assert client.server_capabilities.tools is not None
        assert (info["name"], info["version"]) == ("mcp-v8", server_version())
        if link.mode == "legacy":
            assert client.protocol_version == "2025-11-25"
        elif link.transport == "http":
            assert client.protocol_version == MODERN


async def test_tools_are_described(connect):
    async with connect() as client:
        listed = await client.list_tools()
        tools = {tool.name: tool for tool in listed.tools}
        assert set(TOOLS) <= set(tools)
        for name, arguments in TOOLS.items():
            tool = tools[name]
            assert tool.description, name
            assert arguments <= set(tool.input_schema["properties"]), name
            for schema in (tool.input_schema, tool.output_schema):
                assert schema["type"] == "object", name
                validator_for(schema).check_schema(schema)
                # Others, such as uint64, make JavaScript clients print a warning at each call.
                assert set(values_of(schema, "format")) <= {"date-time", "uri", "uuid"}, name
            undescribed = [a for a, s in tool.input_schema["properties"].items() if not s.get("description")]
            assert not undescribed, f"{name}: {undescribed}"
        assert tools["get_execution"].input_schema["required"] == ["execution_id"]


async def test_the_client_finds_nothing_to_complain_of(connect, caplog):
    async with connect() as client:
        await client.list_tools()
        await succeed(client, "run_js", code="console.log('x'); 1 + 1")
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


# --- running scripts -----------------------------------------------------------------------------


async def test_a_script_returns_console_text_and_result(connect):
    async with connect() as client:
        run = await succeed(client, "run_js", code="console.log('one', 2, {a: [3]});\nconsole.warn('w');\n6 * 7")
        assert run["status"] == "completed"
        assert run["output"] == 'one 2 {"a":[3]}\n[WARN] w\n'
        assert run["result"] == "42"
        assert "error" not in run and "error_detail" not in run
        execution = await succeed(client, "get_execution", execution_id=run["execution_id"])
        assert execution["status"] == "completed" and execution["result"] == "42"
        # Present though null or empty: existing clients read them.
        assert {k: execution[k] for k in ("heap", "fs", "error", "artifacts")} == {
            "heap": None, "fs": None, "error": None, "artifacts": []
        }  # fmt: skip
        assert execution["started_at"] <= execution["completed_at"]


async def test_a_session_goes_on_from_call_to_call_and_back(connect):
    session = f"s-{uuid.uuid4()}"
    async with connect() as client:
        first = await succeed(client, "run_js", code="globalThis.n = 1", session=session)
        assert re.fullmatch("[0-9a-f]{64}", first["heap"])
        second = await succeed(client, "run_js", code="n += 1", session=session, tags={"step": "two"})
        assert second["result"] == "2" and second["heap"] != first["heap"]
        execution = await succeed(client, "get_execution", execution_id=second["execution_id"])
        assert execution["heap"] == second["heap"]
    # Another connection, another conversation.
    async with connect() as client:
        assert session in (await succeed(client, "list_sessions", limit=1000))["sessions"]
        steps = await succeed(client, "list_session_snapshots", session=session, fields="output_heap")
        assert [step["output_heap"] for step in steps["entries"]] == [first["heap"], second["heap"]]
        assert (await succeed(client, "get_heap_tags", heap=second["heap"]))["tags"] == {"step": "two"}
        assert (await succeed(client, "run_js", code="n", session=session))["result"] == "2"
        assert (await succeed(client, "run_js", code="n", heap=first["heap"]))["result"] == "1"
        assert (await succeed(client, "run_js", code="typeof n"))["result"] == "undefined"


async def test_artifacts_come_as_images_sounds_and_text(connect):
    name = str(uuid.uuid4())
    code = f"""
        artifact('{name}/a.png', 'image/png', new Uint8Array([137, 80, 78, 71]));
        artifact('{name}/b.wav', 'audio/wav', new Uint8Array([82, 73]).buffer);
        artifact('{name}/c.csv', 'text/csv; charset=utf-8', 'a,\u00fc');
        artifact('{name}/d.bin', 'application/octet-stream', new Uint8Array([0, 255]));
        artifact('{name}/e.bin', 'application/octet-stream', new Uint8Array(2 ** 20));"""
    async with connect() as client:
        result = await client.call_tool("run_js", {"code": code})
        run, *blocks = result.content
        run = json.loads(run.text)
        assert run == result.structured_content and run["status"] == "completed", run
        assert run["artifacts"] == [f"{name}/{file}" for file in ("a.png", "b.wav", "c.csv", "d.bin", "e.bin")]
        # The last is too large for a message.
        assert [block.type for block in blocks] == ["image", "audio", "text", "text"]
        assert (blocks[0].data, blocks[0].mime_type) == ("iVBORw==", "image/png")
        assert (blocks[1].data, blocks[1].mime_type) == ("Ukk=", "audio/wav")
        assert (blocks[2].text, blocks[3].text) == ("a,\u00fc", "AP8=")
    # Another connection, another conversation.
    async with connect() as client:
        for key, block, encoding in zip(run["artifacts"], blocks, ("base64", "base64", "utf-8", "base64")):
            result = await client.call_tool("get_artifact", {"key": key})
            assert not result.is_error
            info, shown = result.content
            info = json.loads(info.text)
            assert info == result.structured_content and shown == block
            assert (info["key"], info["encoding"]) == (key, encoding)
            assert info["execution_id"] == run["execution_id"]
        listed = (await succeed(client, "list_artifacts"))["artifacts"]
        assert [info["key"] for info in listed if info["key"].startswith(name)] == run["artifacts"]
        too_large = await refusal(client, "get_artifact", key=f"{name}/e.bin")
        assert "1048576 bytes" in too_large and "/api/artifacts/" in too_large
        assert "not found" in await refusal(client, "get_artifact", key=f"{name}/f")


async def test_typescript_with_top_level_await(connect):
    code = """
        interface Point { x: number; y: number }
        const origin: Point = { x: 3, y: 4 };
        function length<T extends Point>(p: T): number { return Math.hypot(p.x, p.y); }
        const value = await Promise.resolve(length(origin) as number);
        value satisfies number;
        export default value!;
    """
    async with connect() as client:
        assert (await succeed(client, "run_js", code=code))["result"] == "5"


async def test_an_error_tells_its_place_in_the_source(connect):
    code = "interface Gone { a: number }\nconst x: number = 1;\nconsole.log('before');\nnull.nothing;\n"
    async with connect() as client:
        run = await fail(client, "run_js", code=code)
        assert run["status"] == "failed"
        assert run["output"] == "before\n"
        assert "TypeError" in run["error"] and re.search(r"\b4\b", run["error"]), run["error"]
        detail = run["error_detail"]
        assert (detail["kind"], detail["line"]) == ("script_error", 4), detail
        assert detail["column"] == 6, detail
        assert detail["message"].startswith("TypeError"), detail
        assert ":4:6" in detail["stack"], detail
        execution = await succeed(client, "get_execution", execution_id=run["execution_id"])
        assert execution["error"] == run["error"] and execution["error_detail"] == detail


async def test_calls_on_one_connection_do_not_wait_for_each_other(connect):
    results = {}

    async def one(client, number: int):
        code = f"await new Promise(done => setTimeout(done, 300)); console.log({number}); {number} * 2"
        results[number] = await succeed(client, "run_js", code=code)

    async with connect() as client:
        hanging = await started(client)
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(one, client, number)
        assert {n: (r["output"], r["result"]) for n, r in results.items()} == {
            n: (f"{n}\n", str(2 * n)) for n in range(6)
        }
        assert len({r["execution_id"] for r in results.values()}) == 6
        await succeed(client, "cancel_execution", execution_id=hanging)


# Some 3 MB of console text; the budget is 1 MiB.
FLOOD = "for (let i = 0; i < 30_000; i++) console.log(`${i} `.padEnd(99, 'é'));"


async def test_a_flood_of_console_text_is_cut_and_reaches_the_client(connect):
    """Console text past its budget is cut with a notice, and the answer is one this client accepts."""
    async with connect() as client:
        run = await succeed(client, "run_js", code=FLOOD + "'done'")
        assert (run["status"], run["result"]) == ("completed", "done")
        assert run["output"].startswith("0 é")
        notice = run["output"].splitlines()[-1]
        assert "limit" in notice and "é" not in notice, notice


async def test_a_long_result_reaches_the_client(connect):
    async with connect() as client:
        run = await succeed(client, "run_js", code="'x'.repeat(3_000_000)")
        assert run["status"] == "completed" and set(run["result"][:1000]) == {"x"}
        execution = await succeed(client, "get_execution", execution_id=run["execution_id"])
        assert set(execution["result"][:1000]) == {"x"}


@pytest.mark.parametrize("page", [{}, {"line_limit": 100_000}, {"byte_offset": 0, "byte_limit": 1024 * 1024}], ids=str)
async def test_the_largest_pages_reach_the_client(connect, page):
    """A page may hold less than was asked for; reading on gives the rest."""
    async with connect() as client:
        code = "for (let i = 0; i < 33; i++) console.log('x'.repeat(30_000));"
        run = await succeed(client, "run_js", code=code, wait_secs=0)
        await ended(client, run["execution_id"])
        size, where = 0, page
        while True:
            output = await succeed(client, "get_execution_output", execution_id=run["execution_id"], **where)
            assert output["start_byte"] == size and output["end_byte"] > size
            size = output["end_byte"]
            if not output["has_more"]:
                break
            next_page = "byte_offset" if "byte_offset" in page else "line_offset"
            where = page | {next_page: output[f"next_{next_page}"]}
        assert size == output["total_bytes"] == 33 * 30_001


# --- progress ------------------------------------------------------------------------------------


async def test_console_lines_arrive_while_the_script_runs(connect):
    lines, progress, seen = [], [], anyio.Event()

    async def on_progress(value, _total, message):
        progress.append(value)
        lines.extend(message.splitlines())
        if "second" in lines:
            seen.set()

    code = f"console.log('first'); await new Promise(d => setTimeout(d, 300)); console.log('second'); {HANG}"
    async with connect() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.call_tool("run_js", {"code": code}, progress_callback=on_progress))
        # The script does not end by itself, so whatever arrives here arrives before its result.
        with anyio.fail_after(10):
            await seen.wait()
        assert lines[:2] == ["first", "second"], lines
        assert progress == sorted(set(progress)), f"progress must grow: {progress}"
        tasks.cancel_scope.cancel()


async def test_progress_is_complete_when_the_result_arrives(connect):
    lines, moments = [], []

    async def on_progress(_value, _total, message):
        moments.append(time.monotonic())
        lines.extend(message.splitlines())

    code = """
        for (let i = 0; i < 20; i++) { console.log('line', i); await new Promise(d => setTimeout(d, 25)); }
        console.log('last'); 'done'
    """
    async with connect() as client:
        run, is_error = await call(client, "run_js", progress=on_progress, code=code)
        assert not is_error and run["result"] == "done"

        async def all_there():
            return "last" in lines

        await async_wait_until(all_there, "the last console line arrives as progress", 1.0)
        assert lines == run["output"].splitlines() == [f"line {i}" for i in range(20)] + ["last"]
        assert moments[-1] - moments[0] > 0.2, "the lines came at once, not as they were printed"


# --- cancelling ----------------------------------------------------------------------------------


async def test_cancelling_a_call_cancels_its_script(connect):
    running = anyio.Event()

    async def on_progress(*_):
        running.set()

    async with connect() as client:
        before = await succeed(client, "list_executions")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.call_tool("run_js", {"code": HANG}, progress_callback=on_progress))
            with anyio.fail_after(10):
                await running.wait()
            after = await succeed(client, "list_executions")
            tasks.cancel_scope.cancel()
        known = {e["execution_id"] for e in before["executions"]}
        [execution_id] = [e["execution_id"] for e in after["executions"] if e["execution_id"] not in known]
        execution = await ended(client, execution_id)
        assert execution["status"] == "cancelled"
        assert execution["error"] == "Cancelled by user"
        assert execution["error_detail"]["kind"] == "cancelled"
        listed = await succeed(client, "list_executions")
        assert (execution_id, "cancelled") in [(e["execution_id"], e["status"]) for e in listed["executions"]]


async def test_a_call_that_times_out_at_the_client_cancels_its_script(connect):
    async with connect() as client:
        before = {e["execution_id"] for e in (await succeed(client, "list_executions"))["executions"]}
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("run_js", {"code": HANG}, read_timeout_seconds=1.0)
        rows = (await succeed(client, "list_executions"))["executions"]
        [execution_id] = [e["execution_id"] for e in rows if e["execution_id"] not in before]
        assert (await ended(client, execution_id))["status"] == "cancelled"


async def test_cancel_execution(connect):
    async with connect() as client:
        execution_id = await started(client)
        assert await succeed(client, "cancel_execution", execution_id=execution_id) == {"ok": True}
        assert (await ended(client, execution_id))["status"] == "cancelled"
        again = await fail(client, "cancel_execution", execution_id=execution_id)
        assert again == {"ok": False, "error": f"Execution '{execution_id}' is not running (status: cancelled)"}


async def test_cancel_stops_a_hot_loop(connect):
    async with connect() as client:
        execution_id = await started(client, "console.log('started'); while (true) {}")
        await succeed(client, "cancel_execution", execution_id=execution_id)
        assert (await ended(client, execution_id))["status"] == "cancelled"
        assert (await succeed(client, "run_js", code="1 + 1"))["result"] == "2"


# --- executions by id ----------------------------------------------------------------------------


async def test_start_now_and_poll(connect):
    code = "console.log('a'); await new Promise(done => setTimeout(done, 500)); console.log('b'); 'end'"
    async with connect() as client:
        run = await succeed(client, "run_js", code=code, wait_secs=0)
        assert run["status"] == "running" and "result" not in run
        execution = await succeed(client, "get_execution", execution_id=run["execution_id"])
        assert (execution["status"], execution["result"], execution["completed_at"]) == ("running", None, None)
        execution = await ended(client, run["execution_id"])
        assert (execution["status"], execution["result"]) == ("completed", "end")
        output = await succeed(client, "get_execution_output", execution_id=run["execution_id"])
        assert (output["data"], output["status"]) == ("a\nb", "completed")


async def test_waiting_ends_before_the_script(connect):
    async with connect() as client:
        begin = time.monotonic()
        run = await succeed(client, "run_js", code=HANG, wait_secs=1)
        assert 0.9 < time.monotonic() - begin < 5
        assert (run["status"], run["output"]) == ("running", "started\n")
        await succeed(client, "cancel_execution", execution_id=run["execution_id"])
        assert (await ended(client, run["execution_id"]))["status"] == "cancelled"


async def test_output_in_pages_of_lines(connect):
    async with connect() as client:
        run = await succeed(client, "run_js", code="for (let i = 1; i <= 250; i++) console.log('line ' + i)")
        lines, offset, pages = [], None, 0
        while True:
            where = {} if offset is None else {"line_offset": offset}
            page = await succeed(client, "get_execution_output", execution_id=run["execution_id"], **where)
            pages += 1
            assert page["start_line"] == len(lines) + 1
            lines += page["data"].split("\n")
            assert page["end_line"] == len(lines)
            assert (page["total_lines"], page["total_bytes"]) == (250, len(run["output"]))
            offset = page["next_line_offset"]
            if not page["has_more"]:
                break
        assert pages == 3, "100 lines are the default page"
        assert lines == [f"line {i}" for i in range(1, 251)]
        page = await succeed(
            client, "get_execution_output", execution_id=run["execution_id"], line_offset=200, line_limit=2
        )
        assert (page["data"], page["start_line"], page["end_line"]) == ("line 200\nline 201", 200, 201)
        assert (page["next_line_offset"], page["has_more"]) == (202, True)


async def test_output_in_pages_of_bytes(connect):
    async with connect() as client:
        run = await succeed(client, "run_js", code="console.log('héllo €uro '.repeat(1000)); console.log('end')")
        whole, data, offset, limit = run["output"].encode(), b"", 0, {}
        while True:
            page = await succeed(
                client, "get_execution_output", execution_id=run["execution_id"], byte_offset=offset, **limit
            )
            assert page["start_byte"] == len(data)
            data += page["data"].encode()
            assert page["end_byte"] == page["next_byte_offset"] == len(data)
            assert page["total_bytes"] == len(whole)
            if offset == 0:
                assert 4096 - 3 <= len(data) <= 4096, "4096 bytes are the default page"
            offset, limit = page["next_byte_offset"], {"byte_limit": 1001}
            if not page["has_more"]:
                break
        assert data == whole


async def test_executions_are_listed_newest_first_in_pages(connect):
    async with connect() as client:
        ids = [(await succeed(client, "run_js", code=str(n)))["execution_id"] for n in range(3)]
        first = await succeed(client, "list_executions", limit=2)
        assert [e["execution_id"] for e in first["executions"]] == [ids[2], ids[1]]
        second = await succeed(client, "list_executions", limit=1, cursor=first["next_cursor"])
        assert [e["execution_id"] for e in second["executions"]] == [ids[0]]
        row = second["executions"][0]
        assert set(row) == {"execution_id", "status", "started_at", "completed_at"}
        assert row["status"] == "completed" and row["started_at"] <= row["completed_at"]


async def test_an_idempotency_key_runs_a_script_once(connect):
    key = str(uuid.uuid4())
    async with connect() as client:
        first = await succeed(client, "run_js", code="Math.random()", idempotency_key=key)
        again = await succeed(client, "run_js", code="Math.random()", idempotency_key=key)
        assert again == first
        assert "idempotency_key" in await refusal(client, "run_js", code="1", idempotency_key=key)


# --- mistakes ------------------------------------------------------------------------------------


# The era does not matter for these: once per transport is enough.
once_per_transport = pytest.mark.parametrize("link", [link for link in LINKS if link.mode == "auto"], ids=str)


@once_per_transport
@pytest.mark.parametrize(
    ("tool", "arguments", "names"),
    [
        ("run_js", {"kode": "1"}, "kode"),
        ("run_js", {"code": "1", "wait_sec": 3}, "wait_sec"),
        ("run_js", {}, "code"),
        ("run_js", {"code": 5}, "code"),
        ("run_js", {"code": None}, "code"),
        ("run_js", {"code": "  \n"}, "code"),
        ("run_js", {"code": "1", "wait_secs": "soon"}, "wait_secs"),
        ("run_js", {"code": "1", "wait_secs": -1}, "wait_secs"),
        ("run_js", {"code": "1", "wait_secs": 301}, "wait_secs"),
        ("run_js", {"code": "1", "execution_timeout_secs": 0}, "execution_timeout_secs"),
        ("run_js", {"code": "1", "execution_timeout_secs": 301}, "execution_timeout_secs"),
        ("run_js", {"code": "1", "heap_memory_max_mb": 1.5}, "heap_memory_max_mb"),
        ("run_js", {"code": "1", "heap_memory_max_mb": 10**9}, "heap_memory_max_mb"),
        ("run_js", {"code": "1", "session": 7}, "session"),
        ("run_js", {"code": "1", "heap": "0" * 64}, "heap"),
        ("run_js", {"code": "1", "tags": {"a": 1}}, "tags"),
        ("get_execution", {}, "execution_id"),
        ("get_execution", {"execution_id": 7}, "execution_id"),
        ("get_execution", {"execution_id": "x", "id": "x"}, "id"),
        ("get_execution_output", {"execution_id": "x", "line_offset": "1"}, "line_offset"),
        ("get_execution_output", {"execution_id": "x", "lines": 1}, "lines"),
        ("cancel_execution", {"execution": "x"}, "execution"),
        ("list_executions", {"limit": "all"}, "limit"),
        ("list_executions", {"max": 1}, "max"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_a_wrong_argument_is_named(connect, tool, arguments, names):
    async with connect() as client:
        message = await refusal(client, tool, **arguments)
        assert re.search(rf"\b{names}\b", message), message
        assert (await succeed(client, "run_js", code="1 + 1"))["result"] == "2"


async def test_an_unknown_tool_is_a_protocol_error(connect):
    async with connect() as client:
        with pytest.raises(MCPError, match="no_such_tool") as caught:
            await client.call_tool("no_such_tool", {})
        assert caught.value.code in (-32601, -32602), caught.value.error
        assert (await succeed(client, "run_js", code="1 + 1"))["result"] == "2"


@once_per_transport
@pytest.mark.parametrize("tool", ["get_execution", "get_execution_output", "cancel_execution"])
@pytest.mark.parametrize("unknown", ["nonsense", "018f0000-0000-7000-8000-000000000000", "../../etc/passwd", ""])
async def test_an_unknown_execution_is_named(connect, tool, unknown):
    async with connect() as client:
        assert f"Execution '{unknown}' not found" in await refusal(client, tool, execution_id=unknown)
