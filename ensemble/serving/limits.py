"""How much a request may bring, and how long it may take to bring it."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagstack.ensemble.serving.refusals import RefusedError


class BodyLimits:
    """Ends bodies that are too large or too slow; what is too large by its own word, unread.

    Parameters
    ----------
    app : ASGIApp
    max_bytes : int
    seconds : float
        From the request's beginning to its body's end.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "0")
        if said.isdecimal() and int(said[:20]) > self._max_bytes:
            await self._too_large().answer()(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        ends = time.monotonic() + self._seconds
        taken, complete = 0, False

        async def limited() -> Message:
            nonlocal taken, complete
            if complete:  # what comes now is the client's leaving, whenever that is
                return await receive()
            try:
                async with asyncio.timeout(max(0, ends - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                msg = f"The body took more than serve.body_seconds = {self._seconds:g}."
                raise RefusedError(408, msg) from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._max_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"More than serve.request_bytes = {self._max_bytes} bytes.")
