"""What the client tests share: the server as a process, conditions with deadlines, curl.

The server under test is the real binary, found through MCP_V8_BIN_DIR (default target/debug).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, TypeVar

import anyio

REPOSITORY = Path(__file__).resolve().parents[2]
TEST_ENV = REPOSITORY / ".test-env"

# A debug build on a busy machine is the slowest that should pass.
START_DEADLINE = 15.0
STOP_DEADLINE = 15.0
DEADLINE = 10.0

# Running for ever without using the processor. Ends by being cancelled, or at its own time limit.
HANG = "console.log('started'); await new Promise(done => setTimeout(done, 300_000));"

T = TypeVar("T")


def binary(name: str) -> str:
    """Absolute path of one of our binaries."""
    directory = REPOSITORY / os.environ.get("MCP_V8_BIN_DIR", "target/debug")
    path = directory / name
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is missing: run `cargo build`, or set MCP_V8_BIN_DIR")
    return str(path)


def server_version() -> str:
    """The version that `mcp-v8 --version` prints."""
    command = [binary("mcp-v8"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.split()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- conditions ----------------------------------------------------------------------------------


def wait_until(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Returns the first true value of `condition`, or fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what} (last seen: {value!r})")
        time.sleep(0.02)


async def async_wait_until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """`wait_until` for a condition that is a coroutine function."""
    end = time.monotonic() + deadline
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what} (last seen: {value!r})")
        await anyio.sleep(0.02)


# --- processes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process that is told apart from a later one with the same id."""

    pid: int
    parent: int
    session: int
    state: str
    start: int

    @property
    def key(self) -> tuple[int, int]:
        return self.pid, self.start

    def __str__(self) -> str:
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            command = "gone"
        return f"{self.pid} [{self.state}] {command or '-'}"


def processes() -> list[Process]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            fields = stat[stat.rindex(")") + 2 :].split()
            found.append(Process(int(entry), int(fields[1]), int(fields[3]), fields[0], int(fields[19])))
    return found


def descendants(pid: int) -> list[Process]:
    """Children of `pid` and theirs, zombies included."""
    everyone, family = processes(), [pid]
    for member in family:
        family.extend(p.pid for p in everyone if p.parent == member)
    return [p for p in everyone if p.pid in family[1:]]


# --- the server ----------------------------------------------------------------------------------


class Server:
    """A running `mcp-v8`. `kind` is `http` or `sse`."""

    def __init__(
        self, kind: str, directory: Path, *arguments: str, program: str = "mcp-v8", wait: bool = True
    ) -> None:
        self.kind = kind
        self.stopped = False
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mcp_url = f"{self.url}/mcp" if kind == "http" else f"{self.url}/sse"
        self.log_path = directory / f"{kind}-{self.port}.log"
        self.out_path = directory / f"{kind}-{self.port}.out"
        # More at once than this machine has cores: a test that leaves a script behind by mistake
        # should fail alone.
        command = [
            binary(program),
            f"--{kind}-port={self.port}",
            "--bind-host=127.0.0.1",
            f"--session-db-path={directory / 'state'}",
            "--max-concurrent-executions=4",
            *arguments,
        ]
        with self.log_path.open("wb") as log, self.out_path.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, deadline: float = START_DEADLINE) -> None:
        """Returns once it is ready; one that does not become so is ended."""
        try:
            self._wait_ready(deadline)
        except BaseException:
            self.kill()
            raise

    def _wait_ready(self, deadline: float) -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                    return answer.status == 200
            except (urllib.error.URLError, OSError):
                return False

        try:
            wait_until(ready, "GET /readyz answers 200", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def log(self) -> str:
        return "--- end of the server's log:\n" + self.log_path.read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL to it and what it started."""
        for process in [*descendants(self.process.pid)]:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM, whole_group: bool = False) -> None:
        """SIGTERM, then what every server must hold: exit code 0, nothing left behind.

        `whole_group` sends it to the workers as well, as a terminal or a service manager does.
        """
        if self.stopped:
            return
        self.stopped = True
        try:
            pid = self.process.pid
            assert self.process.poll() is None, f"the server had ended with {self.process.returncode}\n{self.log()}"
            wait_until(
                lambda: not [p for p in descendants(pid) if p.state == "Z"],
                "the server reaps its children: " + ", ".join(map(str, descendants(pid))),
            )
            family = {p.key for p in descendants(pid)}
            (os.killpg if whole_group else os.kill)(pid, number)
            try:
                code = self.process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"still running {STOP_DEADLINE} s after a signal\n{self.log()}") from None
            assert code == 0, f"exit code {code} after a signal\n{self.log()}"
            assert_gone(family, session=pid)
        finally:
            self.kill()


def assert_gone(family: set[tuple[int, int]], session: int) -> None:
    """Fails if one of these processes, or another of that session, is still there."""

    def left() -> list[Process]:
        return [p for p in processes() if (p.key in family or p.session == session) and p.state != "Z"]

    # The kernel needs a moment to end children whose parent has gone.
    wait_until(lambda: not left(), "no process is left: " + "; ".join(map(str, left())), 2.0)


# --- curl ----------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What curl got."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"{self.status}, not JSON: {self.body[:500]!r}") from None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def error(self) -> str:
        """The text of a REST error: `{"error": "…"}` and, for a cancel, `"ok": false`."""
        document = self.json()
        assert set(document) <= {"error", "ok"} and isinstance(document.get("error"), str), document
        assert document["error"], "an empty error text"
        return document["error"]


def curl_command(url: str, *options: str) -> list[str]:
    # --globoff: brackets in URLs are for IPv6. --noproxy: the environment may name a proxy.
    return ["curl", "--silent", "--show-error", "--globoff", "--noproxy", "*", *options, url]


def curl(url: str, *options: str, data: bytes | str | None = None, deadline: float = 30) -> Answer:
    """Runs curl to the end of the answer. `data` is sent byte for byte."""
    options = ("--include", "--max-time", str(deadline), *options)
    if data is not None:
        options += ("--data-binary", "@-")
        # Else curl asks for `100 Continue` first, and large bodies show two heads.
        options += ("-H", "Expect:")
    stdin = data.encode() if isinstance(data, str) else data
    done = subprocess.run(curl_command(url, *options), input=stdin, capture_output=True, timeout=deadline + 5)
    assert done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr.decode()}"
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def post_json(url: str, document: Any, *options: str, deadline: float = 30) -> Answer:
    return curl(url, "-H", "Content-Type: application/json", *options, data=json.dumps(document), deadline=deadline)


class BackgroundCurl:
    """A curl whose connection the test drops. Its output is read line by line."""

    def __init__(self, url: str, *options: str, data: str | None = None) -> None:
        if data is not None:
            options += ("--data-raw", data)
        self.process = subprocess.Popen(
            curl_command(url, "--no-buffer", *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> BackgroundCurl:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def events(self):
        """Server-sent events as (event, data), as they come; the test's timeout is the deadline.

        Those without data are left out: they only tell a client where to resume.
        """
        event, data = "message", []
        for line in self.process.stdout:
            line = line.rstrip("\n").rstrip("\r")
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line:
                if any(data):
                    yield event, "\n".join(data)
                event, data = "message", []

    def drop(self) -> None:
        """Ends curl, and with it the connection, whatever the server is doing."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
