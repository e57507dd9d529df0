"""Runs the review page: binds its address, serves it until it is told to stop."""

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tagstack.configs.settings import Settings
from tagstack.ensemble.review.app import Review
from tagstack.ensemble.review.desk import Desk
from tagstack.ensemble.review.thumbnails import Thumbnails
from tagstack.ensemble.review.views import Views
from tagstack.ensemble.serving.guard import Access, Guard, access_of, token_of
from tagstack.ensemble.serving.running import bound

_COOKIE = "tagstack_token"
_DRAIN_S = 5


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Where the page is served, and to whom.

    Parameters
    ----------
    host : str
        Address or name to listen on.
    port : int
        0 takes one that is free.
    who : str
        Whom the page takes its visitor for until told otherwise.
    token_file : Path, optional
        With the token that visitors must know; else that of the environment counts.
    trust_proxy : bool
        Whether a proxy in front says who may ask.
    """

    host: str
    port: int
    who: str
    token_file: Path | None = None
    trust_proxy: bool = False


class TokenCookie:
    """Lets a browser carry the guard's token: given once in the address, then as a cookie.

    Parameters
    ----------
    app : ASGIApp
        The guarded one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if given and scope["path"] == "/":
                answer = RedirectResponse("/", 303)
                answer.set_cookie(_COOKIE, given, httponly=True, samesite="strict")
                answer.headers["referrer-policy"] = "no-referrer"
                await answer(scope, receive, send)
                return
            if token := _cookie(Headers(scope=scope)):
                header = (b"authorization", f"Bearer {token}".encode("latin-1", "replace"))
                scope = {**scope, "headers": [*scope["headers"], header]}
        await self._app(scope, receive, send)


def guarded(desk: Desk, settings: Settings, access: Access, who: str) -> ASGIApp:
    """Return the page of a review, for those who may ask."""
    page = Review(Views(desk, who), Thumbnails(settings.score))
    return TokenCookie(Guard(page.app(), access))


def serve_page(
    desk: Desk, settings: Settings, request: PageRequest, told: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C; ``told`` is given the address once it answers.

    Raises
    ------
    TagstackError
        If the address is taken, or open to others without a token.
    """
    import uvicorn

    token = token_of(request.token_file)
    access = access_of(
        request.host,
        token=token,
        trust_proxy=request.trust_proxy,
        hosts=settings.serve.hosts,
        origins=settings.serve.origins,
    )
    with bound(request.host, request.port) as listener:
        config = uvicorn.Config(
            guarded(desk, settings, access, request.who),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        host, port = listener.getsockname()[:2]
        query = f"?{urlencode({'token': token})}" if token else ""
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/{query}"
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # uvicorn raises again what it ended by

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                told(url)

        Server(config).run(sockets=[listener])


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[_COOKIE].value if _COOKIE in found else ""
