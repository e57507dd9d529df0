"""Fetches pictures by address, from public addresses alone.

A service that fetches what it is told to can be told to ask its own network. So a name is resolved
here, every address it has must be public, and the connection goes to that very address: there is
no second look-up that could answer otherwise. A redirect is a new address and is checked as one.
Proxies of the environment are not used.
"""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Timer
from urllib.parse import SplitResult, urljoin, urlsplit

from tagstack import __version__
from tagstack.ensemble.serving.refusals import RefusedError

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_CHUNK = 1 << 16
_LONGEST = 2048  # characters of an address


class Fetcher:
    """Fetches one picture at a time; any thread may call it.

    Parameters
    ----------
    max_bytes : int
    seconds : float
        For the whole of a fetch, redirects included.
    redirects : int
        At most so many.
    may_reach : callable, optional
        Whether an address and port are open to everybody; tests let their own servers in.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        seconds: float,
        redirects: int,
        may_reach: "Callable[[str, int], bool] | None" = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._redirects = redirects
        self._may_reach = may_reach or is_public

    def fetched(self, url: str) -> bytes:
        """Return the bytes at an address.

        Raises
        ------
        RefusedError
            If it is no address of http or https, not public, or answers with no picture in time.
        """
        ends = time.monotonic() + self._seconds
        for _ in range(self._redirects + 1):
            try:
                found = self._asked(url, ends)
            except (OSError, HTTPException, ValueError) as error:
                late = time.monotonic() >= ends
                why = f"it took more than serve.url_seconds = {self._seconds:g}" if late else error
                raise RefusedError(422, f"Cannot fetch {url[:200]}: {why}.") from error
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise RefusedError(422, f"More than serve.url_redirects = {self._redirects} redirects.")

    def _asked(self, url: str, ends: float) -> bytes | str:
        """Return the bytes of an address, or where it says to look instead."""
        parts, port = _parts(url)
        connection = self._connected(parts, port, ends)
        cut = Timer(_left(ends), _cut, [connection.sock])  # a timeout of the socket is one a read
        cut.start()
        try:
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            headers = {"Accept": "image/*", "User-Agent": f"tagstack/{__version__}"}
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if answer.status in _REDIRECTS and (location := answer.getheader("Location")):
                return location
            if answer.status != 200:
                raise RefusedError(422, f"{url[:200]} answers {answer.status}.")
            return self._body(answer, ends)
        finally:
            cut.cancel()
            connection.close()

    def _connected(self, parts: SplitResult, port: int, ends: float) -> HTTPConnection:
        host = parts.hostname or ""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(item[4][0]) for item in found]
        if not all(self._may_reach(address, port) for address in addresses):
            raise RefusedError(422, f"{host} is no public address; nothing is fetched from it.")
        connection = HTTPConnection(host, port)
        connection.default_port = _PORTS[parts.scheme]
        plain = socket.create_connection((addresses[0], port), timeout=_left(ends))
        connection.sock = plain
        if parts.scheme == "https":
            connection.sock = _tls().wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
        return connection

    def _body(self, answer: HTTPResponse, ends: float) -> bytes:
        taken = bytearray()
        while chunk := answer.read1(_CHUNK):
            taken += chunk
            if len(taken) > self._max_bytes:
                raise RefusedError(413, f"More than {self._max_bytes} bytes at that address.")
        _left(ends)  # a body that was cut looks like one that ended
        if answer.length:
            raise HTTPException(f"the body ends {answer.length} bytes too early")
        return bytes(taken)


def is_public(address: str, port: int) -> bool:
    """Return whether everybody on the internet reaches an address, at a port of web servers.

    Addresses that carry another one (IPv4 in IPv6, 6to4, NAT64) are judged by both.

    Examples
    --------
    >>> is_public("127.0.0.1", 80), is_public("8.8.8.8", 443), is_public("8.8.8.8", 22)
    (False, True, False)
    >>> is_public("::ffff:10.0.0.1", 80), is_public("64:ff9b::7f00:1", 80)
    (False, False)
    """
    try:
        own = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return port in _PORTS.values() and all(
        one.is_global and not one.is_multicast and not one.is_reserved for one in _all(own)
    )


def _all(own: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return an address and those that it carries; without the wrapping of a mapped one."""
    if isinstance(own, IPv4Address):
        return [own]
    if own.ipv4_mapped is not None:
        return [own.ipv4_mapped]
    carried = [own.sixtofour, *(own.teredo or ())]
    if own.packed[:12] == bytes.fromhex("0064ff9b") + bytes(8):
        # Python calls the prefix global or not by its version; what counts is where it leads.
        return [IPv4Address(own.packed[12:])]
    return [own, *(one for one in carried if one is not None)]


def _parts(url: str) -> tuple[SplitResult, int]:
    parts = urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= _LONGEST
    if not plain or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        msg = f"{url[:200]!r} is no address of a picture; expected http:// or https://, no password"
        raise RefusedError(422, f"{msg}.")
    return parts, parts.port or _PORTS[parts.scheme]


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _cut(own: socket.socket) -> None:
    with suppress(OSError):  # below TLS, whose own state belongs to the thread that reads
        socket.socket.shutdown(own, socket.SHUT_RDWR)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
