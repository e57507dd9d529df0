"""Runs the review page: binds its address, serves it until it is told to stop."""

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tagstack.configs.settings import Settings
from tagstack.ensemble.review.app import Review
from tagstack.ensemble.review.desk import Desk
from tagstack.ensemble.review.thumbnails import Thumbnails
from tagstack.ensemble.review.views import Views
from tagstack.ensemble.serving.guard import Access, Guard
from tagstack.ensemble.serving.listening import Listening, bound, run_on

_COOKIE = "tagstack_token"
_DRAIN_S = 5


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
    desk: Desk,
    settings: Settings,
    listening: Listening,
    who: str,
    told: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; ``told`` is given the address once it answers.

    Parameters
    ----------
    desk : Desk
    settings : Settings
    listening : Listening
    who : str
        Whom the page takes its visitor for until told otherwise.
    told : callable

    Raises
    ------
    TagstackError
        If the address is taken, or open to others without a token.
    """
    import uvicorn

    access = listening.access(settings.serve)
    query = f"?{urlencode({'token': access.token})}" if access.token else ""
    with bound(listening.host, listening.port) as listener:
        config = uvicorn.Config(
            guarded(desk, settings, access, who),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        run_on(listener, config, lambda url: told(f"{url}/{query}"))


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return found[_COOKIE].value if _COOKIE in found else ""
