"""What a model reads of the server: tool descriptions, /llms.txt, and the docs:// resources."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from harness import Server, binary, curl
from test_mcp_wire import message, modern, reply, with_meta

# A model reads all of them with every conversation.
DESCRIPTION_CHARACTERS_MAX = 400
RUN_JS_CHARACTERS_MAX = 2000


def ask(server: Server, method: str, about: str | None = None, **params) -> dict:
    call = with_meta(message(method, params, id=1))
    return reply(curl(server.mcp_url, *modern(method, about), data=call))


@pytest.fixture
def tools(http_server) -> list[dict]:
    return ask(http_server, "tools/list")["result"]["tools"]


def test_every_tool_is_described_shortly_with_an_example_that_it_takes(tools):
    for tool in tools:
        name, description = tool["name"], tool["description"]
        most = RUN_JS_CHARACTERS_MAX if name == "run_js" else DESCRIPTION_CHARACTERS_MAX
        assert len(description) <= most, f"{name}: {len(description)} characters"
        assert tool["title"] and tool["annotations"].keys() >= {"readOnlyHint", "openWorldHint"}, name
        assert tool["outputSchema"]["type"] == "object", name
        for argument, schema in tool["inputSchema"].get("properties", {}).items():
            assert schema.get("description"), f"{name}: `{argument}` is not described"
        [example] = re.findall(r"Example: (\{.*\})", description)
        arguments, _ = json.JSONDecoder().raw_decode(example)
        jsonschema.validate(arguments, tool["inputSchema"])


def test_the_example_of_run_js_gives_what_it_says(http_server, tools):
    description = next(tool["description"] for tool in tools if tool["name"] == "run_js")
    example = description[description.index("Example: ") + len("Example: ") :]
    arguments, length = json.JSONDecoder().raw_decode(example)
    output, result = re.fullmatch(r' gives output ("[^ ]*") and result ("[^ ]*")\.', example[length:]).groups()
    answer = ask(http_server, "tools/call", "run_js", name="run_js", arguments=arguments)["result"]
    content = answer["structuredContent"]
    assert (content["output"], content["result"]) == (json.loads(output), json.loads(result))


def test_resources_are_the_documents_that_http_serves(http_server):
    listed = ask(http_server, "resources/list")["result"]["resources"]
    pages = {"docs://readme": "/docs", "docs://llms-txt": "/llms.txt", "docs://openapi": "/api-doc/openapi.json"}
    assert {resource["uri"] for resource in listed} == {*pages, "docs://tools"}
    for resource in listed:
        assert resource["description"] and resource["mimeType"]
        read = ask(http_server, "resources/read", resource["uri"], uri=resource["uri"])
        [content] = read["result"]["contents"]
        assert (content["uri"], content["mimeType"]) == (resource["uri"], resource["mimeType"])
        if resource["uri"] in pages:
            assert content["text"] == curl(http_server.url + pages[resource["uri"]]).text


def test_tools_are_documented_as_they_are_listed(http_server, tools):
    read = ask(http_server, "resources/read", "docs://tools", uri="docs://tools")
    assert json.loads(read["result"]["contents"][0]["text"]) == tools
    llms = curl(f"{http_server.url}/llms.txt").text
    assert "{tools}" not in llms
    for tool in tools:
        assert f"`{tool['name']}`" in llms
        if tool["name"] != "run_js":
            summary = tool["description"].split(". ")[0].rstrip(".")
            assert f"- `{tool['name']}`: {summary}.\n" in llms


@pytest.mark.parametrize("uri", ["docs://nothing", "file:///etc/passwd"])
def test_an_unknown_resource_is_named_with_those_that_there_are(http_server, uri):
    error = ask(http_server, "resources/read", uri, uri=uri)["error"]
    assert error["code"] == -32602 and error["data"] == {"uri": uri}
    assert "docs://readme" in error["message"]


def test_the_product_has_no_fixtures(http_server, tools):
    """What the conformance suite needs is in a build of its own (tests/conformance)."""
    assert not [tool["name"] for tool in tools if tool["name"].startswith("test_")]
    assert b"This is a simple text response for testing." not in Path(binary("mcp-v8")).read_bytes()
    capabilities = ask(http_server, "server/discover")["result"]["capabilities"]
    assert set(capabilities) == {"tools", "resources", "extensions"}
