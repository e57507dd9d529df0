"""Who may ask: the token, the name that the service is called by, and the page that sends.

A page on the internet can make its visitor's browser send requests here. It is told apart by its
``Origin``; one whose name was made to lead here (DNS rebinding), by the ``Host`` that the browser
sends: localhost, an address, or a name of the settings. Answers carry no CORS header, so no other
origin reads them.
"""

import hmac
import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.serving.refusals import RefusedError

TOKEN_VARIABLE = "TAGSTACK_TOKEN"
# What monitors ask without a token: it says nothing but yes or no.
OPEN_PATHS = frozenset(("/healthz", "/readyz"))
_LEAST_TOKEN = 16  # characters; shorter ones are guessed
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
HEADERS = {
    # Everything off. A page that needs more sends a policy of its own.
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask.

    Parameters
    ----------
    token : str
        That every request must carry; empty for none.
    hosts : frozenset of str
        Names, in lower case, besides localhost and addresses.
    origins : frozenset of str
        Origins of other pages that may send.
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def has_token(self, headers: Headers) -> bool:
        """Return whether a request carries the token, in a time that does not tell how nearly."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return right and kind.lower() == "bearer" and bool(self.token)

    def check(self, scope: Scope) -> None:
        """Raise `RefusedError` if a request is not to be answered."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        if scope["method"] not in _SAFE:
            self._check_origin(headers)
        if self.token and scope["path"] not in OPEN_PATHS and not self.has_token(headers):
            msg = "A token is needed: send the header 'Authorization: Bearer TOKEN'."
            raise RefusedError(401, msg, {"WWW-Authenticate": "Bearer"})

    def _check_host(self, headers: Headers) -> None:
        named = headers.getlist("host")
        name = _name(f"//{named[0]}") if len(named) == 1 else ""
        if not (name == "localhost" or _is_address(name) or name in self.hosts):
            msg = f"Not called {name or 'nothing'!r} here. Add the name to serve.hosts."
            raise RefusedError(421, msg)

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None and headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return  # no browser, or a page of ours
        own = {f"{scheme}://{headers['host']}" for scheme in ("http", "https")}
        if origin not in own | self.origins:
            msg = f"Pages of {origin or 'another site'} may not send here. See serve.origins."
            raise RefusedError(403, msg)


def access_of(
    host: str,
    *,
    token: str,
    trust_proxy: bool,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> Access:
    """Return who may ask a service on an address.

    Raises
    ------
    TagstackError
        If others than this machine reach it and nobody asks them for a token.
    """
    if not (is_loopback(host) or token or trust_proxy):
        msg = (
            f"{host} is reached from other machines, so a token is needed: --token-file FILE or "
            f"the variable {TOKEN_VARIABLE}. Or say --trust-proxy if a proxy asks for one."
        )
        raise TagstackError(msg)
    return Access(
        token=token,
        hosts=frozenset(name.lower() for name in hosts),
        origins=frozenset(origin.rstrip("/") for origin in origins),
    )


def token_of(file: Path | None) -> str:
    """Return the token of a file, else of the environment; empty where there is none.

    Raises
    ------
    TagstackError
        If the file cannot be read, or the token is short or no plain text.
    """
    if file is None and TOKEN_VARIABLE not in os.environ:
        return ""
    try:
        text = os.environ[TOKEN_VARIABLE] if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TagstackError(f"Cannot read the token of {file}: {error}.") from error
    token = text.strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        msg = (
            f"The token of {file or TOKEN_VARIABLE} must be one word of at least {_LEAST_TOKEN} "
            "ASCII characters. Make one: python -c 'import secrets; print(secrets.token_hex())'"
        )
        raise TagstackError(msg)
    return token


def is_loopback(host: str) -> bool:
    """Return whether an address, or the name localhost, is reached from this machine alone."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


class Guard:
    """Refuses what may not be asked, and puts the safe headers on every answer.

    Parameters
    ----------
    app : ASGIApp
    access : Access
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._access.check(scope)
        except RefusedError as error:
            await error.answer()(scope, receive, safe)
            return
        await self._app(scope, receive, safe)


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
