"""HEAD, for what GET answers: the same status and headers, and the server leaves the body out.

Monitors and ``curl -I`` ask so whether a service is there (RFC 9110, section 9.3.2).
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class AnswerHeads:
    """Ask the application for what a HEAD would be the head of.

    Parameters
    ----------
    app : ASGIApp
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the server knows by its own scope that no body is wanted."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
