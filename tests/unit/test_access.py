"""Who gets in: keys and tokens on every route and every method, and where none are needed."""

import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from starlette.routing import Route

from gateway.access import Access, check_reach
from gateway.app import create_app
from gateway.models import Models
from gateway.openai.application import KEYLESS, Application
from gateway.reception import Reception
from gateway.rpc.server import RpcServer, tells_methods
from gateway.server import free_port
from gateway.settings import Settings, SettingsError
from gateway.web.pages import OPEN_PATHS
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.keys import add_key, bearer, keyed
from tests.wire import CheckedTransport

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHAT = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key."""
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    add_key(path)
    return path


@pytest.fixture(scope="module")
def bad_keys(keys_file: Path) -> dict[str, str]:
    """Keys that do not count."""
    return {
        "no": "",
        "wrong": "sk-gw-alice-" + "x" * 43,
        "expired": add_key(keys_file, "old", expires=PAST),
        "revoked": add_key(keys_file, "gone", until=PAST),
    }


@pytest.fixture(scope="module")
def locked(keys_file: Path, bad_keys: dict[str, str]) -> Application:
    """A gateway that needs keys."""
    assert bad_keys
    return gateway(keyed(keys_file))


def gateway(settings: Settings) -> Application:
    engine = FakeEngine([text("Hello"), stop()])
    return create_app(settings, Models([tiny_model(engine), tiny_model(engine, "other")]))


def client(app: Application) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=CheckedTransport(app), base_url="http://gateway")


def routes() -> list[Any]:
    """Return every route of HTTP and each of its methods."""
    app = create_app(Settings(), Models())
    found = {(CHAT, "PUT"), ("/nothing", "GET"), ("/v1/../metrics", "GET")}
    found |= {("http://gateway//metrics", "GET"), ("/web", "GET")}
    found |= {(path, method) for path, methods in paths(app.routes) for method in methods}
    return [
        pytest.param(path.replace("{model_id:path}", "tiny"), method, id=f"{method}-{path}")
        for path, method in sorted(found)
        if path not in {*KEYLESS, *OPEN_PATHS} and "/web/{" not in path
    ]


def paths(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the path of every route, also of routers that were included, and its methods."""
    for route in routes:
        if isinstance(route, Route):
            yield prefix + route.path, route.methods or ()
        else:
            yield from paths(route.original_router.routes, prefix + route.include_context.prefix)


@pytest.mark.parametrize(("route", "method"), routes())
@pytest.mark.parametrize("kind", ["no", "wrong", "expired", "revoked"])
async def test_without_a_good_key_there_is_nothing_on_any_route(
    kind: str, route: str, method: str, locked: Application, bad_keys: dict[str, str]
) -> None:
    async with client(locked) as http:
        response = await http.request(method, route, json=HELLO, headers=bearer(bad_keys[kind]))

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-should-retry"] == "false"
    if method != "HEAD":
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert "tiny" not in response.text


@pytest.mark.parametrize("route", sorted({*KEYLESS, *OPEN_PATHS, "/web/js/main.js"}))
async def test_health_and_the_pages_need_no_key(route: str, path: Path) -> None:
    add_key(path)
    async with client(gateway(keyed(path))) as http:
        response = await http.get(route)

    assert response.status_code == 200


@pytest.mark.parametrize(
    "header",
    [("Authorization", "Bearer {}"), ("authorization", "bearer  {}"), ("x-api-key", "{}")],
    ids=["bearer", "other-case", "x-api-key"],
)
async def test_a_key_is_taken_from_its_headers(header: tuple[str, str], path: Path) -> None:
    key = add_key(path)
    async with client(gateway(keyed(path))) as http:
        response = await http.post(CHAT, json=HELLO, headers={header[0]: header[1].format(key)})

    assert response.status_code == 200


async def test_a_key_shows_and_uses_only_its_models(path: Path) -> None:
    key = add_key(path, models=["tiny"])
    async with client(gateway(keyed(path))) as http:
        http.headers.update(bearer(key))
        listed = await http.get("/v1/models")
        hidden = await http.get("/v1/models/other")
        asked = await http.post(CHAT, json=HELLO | {"model": "other"})
        absent = await http.post(CHAT, json=HELLO | {"model": "absent"})
        counted = await http.post("/v1/tokenize", json={"model": "other-alias", "prompt": "Hi"})

    assert [model["id"] for model in listed.json()["data"]] == ["tiny"]
    assert {one.status_code for one in (hidden, asked, absent, counted)} == {404}
    assert asked.json()["error"] == {
        **absent.json()["error"],
        "message": absent.json()["error"]["message"].replace("absent", "other"),
    }


async def test_metrics_and_administration_are_for_admins(path: Path) -> None:
    key, admin = add_key(path), add_key(path, "root", admin=True)
    async with client(gateway(keyed(path))) as http:
        refused = await http.get("/metrics", headers=bearer(key))
        shown = await http.get("/metrics", headers=bearer(admin))
        hidden = await http.get("/admin/usage", headers=bearer(key))
    async with client(gateway(keyed(path, metrics_without_key=True))) as http:
        open_to_all = await http.get("/metrics")

    assert [refused.status_code, hidden.status_code] == [403, 403]
    assert [shown.status_code, open_to_all.status_code] == [200, 200]


async def test_keys_are_picked_up_as_they_come_and_go(path: Path) -> None:
    key, rewrite = add_key(path), path.write_text
    app = gateway(keyed(path))
    access = app.reception.access
    async with client(app) as http:
        later = add_key(path, "bob")
        before = await http.get("/v1/models", headers=bearer(later))
        await access.look()
        after = await http.get("/v1/models", headers=bearer(later))
        rewrite("keys: [")
        await access.look()
        broken = await http.get("/v1/models", headers=bearer(key))
        rewrite("keys: []")
        await access.look()
        revoked = await http.get("/v1/models", headers=bearer(key))
        nobody = await http.get("/v1/models")

    codes = [one.status_code for one in (before, after, broken, revoked, nobody)]
    assert codes == [401, 200, 200, 401, 401]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({}, None, id="loopback"),
        pytest.param({"host": "localhost", "grpc_host": "::1"}, None, id="loopback-names"),
        pytest.param({"host": "0.0.0.0"}, "GATEWAY_HOST", id="everywhere"),
        pytest.param({"host": "gateway.example"}, "GATEWAY_HOST", id="name"),
        pytest.param({"grpc_host": "::"}, "GATEWAY_GRPC_HOST", id="grpc"),
        pytest.param({"admin_host": "::"}, "GATEWAY_ADMIN_HOST", id="admin"),
        pytest.param({"admin_host": "::", "admin_port": 0}, None, id="no-admin"),
        pytest.param({"host": "0.0.0.0", "open": True}, None, id="said-so"),
        pytest.param({"grpc_host": "::", "grpc_tls_client_ca": "ca.pem"}, None, id="certificates"),
    ],
)
def test_others_reach_a_gateway_without_keys_only_where_that_is_said(
    settings: dict[str, Any], told: str | None
) -> None:
    given = Settings(**settings)

    if told is None:
        check_reach(given, Access(given))
        return
    with pytest.raises(SettingsError, match=f"{told} .*--open"):
        check_reach(given, Access(given))


def test_with_keys_any_address_may_be_bound(path: Path) -> None:
    add_key(path)
    given = keyed(path, host="0.0.0.0", grpc_host="0.0.0.0")

    check_reach(given, Access(given))


async def test_a_file_without_keys_lets_nobody_in(path: Path) -> None:
    async with client(gateway(keyed(path))) as http:
        response = await http.get("/v1/models")

    assert response.status_code == 401


@pytest.fixture
async def rpc(path: Path) -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    """A channel to a server that needs keys, and a key for `tiny`."""
    key = add_key(path, models=["tiny"])
    settings = keyed(path)
    engine = FakeEngine([text("Hello"), stop()])
    models = Models([tiny_model(engine), tiny_model(engine, "other")])
    server = RpcServer(settings, models, free_port("127.0.0.1", 0), Reception.of(settings))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield channel, key
    finally:
        await server.stop(0)


METHODS = [
    "/gateway.v1.ChatService/CreateChatCompletion",
    "/gateway.v1.ChatService/StreamChatCompletion",
    "/gateway.v1.CompletionService/CreateCompletion",
    "/gateway.v1.CompletionService/StreamCompletion",
    "/gateway.v1.ModelService/ListModels",
    "/gateway.v1.ModelService/GetModel",
    "/gateway.v1.TokenizeService/Tokenize",
    "/gateway.v1.TokenizeService/Detokenize",
]


@pytest.mark.usefixtures("grpc_server")
@pytest.mark.parametrize("method", METHODS)
async def test_without_a_good_key_no_method_answers(
    method: str, rpc: tuple[grpc.aio.Channel, str]
) -> None:
    channel, _ = rpc
    for metadata in ((), (("authorization", "Bearer sk-gw-alice-x"),)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in channel.unary_stream(method)(b"", metadata=metadata):
                pass

        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.usefixtures("grpc_server")
async def test_reflection_needs_a_key(rpc: tuple[grpc.aio.Channel, str]) -> None:
    channel, key = rpc
    ask = channel.unary_stream(REFLECTION)
    request = ServerReflectionRequest(list_services="").SerializeToString()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in ask(request):
            pass
    told = [one async for one in ask(request, metadata=(("authorization", f"Bearer {key}"),))]

    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert len(told) == 1


async def test_over_grpc_a_key_shows_only_its_models(rpc: tuple[grpc.aio.Channel, str]) -> None:
    channel, key = rpc
    list_models = channel.unary_unary("/gateway.v1.ModelService/ListModels")

    answer = await list_models(b"", metadata=(("x-api-key", key),))

    assert b"tiny" in answer
    assert b"other" not in answer


async def test_reflection_is_not_there_where_it_is_not_wanted() -> None:
    server = RpcServer(Settings(grpc_reflection="off"), Models(), free_port("127.0.0.1", 0))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in channel.unary_stream(REFLECTION)(b""):
                    pass
    finally:
        await server.stop(0)

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("settings", "tells"),
    [
        pytest.param({}, True, id="loopback"),
        pytest.param({"grpc_host": "0.0.0.0"}, False, id="everywhere"),
        pytest.param({"grpc_host": "0.0.0.0", "grpc_reflection": "on"}, True, id="said-so"),
    ],
)
def test_methods_are_told_on_loopback_or_where_that_is_said(
    settings: dict[str, Any], tells: bool
) -> None:
    assert tells_methods(Settings(**settings)) is tells


SIGNER, STRANGER = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())


def key_set(tmp_path: Path, *signers: tuple[str, Any]) -> str:
    """Write a set of the public keys of signers; return its path."""
    keys = [
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(one.public_key())) | {"kid": key_id}
        for key_id, one in signers
    ]
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


def token(signer: Any = SIGNER, key_id: str = "k1", alg: str = "ES256", **claims: Any) -> str:
    claims = {"sub": "carol", "aud": "gateway", "exp": time.time() + 600, **claims}
    return jwt.encode(claims, signer, alg, headers={"kid": key_id})


async def test_a_token_is_a_key_with_what_it_grants(tmp_path: Path) -> None:
    source = key_set(tmp_path, ("k1", SIGNER))
    app = gateway(Settings(jwt_keys=source, jwt_audience="gateway"))
    granted = token(gateway={"models": ["tiny"], "tenant": "team-a"})

    async with client(app) as http:
        listed = [await http.get("/v1/models", headers=bearer(granted)) for _ in range(2)]

    assert [[one["id"] for one in response.json()["data"]] for response in listed] == [["tiny"]] * 2


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(token(STRANGER), id="of-a-stranger"),
        pytest.param(token(key_id="k9"), id="unknown-key"),
        pytest.param(token(exp=time.time() - 60), id="expired"),
        pytest.param(token(aud="elsewhere"), id="for-others"),
        pytest.param(token(gateway={"models": "tiny"}), id="a-grant-that-is-none"),
        pytest.param(token(b"x" * 32, alg="HS256"), id="shared-secret"),
        pytest.param(token("", alg="none"), id="unsigned"),
        pytest.param(token(rsa_key(65537, 2048), alg="RS256"), id="another-kind"),
        pytest.param("x.y.z", id="nothing"),
        pytest.param("x" * 100_000, id="long"),
    ],
)
async def test_a_token_that_is_not_good_is_refused(given: str, tmp_path: Path) -> None:
    source = key_set(tmp_path, ("k1", SIGNER))

    async with client(gateway(Settings(jwt_keys=source, jwt_audience="gateway"))) as http:
        response = await http.get("/v1/models", headers=bearer(given))

    assert response.status_code == 401


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("http://keys.example/jwks", "https", id="plain-http"),
        pytest.param("/nowhere/jwks.json", "cannot be read", id="missing"),
        pytest.param("/dev/null", "no set of keys", id="empty"),
    ],
)
def test_a_set_of_keys_that_cannot_be_used_is_told_at_start(source: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Access(Settings(jwt_keys=source))


def test_routes_are_what_this_file_takes_them_for() -> None:
    found = dict(paths(create_app(Settings(), Models()).routes))

    assert {"/metrics", "/v1/models", "/v1/tokenize", CHAT, "/version", "/"} <= found.keys()
