"""The tasks extension as bytes: executions that go on as tasks, at clients that know those."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import HANG, Answer, Server, curl, wait_until
from test_mcp_wire import ACCEPT, initialize, message, modern, reply, run_js, statuses, with_meta

TASKS = "io.modelcontextprotocol/tasks"
UNKNOWN = ["018f0000-0000-7000-8000-000000000000", "nonsense"]
METHODS = ["tasks/get", "tasks/update", "tasks/cancel"]


def knowing_tasks(text: str) -> str:
    document = json.loads(with_meta(text))
    document["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"extensions": {TASKS: {}}}
    return json.dumps(document)


def post(server: Server, text: str, name: str) -> Answer:
    return curl(server.mcp_url, *modern(json.loads(text)["method"], name), data=text)


def call(server: Server, code: str, **arguments: Any) -> dict:
    """Calls run_js as a client that knows tasks does."""
    return reply(post(server, knowing_tasks(run_js(1, code, **arguments)), "run_js"))["result"]


def task(server: Server, method: str, id: str) -> dict:
    params: dict[str, Any] = {"taskId": id}
    if method == "tasks/update":
        params["inputResponses"] = {}
    return reply(post(server, knowing_tasks(message(method, params, id=2)), id))


def until_over(server: Server, id: str) -> dict:
    def over() -> dict | None:
        result = task(server, "tasks/get", id)["result"]
        return result if result["status"] != "working" else None

    return wait_until(over, "the task is over")


def check_task(result: dict, id: str) -> None:
    assert result["taskId"] == id
    assert result["createdAt"].endswith("Z") and result["lastUpdatedAt"].endswith("Z")
    assert result["ttlMs"] == 24 * 60 * 60 * 1000
    assert result["pollIntervalMs"] == 1000
    assert not {"task", "ttl", "pollInterval", "requestState"} & set(result)


def test_a_script_that_outlasts_its_call_goes_on_as_a_task(http_server):
    created = call(http_server, "await new Promise(done => setTimeout(done, 1500)); 6 * 7", wait_secs=1)
    assert created["resultType"] == "task" and created["status"] == "working"
    assert not {"content", "result", "error"} & set(created)
    id = created["taskId"]
    check_task(created, id)
    assert id in statuses(http_server), "it is an execution"
    assert created["lastUpdatedAt"] == created["createdAt"]
    over = until_over(http_server, id)
    check_task(over, id)
    assert over["status"] == "completed" and over["resultType"] == "complete"
    assert over["lastUpdatedAt"] > over["createdAt"]
    result = over["result"]
    assert result["structuredContent"]["result"] == "42" and not result.get("isError")
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert "_meta" not in result


def test_who_waits_for_nothing_has_a_task_at_once(http_server):
    created = call(http_server, HANG, wait_secs=0)
    assert created["resultType"] == "task"
    id = created["taskId"]
    working = task(http_server, "tasks/get", id)["result"]
    assert working["status"] == "working" and not {"result", "error"} & set(working)
    assert working["resultType"] == "complete"
    acknowledged = task(http_server, "tasks/cancel", id)["result"]
    assert acknowledged["resultType"] == "complete" and "taskId" not in acknowledged
    cancelled = task(http_server, "tasks/get", id)["result"]
    assert cancelled["status"] == "cancelled" and not {"result", "error"} & set(cancelled)
    assert statuses(http_server)[id] == "cancelled"
    again = task(http_server, "tasks/cancel", id)["result"]
    assert again["resultType"] == "complete", "a task that is over stays as it is"


def test_a_script_that_ends_in_time_is_no_task(http_server):
    result = call(http_server, "1 + 1")
    assert result["resultType"] == "complete" and "taskId" not in result
    assert result["structuredContent"]["result"] == "2"
    # The id of an execution is that of a task all the same.
    over = task(http_server, "tasks/get", result["structuredContent"]["execution_id"])["result"]
    assert over["status"] == "completed" and over["result"] == result


def test_an_execution_of_another_client_is_a_task_too(http_server):
    submitted = curl(f"{http_server.url}/api/exec", "-H", "Content-Type: text/plain", data="6 * 7").json()
    over = until_over(http_server, submitted["execution_id"])
    assert over["result"]["structuredContent"]["result"] == "42"


@pytest.mark.parametrize(
    ("code", "arguments", "kind"),
    [("throw new Error('no')", {}, "script_error"), ("for (;;);", {"execution_timeout_secs": 1}, "timed_out")],
)
def test_a_script_that_fails_completes_its_task_with_an_error_result(http_server, code, arguments, kind):
    """`failed` is for errors of the protocol, and how a script ends is none."""
    over = until_over(http_server, call(http_server, code, wait_secs=0, **arguments)["taskId"])
    assert over["status"] == "completed" and "error" not in over
    assert over["result"]["isError"] is True
    assert over["result"]["structuredContent"]["error_detail"]["kind"] == kind


def test_update_is_acknowledged_and_changes_nothing(http_server):
    id = call(http_server, "7", wait_secs=0)["taskId"]
    until_over(http_server, id)
    params = {"taskId": id, "inputResponses": {"nobody-asked": {"action": "accept", "content": {}}}}
    text = knowing_tasks(message("tasks/update", params, id=3))
    assert reply(post(http_server, text, id))["result"]["resultType"] == "complete"
    assert task(http_server, "tasks/get", id)["result"]["result"]["structuredContent"]["result"] == "7"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("id", UNKNOWN)
def test_an_unknown_task_is_an_invalid_parameter(http_server, method, id):
    error = task(http_server, method, id)["error"]
    assert error["code"] == -32602
    assert error["data"] == {"taskId": id} and f"no task '{id}'" in error["message"]


def test_clients_that_know_no_tasks_get_none(http_server):
    """They hear "running", as ever, and may not ask for tasks."""
    result = reply(post(http_server, with_meta(run_js(1, "8", wait_secs=0)), "run_js"))["result"]
    assert result["resultType"] == "complete" and result["structuredContent"]["status"] == "running"
    id = result["structuredContent"]["execution_id"]
    for method in METHODS:
        params = {"taskId": id, "inputResponses": {}} if method == "tasks/update" else {"taskId": id}
        answer = post(http_server, with_meta(message(method, params, id=2)), id)
        error = reply(answer)["error"]
        assert (answer.status, error["code"]) == (400, -32021)
        assert TASKS in error["data"]["requiredCapabilities"]["extensions"]


def test_revisions_without_tasks_have_none(http_server):
    """Also where their client says that it knows them."""
    hello = json.loads(initialize())
    hello["params"]["capabilities"] = {"extensions": {TASKS: {}}}
    answer = curl(http_server.mcp_url, *ACCEPT, data=json.dumps(hello))
    session = ["-H", f"Mcp-Session-Id: {answer.headers['mcp-session-id']}"]
    curl(http_server.mcp_url, *ACCEPT, *session, data=message("notifications/initialized"))
    result = reply(curl(http_server.mcp_url, *ACCEPT, *session, data=run_js(1, "9", wait_secs=0)))["result"]
    assert result["structuredContent"]["status"] == "running"


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
def test_methods_of_the_earlier_extension_are_unknown(http_server, method):
    answer = post(http_server, knowing_tasks(message(method, {"taskId": UNKNOWN[0]}, id=4)), UNKNOWN[0])
    assert (answer.status, reply(answer)["error"]["code"]) == (404, -32601)


def test_the_parameter_of_the_earlier_extension_is_ignored(http_server):
    document = json.loads(knowing_tasks(run_js(1, "1 + 1")))
    document["params"]["task"] = {"ttl": 60000}
    result = reply(post(http_server, json.dumps(document), "run_js"))["result"]
    assert result["resultType"] == "complete" and result["structuredContent"]["result"] == "2"


def test_a_task_in_a_header_that_is_not_that_of_the_body_is_refused(http_server):
    text = knowing_tasks(message("tasks/get", {"taskId": UNKNOWN[0]}, id=5))
    answer = post(http_server, text, UNKNOWN[1])
    assert (answer.status, reply(answer)["error"]["code"]) == (400, -32020)
