"""Three nodes on loopback, and nginx before them that sends each request to another one."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

from harness import Server, free_port, wait_until

NODES = (1, 2, 3)

# A node that starts has to find the others first.
START_DEADLINE = 30.0

CONF = """\
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream nodes {{
{servers}
        keepalive 16;
    }}
    log_format node '$upstream_addr';
    access_log {directory}/nodes.log node;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header Host $host;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def nginx_program() -> str:
    """nginx of the system, or the one that scripts/test-env has fetched."""
    fetched = Path(__file__).resolve().parents[2] / ".test-env/bin"
    found = shutil.which("nginx", path=f"/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:{fetched}")
    if not found:
        raise SystemExit("nginx is missing: run scripts/test-env")
    return found


@contextmanager
def behind_nginx(directory: Path) -> Iterator[str]:
    """The address of `/mcp` at nginx. When it is left, every node must have answered."""
    ports = {node: free_port() for node in NODES}
    with ExitStack() as stack:
        nodes = []
        for node in NODES:
            place = directory / f"node{node}"
            place.mkdir()
            peers = ",".join(f"node{other}@127.0.0.1:{ports[other]}" for other in NODES if other != node)
            nodes.append(
                Server(
                    "http",
                    place,
                    f"--cluster-port={ports[node]}",
                    f"--node-id=node{node}",
                    f"--advertise-addr=127.0.0.1:{ports[node]}",
                    f"--peers={peers}",
                    wait=False,
                )
            )
            stack.callback(nodes[-1].kill)
        for server in nodes:
            server.wait_ready(START_DEADLINE)
        port = free_port()
        servers = "\n".join(f"        server 127.0.0.1:{server.port};" for server in nodes)
        conf = directory / "nginx.conf"
        conf.write_text(CONF.format(directory=directory, port=port, servers=servers))
        errors = directory / "error.log"
        nginx = subprocess.Popen([nginx_program(), "-e", errors, "-c", conf], stderr=subprocess.DEVNULL)
        stack.callback(nginx.wait)
        stack.callback(nginx.send_signal, signal.SIGTERM)
        wait_until(lambda: listening(port), "nginx listens", START_DEADLINE)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        except BaseException:
            for server in nodes:
                print(server.log(), file=sys.stderr)
            raise
        asked = set((directory / "nodes.log").read_text().split())
        every = {f"127.0.0.1:{server.port}" for server in nodes}
        assert every <= asked, f"nginx has asked {sorted(asked)} of {sorted(every)}"
