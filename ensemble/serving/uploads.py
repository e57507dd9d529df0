"""The pictures and parameters of a request, however it brings them.

A form (multipart) brings any number of files; the body as it is, one picture; and an address, one
that is fetched where the settings allow it. Parameters come in the form or in the address.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from tagstack.configs.serving import ServeSettings
from tagstack.ensemble.serving.fetching import Fetcher
from tagstack.ensemble.serving.live import LiveStack
from tagstack.ensemble.serving.refusals import RefusedError

_FORM = "multipart/form-data"
_FIELDS = 2200  # all preferences and a few more
_FIELD_BYTES = 1 << 16
_FETCHES = 4  # at a time: the rest waits, each with its place in the queue
_URL = "image_url"


@dataclass(frozen=True)
class Upload:
    """A picture of a request: the name its sender gave it, which is only ever shown, and bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Asked:
    """What a request brings."""

    uploads: Sequence[Upload]
    parameters: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return every value of a parameter."""
        return [value for key, value in self.parameters if key == name]

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter's last value."""
        return (self.all(name) or [default])[-1]

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a parameter as a number from low to high.

        Raises
        ------
        RefusedError
            If it is none.
        """
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            msg = f"{name}={text!r} is no number from {low:g} to {high:g}."
            raise RefusedError(422, msg)
        return value


class UploadIntake:
    """Reads requests while there is room for what they bring.

    Parameters
    ----------
    live : LiveStack
    settings : ServeSettings
    fetcher : Fetcher, optional
        For addresses, where they are allowed; tests bring one that reaches their server.
    """

    def __init__(
        self, live: LiveStack, settings: ServeSettings, fetcher: Fetcher | None = None
    ) -> None:
        self._live = live
        self._settings = settings
        self._fetcher = fetcher or Fetcher(
            max_bytes=settings.request_bytes,
            seconds=settings.url_seconds,
            redirects=settings.url_redirects,
        )
        self._fetching = asyncio.Semaphore(_FETCHES)
        self._n_reading = 0

    async def asked(self, request: Request) -> Asked:
        """Return what a request brings: at least one picture.

        Raises
        ------
        QueueFullError
            Before anything is read, if there is no room.
        RefusedError
            If it brings no picture, too many, or an address that is not fetched.
        """
        with self._reading():
            try:
                found = await self._read(request)
            except ClientDisconnect:
                raise RefusedError(400, "The client went away.") from None
        if not found.uploads:
            msg = f"No picture: send it as the body, or as a file of a form ({_FORM})."
            raise RefusedError(422, msg)
        if len(found.uploads) > self._settings.files:
            msg = f"{len(found.uploads)} pictures; expected serve.files = {self._settings.files}."
            raise RefusedError(413, msg)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Hold a place, so that bodies in memory are bounded like the queue."""
        self._live.batcher.check_room(self._n_reading + 1)
        self._n_reading += 1
        try:
            yield
        finally:
            self._n_reading -= 1

    async def _read(self, request: Request) -> Asked:
        parameters = list(request.query_params.multi_items())
        uploads: list[Upload] = []
        if request.headers.get("content-type", "").lower().startswith(_FORM):
            limits = {"max_files": self._settings.files + 1, "max_fields": _FIELDS}
            async with request.form(**limits, max_part_size=_FIELD_BYTES) as form:
                for key, value in form.multi_items():
                    if not isinstance(value, UploadFile):
                        parameters.append((key, value))
                    elif value.filename or value.size:  # an empty field of a page has neither
                        uploads.append(Upload(value.filename or "", await value.read()))
        elif body := await request.body():
            uploads.append(Upload("", body))
        urls = [value for key, value in parameters if key == _URL and value]
        if len(uploads) + len(urls) <= self._settings.files:
            uploads += [await self._fetched(url) for url in urls]
        return Asked(uploads, parameters)

    async def _fetched(self, url: str) -> Upload:
        if not self._settings.image_url:
            raise RefusedError(403, f"{_URL} is off here (serve.image_url); send the picture.")
        async with self._fetching:
            return Upload(url, await asyncio.to_thread(self._fetcher.fetched, url))
