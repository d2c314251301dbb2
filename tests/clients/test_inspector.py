"""The MCP inspector's command line client over every transport and protocol era."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from harness import TEST_ENV, binary, free_port

TOOLS = {
    "run_js",
    "get_execution",
    "get_execution_output",
    "cancel_execution",
    "list_executions",
    "list_sessions",
    "list_session_snapshots",
    "get_heap_tags",
    "set_heap_tags",
    "delete_heap_tags",
    "query_heaps_by_tags",
}
OK, UNREACHABLE, TOOL_ERROR = 0, 4, 5

ERAS = ["legacy", "auto", "modern"]
TARGETS = [(kind, era) for kind in ("http", "sse", "stdio") for era in ERAS if (kind, era) != ("sse", "modern")]


@pytest.fixture
def inspector(tmp_path):
    """Runs the inspector; returns its exit code and the JSON it printed."""

    def run(*arguments: str, target: list[str]) -> tuple[int, dict]:
        # Its own home: it keeps files there.
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        command = [str(TEST_ENV / "bin/mcp-inspector"), "--cli", "--format", "json", "--quiet", *arguments, *target]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=45)
        shown = done.stdout.splitlines() or done.stderr.splitlines()
        assert shown, f"exit code {done.returncode} and not a word"
        return done.returncode, json.loads(shown[-1])

    return run


@pytest.fixture(params=TARGETS, ids="-".join)
def target(request, tmp_path) -> list[str]:
    kind, era = request.param
    if kind == "stdio":
        return ["--protocol-era", era, "--", binary("mcp-v8"), f"--session-db-path={tmp_path}"]
    server = request.getfixturevalue(f"{kind}_server")
    return ["--protocol-era", era, "--transport", kind, "--server-url", server.mcp_url]


def call(tool: str, arguments: dict) -> list[str]:
    return ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]


def test_lists_the_tools_and_finds_no_fault_in_their_schemas(inspector, target):
    code, shown = inspector("--method", "tools/list", "--strict", target=target)
    assert code == OK, shown
    tools = {tool["name"]: tool for tool in shown["result"]["tools"]}
    assert TOOLS <= set(tools)
    assert all(tools[name]["inputSchema"] and tools[name]["outputSchema"] for name in TOOLS)


def test_runs_a_script(inspector, target):
    code, shown = inspector(*call("run_js", {"code": "console.log('hi'); const n: number = 6; n * 7"}), target=target)
    assert code == OK, shown
    run = shown["result"]["structuredContent"]
    assert (run["status"], run["output"], run["result"]) == ("completed", "hi\n", "42")
    assert json.loads(shown["result"]["content"][0]["text"]) == run


def test_a_failing_script_is_a_tool_error(inspector, target):
    code, shown = inspector(*call("run_js", {"code": "throw new Error('no')"}), target=target)
    assert code == TOOL_ERROR, shown
    assert shown["result"]["isError"] is True
    assert shown["result"]["structuredContent"]["status"] == "failed"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("run_js", {"code": ""}, "code"),
        ("run_js", {"code": "1", "execution_timeout_secs": 999}, "execution_timeout_secs"),
        ("get_execution", {"execution_id": "nonsense"}, "Execution 'nonsense' not found"),
        ("get_execution_output", {"execution_id": "nonsense"}, "Execution 'nonsense' not found"),
        ("cancel_execution", {"execution_id": "nonsense"}, "Execution 'nonsense' not found"),
        ("list_executions", {"limit": 0}, "limit"),
    ],
)
def test_a_refusal_is_a_tool_error(inspector, http_server, tool, arguments, says):
    """This client checks structured content against the tool's output schema in errors, too."""
    target = ["--transport", "http", "--server-url", http_server.mcp_url]
    code, shown = inspector(*call(tool, arguments), target=target)
    assert code == TOOL_ERROR, shown
    assert says in shown["result"]["content"][0]["text"]


def test_an_unreachable_server_is_told_apart(inspector):
    """The exit codes above mean something: no server is another one."""
    url = f"http://127.0.0.1:{free_port()}/mcp"
    code, shown = inspector("--method", "tools/list", target=["--transport", "http", "--server-url", url])
    assert code == UNREACHABLE, shown
