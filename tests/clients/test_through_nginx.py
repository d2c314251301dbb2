"""Real MCP clients through nginx, which sends each request to another node, while the nodes are restarted.

All clients work at once, each in a loop: connect, list, run, hear progress, take a step of a session, leave an
artifact and get it as an image, cancel a call. Meanwhile every node is restarted, one after the other, as
systemd does it. No call may fail, a step may not be lost or made twice, and what was cancelled has been.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import os
import re
import subprocess
import time
import traceback
import uuid
from contextlib import asynccontextmanager

import anyio
import fastmcp
import mcp
import pytest

from cluster import NODES, Cluster, in_front_of
from conftest import MODERN
from harness import REPOSITORY, TEST_ENV, wait_until

# The first test waits for all of it.
pytestmark = pytest.mark.timeout(240)

# How often every node is restarted.
ROUNDS = 2
# What a cancel may take until the script has ended.
CANCEL_MAX = 15

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HANG = "console.log('started'); await new Promise(done => setTimeout(done, 60_000));"
PROGRESS = "for (let i = 0; i < 3; i++) { console.log('line ' + i); await new Promise(done => setTimeout(done, 60)); }"

KINDS = ["initialise", "list", "run", "progress", "session", "artifact", "cancel"]
CLIENTS = [
    "python-legacy",
    "python-auto",
    f"python-{MODERN}",
    "fastmcp",
    "typescript-client-legacy",
    "typescript-client-auto",
    f"typescript-client-{MODERN}",
    "typescript-sdk-v1",
    "inspector",
]


class Tally:
    """What came of one client's calls."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    @asynccontextmanager
    async def step(self, kind: str):
        try:
            yield
        except Exception:
            self.failures.append(f"{kind}: {traceback.format_exc()}")
        else:
            self.counts[kind] += 1


# --- clients in Python ---------------------------------------------------------------------------


class Sdk:
    """The Python SDK's client."""

    def __init__(self, url: str, mode: str) -> None:
        self.client = mcp.Client(url, mode=mode)

    async def list(self):
        return (await self.client.list_tools()).tools

    async def call(self, name: str, progress=None, **arguments):
        return await self.client.call_tool(name, arguments, progress_callback=progress)


class FastMcp:
    """fastmcp's client."""

    def __init__(self, url: str) -> None:
        self.client = fastmcp.Client(url)

    async def list(self):
        return await self.client.list_tools()

    async def call(self, name: str, progress=None, **arguments):
        return await self.client.call_tool_mcp(name, arguments, progress_handler=progress)


async def repeat(make, tally: Tally, stop: anyio.Event) -> None:
    session, steps, number = f"py-{uuid.uuid4()}", 0, 0
    while not stop.is_set():
        number += 1
        link = make()
        try:
            async with link.client:
                tally.counts["initialise"] += 1
                async with tally.step("list"):
                    assert "run_js" in {tool.name for tool in await link.list()}
                async with tally.step("run"):
                    run = await link.call("run_js", code=f"const n: number = {number}; n * 2")
                    assert run.structured_content["result"] == str(number * 2), run
                async with tally.step("progress"):
                    await hears_progress(link)
                async with tally.step("session"):
                    run = await link.call(
                        "run_js", code="globalThis.n = (globalThis.n ?? 0) + 1", session=session
                    )
                    steps += 1
                    assert run.structured_content["result"] == str(steps), run
                async with tally.step("artifact"):
                    await leaves_an_image(link, f"{session}/{number}.png")
                async with tally.step("cancel"):
                    await cancels(link, f"{session}-hanging")
        except Exception:
            tally.failures.append(f"initialise: {traceback.format_exc()}")


async def hears_progress(link) -> None:
    heard = []

    async def on_progress(_progress, _total, message):
        heard.append(message)

    run = await link.call("run_js", progress=on_progress, code=PROGRESS)
    assert run.structured_content["output"] == "line 0\nline 1\nline 2\n", run
    assert "line 0" in "".join(heard), heard


async def leaves_an_image(link, key: str) -> None:
    data = base64.b64encode(PNG).decode()
    run = await link.call("run_js", code=f"artifact('{key}', 'image/png', Uint8Array.fromBase64('{data}'))")
    for answer in (run, await link.call("get_artifact", key=key)):
        [image] = [block for block in answer.content if block.type == "image"]
        assert (image.mime_type, base64.b64decode(image.data)) == ("image/png", PNG), answer


async def cancels(link, session: str) -> None:
    running = anyio.Event()

    async def on_progress(*_):
        running.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: link.call("run_js", progress=on_progress, code=HANG, session=session))
        with anyio.fail_after(20):
            await running.wait()
        tasks.cancel_scope.cancel()
    # Steps of a session wait for each other: this one for the end of that, which would be in half a minute.
    begun = time.monotonic()
    run = await link.call("run_js", code="'after'", session=session)
    assert run.structured_content["result"] == "after", run
    assert time.monotonic() - begun < CANCEL_MAX, "it was not cancelled"


# --- clients that are programs -------------------------------------------------------------------


async def typescript(script: str, arguments: list[str], directory, tally: Tally, stop: anyio.Event) -> None:
    process = await asyncio.create_subprocess_exec(
        str(TEST_ENV / "bin/node"), str(directory / script), *arguments,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    await stop.wait()
    # The end of its input tells it to stop.
    out, errors = await asyncio.wait_for(process.communicate(b""), 60)
    try:
        told = json.loads(out.splitlines()[-1])
        tally.counts.update(told["counts"])
        tally.failures.extend(told["failures"])
    except (IndexError, ValueError):
        tally.failures.append(f"it ended with {process.returncode}: {errors.decode()[-2000:]}")


async def inspector(url: str, directory, tally: Tally, stop: anyio.Event) -> None:
    """The inspector's command line, which makes a connection for each call."""
    session, steps, number = f"inspector-{uuid.uuid4()}", 0, 0

    async def once(*arguments: str) -> dict:
        process = await asyncio.create_subprocess_exec(
            str(TEST_ENV / "bin/mcp-inspector"), "--cli", "--format", "json", "--quiet",
            *arguments, "--transport", "http", "--server-url", url,
            env={"PATH": os.environ["PATH"], "HOME": str(directory)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, f"{process.returncode}: {(out or errors).decode()[-2000:]}"
        tally.counts["initialise"] += 1
        return json.loads(out.splitlines()[-1])["result"]

    async def call(name: str, **arguments) -> dict:
        return await once("--method", "tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments))

    while not stop.is_set():
        number += 1
        async with tally.step("list"):
            assert "run_js" in {tool["name"] for tool in (await once("--method", "tools/list"))["tools"]}
        async with tally.step("run"):
            assert (await call("run_js", code=f"{number} * 2"))["structuredContent"]["result"] == str(number * 2)
        async with tally.step("session"):
            run = await call("run_js", code="globalThis.n = (globalThis.n ?? 0) + 1", session=session)
            steps += 1
            assert run["structuredContent"]["result"] == str(steps), run
        async with tally.step("artifact"):
            key, data = f"{session}/{number}.png", base64.b64encode(PNG).decode()
            await call("run_js", code=f"artifact('{key}', 'image/png', Uint8Array.fromBase64('{data}'))")
            [image] = [block for block in (await call("get_artifact", key=key))["content"] if block["type"] == "image"]
            assert (image["mimeType"], base64.b64decode(image["data"])) == ("image/png", PNG)


# --- all of them at once -------------------------------------------------------------------------


async def everything(cluster: Cluster, nginx, directory) -> dict[str, Tally]:
    url = f"{nginx.url}/mcp"
    tallies = {name: Tally() for name in CLIENTS}
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for mode in ("legacy", "auto", MODERN):
            tasks.start_soon(repeat, lambda mode=mode: Sdk(url, mode), tallies[f"python-{mode}"], stop)
        tasks.start_soon(repeat, lambda: FastMcp(url), tallies["fastmcp"], stop)
        for mode in ("legacy", "auto", MODERN):
            tally = tallies[f"typescript-client-{mode}"]
            tasks.start_soon(typescript, "client_v2.mjs", [url, mode], directory, tally, stop)
        tasks.start_soon(typescript, "sdk_v1.mjs", [url], directory, tallies["typescript-sdk-v1"], stop)
        tasks.start_soon(inspector, url, directory, tallies["inspector"], stop)

        await anyio.sleep(2)
        for _ in range(ROUNDS):
            for node in range(NODES):
                await anyio.to_thread.run_sync(cluster.restart, node)
        await anyio.sleep(1)
        stop.set()
    return tallies


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What came of it all: the tallies, the cluster, nginx."""
    directory = tmp_path_factory.mktemp("through")
    # Modules are looked for beside their script.
    (directory / "node_modules").symlink_to(TEST_ENV / "node_modules")
    for script in (REPOSITORY / "tests/clients/through").iterdir():
        (directory / script.name).write_text(script.read_text())
    cluster = Cluster(directory)
    nginx = in_front_of(cluster, directory / "nginx")
    try:
        nginx.start()
        tallies = asyncio.run(everything(cluster, nginx, directory))
        yield tallies, cluster, nginx
        nginx.stop()
        cluster.stop()
    finally:
        nginx.stop()
        cluster.kill()


@pytest.mark.parametrize("client", CLIENTS)
def test_no_call_fails_while_nodes_are_restarted(done, client):
    tallies, _, nginx = done
    tally = tallies[client]
    print(client, dict(tally.counts))
    assert not tally.failures, f"{len(tally.failures)} failed; the first:\n{tally.failures[0]}\n{nginx.errors()}"
    # It has no command to cancel, and shows no progress.
    kinds = [kind for kind in KINDS if client != "inspector" or kind not in ("progress", "cancel")]
    # It starts a program for each call.
    least = 1 if client == "inspector" else 2
    assert all(tally.counts[kind] >= least for kind in kinds), tally.counts


def test_every_node_was_asked_in_turn(done):
    tallies, cluster, nginx = done
    asked = [re.split(", ", request[0])[-1] for request in nginx.requests() if "/mcp" in request[2]]
    share = collections.Counter(asked)
    print(dict(share))
    addresses = {cluster.url(node)[7:] for node in range(NODES)}
    assert set(share) == addresses
    assert min(share.values()) > len(asked) / 6, share
    statuses = collections.Counter(request[1] for request in nginx.requests() if "/mcp" in request[2])
    # 499: the client went first, as who cancels does.
    assert not [code for code in statuses if code.startswith("5")], statuses


def test_what_was_cancelled_has_been(done):
    _, cluster, _ = done

    def running() -> list:
        text = cluster.metrics()
        return [float(line.split()[1]) for line in text.splitlines() if line.startswith("mcp_v8_executions_active ")]

    # Each would run for another minute.
    wait_until(lambda: sum(running()) == 0, "no script to be left", 20)
