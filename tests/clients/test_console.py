"""The web console at `/console`, in a real browser, of a real server and a real cluster of three nodes.

Screenshots of every view, narrow and wide, light and dark, stay in target/console-screenshots.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from harness import REPOSITORY, TEST_ENV, Server, binary, curl, free_port, post_json, wait_until

SCREENSHOTS = REPOSITORY / "target" / "console-screenshots"
AXE = TEST_ENV / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = "/usr/bin/chromium"
# A browser that calls nobody but the server under test.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

VIEWS = ["cluster", "executions", "sessions", "workers"]
PHONE, DESK = {"width": 320, "height": 640}, {"width": 1280, "height": 800}

# Names and texts that would be markup if anybody took them for it.
MARKUP = '<img src=x onerror="hacked=1"></pre><script>hacked=2</script>&lt;'
HOSTILE_SESSION = 'evil/" onmouseover="hacked=3 <b>bold</b> \u202eetirw'
ESCAPES = "\x1b[31mred\x1b[0m \u202egnorw\u202c"

expect.set_options(timeout=10_000)


class Cluster:
    """Three nodes on loopback, and what a console has to show of them."""

    def __init__(self, directory: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        names = [f"node{n}@127.0.0.1:{port}" for n, port in enumerate(self.ports, 1)]

        def start(at: int) -> Server:
            peers = ",".join(name for other, name in enumerate(names) if other != at)
            return Server(
                "http",
                directory / f"node{at + 1}",
                f"--node-id=node{at + 1}",
                f"--cluster-port={self.ports[at]}",
                f"--advertise-addr=127.0.0.1:{self.ports[at]}",
                f"--peers={peers}",
            )

        for n in range(3):
            (directory / f"node{n + 1}").mkdir()
        # Each is ready once it has found the others.
        with ThreadPoolExecutor(3) as starting:
            self.nodes = list(starting.map(start, range(3)))
        self.around = itertools.cycle(self.nodes)
        try:
            self.fill()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def run(self, code: str, *options: str, **fields: object) -> dict:
        """A script at the next node in turn, to its end."""
        answer = post_json(f"{next(self.around).url}/api/exec?wait=30", {"code": code, **fields}, *options)
        assert answer.status == 200, answer.body
        return answer.json()

    def fill(self) -> None:
        first = self.run("globalThis.rows = [3, 1, 2]; rows.length", session="analysis")
        second = self.run("rows.sort(); rows", session="analysis", tags={"stage": "sorted", "<b>": MARKUP})
        self.run("rows.push(9)", session="analysis")
        self.move("analysis", "reset", heap=second["heap"])
        self.run("rows.push(4); rows", session="analysis")
        self.run("rows = []", session="analysis", heap=first["heap"])
        self.move("analysis-copy", "fork", session="analysis")
        self.run(f"globalThis.x = {json.dumps(MARKUP)}; x", session=HOSTILE_SESSION)
        self.evil = self.run(
            f"console.log({json.dumps(MARKUP)}); console.log({json.dumps(ESCAPES)});"
            f"artifact({json.dumps(MARKUP)}, 'text/plain', 'x'); {json.dumps(MARKUP)}"
        )
        self.failed = self.run(f"throw new TypeError({json.dumps(MARKUP)})")
        self.analysis = (first, second)

    def move(self, session: str, how: str, /, **to: str) -> None:
        answer = post_json(f"{next(self.around).url}/api/sessions/{session}/{how}", to)
        assert answer.status == 200, answer.body


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.kill()


@pytest.fixture(scope="module")
def browser():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Console:
    """The console in a browser of its own, and all it has done that it must not."""

    def __init__(self, browser: Browser, url: str, view: str = "", **options: object) -> None:
        options = {"viewport": DESK, "reduced_motion": "reduce", **options}
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.url, self.wrong, self.asked = url, [], []
        self.page.on("request", self.note)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.on("console", self.heard)
        self.page.goto(f"{url}/console#{view}")

    def note(self, request) -> None:
        self.asked.append(request.url)
        if request.method != "GET" or not request.url.startswith((self.url, "data:")):
            self.wrong.append(f"{request.method} {request.url}")

    def heard(self, message) -> None:
        # That a request has failed the browser says by itself.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def go(self, view: str) -> None:
        self.page.evaluate("view => { location.hash = view; }", view)

    def check(self) -> None:
        assert self.page.evaluate("typeof hacked") == "undefined", "a text of the server ran"
        assert not self.wrong, self.wrong

    def close(self) -> None:
        self.check()
        self.context.close()


@pytest.fixture
def console(browser):
    """`console(url, view, …)` opens one; each is checked in the end."""
    opened = []

    def open_console(*arguments, **options) -> Console:
        opened.append(Console(browser, *arguments, **options))
        return opened[-1]

    yield open_console
    for console in opened:
        console.close()


def shown(page: Page, view: str) -> None:
    """Waits until a view shows what the server has said."""
    subjects = {
        "cluster": "#nodes article",
        "executions": "#execution-rows tr",
        "sessions": "#session-names li",
        "workers": "#pools article",
    }
    # A narrow screen has room for one of the list and what is chosen of it.
    if view in subjects:
        page.locator(subjects[view]).first.wait_for()
    if view.startswith("executions/"):
        expect(page.locator("#execution .pairs")).to_contain_text("Accepted")
    if view.startswith("sessions/"):
        page.locator("#session ol li").first.wait_for()
    if re.fullmatch("sessions/.*/[0-9]+", view):
        expect(page.locator("#session .entry .pairs")).to_contain_text("Stored")


def details(cluster: Cluster) -> list[str]:
    """Every view, and those with something chosen."""
    return VIEWS + [f"executions/{cluster.evil['execution_id']}", "sessions/analysis/1"]


# --- the page as bytes ---------------------------------------------------------------------------


def test_the_console_is_one_page_that_may_run_one_script(server):
    answer = curl(f"{server.url}/console")
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy
    assert "frame-ancestors 'none'" in policy and answer.headers["x-frame-options"] == "DENY"
    assert "require-trusted-types-for 'script'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.findall(r"""(?:src|href)=["']?(?!#|data:,)[^"'\s>]+""", answer.text)


def test_what_the_console_asks_for_is_described(server):
    paths = curl(f"{server.url}/api-doc/openapi.json").json()["paths"]
    assert {"/console", "/api/cluster", "/api/workers", "/api/sessions/{name}"} <= set(paths)
    view = curl(f"{server.url}/api/cluster").json()
    assert view["clustered"] is False and [node["ready"] for node in view["nodes"]] == [True]
    assert view["nodes"][0]["address"] is None and view["peer_auth"] is None
    workers = curl(f"{server.url}/api/workers").json()
    assert workers["running_max"] == 4 and workers["kinds"][0]["idle_max"] == 4
    assert workers["sandbox"]["mode"] == "required" and workers["sandbox"]["layers"]["system_calls"] is None
    assert workers["kinds"][0]["breaker"] == "ready" and workers["kinds"][0]["template"]["forks"] >= 1
    # Whoever does not ask for details sees what was always there.
    post_json(f"{server.url}/api/exec?wait=30", {"code": "1", "session": "described"})
    [plain] = curl(f"{server.url}/api/executions?limit=1").json()["executions"]
    [row] = curl(f"{server.url}/api/executions?limit=1&details=true").json()["executions"]
    assert set(row) == set(plain) | {"node", "session"} and row["session"] == "described"
    session = curl(f"{server.url}/api/sessions/described").json()
    assert session["next_entry"] == 1 and re.fullmatch("[0-9a-f]{64}", session["heap"])
    assert curl(f"{server.url}/api/sessions/nobody").status == 404
    shown = curl(f"{server.url}/api/executions/{row['execution_id']}").json()
    assert (shown["session"], shown["attempt"], shown["from_heap"]) == ("described", 1, None)


# --- what it shows -------------------------------------------------------------------------------


def test_the_cluster_is_shown_as_its_nodes_see_it(cluster, console):
    page = console(cluster.nodes[1].url, "cluster").page
    shown(page, "cluster")
    expect(page.locator("#nodes article")).to_have_count(3)
    expect(page.locator("#state")).to_have_text("3 of 3 nodes ready")
    expect(page.locator("#cluster-about")).to_contain_text("Answered by node2")
    leader = curl(f"{cluster.nodes[0].url}/raft/status").json()["leader_id"]
    expect(page.locator("#facts")).to_contain_text(leader)
    card = page.get_by_role("article", name=f"Node {leader}", exact=True)
    expect(card).to_contain_text("leader")
    for fact in ("Term", "Committed", "Applied", "Log", "0 of 4 running, 0 waiting"):
        expect(card).to_contain_text(fact)


def test_output_grows_while_a_script_runs_and_its_end_is_shown(cluster, console):
    code = "for (let i = 1; i <= 14; i += 1) { console.log('tick', i); await new Promise(f => setTimeout(f, 400)); } 'over'"
    begun = post_json(f"{cluster.nodes[0].url}/api/exec", {"code": code}).json()["execution_id"]
    # Looked at through another node than the one that runs it.
    page = console(cluster.nodes[2].url, "executions").page
    page.get_by_title(begun).click()
    output = page.get_by_role("region", name="Output")
    expect(output).to_contain_text("tick 1")
    assert "tick 14" not in output.text_content(), "it is shown while it runs, not when it has ended"
    expect(page.locator("#execution")).to_contain_text("running")
    expect(output).to_contain_text("tick 14")
    expect(page.get_by_role("region", name="Result")).to_have_text("over")
    expect(page.locator("#execution")).to_contain_text("completed")
    expect(page.locator("#execution")).to_contain_text("node1")
    expect(page.locator("#said")).to_contain_text("completed")
    row = page.locator("tr", has=page.get_by_title(begun))
    expect(row).to_contain_text("completed")
    # What is submitted later comes in above, without the list being asked for again.
    later = cluster.run("6 * 7")["execution_id"]
    expect(page.locator("#execution-rows tr").first).to_contain_text(later[-8:])


def test_a_flood_of_output_is_kept_in_bounds(cluster, console):
    flood = cluster.run("for (let i = 0; i < 15_000; i += 1) console.log('line ' + i + '-'.repeat(50)); 1")
    page = console(cluster.nodes[0].url, f"executions/{flood['execution_id']}").page
    output = page.get_by_role("region", name="Output")
    expect(output).to_contain_text("line 14999-")
    assert len(output.text_content()) <= (256 + 64) * 1024
    expect(page.locator("#execution")).to_contain_text("the end of it shown")


def test_a_session_is_shown_as_a_graph_of_its_heaps(cluster, console):
    page = console(cluster.nodes[0].url, "sessions").page
    page.get_by_role("link", name="analysis", exact=True).click()
    entries = page.locator("#session ol li")
    expect(entries).to_have_count(6)
    for at, text in enumerate(["from what entry 0 left · head", "", "back to what entry 1 left", "", "", ""]):
        expect(entries.nth(at)).to_contain_text(text)
    expect(entries.nth(2)).to_contain_text("reset")
    # A dot for each heap that a step left, a square for the reset, and lines: one of them broken.
    drawing = page.locator("#session svg")
    assert drawing.locator(".dot").count() == 5 and drawing.locator(".moved").count() == 1
    assert drawing.locator(".edge").count() == 5 and drawing.locator(".jump").count() == 1
    first, second = cluster.analysis
    entries.nth(4).get_by_role("link").click()
    chosen = page.locator("#session .entry")
    for text in ("Step 1", first["heap"], second["heap"], "stage = sorted", "on each node", "rows.sort(); rows"):
        expect(chosen).to_contain_text(text)
    chosen.get_by_role("link", name=second["execution_id"]).click()
    expect(page.locator("#execution")).to_contain_text(second["heap"])
    page.get_by_role("link", name="analysis", exact=True).last.click()
    expect(page.locator("#session-title")).to_have_text("analysis")
    page.goto(f"{cluster.nodes[0].url}/console#sessions/analysis-copy")
    expect(page.locator("#session ol li")).to_have_count(1)
    expect(page.locator("#session ol")).to_contain_text("fork")
    # New steps come by themselves.
    cluster.run("rows.length", session="analysis-copy")
    expect(page.locator("#session ol li")).to_have_count(2)


def test_names_can_be_found_by_their_beginning(cluster, console):
    page = console(cluster.nodes[0].url, "sessions").page
    page.get_by_label("Find by beginning of name").fill("analysis-")
    expect(page.locator("#session-names li")).to_have_text(["analysis-copy"])
    page.get_by_label("Find by beginning of name").fill("zzz")
    expect(page.locator("#sessions-empty")).to_have_text("No session has a name that begins so.")


def test_workers_their_sandbox_and_the_quarantine_are_shown(cluster, console):
    page = console(cluster.nodes[0].url, "workers").page
    expect(page.locator("#pools article")).to_have_count(3)
    pool = page.get_by_role("article", name="Workers of node1")
    for text in ("0 of 4 scripts running", "Workers for scripts", "closed: they start", "forks in", "layers on"):
        expect(pool).to_contain_text(text)
    pool.locator("summary").click()
    expect(pool.get_by_text("system_calls on")).to_be_visible()
    expect(page.locator("#quarantine-empty")).to_have_text("No code has killed a worker process.")


def test_code_that_kills_workers_is_listed(start_server, console, tmp_path):
    # A worker of the tests that does as its script says.
    worker = tmp_path / "hostile-obeys"
    worker.symlink_to(binary("mcp-v8-hostile-worker"))
    server = start_server("http", "--stateless", "--sandbox=off", f"--worker-path={worker}")
    for _ in range(3):
        post_json(f"{server.url}/api/exec?wait=30", {"code": "segmentation fault"})
    page = console(server.url, "workers").page
    entry = page.locator("#quarantine article")
    expect(entry).to_contain_text("refused")
    expect(entry).to_contain_text("3 workers since")
    expect(entry).to_contain_text("signal 11: invalid memory access")
    expect(page.get_by_role("article", name="Workers of this server")).to_contain_text("off")
    page.get_by_role("link", name="Sessions").click()
    expect(page.locator("#sessions-empty")).to_contain_text("keeps no sessions")


# --- hostile texts -------------------------------------------------------------------------------


def test_names_output_and_errors_of_hostile_scripts_are_texts(cluster, console):
    page = console(cluster.nodes[0].url, f"executions/{cluster.evil['execution_id']}").page
    output = page.get_by_role("region", name="Output")
    expect(output).to_contain_text(MARKUP)
    # What would change how other text looks is there by name.
    assert "^[[31mred" in output.text_content() and "<U+202E>gnorw<U+202C>" in output.text_content()
    expect(page.get_by_role("region", name="Result")).to_have_text(MARKUP)
    expect(page.locator("#execution .pairs")).to_contain_text(MARKUP)
    page.goto(f"{cluster.nodes[0].url}/console#executions/{cluster.failed['execution_id']}")
    expect(page.get_by_role("region", name="Error")).to_contain_text(f"TypeError: {MARKUP}")
    page.goto(f"{cluster.nodes[0].url}/console#sessions")
    page.locator("#session-names a", has_text="onmouseover").click()
    expect(page.locator("#session-title")).to_have_text(HOSTILE_SESSION.replace("\u202e", "<U+202E>"))
    page.locator("#session ol a").click()
    expect(page.get_by_role("region", name="Source")).to_contain_text("hacked=2")
    page.goto(f"{cluster.nodes[0].url}/console#sessions/analysis/1")
    expect(page.locator("#session .entry")).to_contain_text(f"<b> = {MARKUP}")
    assert page.locator("main img, main script, main b").count() == 0


def test_a_place_that_is_not_there_is_said_to_be_none(cluster, console):
    console = console(cluster.nodes[0].url, f"executions/{quote(MARKUP, safe='')}")
    expect(console.page.locator("#execution .why")).to_have_text("There is no such execution, or it was forgotten.")
    console.go(f"sessions/{quote(MARKUP, safe='')}")
    expect(console.page.locator("#session .why")).to_have_text(f"Session '{MARKUP}' not found")
    console.go("%E0%A4%A/__proto__")
    expect(console.page.locator("#cluster")).to_be_visible()


# --- for whom it is ------------------------------------------------------------------------------


def test_every_view_fits_a_narrow_screen_and_is_drawn_for_light_and_dark(cluster, console):
    for size, viewport in (("phone", PHONE), ("desk", DESK)):
        for scheme in ("light", "dark"):
            console_ = console(cluster.nodes[0].url, viewport=viewport, color_scheme=scheme)
            page = console_.page
            for view in details(cluster):
                console_.go(view)
                shown(page, view)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= viewport["width"], f"{view} is {wide} px wide on {viewport['width']} px"
                name = view.split("/")[0] + ("-chosen" if "/" in view else "")
                page.screenshot(path=SCREENSHOTS / f"{name}-{size}-{scheme}.png", full_page=size == "phone")


def test_axe_finds_nothing_to_say(cluster, console):
    found = {}
    for scheme, viewport in (("light", DESK), ("dark", PHONE)):
        # Past the policy, which would not let the checker in.
        console_ = console(cluster.nodes[0].url, viewport=viewport, color_scheme=scheme, bypass_csp=True)
        page = console_.page
        page.add_script_tag(path=AXE)
        for view in details(cluster):
            console_.go(view)
            shown(page, view)
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            for violation in result["violations"]:
                where = [node["html"][:200] for node in violation["nodes"][:3]]
                found[f"{scheme} {view}: {violation['id']}"] = (violation["help"], where)
    assert not found, json.dumps(found, indent=1)


def test_everything_can_be_reached_by_keyboard_and_focus_is_seen(cluster, console):
    console_ = console(cluster.nodes[0].url, "cluster")
    page = console_.page
    shown(page, "cluster")
    press, focused = page.keyboard.press, page.locator(":focus")

    def tab_to(text: str) -> None:
        for _ in range(40):
            press("Tab")
            if text in (focused.text_content() or "") or text in (focused.get_attribute("title") or ""):
                break
        else:
            raise AssertionError(f"Tab does not lead to {text!r}")
        style = "getComputedStyle(document.activeElement)"
        after = "getComputedStyle(document.activeElement, '::after')"
        outlined = page.evaluate(f"[{style}.outlineStyle, {after}.outlineStyle].some(style => style === 'solid')")
        assert outlined, f"{text!r} has the focus and does not show it"

    press("Tab")
    expect(focused).to_have_text("Skip to content")
    press("Enter")
    expect(page.locator("#main")).to_be_focused()
    assert page.evaluate("location.hash") == "#cluster"
    page.locator("nav a").first.focus()
    tab_to("Executions")
    press("Enter")
    expect(page.locator("#executions-title")).to_be_focused()
    shown(page, "executions")
    wanted = page.locator("#execution-rows a").nth(1).get_attribute("title")
    tab_to(wanted)
    press("Enter")
    expect(page.locator("#execution-title")).to_be_focused()
    expect(page.locator("#execution-title")).to_have_text(wanted)
    # The lists are drawn again and again under the focus, and leave it where it is.
    page.locator("#execution-rows a").nth(2).focus()
    kept = focused.get_attribute("title")
    cluster.run("1")
    expect(page.locator("#execution-rows a").nth(3)).to_be_focused()
    assert focused.get_attribute("title") == kept
    console_.go("sessions")
    shown(page, "sessions")
    tab_to("analysis")
    press("Enter")
    expect(page.locator("#session-title")).to_be_focused()
    page.locator("#session ol li").first.wait_for()
    tab_to("#1")
    press("Enter")
    expect(page.locator("#entry-title")).to_be_focused()
    assert page.evaluate("location.hash") == "#sessions/analysis/1"


def test_landmarks_headings_and_the_place_in_them_are_named(cluster, console):
    page = console(cluster.nodes[0].url, "executions").page
    shown(page, "executions")
    expect(page).to_have_title("Executions · mcp-v8")
    expect(page.get_by_role("navigation", name="Views").get_by_role("link", name="Executions")).to_have_attribute(
        "aria-current", "page"
    )
    for role in ("banner", "navigation", "main"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("heading", level=2)).to_have_text("Executions")
    # What is told by colour is told in words too.
    expect(page.locator("#execution-rows .mark").first).to_have_text(re.compile("completed|failed|running"))


# --- the server goes, and asks for a token -------------------------------------------------------


def test_a_server_that_goes_away_and_comes_back_is_said_to(tmp_path, console):
    server = Server("http", tmp_path)
    try:
        post_json(f"{server.url}/api/exec?wait=30", {"code": "'before'"})
        page = console(server.url, "executions").page
        shown(page, "executions")
        server.kill()
        trouble = page.locator("#trouble")
        expect(trouble).to_contain_text("The server cannot be reached. What is shown is from")
        expect(page.locator("#state")).to_have_text("not connected")
        expect(page.locator("#execution-rows tr")).to_have_count(1)
        page.screenshot(path=SCREENSHOTS / "unreachable-desk-light.png")
        log = server.log_path.open("ab")
        server.process = subprocess.Popen(
            server.process.args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        expect(trouble).to_be_hidden(timeout=25_000)
        expect(page.locator("#state")).to_have_text("ready")
        expect(page.locator("#said")).to_have_text("The server answers again.")
    finally:
        server.kill()


def test_a_token_is_asked_for_sent_and_kept_in_memory_only(http_server, console):
    console_ = console(http_server.url)
    page = console_.page
    sent = []

    def asks(route) -> None:
        """Stands in front of the server as a proxy would that asks for a token."""
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] == "Bearer open-sesame":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/json", body='{"error": "no token"}')

    page.route("**/api/**", asks)
    page.reload()
    field = page.get_by_label("Access token")
    expect(field).to_be_focused()
    expect(page.locator("#state")).to_have_text("a token is needed")
    page.screenshot(path=SCREENSHOTS / "token-desk-light.png")
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#token-why")).to_have_text("The server did not accept this token.")
    field.fill("open-sesame")
    page.keyboard.press("Enter")
    shown(page, "cluster")
    expect(field).to_be_hidden()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert "sesame" not in page.content() and "sesame" not in page.url
    page.reload()
    expect(field).to_be_focused()
    assert sent[-1] is None


def test_a_page_that_nobody_sees_asks_for_nothing(http_server, console):
    console_ = console(http_server.url)
    page = console_.page
    shown(page, "cluster")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true")
    asked = len(console_.asked)
    # Longer than the shortest time between two looks.
    page.wait_for_timeout(2600)
    assert len(console_.asked) == asked
    page.evaluate(hide % "false")
    wait_until(lambda: page.wait_for_timeout(20) or len(console_.asked) > asked, "it looks again when it is seen")


def test_a_node_that_is_lost_is_shown_with_the_reason(cluster, console):
    """Last: the cluster has two nodes after it."""
    page = console(cluster.nodes[0].url, "cluster").page
    expect(page.locator("#state")).to_have_text("3 of 3 nodes ready")
    cluster.nodes[2].kill()
    expect(page.locator("#state")).to_have_text("2 of 3 nodes ready")
    lost = page.get_by_role("article", name="Node node3", exact=True)
    expect(lost).to_contain_text("not reached")
    expect(lost.locator(".why")).to_contain_text(re.compile("refused|reset|closed|no answer"))
    expect(page.locator("#facts")).to_contain_text(re.compile("node[12]"))
    page.screenshot(path=SCREENSHOTS / "lost-node-desk-light.png")
