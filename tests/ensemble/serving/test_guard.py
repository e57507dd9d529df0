"""Who may ask: addresses, names, origins, tokens; and what every answer carries."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.serving.guard import (
    HEADERS,
    Access,
    Guard,
    access_of,
    is_loopback,
    token_of,
)

TOKEN = "a-token-of-some-length"
URL = "http://127.0.0.1"


async def answered(_: Request) -> Response:
    return PlainTextResponse("answered")


@pytest.fixture(scope="module")
def guarded() -> Callable[[Access], TestClient]:
    """Return a maker of a guarded page, for every path and method that the guard may name."""
    paths = ("/", "/healthz", "/readyz", "/metrics")
    routes = [Route(path, answered, methods=["GET", "POST"]) for path in paths]
    return lambda access: TestClient(Guard(Starlette(routes=routes), access), base_url=URL)


@pytest.fixture(scope="module")
def named(guarded: Callable[[Access], TestClient]) -> TestClient:
    """Return one that is also called booru.example, and takes what its pages send."""
    return guarded(
        access_of(
            "127.0.0.1",
            token="",
            trust_proxy=False,
            hosts=("Booru.example",),
            origins=("https://booru.example/",),
        )
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    assert access_of(host, token="", trust_proxy=False).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "booru.example", ""])
def test_elsewhere_a_token_or_a_proxy_is_needed(host: str) -> None:
    with pytest.raises(TagstackError, match="a token is needed: --token-file"):
        access_of(host, token="", trust_proxy=False)
    assert access_of(host, token=TOKEN, trust_proxy=False).token == TOKEN
    assert access_of(host, token="", trust_proxy=True).token == ""


def test_a_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAGSTACK_TOKEN", raising=False)
    assert token_of(None) == ""
    monkeypatch.setenv("TAGSTACK_TOKEN", TOKEN)
    assert token_of(None) == TOKEN
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}-of-the-file\n")
    assert token_of(path) == f"{TOKEN}-of-the-file"
    for bad in ("", "short", "two words of enough characters", "ä" * 20):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(TagstackError, match="must be one word of at least 16") as caught:
            token_of(path)
        assert not bad or bad not in str(caught.value)
    with pytest.raises(TagstackError, match="Cannot read the token"):
        token_of(tmp_path)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN}"}, 200),
    ],
)
def test_the_token_opens_everything_and_nothing_else_does(
    guarded: Callable[[Access], TestClient], header: dict[str, str], status: int
) -> None:
    client = guarded(Access(token=TOKEN))
    for answer in (
        client.get("/", headers=header),
        client.get("/metrics", headers=header),
        client.post("/", headers=header),
    ):
        assert answer.status_code == status
        assert TOKEN not in answer.text
        assert status == 200 or answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8600", 200),
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("[::1]:8600", 200),
        ("192.0.2.7", 200),
        ("booru.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_only_known_names_and_addresses_are_answered(
    named: TestClient, host: str, status: int
) -> None:
    answer = named.get("/", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://booru.example"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8080"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://["}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_pages_of_others_may_not_send(
    named: TestClient, headers: dict[str, str], status: int
) -> None:
    assert named.post("/", headers=headers).status_code == status


def test_every_answer_carries_the_safe_headers_and_lets_no_other_origin_read(
    named: TestClient,
) -> None:
    evil = {"origin": "http://evil.example"}
    for answer in (
        named.get("/", headers=evil),
        named.get("/nowhere"),
        named.post("/", headers=evil),
        named.options("/", headers=evil),
    ):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert not any(name.startswith("access-control") for name in answer.headers)
