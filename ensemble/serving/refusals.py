"""Every answer that is an error: one line of JSON, ``{"error": "..."}``."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

from tagstack.configs.shown import shown


class RefusedError(Exception):
    """A request that is not answered as asked.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        What is wrong, the value, what was expected.
    headers : mapping, optional
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers

    def answer(self) -> JSONResponse:
        """Return what the client gets."""
        return error_answer(self.status, str(self), self.headers)


def error_answer(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error's answer; text from outside in it is shown escaped."""
    return JSONResponse({"error": shown(message)}, status, headers=dict(headers or {}))
