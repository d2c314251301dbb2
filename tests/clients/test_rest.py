"""The REST interface with curl, on the Streamable HTTP server and on the SSE server."""

from __future__ import annotations

import json
import re
import signal
import uuid

import pytest

from harness import HANG, BackgroundCurl, Server, curl, post_json, server_version, wait_until

CODE_BYTES_MAX = 16 * 1024 * 1024
UNKNOWN = "018f0000-0000-7000-8000-000000000000"
JSON = ("-H", "Content-Type: application/json")
TEXT = ("-H", "Content-Type: text/plain")


def run(server: Server, code: str, **options) -> dict:
    answer = post_json(f"{server.url}/api/exec?wait=20", {"code": code, **options})
    assert answer.status == 200, answer
    return answer.json()


def start(server: Server, code: str = HANG) -> str:
    """Starts a script and returns its id once it has printed something."""
    answer = post_json(f"{server.url}/api/exec", {"code": code})
    assert answer.status == 202, answer
    execution_id = answer.json()["execution_id"]
    wait_until(
        lambda: curl(f"{server.url}/api/executions/{execution_id}/output").json()["total_bytes"],
        "the script prints its first line",
    )
    return execution_id


def status(server: Server, execution_id: str) -> str:
    return curl(f"{server.url}/api/executions/{execution_id}").json()["status"]


def listed(server: Server) -> set[str]:
    return {e["execution_id"] for e in curl(f"{server.url}/api/executions?limit=1000").json()["executions"]}


# --- running -------------------------------------------------------------------------------------


def test_exec_answers_at_once_and_the_result_is_polled(server):
    answer = post_json(f"{server.url}/api/exec", {"code": "console.log('hi'); 40 + 2"})
    assert answer.status == 202
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json()) == {"execution_id"}
    url = f"{server.url}/api/executions/{answer.json()['execution_id']}"
    wait_until(lambda: curl(url).json()["status"] == "completed", "the execution completes")
    execution = curl(url)
    assert execution.status == 200
    document = execution.json()
    assert document["result"] == "42"
    assert {"execution_id", "status", "result", "heap", "fs", "error", "started_at", "completed_at", "artifacts"} <= set(
        document
    )
    assert curl(f"{url}/output").json()["data"] == "hi"


def test_exec_waits_for_the_end(server):
    document = run(server, "console.log('a'); console.error('b'); [1, 2].map(n => n * 2)")
    assert document["status"] == "completed"
    assert document["output"] == "a\n[ERROR] b\n"
    assert document["result"] == "[2,4]"
    assert document["error"] is None and document["artifacts"] == []


def test_exec_waits_no_longer_than_asked(server):
    answer = post_json(f"{server.url}/api/exec?wait=1", {"code": HANG}, deadline=5)
    assert answer.status == 202, answer
    execution_id = answer.json()["execution_id"]
    # It was answered, so it goes on: the id is known to its caller.
    with pytest.raises(AssertionError):
        wait_until(lambda: status(server, execution_id) != "running", "the script ends", 0.5)
    assert curl(f"{server.url}/api/executions/{execution_id}/cancel", "-X", "POST").status == 200


def test_exec_reports_a_failing_script(server):
    document = run(server, "let a = 1;\nthrow new Error('no');")
    assert document["status"] == "failed"
    assert "Error: no" in document["error"]
    assert (document["error_detail"]["kind"], document["error_detail"]["line"]) == ("script_error", 2)
    assert document["result"] is None


def test_limits_of_one_execution(server):
    document = run(server, "while (true) {}", execution_timeout_secs=1)
    assert (document["status"], document["error"]) == ("timed_out", "Execution timed out")
    hungry = "const a = []; for (let i = 0; i < 200; i++) a.push(new Array(65536).fill(i + 0.5)); a.length"
    document = run(server, hungry, heap_memory_max_mb=16)
    assert document["status"] == "failed" and document["error"].startswith("Out of memory: V8 heap limit exceeded.")
    assert run(server, hungry, heap_memory_max_mb=512)["result"] == "200"


@pytest.mark.parametrize("content_type", ["text/plain", "application/javascript", "text/typescript; charset=utf-8"])
def test_a_raw_script_with_options_in_the_query(server, content_type):
    script = "const n: number = 6;\nconsole.log('raw');\nn * 7"
    url = f"{server.url}/api/exec?wait=20&execution_timeout_secs=5&heap_memory_max_mb=64"
    answer = curl(url, "-H", f"Content-Type: {content_type}", data=script)
    assert answer.status == 200
    assert (answer.json()["result"], answer.json()["output"]) == ("42", "raw\n")
    limited = curl(f"{server.url}/api/exec?wait=20&execution_timeout_secs=1", *TEXT, data="while (true) {}")
    assert limited.json()["status"] == "timed_out"


def test_a_script_of_the_longest_length_runs_and_one_byte_more_is_refused(server):
    def script(length: int) -> str:
        return "//".ljust(length - 2, "x") + "\n7"

    answer = curl(f"{server.url}/api/exec?wait=50", *TEXT, data=script(CODE_BYTES_MAX), deadline=50)
    assert answer.status == 200 and answer.json()["result"] == "7", answer.body[:500]
    for answer in (
        curl(f"{server.url}/api/exec?wait=20", *TEXT, data=script(CODE_BYTES_MAX + 1)),
        post_json(f"{server.url}/api/exec?wait=20", {"code": script(CODE_BYTES_MAX + 1)}),
    ):
        assert answer.status == 400
        assert "16777216" in answer.error or "16 MiB" in answer.error, answer.error
    assert run(server, "1 + 1")["result"] == "2"


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        ("{", JSON, "line 1"),
        ("", JSON, ""),
        ("[]", JSON, ""),
        ('{"code": 5}', JSON, "code"),
        ('{"kode": "1"}', JSON, "code"),
        ('{"code": ""}', JSON, "code"),
        ('{"code": "1", "timeout": 5}', JSON, "timeout"),
        ('{"code": "1", "session": ""}', JSON, "session"),
        ('{"code": "1", "execution_timeout_secs": 0}', JSON, "execution_timeout_secs"),
        ('{"code": "1", "execution_timeout_secs": "5"}', JSON, "execution_timeout_secs"),
        ('{"code": "1", "heap_memory_max_mb": -1}', JSON, "heap_memory_max_mb"),
        ("", TEXT, "code"),
        (" \n", TEXT, "code"),
        (b"let a = '\xff\xfe';", TEXT, "UTF-8"),
        (b'{"code": "\xff"}', JSON, ""),
    ],
)
def test_a_bad_body_is_refused(server, body, headers, says):
    answer = curl(f"{server.url}/api/exec?wait=5", *headers, data=body)
    assert answer.status == 400
    assert says in answer.error, answer.error


@pytest.mark.parametrize(
    "query", ["wait=soon", "wait=-1", "wait=5&execution_timeout_secs=x", "wait=5&execution_timeout_secs=301"]
)
def test_a_bad_query_is_refused(server, query):
    answer = curl(f"{server.url}/api/exec?{query}", *TEXT, data="1")
    assert answer.status == 400
    assert query.rpartition("&")[2].partition("=")[0] in answer.error, answer.error


def test_multipart_is_refused(server):
    answer = curl(f"{server.url}/api/exec", "-F", "code=1")
    assert answer.status == 415
    assert "multipart" in answer.error


def test_an_idempotency_key_runs_a_script_once(server):
    key = ("-H", f"Idempotency-Key: {uuid.uuid4()}")
    url = f"{server.url}/api/exec?wait=20"
    first, again = (post_json(url, {"code": "Math.random()"}, *key).json() for _ in range(2))
    assert first["status"] == "completed" and again == first
    other = post_json(url, {"code": "1"}, *key)
    assert other.status == 409
    assert "dempotency" in other.error


# --- executions by id ----------------------------------------------------------------------------


def test_executions_are_listed_newest_first(server):
    ids = [run(server, str(n))["execution_id"] for n in range(3)]
    first = curl(f"{server.url}/api/executions?limit=2").json()
    assert [e["execution_id"] for e in first["executions"]] == [ids[2], ids[1]]
    second = curl(f"{server.url}/api/executions?limit=1&cursor={first['next_cursor']}").json()
    assert [e["execution_id"] for e in second["executions"]] == [ids[0]]
    assert set(second["executions"][0]) == {"execution_id", "status", "started_at", "completed_at"}


def test_a_get_may_wait_for_the_end(server):
    code = "console.log('x'); await new Promise(done => setTimeout(done, 700)); 'late'"
    execution_id = start(server, code)
    execution = curl(f"{server.url}/api/executions/{execution_id}?wait=20").json()
    assert (execution["status"], execution["result"]) == ("completed", "late")


def test_output_in_pages(server):
    execution_id = run(server, "for (let i = 1; i <= 250; i++) console.log('line', i)")["execution_id"]
    url = f"{server.url}/api/executions/{execution_id}/output"
    page = curl(url).json()
    assert (page["start_line"], page["end_line"], page["next_line_offset"]) == (1, 100, 101)
    assert (page["total_lines"], page["has_more"], page["status"]) == (250, True, "completed")
    page = curl(f"{url}?line_offset=249&line_limit=10").json()
    assert (page["data"], page["has_more"]) == ("line 249\nline 250", False)
    page = curl(f"{url}?byte_offset=5&byte_limit=3&line_offset=7").json()
    assert (page["data"], page["start_byte"], page["end_byte"]) == ("1\nl", 5, 8), "bytes win"
    page = curl(f"{url}?line_offset=999").json()
    assert (page["data"], page["has_more"]) == ("", False)
    bad = curl(f"{url}?line_limit=many")
    assert bad.status == 400 and "line_limit" in bad.error


def test_cancel(server):
    execution_id = start(server)
    url = f"{server.url}/api/executions/{execution_id}"
    answer = curl(f"{url}/cancel", "-X", "POST")
    assert (answer.status, answer.json()) == (200, {"ok": True})
    wait_until(lambda: status(server, execution_id) == "cancelled", "it is cancelled")
    assert curl(url).json()["error"] == "Cancelled by user"
    again = curl(f"{url}/cancel", "-X", "POST")
    assert again.status == 400
    text = f"Execution '{execution_id}' is not running (status: cancelled)"
    assert again.json() == {"ok": False, "error": text}


def test_an_unknown_execution_is_not_found(server):
    for path in (f"/api/executions/{UNKNOWN}", f"/api/executions/{UNKNOWN}/output", f"/api/executions/{UNKNOWN}?wait=1"):
        answer = curl(server.url + path)
        assert answer.status == 404, path
        assert answer.json() == {"error": f"Execution '{UNKNOWN}' not found"}
    nonsense = curl(f"{server.url}/api/executions/nonsense")
    assert (nonsense.status, nonsense.error) == (404, "Execution 'nonsense' not found")
    cancel = curl(f"{server.url}/api/executions/{UNKNOWN}/cancel", "-X", "POST")
    assert cancel.status == 400
    assert cancel.json() == {"ok": False, "error": f"Execution '{UNKNOWN}' not found"}


def test_unknown_routes_and_methods(server):
    assert curl(f"{server.url}/api/nothing").status == 404
    assert curl(f"{server.url}/api/exec").status == 405


# --- dropped connections -------------------------------------------------------------------------


def test_dropping_a_waiting_request_cancels_its_script(server):
    before = listed(server)
    with BackgroundCurl(f"{server.url}/api/exec?wait=60", *TEXT, data=HANG) as waiting:
        [execution_id] = wait_until(lambda: listed(server) - before, "the execution is listed")
        wait_until(
            lambda: curl(f"{server.url}/api/executions/{execution_id}/output").json()["total_bytes"],
            "the script runs",
        )
        assert status(server, execution_id) == "running"
        waiting.drop()
    wait_until(lambda: status(server, execution_id) == "cancelled", "the dropped request's script is cancelled")


def test_a_script_with_an_idempotency_key_outlives_its_connection(server):
    key = ("-H", f"Idempotency-Key: {uuid.uuid4()}")
    code = "console.log('x'); await new Promise(done => setTimeout(done, 1500)); 'survived'"
    before = listed(server)
    with BackgroundCurl(f"{server.url}/api/exec?wait=60", *TEXT, *key, data=code) as waiting:
        [execution_id] = wait_until(lambda: listed(server) - before, "the execution is listed")
        waiting.drop()
    again = curl(f"{server.url}/api/exec?wait=20", *TEXT, *key, data=code).json()
    assert (again["execution_id"], again["result"]) == (execution_id, "survived")


def test_dropping_a_long_poll_leaves_the_script_alone(server):
    execution_id = start(server)
    with BackgroundCurl(f"{server.url}/api/executions/{execution_id}?wait=60") as waiting:
        with pytest.raises(AssertionError):
            wait_until(lambda: waiting.process.poll() is not None, "the poll ends", 0.5)
        waiting.drop()
    with pytest.raises(AssertionError):
        wait_until(lambda: status(server, execution_id) != "running", "the script ends", 1.0)
    assert curl(f"{server.url}/api/executions/{execution_id}/cancel", "-X", "POST").status == 200


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True], ids=["server", "server and workers"])
def test_a_stopping_server_finishes_what_runs(start_server, number, whole_group):
    """A terminal and a service manager signal every process of the group, so workers must not mind."""
    server = start_server("http")
    code = "console.log('x'); await new Promise(done => setTimeout(done, 1000)); 'finished'"
    with BackgroundCurl(f"{server.url}/api/exec?wait=20", *TEXT, data=code) as waiting:
        [execution_id] = wait_until(lambda: listed(server), "the execution is listed")
        url = f"{server.url}/api/executions/{execution_id}/output"
        wait_until(lambda: curl(url).json()["total_bytes"], "the script runs")
        server.stop(number, whole_group)
        answer = json.loads(waiting.process.stdout.read())
    assert (answer["status"], answer["result"]) == ("completed", "finished"), answer


def test_a_log_that_is_no_terminal_has_no_colours(server):
    run(server, "1")
    assert "\x1b" not in server.log()


# --- documents and health ------------------------------------------------------------------------


def test_version(server):
    assert curl(f"{server.url}/api/version").json() == {"version": server_version()}


def test_documents(server):
    root = curl(f"{server.url}/")
    assert (root.status, root.headers["location"]) == (308, "/llms.txt")
    llms = curl(f"{server.url}/llms.txt")
    assert llms.status == 200 and llms.headers["content-type"].startswith("text/")
    assert "run_js" in llms.text
    docs = curl(f"{server.url}/docs")
    assert docs.status == 200 and docs.headers["content-type"].startswith("text/markdown")


def test_openapi_describes_every_route(server):
    answer = curl(f"{server.url}/api-doc/openapi.json")
    assert answer.status == 200
    document = answer.json()
    assert document["openapi"].startswith("3.") and document["info"]["version"] == server_version()
    routes = {f"{method} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {
        "post /api/exec",
        "get /api/executions",
        "get /api/executions/{id}",
        "get /api/executions/{id}/output",
        "post /api/executions/{id}/cancel",
        "get /api/artifacts",
        "get /api/artifacts/{key}",
        "delete /api/artifacts/{key}",
        "get /api/version",
    } <= routes
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.text))
    assert references and references <= set(document["components"]["schemas"])


def test_health(server):
    assert curl(f"{server.url}/livez").status == 200
    assert curl(f"{server.url}/readyz").status == 200


def test_metrics_are_prometheus_text_and_count(server):
    def metrics() -> dict[str, float]:
        answer = curl(f"{server.url}/metrics")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
        lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
        samples = [re.fullmatch(r"([a-z_0-9]+(?:\{.*\})?) (\S+)", line) for line in lines]
        assert all(samples), lines
        return {sample[1]: float(sample[2]) for sample in samples}

    before = metrics()
    assert before, "no metric at all"
    run(server, "1")
    after = metrics()
    grown = [name for name in after if name.startswith("mcp_v8_") and after[name] == before.get(name, 0) + 1]
    assert grown, "no counter grew by one with one execution"
