"""Pictures by address: from public addresses alone, however the address is dressed up."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tagstack.ensemble.serving.fetching import Fetcher, is_public
from tagstack.ensemble.serving.refusals import RefusedError


class Pages(BaseHTTPRequestHandler):
    """A server with a picture, redirects, and bad manners."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0]
        if kind == "/picture":
            self.answer(200, b"a picture")
        elif kind == "/moved":
            self.answer(302, b"", location="/picture")
        elif kind == "/inside":
            self.answer(302, b"", location="http://10.0.0.1/admin")
        elif kind == "/file":
            self.answer(302, b"", location="file:///etc/passwd")
        elif kind == "/round":
            self.answer(307, b"", location="/round")
        elif kind == "/large":
            self.answer(200, b"x" * 2000)
        elif kind == "/short":
            self.answer(200, b"x", length=10)
        elif kind == "/slow":
            self.send_response(200)
            self.end_headers()
            while True:  # a byte at a time, each in time for itself
                try:
                    self.wfile.write(b"x")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.02)
        else:
            self.answer(404, b"no")

    def answer(
        self, status: int, body: bytes, *, location: str = "", length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    own = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{own.server_port}"
    own.shutdown()
    thread.join()
    own.server_close()


def let_in(address: str, port: int) -> bool:
    """Take the test's own server for a public one."""
    return (address == "127.0.0.1" and port > 1024) or is_public(address, port)


def fetcher(**changes: float) -> Fetcher:
    options = {"max_bytes": 1000, "seconds": 5.0, "redirects": 2, **changes}
    return Fetcher(
        max_bytes=int(options["max_bytes"]),
        seconds=options["seconds"],
        redirects=int(options["redirects"]),
        may_reach=let_in,
    )


def test_a_picture_is_fetched_also_after_a_redirect(server: str) -> None:
    assert fetcher().fetched(f"{server}/picture?a=b#c") == b"a picture"
    assert fetcher().fetched(f"{server}/moved") == b"a picture"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/inside", 422, "10.0.0.1 is no public address"),
        ("/file", 422, "expected http:// or https://"),
        ("/round", 422, "More than serve.url_redirects = 2"),
        ("/large", 413, "More than 1000 bytes"),
        ("/short", 422, "too early|IncompleteRead"),
        ("/gone", 422, "answers 404"),
    ],
)
def test_what_is_no_picture_for_all_is_refused(
    server: str, path: str, status: int, message: str
) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        fetcher().fetched(f"{server}{path}")
    assert caught.value.status == status


def test_a_server_that_drips_is_cut_off(server: str) -> None:
    began = time.monotonic()
    with pytest.raises(RefusedError, match=r"more than serve\.url_seconds = 0\.3"):
        fetcher(seconds=0.3).fetched(f"{server}/slow")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",  # 127.0.0.1 as one number
        "http://0x7f.1/",
        "http://0/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:7f00:1::]/",
        "http://224.0.0.1/",
        "http://8.8.8.8:22/",
        "http://user:password@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "http:///",
        "http://8.8.8.8:99999/",
        "http://8.8.8.8/a b",
        "http://8.8.8.8/\r\nX: y",
        "//8.8.8.8/",
        "",
        "http://8.8.8.8/" + "a" * 3000,
        "http://[/",
    ],
)
def test_nothing_else_is_even_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        pytest.fail("a connection was made")

    monkeypatch.setattr("socket.create_connection", asked)
    with pytest.raises(RefusedError, match=r"."):
        Fetcher(max_bytes=10, seconds=1, redirects=1).fetched(url)


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to another address the second time (DNS rebinding)."""
    port = int(server.rpartition(":")[2])
    looked_up: list[str] = []

    def look_up(host: str, *_: object, **__: object) -> list[object]:
        looked_up.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    monkeypatch.setattr("socket.create_connection", _connected)
    assert fetcher().fetched(f"http://name.example:{port}/picture") == b"a picture"
    assert looked_up == ["name.example"]


def test_one_private_address_among_several_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ("8.8.8.8", "192.168.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(RefusedError, match="is no public address"):
        fetcher().fetched("http://two.example/")


def _connected(address: tuple[str, int], timeout: float) -> object:
    import socket

    own = socket.socket()
    own.settimeout(timeout)
    own.connect(address)
    return own
