"""The Python SDK's client with a bearer token, over every transport that has tokens, in every protocol era."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from conftest import MODERN, ungrouped
from harness import curl

pytestmark = pytest.mark.anyio

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://issuer.example", "v8"


def token(subject: str, **claims) -> str:
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time()) + 300, **claims}
    return jwt.encode(whole, KEY, algorithm="ES256", headers={"kid": "one"})


@pytest.fixture
def keys(tmp_path) -> list[str]:
    """Flags of a server that takes these tokens."""
    public = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{**public, "kid": "one", "use": "sig"}]}))
    return [f"--jwks-url={path}", f"--jwt-issuer={ISSUER}", f"--jwt-audience={AUDIENCE}"]


@asynccontextmanager
async def connected(server, transport: str, mode: str, bearer: str):
    headers = {"Authorization": f"Bearer {bearer}"}
    if transport == "sse":
        async with ungrouped(), Client(sse_client(server.mcp_url, headers=headers), mode=mode) as client:
            yield client
        return
    async with httpx2.AsyncClient(headers=headers) as http:
        target = streamable_http_client(server.mcp_url, http_client=http)
        async with ungrouped(), Client(target, mode=mode) as client:
            yield client


@pytest.mark.parametrize(("transport", "mode"), [("http", "legacy"), ("http", MODERN), ("sse", "legacy")])
async def test_a_client_with_a_token_has_what_is_its_own_and_nothing_else(keys, start_server, transport, mode):
    server = start_server(transport, *keys)
    async with connected(server, transport, mode, token("alice")) as alice:
        ran = (await alice.call_tool("run_js", {"code": "globalThis.n = 41; n + 1", "session": "s"})).structured_content
        assert ran["result"] == "42", ran
        found = await alice.call_tool("get_execution", {"execution_id": ran["execution_id"]})
        assert found.structured_content["status"] == "completed"
    async with connected(server, transport, mode, token("bob")) as bob:
        missed = await bob.call_tool("get_execution", {"execution_id": ran["execution_id"]})
        assert missed.is_error and "not found" in missed.content[0].text, missed
        fresh = (await bob.call_tool("run_js", {"code": "typeof globalThis.n", "session": "s"})).structured_content
        assert fresh["result"] == "undefined", fresh
        assert len((await bob.call_tool("list_executions", {})).structured_content["executions"]) == 1


@pytest.mark.parametrize(("transport", "mode"), [("http", "legacy"), ("http", MODERN), ("sse", "legacy")])
async def test_a_client_whose_token_has_expired_gets_nowhere_and_the_server_says_why(
    keys, start_server, transport, mode
):
    server = start_server(transport, *keys)
    # The SDK says less than the answer does, and other things over each transport.
    with pytest.raises((MCPError, httpx2.HTTPStatusError)):
        async with connected(server, transport, mode, token("alice", exp=int(time.time()) - 3600)) as client:
            await client.call_tool("run_js", {"code": "1"})
    assert 'mcp_v8_access_refused_total{reason="expired"}' in curl(f"{server.url}/metrics").text
