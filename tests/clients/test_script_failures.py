"""Every way a script fails, as a client sees it; the next script is served each time."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import anyio
import pytest

from conftest import Link
from harness import async_wait_until, descendants

# One connection is enough: transports do not matter here.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("link", [Link("http", "auto")], ids=str)]

TIMED_OUT = "Execution timed out"
OUT_OF_MEMORY = "Out of memory: V8 heap limit exceeded. Try increasing heap_memory_max_mb."

FAILURES = {
    "syntax error": ("let a = 1;\nlet b = ;", "syntax_error", "SyntaxError", 2),
    "typescript syntax error": ("type A = ;\n1", "syntax_error", "SyntaxError", 1),
    "import of what is not there": ("import 'nowhere';", "syntax_error", "nowhere", 1),
    "thrown error": ("\n\nthrow new RangeError('far');", "script_error", "RangeError: far", 3),
    "thrown null": ("throw null", "script_error", "null", 1),
    "thrown object": ("throw {code: 7}", "script_error", "7", 1),
    "thrown proxy": (
        "throw new Proxy({}, new Proxy({}, { get() { throw new Error('trap'); } }))",
        "script_error",
        "",
        1,
    ),
    "unhandled rejection": ("Promise.reject(new Error('lost'));\n1", "unhandled_rejection", "lost", None),
    "error in a timer": ("setTimeout(() => {\n  null.x; }, 1); 1", "script_error", "TypeError", 2),
    "stalled await": ("const a = 1;\nawait new Promise(() => {});", "stalled", "await", None),
    "endless recursion": ("function f() { return f() + 1; }\nf()", "script_error", "RangeError", 1),
    "hot loop": ("while (true) {}", "timed_out", TIMED_OUT, None),
    "microtask loop": ("for (;;) await null", "timed_out", TIMED_OUT, None),
    "backtracking regular expression": ("/(a+)+$/.test('a'.repeat(40) + 'b')", "timed_out", TIMED_OUT, None),
    "nested arrays": ("let a = []; while (true) a = [a, new Array(1000)];", "out_of_memory", OUT_OF_MEMORY, None),
    "huge array": ("new Array(1e9).fill(0)", "out_of_memory", OUT_OF_MEMORY, None),
}
STATUS = {"timed_out": "timed_out"}


@pytest.mark.parametrize(("code", "kind", "message", "line"), FAILURES.values(), ids=FAILURES)
async def test_failure(connect, code, kind, message, line):
    async with connect() as client:
        begin = time.monotonic()
        arguments = {"code": code, "execution_timeout_secs": 1 if kind == "timed_out" else 20}
        result = await client.call_tool("run_js", arguments)
        took = time.monotonic() - begin
        run = result.structured_content
        assert result.is_error, run
        assert run["status"] == STATUS.get(kind, "failed"), run
        assert run["error_detail"]["kind"] == kind, run
        assert message in run["error"], run
        if message in (TIMED_OUT, OUT_OF_MEMORY):
            assert run["error"] == message, "clients match on this text"
        if line is not None:
            assert run["error_detail"]["line"] == line, run
        if kind == "timed_out":
            assert 1.0 <= took < 2.5, took
        if kind == "stalled":
            assert took < 5, "a promise that never settles is found out at once"

        after = await client.call_tool("run_js", {"code": "1 + 1"})
        assert after.structured_content["result"] == "2"


HUNGRY = {
    "2 GiB buffer": "new Uint8Array(2 * 1024 ** 3).fill(1)",
    "buffers without end": "const all = []; while (true) all.push(new ArrayBuffer(1 << 20));",
    "string doubled for ever": "let s = 'x'; while (true) s += s;",
    "strings without end": "const all = []; for (let i = 0; ; i++) all.push('x'.repeat(1e6) + i);",
    "map without end": "const map = new Map(); for (let i = 0; ; i++) map.set(i, {});",
}


@pytest.mark.parametrize("code", HUNGRY.values(), ids=HUNGRY)
async def test_memory_without_end(connect, code):
    async with connect() as client:
        run = (await client.call_tool("run_js", {"code": code})).structured_content
        assert run["status"] == "failed", run
        # Some can be caught by the script, and say so; none may end as a crash or at the deadline.
        assert run["error_detail"]["kind"] in ("out_of_memory", "script_error"), run
        after = (await client.call_tool("run_js", {"code": "1 + 1"})).structured_content
        assert after["result"] == "2"


async def test_a_console_line_of_100_mebibytes(connect):
    async with connect() as client:
        code = "console.log('x'.repeat(100 * 1024 * 1024)); 'went on'"
        run = (await client.call_tool("run_js", {"code": code, "wait_secs": 0})).structured_content

        async def ended():
            execution = await client.call_tool("get_execution", {"execution_id": run["execution_id"]})
            return execution.structured_content if execution.structured_content["status"] != "running" else None

        assert (await async_wait_until(ended, "the script ends", 20))["result"] == "went on"
        where = {"execution_id": run["execution_id"], "byte_offset": 0}
        page = (await client.call_tool("get_execution_output", where)).structured_content
        assert 1024 * 1024 - 1024 <= page["total_bytes"] <= 1024 * 1024 + 1024, page["total_bytes"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_worker_that_is_killed(connect, http_server, number):
    async with connect() as client:
        answer = None

        async def run():
            nonlocal answer
            code = "console.log('x'); while (true) {}"
            answer = (await client.call_tool("run_js", {"code": code}, progress_callback=on_progress)).structured_content

        async def on_progress(*_):
            printed.set()

        printed = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with anyio.fail_after(10):
                await printed.wait()
            # Whichever has the job: idle ones are replaced unnoticed.
            for process in descendants(http_server.process.pid):
                # Some end with those before them.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        assert answer["status"] == "failed" and answer["error_detail"]["kind"] == "worker_crashed", answer
        assert answer["output"] == "x\n"
        after = (await client.call_tool("run_js", {"code": "1 + 1"})).structured_content
        assert after["result"] == "2"


@pytest.mark.parametrize(
    "code",
    [
        "console = null; globalThis.JSON = 5; globalThis.Promise = class {}; 'fine'",
        "Object.defineProperty(Object.prototype, 'then', { get() { throw new Error('then'); } }); 'fine'",
        "Object.defineProperty(Object.prototype, 'toJSON', { get() { throw new Error('j'); } });"
        "console.log({ a: 1 }); 'fine'",
        "Array.prototype.push = String.prototype.toString = null; 'fine'",
    ],
)
async def test_overwriting_builtins_harms_nobody_else(connect, code):
    async with connect() as client:
        run = (await client.call_tool("run_js", {"code": code})).structured_content
        assert run["status"] in ("completed", "failed"), run
        after = (await client.call_tool("run_js", {"code": "console.log({ a: 1 }); 1 + 1"})).structured_content
        assert (after["output"], after["result"]) == ('{"a":1}\n', "2")


async def test_what_one_script_leaves_behind_the_next_does_not_see(connect):
    async with connect() as client:
        await client.call_tool("run_js", {"code": "globalThis.secret = 'left behind'; Math.random.secret = 1;"})
        code = "typeof globalThis.secret + typeof Math.random.secret"
        run = (await client.call_tool("run_js", {"code": code})).structured_content
        assert run["result"] == "undefinedundefined"


async def test_console_formats(connect):
    code = """
        console.log('text', 1, null, true, [1, 'two'], { a: { b: 1 } });
        console.debug('d'); console.trace('t'); console.info('i'); console.warn('w'); console.error('e');
        console.log(undefined, 10n, NaN, -0, Symbol('s'));
        console.log(new Map([['k', 1]]), new Set([2]));
        const cycle = { name: 'c' }; cycle.self = cycle; console.log(cycle);
        class Point { x = 1 } console.log(new Point());
        console.log(new TypeError('broken'));
        console.log();
    """
    async with connect() as client:
        run = (await client.call_tool("run_js", {"code": code})).structured_content
        lines = run["output"].split("\n")
        assert lines[0] == 'text 1 null true [1,"two"] {"a":{"b":1}}'
        assert lines[1:6] == ["d", "t", "[INFO] i", "[WARN] w", "[ERROR] e"]
        assert lines[6].startswith("undefined 10n NaN ") and lines[6].endswith("Symbol(s)"), lines[6]
        assert "Map" in lines[7] and "k" in lines[7] and "Set" in lines[7] and "2" in lines[7], lines[7]
        text = "\n".join(lines[8:])
        assert "c" in lines[8] and "ircular" in text, text
        assert "Point" in text, text
        assert "TypeError: broken\n" in text, "an error is shown with its stack"
        assert run["output"].endswith("\n\n"), "an empty line is a line"
