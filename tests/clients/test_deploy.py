"""What is in deploy/: nginx and systemd take it, it names what exists, and it installs and goes again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster import NODES, Cluster, Nginx, in_front_of, program
from harness import REPOSITORY, BackgroundCurl, binary, curl, free_port, post_json, wait_until

DEPLOY = REPOSITORY / "deploy"
UNITS = DEPLOY / "systemd"

# What the clustering guide says, to the letter.
GUIDE = """\
    location /mcp {
        proxy_pass         http://mcp_cluster;
        proxy_http_version 1.1;
        proxy_set_header   Host $host;
        proxy_set_header   Connection '';
        proxy_buffering    off;
        proxy_cache        off;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;
    }
""", """\
    location /health {
        proxy_pass         http://mcp_cluster/raft/status;
        proxy_http_version 1.1;
    }
"""

# How exposed systemd finds the units, of 10. docs/deploy.md says why it is not less.
EXPOSURE_MAX = 2.4


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, **options)


def succeeds(*command: str | Path, **options) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
        cluster.stop()
    finally:
        cluster.kill()


# --- nginx ---------------------------------------------------------------------------------------


def test_the_guides_locations_are_there_to_the_letter():
    text = (DEPLOY / "nginx-cluster.conf").read_text()
    for location in GUIDE:
        assert location in text
    single = (DEPLOY / "nginx-single.conf").read_text()
    for location in GUIDE:
        assert location.replace("mcp_cluster", "mcp_single") in single


def test_nginx_takes_the_configuration_and_sends_requests_to_every_node(cluster, tmp_path):
    nginx = in_front_of(cluster, tmp_path / "nginx")
    assert "test is successful" in succeeds(*nginx.command("-t"))
    nginx.start()
    try:
        nodes = {curl(f"{nginx.url}/health").json()["node_id"] for _ in range(2 * NODES)}
        assert nodes == {f"node{at + 1}" for at in range(NODES)}
        begun = post_json(f"{nginx.url}/api/exec", {"code": "6 * 7"}).json()["execution_id"]
        for _ in range(NODES):
            shown = curl(f"{nginx.url}/api/executions/{begun}?wait=10").json()
            assert (shown["status"], shown["result"]) == ("completed", "42")
        # Nothing else of a node is to be seen from there.
        for path in ("/metrics", "/readyz", "/raft/status", "/"):
            assert curl(f"{nginx.url}{path}").status == 404, path
    finally:
        nginx.stop()


def test_nginx_in_front_of_one_server_serves_every_transport(start_server, tmp_path):
    sse = free_port()
    server = start_server("http", f"--sse-port={sse}")
    addresses = {"server 127.0.0.1:3000;": f"server {server.url[7:]};", "server 127.0.0.1:3001;": f"server 127.0.0.1:{sse};"}
    nginx = Nginx(tmp_path / "nginx", "nginx-single.conf", addresses)
    assert "test is successful" in succeeds(*nginx.command("-t"))
    nginx.start()
    try:
        assert curl(f"{nginx.url}/health").status == 200
        assert post_json(f"{nginx.url}/api/exec?wait=30", {"code": "6 * 7"}).json()["result"] == "42"
        # The largest script, each character of it an escape of two.
        largest = json.dumps({"code": "/*" + "\n" * (16 * 1024 * 1024 - 5) + "*/1"})
        answer = curl(f"{nginx.url}/api/exec?wait=60", "-H", "Content-Type: application/json", data=largest, deadline=60)
        assert answer.json()["result"] == "1"
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        initialize = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        accept = ("-H", "Accept: application/json, text/event-stream")
        assert "mcp-session-id" in post_json(f"{nginx.url}/mcp", initialize, *accept).headers
        with BackgroundCurl(f"{nginx.url}/sse") as stream:
            events = stream.events()
            event, path = next(events)
            assert event == "endpoint" and path.startswith("/message?")
            assert post_json(f"{nginx.url}{path}", initialize).status == 202
            event, data = next(events)
            assert (event, json.loads(data)["id"]) == ("message", 1)
    finally:
        nginx.stop()


# --- systemd -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A tree into which everything is installed."""
    root = tmp_path_factory.mktemp("root")
    install(root)
    return root


def install(root: Path, *flags: str) -> str:
    built = Path(binary("mcp-v8")).parent
    environment = {**os.environ, "DESTDIR": str(root)}
    return succeeds(REPOSITORY / "scripts/install", f"--from={built}", *flags, env=environment)


def uninstall(root: Path, *flags: str) -> str:
    return succeeds(REPOSITORY / "scripts/uninstall", *flags, env={**os.environ, "DESTDIR": str(root)})


@pytest.mark.parametrize("unit", ["mcp-v8.service", "mcp-v8@node1.service"])
def test_systemd_finds_no_fault_in_the_units(installed, tmp_path, unit):
    """They are looked at beside those of this system, which may be short of some."""
    folder = installed / "usr/local/lib/systemd/system"
    for name in ("mcp-v8.service", "mcp-v8@.service"):
        text = (folder / name).read_text()
        assert "@PREFIX@" not in text
        assert (installed / setting(text, "Documentation").removeprefix("file:/")).is_file()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/", f"{installed}/usr/local/bin/"))
    shutil.copy(tmp_path / "mcp-v8@.service", tmp_path / "mcp-v8@node1.service")
    said = succeeds("systemd-analyze", "verify", "--man=no", tmp_path / unit)
    assert not [line for line in said.splitlines() if "mcp-v8" in line], said
    said = succeeds("systemd-analyze", "security", "--offline=true", "--no-pager", tmp_path / unit)
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
    print(f"{unit}: {exposure}")
    assert exposure <= EXPOSURE_MAX, said


def setting(text: str, name: str) -> str:
    return re.search(rf"^{name}=(.*)$", text, re.MULTILINE)[1]


@pytest.mark.parametrize("unit", ["mcp-v8.service", "mcp-v8@.service"])
def test_units_agree_with_the_server(unit):
    text = (UNITS / unit).read_text()
    drain = int(re.search(r"--drain-timeout <S>.*?\[default: (\d+)\]", succeeds(binary("mcp-v8"), "--help"), re.DOTALL)[1])
    assert int(setting(text, "TimeoutStopSec")) == drain + 45
    assert setting(text, "Type") == "notify" and int(setting(text, "WatchdogSec")) >= 30
    assert (setting(text, "Delegate"), setting(text, "KillMode")) == ("yes", "mixed")
    if "@" in unit:
        assert "--cluster-auth=required" in setting(text, "ExecStart")


def named_settings() -> list[tuple[str, str]]:
    found = []
    for file in [*UNITS.iterdir(), DEPLOY / "docker-compose.cluster.yml", DEPLOY / "docker/Dockerfile"]:
        found += [(file.name, name) for name in re.findall(r"\bMCP_V8_[A-Z0-9_]+", file.read_text())]
    return sorted(set(found) - {(file, "MCP_V8_FLAG") for file, _ in found})


def test_every_setting_is_a_flag_of_the_server():
    flags = set(re.findall(r"--[a-z][a-z0-9-]+", succeeds(binary("mcp-v8"), "--help")))
    names = named_settings()
    assert len(names) > 20
    unknown = [(file, name) for file, name in names if "--" + name[7:].lower().replace("_", "-") not in flags]
    assert not unknown


# --- install and uninstall -----------------------------------------------------------------------


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes()) for path in files}


def test_it_installs_twice_and_goes_without_what_is_the_operators(tmp_path):
    install(tmp_path)
    first = tree(tmp_path)
    for file in ("usr/local/bin/mcp-v8", "usr/local/bin/mcp-v8-worker"):
        assert first[file][0] & 0o777 == 0o755
    assert (tmp_path / "etc/mcp-v8").stat().st_mode & 0o777 == 0o750
    install(tmp_path)
    assert tree(tmp_path) == first

    settings, state = tmp_path / "etc/mcp-v8/mcp-v8.env", tmp_path / "var/lib/mcp-v8/cluster-node1/db"
    settings.write_text("MCP_V8_HTTP_PORT=3333\n")
    state.parent.mkdir(parents=True)
    state.write_text("kept")
    # What an earlier version had.
    manifest = tmp_path / "usr/local/share/mcp-v8/installed"
    old = tmp_path / "usr/local/share/mcp-v8/old.conf"
    old.write_text("old")
    manifest.write_text(manifest.read_text() + "/usr/local/share/mcp-v8/old.conf\n")
    assert "mcp-v8.env stays as it is" in install(tmp_path)
    assert settings.read_text() == "MCP_V8_HTTP_PORT=3333\n" and not old.exists()

    assert "--purge" in uninstall(tmp_path)
    left = set(tree(tmp_path))
    assert left == {"etc/mcp-v8/mcp-v8.env", "etc/mcp-v8/cluster.env", "var/lib/mcp-v8/cluster-node1/db"}
    uninstall(tmp_path)
    assert set(tree(tmp_path)) == left
    uninstall(tmp_path, "--purge")
    assert not tree(tmp_path) and not (tmp_path / "etc/mcp-v8").exists() and not (tmp_path / "var/lib/mcp-v8").exists()


def test_it_installs_below_another_prefix(tmp_path):
    install(tmp_path, "--prefix=/opt/mcp")
    unit = (tmp_path / "opt/mcp/lib/systemd/system/mcp-v8.service").read_text()
    assert setting(unit, "ExecStart") == "/opt/mcp/bin/mcp-v8"
    uninstall(tmp_path, "--prefix=/opt/mcp")
    assert set(tree(tmp_path)) == {"etc/mcp-v8/mcp-v8.env", "etc/mcp-v8/cluster.env"}


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_wrong_words_are_named(script, tmp_path):
    done = run(REPOSITORY / "scripts" / script, "--pruge", env={**os.environ, "DESTDIR": str(tmp_path)})
    assert done.returncode == 2 and "--pruge" in done.stderr and "--prefix" in done.stderr
    assert not tree(tmp_path)


# --- containers ----------------------------------------------------------------------------------


def test_the_containers_are_three_nodes_that_prove_themselves():
    """There is nothing here to start containers with: this reads what would be started."""
    compose = yaml.safe_load((DEPLOY / "docker-compose.cluster.yml").read_text())
    nodes = [f"node{at + 1}" for at in range(NODES)]
    assert set(compose["services"]) == {*nodes, "nginx"}
    for name in nodes:
        node = compose["services"][name]
        settings = node["environment"]
        timing = [settings[f"MCP_V8_{key}"] for key in ("HEARTBEAT_INTERVAL", "ELECTION_TIMEOUT_MIN", "ELECTION_TIMEOUT_MAX")]
        assert timing == ["200", "1000", "2000"]
        assert settings["MCP_V8_CLUSTER_AUTH"] == "required"
        assert settings["MCP_V8_NODE_ID"] == name
        assert settings["MCP_V8_PEERS"] == ",".join(f"{other}@{other}:4000" for other in nodes if other != name)
        assert node["stop_grace_period"] == "75s"
        [volume] = node["volumes"]
        assert volume.split(":")[0] in compose["volumes"]
    assert (DEPLOY / compose["services"]["nginx"]["volumes"][0].split(":")[0]).exists()


# --- Prometheus and Grafana ----------------------------------------------------------------------


def test_prometheus_takes_the_rules_and_the_scrape_configuration():
    said = succeeds(program("promtool"), "check", "config", DEPLOY / "prometheus/scrape.yml")
    assert "SUCCESS" in said and "rules found" in said, said


def metrics_named_in(text: str) -> set[str]:
    return set(re.findall(r"\bmcp_v8_[a-z0-9_]+", text))


def test_alerts_and_dashboard_name_metrics_that_nodes_have(cluster):
    """Some are there only once there is something to count."""
    cluster.exec(0, "globalThis.n = 1", session="metrics")
    named = metrics_named_in((DEPLOY / "prometheus/mcp-v8.rules.yml").read_text())
    dashboard = json.loads((DEPLOY / "grafana/mcp-v8.json").read_text())
    shown = metrics_named_in(json.dumps(dashboard))
    assert len(named) > 10 and len(shown) > 15
    # Nodes look after their heaps now and then.
    def missing() -> set[str]:
        return (named | shown) - metrics_named_in(cluster.metrics())

    try:
        wait_until(lambda: not missing(), "all metrics to be there", 15)
    except AssertionError as error:
        raise AssertionError(f"{error}: {missing()}") from None
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_alerts_name_labels_that_nodes_have(cluster):
    text = cluster.metrics()
    rules = yaml.safe_load((DEPLOY / "prometheus/mcp-v8.rules.yml").read_text())
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    values = [value for name, wanted in re.findall(r'(reason|cause)=~"([^"]+)"', expressions) for value in wanted.split("|")]
    assert len(values) == 6
    missing = [value for value in values if not re.search(rf'(reason|cause)="{value}"', text)]
    assert not missing
