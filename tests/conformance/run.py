"""Runs the MCP conformance suite against our server and judges what it finds. Called by scripts/conformance.

Three servers are asked, each for both revisions:

* `fixtures`: the server with the fixtures that the suite needs, every scenario of the revision;
* `direct`: the server as it is released, every scenario that needs no fixture;
* `nginx`: three of those as a cluster, each request at another node, behind nginx.

Whatever does not succeed must be in `expected-failures` with its reason, and whatever is there must fail.
docs/conformance.md must show what came of it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.append(str(REPOSITORY / "tests" / "clients"))

from cluster import behind_nginx  # noqa: E402
from harness import TEST_ENV, Server  # noqa: E402

SUITE = TEST_ENV / "node_modules" / "@modelcontextprotocol" / "conformance"
PAGE = REPOSITORY / "docs" / "conformance.md"
EXPECTED = HERE / "expected-failures"

REVISIONS = ("2025-11-25", "2026-07-28")
SERVERS = ("fixtures", "direct", "nginx")

# What the suite can ask any server.
WITHOUT_FIXTURES = {
    "2025-11-25": [
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "tools-list",
        "resources-list",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
    ],
    "2026-07-28": [
        "server-stateless",
        "tools-list",
        "resources-list",
        "sep-2164-resource-not-found",
        "caching",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
        "http-header-validation",
        "input-required-result-unsupported-methods",
    ],
}

# A run of the suite takes what its slowest scenarios wait for. Nothing takes as long as this.
RUN_DEADLINE = 300.0
AT_ONCE = 3

# What a check may end with, the gravest first.
GRAVITY = ("FAILURE", "WARNING", "SUCCESS", "INFO", "SKIPPED")
NOT_GOOD = ("FAILURE", "WARNING")


@dataclass
class Scenario:
    """What came of a scenario."""

    server: str
    revision: str
    name: str
    checks: list[dict]
    """Failures by the id of their check."""
    failures: dict[str, str] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for check in self.checks:
            if check["status"] in NOT_GOOD:
                said = check.get("errorMessage") or check.get("description") or ""
                self.failures.setdefault(check["id"], f"{check['status']}: {said}")

    @property
    def unexpected(self) -> dict[str, str]:
        return {id: said for id, said in self.failures.items() if id not in self.expected}

    @property
    def verdict(self) -> str:
        if self.unexpected:
            return "FAILED"
        if self.failures:
            return "expected"
        counted = Counter(check["status"] for check in self.checks)
        return "passed" if counted["SUCCESS"] else "skipped"

    @property
    def counts(self) -> str:
        """Checks by id: one that was made several times counts once, with the gravest outcome."""
        gravest: dict[str, str] = {}
        for check in self.checks:
            gravest[check["id"]] = min(
                gravest.get(check["id"], "SKIPPED"), check["status"], key=GRAVITY.index
            )
        counted = Counter(gravest.values())
        words = [
            (counted["SUCCESS"], "passed"),
            (counted["FAILURE"] + counted["WARNING"], "failed"),
            (counted["SKIPPED"], "skipped"),
        ]
        return ", ".join(f"{count} {word}" for count, word in words if count) or "0 passed"


@dataclass(frozen=True)
class Expected:
    """A line of the file: checks that fail, and why."""

    servers: tuple[str, ...]
    revision: str
    scenario: str
    check: str
    reason: str
    line: int


def expected_failures() -> list[Expected]:
    found = []
    for number, line in enumerate(EXPECTED.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=3)
        at = f"{EXPECTED.name}:{number}"
        if len(fields) < 4:
            raise SystemExit(f"{at}: servers, revision, scenario:check and a reason are needed")
        servers, revision, what, reason = fields
        scenario, _, check = what.partition(":")
        unknown = set(servers.split(",")) - set(SERVERS)
        if unknown or revision not in REVISIONS or not check:
            raise SystemExit(
                f"{at}: accepted are servers of {', '.join(SERVERS)}, revisions of {', '.join(REVISIONS)}, "
                f"and SCENARIO:CHECK"
            )
        found.append(Expected(tuple(servers.split(",")), revision, scenario, check, reason, number))
    return found


# --- the suite ---------------------------------------------------------------------------------------


def conformance(url: str, output: Path, *arguments: str) -> list[tuple[str, list[dict]]]:
    """Runs the suite; every scenario with its checks, in the order in which they ran."""
    command = [TEST_ENV / "bin" / "node", SUITE / "dist" / "index.js", "server", "--url", url]
    command += ["-o", output, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=RUN_DEADLINE)
    found = sorted(output.glob("**/checks.json"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise SystemExit(f"the suite has left no results ({run.returncode}):\n{run.stdout}\n{run.stderr}")
    # server-NAME-TIMESTAMP
    names = [re.fullmatch(r"(?:server-)?(.+?)-\d{4}-\d\d-\d\dT.*", file.parent.name)[1] for file in found]
    return list(zip(names, (json.loads(file.read_text()) for file in found)))


def whole(server: str, url: str, revision: str, results: Path) -> list[Scenario]:
    """Every scenario that the revision requires, and those that it reports besides."""
    output = results / server / revision
    ran = conformance(url, output, "--requirements", revision)
    return [Scenario(server, revision, name, checks) for name, checks in ran]


def one(server: str, url: str, revision: str, name: str, results: Path) -> Scenario:
    output = results / server / revision / name
    ran = conformance(url, output, "--scenario", name, "--spec-version", revision)
    return Scenario(server, revision, name, [check for _, checks in ran for check in checks])


# --- the servers -------------------------------------------------------------------------------------


@contextmanager
def single(directory: Path, program: str) -> Iterator[str]:
    server = Server("http", directory, program=program)
    try:
        yield server.mcp_url
    except BaseException:
        print(server.log(), file=sys.stderr)
        raise
    finally:
        server.stop()


def run_all(directory: Path) -> list[Scenario]:
    places = {name: directory / name for name in SERVERS}
    for place in places.values():
        place.mkdir()
    with (
        single(places["fixtures"], "mcp-v8-conformance") as fixtures,
        single(places["direct"], "mcp-v8") as direct,
        behind_nginx(places["nginx"]) as nginx,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        whole_ones = [
            pool.submit(whole, "fixtures", fixtures, revision, directory) for revision in reversed(REVISIONS)
        ]
        ones = [
            pool.submit(one, server, url, revision, name, directory)
            for server, url in (("direct", direct), ("nginx", nginx))
            for revision in REVISIONS
            for name in WITHOUT_FIXTURES[revision]
        ]
        scenarios = [scenario for run in reversed(whole_ones) for scenario in run.result()]
        return scenarios + [run.result() for run in ones]


# --- what is said of it ------------------------------------------------------------------------------


def judge(scenarios: list[Scenario]) -> list[str]:
    """Marks what was expected; what is wrong with the rest."""
    problems = []
    for line in expected_failures():
        for server in line.servers:
            matching = [
                scenario
                for scenario in scenarios
                if (scenario.server, scenario.revision, scenario.name) == (server, line.revision, line.scenario)
            ]
            if not any(line.check in scenario.failures for scenario in matching):
                problems.append(
                    f"{EXPECTED.name}:{line.line}: {line.scenario}:{line.check} does not fail at {server}, "
                    f"{line.revision}"
                )
            for scenario in matching:
                scenario.expected.add(line.check)
    for scenario in scenarios:
        for check, said in scenario.unexpected.items():
            problems.append(f"{scenario.server} {scenario.revision} {scenario.name}:{check}: {said}")
    return problems


def table(scenarios: list[Scenario], revision: str) -> str:
    """The outcome of a revision: a row for each scenario, a column for each server."""
    cells: dict[str, dict[str, str]] = {}
    for scenario in scenarios:
        if scenario.revision == revision:
            cell = f"{scenario.verdict} ({scenario.counts})"
            cells.setdefault(scenario.name, {})[scenario.server] = cell
    lines = ["| Scenario | with fixtures | as released | three nodes behind nginx |", "|---|---|---|---|"]
    for name, row in cells.items():
        lines.append(f"| `{name}` | " + " | ".join(row.get(server, "") for server in SERVERS) + " |")
    return "\n".join(lines)


def reasons(revision: str) -> str:
    lines = ["| Expected to fail | at | why |", "|---|---|---|"]
    names = {"fixtures": "with fixtures", "direct": "as released", "nginx": "behind nginx"}
    for line in expected_failures():
        if line.revision == revision:
            servers = ", ".join(names[server] for server in line.servers)
            lines.append(f"| `{line.scenario}:{line.check}` | {servers} | {line.reason} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing is expected to fail."


def page(text: str, scenarios: list[Scenario]) -> str:
    """The page with the tables of this run."""
    for revision in REVISIONS:
        begin, end = f"<!-- {revision} -->\n", f"<!-- end of {revision} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        tables = f"{table(scenarios, revision)}\n\n{reasons(revision)}\n"
        text = f"{before}{begin}{tables}{end}{after}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description="Runs the MCP conformance suite.")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/conformance.md")
    parser.add_argument("--results", type=Path, help="keep what the suite has found in this directory")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mcp-v8-conformance-") as scratch:
        directory = options.results.resolve() if options.results else Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        scenarios = run_all(directory)
    problems = judge(scenarios)
    for revision in REVISIONS:
        print(f"\n{revision}\n{table(scenarios, revision)}")
    old = PAGE.read_text()
    new = page(old, scenarios)
    if options.write:
        PAGE.write_text(new)
    elif new != old:
        problems.append(f"{PAGE.relative_to(REPOSITORY)} shows something else; run scripts/conformance --write")
    counted = Counter(scenario.verdict for scenario in scenarios)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counted.items()))
    print(f"\n{len(scenarios)} scenarios in {time.monotonic() - began:.0f} s: {said}")
    if problems:
        raise SystemExit("\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
