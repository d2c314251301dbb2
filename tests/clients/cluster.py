"""Three nodes of one cluster on loopback, and nginx in front of them with the configuration that is shipped.

Only the addresses in that configuration are others: of the nodes, and the one it listens on.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import REPOSITORY, START_DEADLINE, TEST_ENV, binary, free_port, wait_until

NODES = 3
# The drain time and 45 s.
STOP_DEADLINE = 75.0

AROUND = """
daemon off;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/error.log warn;
{user}
events {{ worker_connections 4096; }}
http {{
    log_format landed '$upstream_addr|$status|$request_method $uri|$http_user_agent';
    access_log {dir}/access.log landed;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    include {dir}/shipped.conf;
}}
"""


def program(name: str) -> str:
    """A program that scripts/test-env provides."""
    path = TEST_ENV / "bin" / name
    assert path.exists(), f"{path} is missing: run scripts/test-env"
    return str(path)


def status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Cluster:
    """Nodes that prove themselves by a secret, as the units start them."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory, self.flags = directory, flags
        self.http = [free_port() for _ in range(NODES)]
        self.raft = [free_port() for _ in range(NODES)]
        self.secret = directory / "cluster.secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(secrets.token_hex(32))
        self.processes: list[subprocess.Popen | None] = [None] * NODES
        try:
            for node in range(NODES):
                self.launch(node)
            for node in range(NODES):
                self.wait_ready(node)
        except BaseException:
            self.kill()
            raise

    def launch(self, node: int) -> None:
        peers = [f"node{at + 1}@127.0.0.1:{self.raft[at]}" for at in range(NODES) if at != node]
        command = [
            binary("mcp-v8"),
            f"--node-id=node{node + 1}",
            "--bind-host=127.0.0.1",
            f"--http-port={self.http[node]}",
            f"--cluster-port={self.raft[node]}",
            f"--advertise-addr=127.0.0.1:{self.raft[node]}",
            f"--peers={','.join(peers)}",
            f"--cluster-secret-file={self.secret}",
            "--cluster-auth=required",
            f"--session-db-path={self.directory / 'state'}",
            "--max-concurrent-executions=8",
            *self.flags,
        ]
        with (self.directory / f"node{node + 1}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def url(self, node: int) -> str:
        return f"http://127.0.0.1:{self.http[node]}"

    def wait_ready(self, node: int) -> None:
        def ready() -> bool:
            code = self.processes[node].poll()
            assert code is None, f"node{node + 1} ended with {code}:\n{self.log(node)}"
            return status(f"{self.url(node)}/readyz") == 200

        wait_until(ready, f"node{node + 1} to be ready", START_DEADLINE)

    def restart(self, node: int) -> None:
        """As `systemctl restart` does: SIGTERM, its end, a start, and back when it is ready."""
        process, begun = self.processes[node], time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_DEADLINE)
        assert code == 0, f"node{node + 1} ended with {code}:\n{self.log(node)}"
        stopped = time.monotonic()
        self.launch(node)
        self.wait_ready(node)
        print(f"node{node + 1} stopped in {stopped - begun:.1f} s, was ready {time.monotonic() - stopped:.1f} s later")

    def log(self, node: int) -> str:
        return (self.directory / f"node{node + 1}.log").read_text(errors="replace")[-4000:]

    def metrics(self) -> str:
        """Those of all nodes."""
        texts = []
        for node in range(NODES):
            with urllib.request.urlopen(f"{self.url(node)}/metrics", timeout=5) as answer:
                texts.append(answer.read().decode())
        return "".join(texts)

    def exec(self, node: int, code: str, **more: object) -> dict:
        request = urllib.request.Request(
            f"{self.url(node)}/api/exec?wait=30",
            data=json.dumps({"code": code, **more}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """All of them at once, in good order."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        with ThreadPoolExecutor() as pool:
            codes = list(pool.map(lambda process: process.wait(STOP_DEADLINE), self.processes))
        assert codes == [0] * NODES, codes

    def kill(self) -> None:
        for process in self.processes:
            if process is not None:
                process.kill()
                process.wait()


class Nginx:
    """nginx with a configuration of deploy/, `addresses` in place of those in it."""

    def __init__(self, directory: Path, name: str, addresses: dict[str, str]) -> None:
        self.directory = directory
        directory.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        text = (REPOSITORY / "deploy" / name).read_text()
        for shipped, here in {**addresses, "listen 8080;": f"listen {self.url[7:]};"}.items():
            assert shipped in text, f"{name} has no {shipped!r}"
            text = text.replace(shipped, here)
        (directory / "shipped.conf").write_text(text)
        self.configuration = directory / "nginx.conf"
        self.configuration.write_text(AROUND.format(dir=directory, user="user root;" if os.geteuid() == 0 else ""))
        self.process: subprocess.Popen | None = None

    def command(self, *arguments: str) -> list[str]:
        errors = str(self.directory / "error.log")
        return [program("nginx"), "-e", errors, "-p", str(self.directory), "-c", str(self.configuration), *arguments]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: status(f"{self.url}/health"), "nginx to answer")

    def requests(self) -> list[list[str]]:
        """Servers asked, status, request and user agent of each."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return [line.split("|") for line in lines]

    def errors(self) -> str:
        return (self.directory / "error.log").read_text()[-4000:]

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_DEADLINE)


def in_front_of(cluster: Cluster, directory: Path) -> Nginx:
    addresses = {f"server node{at + 1}:3000 ": f"server {cluster.url(at)[7:]} " for at in range(NODES)}
    # Nobody listens there.
    addresses |= {f"server node{at + 1}:3001 ": "server 127.0.0.1:1 " for at in range(NODES)}
    return Nginx(directory, "nginx-cluster.conf", addresses)
