//! A walk over every route and every tool, with the names of what belongs to another caller.
//!
//! # Contract
//! * What another's name gets is what a name gets that nothing has: the same status, the same text.
//! * The owner's own request succeeds, so that it is the name's owner that matters and nothing else.
//! * A route or a tool that this walk does not know fails the test: it has to be taught here.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::call_tool;

/// Paths that are open to everybody, with GET.
const OPEN: [&str; 10] = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/raft/status",
    "/console",
    "/docs",
    "/llms.txt",
    "/api-doc/openapi.json",
    "/.well-known/oauth-protected-resource",
];

/// A server, and a caller of it.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client,
    base: String,
    token: Option<String>,
}

/// A status and a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// The status.
    pub status: u16,
    /// The text.
    pub text: String,
}

impl Caller {
    /// Of the server at this URL.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let client = Client::builder().no_proxy().pool_idle_timeout(crate::IDLE_KEPT);
        let client = client.redirect(reqwest::redirect::Policy::none());
        let token = token.map(str::to_owned);
        Self { client: client.build().unwrap(), base: base.to_owned(), token }
    }

    /// A request of this caller.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Asks, with a JSON body if there is one.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Said {
        let request = self.request(method, path);
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        said(request).await
    }

    /// Runs a script to its end.
    pub async fn run(&self, request: &Value) -> Value {
        let said = self.ask(Method::POST, "/api/exec?wait=60", Some(request)).await;
        assert_eq!(said.status, 200, "{request}: {said:?}");
        serde_json::from_str(&said.text).unwrap()
    }

    /// Calls a tool, and returns its result.
    pub async fn call(&self, tool: &str, arguments: Value) -> Value {
        let said = said(call_tool(self.request(Method::POST, "/mcp"), 1, tool, arguments)).await;
        assert_eq!(said.status, 200, "{tool}: {said:?}");
        reply(&said.text)["result"].clone()
    }
}

/// Sends a request.
pub async fn said(request: RequestBuilder) -> Said {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    Said { status, text: response.text().await.unwrap() }
}

/// The JSON-RPC answer in a body, whether it is a stream of events or not.
fn reply(body: &str) -> Value {
    let mut documents = body
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:").unwrap_or(line)).ok());
    documents
        .rfind(|document: &Value| document["id"].is_number())
        .unwrap_or_else(|| panic!("no answer in {body}"))
}

/// Names of what there is, or of nothing.
#[derive(Debug, Clone)]
pub struct Names {
    execution: String,
    running: String,
    session: String,
    heap: String,
    artifact: String,
    keeps: bool,
}

impl Names {
    /// The route of the console of what runs.
    pub fn output_path(&self) -> String {
        format!("/api/executions/{}/output", self.running)
    }

    /// Names that nothing has.
    fn of_nothing(keeps: bool) -> Self {
        Self {
            execution: "01990000-0000-7000-8000-000000000001".to_owned(),
            running: "01990000-0000-7000-8000-000000000002".to_owned(),
            session: "absent-one".to_owned(),
            heap: "ab".repeat(32),
            artifact: "absent-one/a.txt".to_owned(),
            keeps,
        }
    }

    /// A text without these names.
    fn without(&self, said: Said) -> Said {
        let names = [
            (&self.execution, "EXECUTION"),
            (&self.running, "RUNNING"),
            (&self.session, "SESSION"),
            (&self.heap, "HEAP"),
            (&self.artifact, "ARTIFACT"),
        ];
        let text = names.iter().fold(said.text, |text, (name, word)| text.replace(&**name, word));
        Said { status: said.status, text }
    }
}

/// Has the caller begin one of each. `keeps`: the server has sessions and heaps.
pub async fn begin(owner: &Caller, keeps: bool) -> Names {
    let code = "globalThis.secret = 'theirs'; console.log('theirs'); \
                artifact('theirs/a.txt', 'text/plain', 'theirs'); 'theirs'";
    let request = match keeps {
        true => json!({"code": code, "session": "theirs", "tags": {"whose": "theirs"}}),
        false => json!({ "code": code }),
    };
    let left = owner.run(&request).await;
    assert_eq!(left["artifacts"], json!(["theirs/a.txt"]), "{left}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let code = "console.log('theirs'); await new Promise(done => setTimeout(done, 200_000))";
    let running = json!({"code": code, "execution_timeout_secs": 250});
    let running = owner.ask(Method::POST, "/api/exec", Some(&running)).await;
    assert_eq!(running.status, 202, "{running:?}");
    let running: Value = serde_json::from_str(&running.text).unwrap();
    Names {
        execution: text(&left["execution_id"]),
        running: text(&running["execution_id"]),
        session: "theirs".to_owned(),
        heap: if keeps { text(&left["heap"]) } else { "cd".repeat(32) },
        artifact: "theirs/a.txt".to_owned(),
        keeps,
    }
}

/// What is asked of a route by its names: paths and bodies. Empty for one that takes no names.
fn questions(method: &str, path: &str, names: &Names) -> Vec<(String, Option<Value>)> {
    let Names { execution, running, session, heap, artifact, keeps } = names;
    let by_name = |name: &str, body: Option<Value>| {
        let (begin, rest) = path.split_once('{').unwrap();
        let (_, end) = rest.split_once('}').unwrap();
        vec![(format!("{begin}{name}{end}"), body)]
    };
    match (method, path) {
        ("post", "/api/exec") if *keeps => {
            vec![(path.to_owned(), Some(json!({"code": "1", "heap": heap})))]
        }
        ("post", "/api/exec") => vec![],
        ("get", "/api/executions/{id}" | "/api/executions/{id}/output") => {
            [by_name(execution, None), by_name(running, None)].concat()
        }
        ("post", "/api/executions/{id}/cancel") => by_name(running, None),
        ("get" | "delete", "/api/artifacts/{key}") => by_name(artifact, None),
        (_, "/api/quarantine" | "/api/quarantine/{hash}") => vec![],
        ("get", "/api/sessions" | "/api/executions" | "/api/artifacts" | "/api/heaps") => vec![],
        // Of nodes and workers, which have no owner.
        ("get", "/api/version" | "/api/cluster" | "/api/workers") => vec![],
        ("get", "/api/sessions/{name}" | "/api/sessions/{name}/snapshots") => {
            by_name(session, None)
        }
        ("post", "/api/sessions/{name}/fork") => [
            by_name("forked", Some(json!({ "session": session }))),
            by_name("forked-too", Some(json!({ "heap": heap }))),
        ]
        .concat(),
        ("post", "/api/sessions/{name}/reset") => {
            [by_name(session, Some(json!({ "heap": heap }))), by_name(session, Some(json!({})))]
                .concat()
        }
        ("delete", "/api/sessions/{name}") => by_name(session, None),
        ("get" | "delete", "/api/heaps/{hash}/tags" | "/api/heaps/{hash}") => by_name(heap, None),
        ("put", "/api/heaps/{hash}/tags") => by_name(heap, Some(json!({"tags": {"a": "b"}}))),
        _ => panic!("this walk does not know {method} {path}: say what it takes that has an owner"),
    }
}

/// What is asked of a tool by its names.
fn arguments(tool: &str, names: &Names) -> Vec<Value> {
    let Names { execution, running, session, heap, artifact, keeps } = names;
    match tool {
        "run_js" if *keeps => vec![json!({"code": "1", "heap": heap})],
        "run_js" => vec![],
        "get_execution" | "get_execution_output" => {
            vec![json!({ "execution_id": execution }), json!({ "execution_id": running })]
        }
        "cancel_execution" => vec![json!({ "execution_id": running })],
        "list_session_snapshots" => vec![json!({ "session": session })],
        "get_heap_tags" => vec![json!({ "heap": heap })],
        "set_heap_tags" => vec![json!({"heap": heap, "tags": {"a": "b"}})],
        "delete_heap_tags" => vec![json!({ "heap": heap })],
        "get_artifact" => vec![json!({ "key": artifact })],
        "list_executions" | "list_sessions" | "list_artifacts" => vec![],
        "query_heaps_by_tags" => vec![],
        _ => panic!("this walk does not know the tool {tool}: say what it takes that has an owner"),
    }
}

/// Routes with their methods, from the server's own description.
async fn routes(anybody: &Caller) -> Vec<(String, String)> {
    let described = anybody.ask(Method::GET, "/api-doc/openapi.json", None).await;
    let described: Value = serde_json::from_str(&described.text).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            routes.push((method.clone(), path.clone()));
        }
    }
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

fn method(text: &str) -> Method {
    Method::from_bytes(text.to_uppercase().as_bytes()).unwrap()
}

/// Whoever has no token gets nothing but what is open.
pub async fn walk_without_token(base: &str) {
    let anybody = Caller::new(base, None);
    let names = Names::of_nothing(true);
    let mut closed = 0;
    let more = [("post", "/mcp"), ("get", "/mcp"), ("delete", "/mcp"), ("get", "/api/nothing")];
    let more = more.map(|(method, path)| (method.to_owned(), path.to_owned()));
    for (verb, path) in routes(&anybody).await.into_iter().chain(more) {
        let filled = path.replace("{id}", &names.execution).replace(['{', '}'], "");
        let response = anybody.request(method(&verb), &filled).send().await.unwrap();
        if verb == "get" && OPEN.contains(&&*path) {
            assert!(![401, 403].contains(&response.status().as_u16()), "{path} is not open");
            continue;
        }
        assert_eq!(response.status(), 401, "{verb} {path}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        closed += 1;
    }
    assert!(closed > 15, "{closed}");
}

/// Whoever has another's names gets what nothing's names get, from every route and every tool; the
/// owner gets what it asks for. What is deleted by the owner is deleted last.
pub async fn walk(owner: &Caller, other: &Caller, names: &Names) {
    let nothing = Names::of_nothing(names.keeps);
    let mut compared = 0;
    let routes = routes(owner).await;
    for (verb, path) in &routes {
        let asked = questions_or_open(verb, path, names);
        for (theirs, none) in asked.iter().zip(questions_or_open(verb, path, &nothing)) {
            let of = other.ask(method(verb), &theirs.0, theirs.1.as_ref()).await;
            let of_none = other.ask(method(verb), &none.0, none.1.as_ref()).await;
            assert!((400..500).contains(&of.status), "{verb} {theirs:?}: {of:?}");
            assert_eq!(names.without(of), nothing.without(of_none), "{verb} {path}");
            compared += 1;
        }
    }
    assert!(compared >= if names.keeps { 14 } else { 7 }, "{compared}");
    let tools = tools(owner).await;
    for tool in &tools {
        for (theirs, none) in arguments(tool, names).into_iter().zip(arguments(tool, &nothing)) {
            let result = |result: Value| {
                assert_eq!(result["isError"], true, "{tool} {theirs}: {result}");
                Said { status: 0, text: result.to_string() }
            };
            let of = names.without(result(other.call(tool, theirs.clone()).await));
            let of_none = nothing.without(result(other.call(tool, none).await));
            assert_eq!(of, of_none, "{tool}");
        }
    }
    tasks(other, names, &nothing).await;
    lists(owner, other, names).await;
    owned(owner, names, &routes, &tools).await;
}

/// An execution is a task, and another's is none.
async fn tasks(other: &Caller, names: &Names, nothing: &Names) {
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let mut told = Vec::new();
        for of in [names, nothing] {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": crate::MCP_REVISION,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {
                    "extensions": {"io.modelcontextprotocol/tasks": {}},
                },
            });
            let mut params = json!({"taskId": of.running, "_meta": meta});
            if method == "tasks/update" {
                params["inputResponses"] = json!({});
            }
            let request = other
                .request(Method::POST, "/mcp")
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", crate::MCP_REVISION)
                .header("mcp-method", method)
                .header("mcp-name", &of.running)
                .json(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
            let answer = reply(&said(request).await.text);
            assert!(answer["error"]["message"].as_str().unwrap().contains("no task"), "{answer}");
            told.push(of.without(Said { status: 0, text: answer["error"].to_string() }));
        }
        assert_eq!(told[0], told[1], "{method}");
    }
}

fn questions_or_open(verb: &str, path: &str, names: &Names) -> Vec<(String, Option<Value>)> {
    if OPEN.contains(&path) { vec![] } else { questions(verb, path, names) }
}

async fn tools(caller: &Caller) -> Vec<String> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": crate::MCP_REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}});
    let request = caller
        .request(Method::POST, "/mcp")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", crate::MCP_REVISION)
        .header("mcp-method", "tools/list")
        .json(&message);
    let listed = reply(&said(request).await.text);
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    let names: Vec<String> =
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    assert!(names.len() >= 13, "{names:?}");
    names
}

/// Lists have what is the caller's and nothing else.
async fn lists(owner: &Caller, other: &Caller, names: &Names) {
    let mut routes =
        vec![("/api/executions", &names.execution), ("/api/artifacts", &names.artifact)];
    let mut tools = vec![
        ("list_executions", json!({}), &names.execution),
        ("list_artifacts", json!({}), &names.artifact),
    ];
    if names.keeps {
        routes.push(("/api/sessions", &names.session));
        routes.push(("/api/heaps?tags=%7B%7D", &names.heap));
        tools.push(("list_sessions", json!({}), &names.session));
        tools.push(("query_heaps_by_tags", json!({"tags": {}}), &names.heap));
    }
    for (path, name) in routes {
        let listed = async |caller: &Caller| caller.ask(Method::GET, path, None).await;
        let (own, others) = (listed(owner).await, listed(other).await);
        assert_eq!((own.status, others.status), (200, 200), "{path}");
        assert!(own.text.contains(&**name), "{path}: {own:?}");
        assert!(!others.text.contains(&**name), "{path}: {others:?}");
        // Nor by a cursor that says it: names are kept behind one of these.
        for cursor in ["%01", &names.execution, "%00"] {
            let separator = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{separator}cursor={cursor}");
            let others = other.ask(Method::GET, &path, None).await;
            assert!(!others.text.contains("theirs"), "{path}: {others:?}");
        }
    }
    for (tool, arguments, name) in tools {
        let own = owner.call(tool, arguments.clone()).await.to_string();
        let others = other.call(tool, arguments).await.to_string();
        assert!(own.contains(&**name) && !others.contains(&**name), "{tool}: {own} {others}");
    }
}

/// The owner gets what it asks for by the same names; nobody else has changed anything.
async fn owned(owner: &Caller, names: &Names, routes: &[(String, String)], tools: &[String]) {
    let shown = owner.ask(Method::GET, &format!("/api/executions/{}", names.running), None).await;
    assert!(shown.text.contains("\"running\""), "it was cancelled: {shown:?}");
    if names.keeps {
        let tags = owner.call("get_heap_tags", json!({ "heap": names.heap })).await;
        assert_eq!(tags["structuredContent"], json!({"tags": {"whose": "theirs"}}), "{tags}");
    }
    let deletes = |verb: &str, path: &str| verb == "delete" || path.ends_with("/cancel");
    let (last, first): (Vec<_>, Vec<_>) =
        routes.iter().partition(|(verb, path)| deletes(verb, path));
    for (verb, path) in first {
        for (path, body) in questions_or_open(verb, path, names) {
            if !names.keeps && (path.contains("/sessions/") || path.contains("/heaps/")) {
                continue;
            }
            let said = owner.ask(method(verb), &path, body.as_ref()).await;
            assert!((200..300).contains(&said.status), "{verb} {path}: {said:?}");
        }
    }
    let destroys = |tool: &str| ["cancel_execution", "delete_heap_tags"].contains(&tool);
    for tool in tools.iter().filter(|tool| !destroys(tool)) {
        for arguments in arguments(tool, names) {
            let about_heaps = tool.contains("heap") || tool.contains("session");
            if !names.keeps && about_heaps {
                continue;
            }
            let result = owner.call(tool, arguments).await;
            assert_ne!(result["isError"], true, "{tool}: {result}");
        }
    }
    for (verb, path) in last {
        for (path, body) in questions_or_open(verb, path, names) {
            if !names.keeps && (path.contains("/sessions/") || path.contains("/heaps/")) {
                continue;
            }
            let said = owner.ask(method(verb), &path, body.as_ref()).await;
            assert!((200..300).contains(&said.status), "{verb} {path}: {said:?}");
        }
    }
}
