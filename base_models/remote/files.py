"""Files elsewhere: listed, and read with bounds.

Object stores are read through fsspec, so that credentials, regions and endpoints are given as their
own tools take them. Web addresses are read by Python's own client, which is told to follow no
redirection into another scheme and to stop at the bound, whatever the server says.
"""

import http.client
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tagstack.base_models.addresses import OBJECT_STORES, scheme_of
from tagstack.configs.errors import TagstackError
from tagstack.configs.remote import RemoteSettings
from tagstack.configs.shown import shown

_CHUNK = 1 << 20
_OVER_THERE = 500  # from this status on it is the server's fault, and another attempt may help
_PASSING = (408, 425, 429)  # below it: too slow, too early, too many
_FIRST_PAUSE_S = 0.5  # before the second attempt, and twice as long before each further one
_SLOWEST = 1 << 14  # bytes a second; what comes slower for long would hold the run up
# Beside letters and digits; "#" is not, since a name is no place in a page.
_AS_THEY_ARE = "/:?&=+,;@!$'()*~%"


class RemoteError(TagstackError):
    """A file elsewhere that cannot be read; the message is the reason, without the address."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as a listing shows it.

    Parameters
    ----------
    name : str
        Below the listed address.
    size : int or None
        In bytes; None where the place does not say.
    version : str
        Another text for other content, as far as the place says; empty where it does not.
    """

    name: str
    size: int | None
    version: str


class RemoteFiles:
    """Reads and writes below one address; what it holds travels to other processes.

    Parameters
    ----------
    address : str
        Of a folder.
    settings : RemoteSettings
    """

    def __init__(self, address: str, settings: RemoteSettings) -> None:
        self.address, self.settings = address, settings
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # Connections belong to their process.
        return self.__dict__ | {"_opened": None}

    def listed(self) -> list[RemoteFile]:
        """Return every file below the address of an object store, sorted by name.

        Raises
        ------
        TagstackError
            If the place cannot be listed.
        """
        above = len(self._key("")) + 1
        with _blamed(f"Cannot list {shown(self.address)}"):
            found = self._store.find(self._key(""), detail=True)
        files = [
            RemoteFile(key[above:], facts.get("size"), _version(facts))
            for key, facts in found.items()
            if facts.get("type") == "file" and len(key) > above
        ]
        return sorted(files, key=lambda file: file.name)

    def itself(self) -> RemoteFile | None:
        """Return the file that the address of an object store is; None if it is a folder."""
        with _blamed(f"Cannot reach {shown(self.address)}"):
            if not self._store.isfile(self._key("")):
                return None
            facts = self._store.info(self._key(""))
        name = self.address.rpartition("/")[2]
        return RemoteFile(name, facts.get("size"), _version(facts))

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        RemoteError
            If it cannot be read, or has more bytes than that.
        """
        for attempt in range(1, self.settings.attempts + 1):
            try:
                data = self._read(name, max_bytes + 1)
                break
            except (FileNotFoundError, PermissionError, _RefusedError) as error:
                raise RemoteError(_reason(error)) from error
            except Exception as error:  # connections break in many ways
                pause = _pause(error, attempt)  # closes the connection that an answer holds
                if attempt == self.settings.attempts or pause is None:
                    raise RemoteError(_reason(error)) from error
            time.sleep(min(pause, self.settings.seconds))
        if len(data) > max_bytes:
            raise RemoteError(f"more than {max_bytes} bytes, which is all that is read of it")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Put a file into an object store, whole or not at all.

        Raises
        ------
        TagstackError
            If the store refuses.
        """
        with _blamed(f"Cannot write {shown(self.address)}/{name}"):
            self._store.pipe_file(self._key(name), data)

    def delete(self, names: list[str]) -> None:
        """Delete files of an object store."""
        if names:
            with _blamed(f"Cannot delete in {shown(self.address)}"):
                self._store.rm([self._key(name) for name in names])

    def _read(self, name: str, n_bytes: int) -> bytes:
        if scheme_of(self.address) in OBJECT_STORES:
            data: bytes = self._store.cat_file(self._key(name), start=0, end=n_bytes)
            return data
        seconds = self.settings.seconds
        with _opener().open(_asked_for(self.address, name), timeout=seconds) as answer:
            return b"".join(_pieces(answer, n_bytes, time.monotonic() + seconds))

    def _key(self, name: str) -> str:
        key = self.address.partition("://")[2]
        return f"{key}/{name}" if name else key

    @property
    def _store(self) -> Any:
        if self._opened is None:
            self._opened = _object_store(scheme_of(self.address), self.settings)
        return self._opened


def _asked_for(address: str, name: str) -> str:
    """Return a web address as it is sent: blanks, letters beyond ASCII and "#" as %-codes."""
    scheme, _, rest = f"{address}/{name}".partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}/{urllib.parse.quote(path, safe=_AS_THEY_ARE)}"


def _pieces(answer: http.client.HTTPResponse, n_bytes: int, ends: float) -> Iterator[bytes]:
    """Yield a body as far as the bound; refuse one that ends early, or comes drop by drop."""
    left = n_bytes
    while left > 0 and (piece := answer.read1(min(left, _CHUNK))):
        left -= len(piece)
        ends += len(piece) / _SLOWEST
        if time.monotonic() > ends:
            raise _RefusedError(f"it comes slower than {_SLOWEST >> 10} KiB a second")
        yield piece
    if left > 0 and answer.length:  # Python says nothing of it
        raise ConnectionError(f"the file ends {answer.length} bytes too early")


def _pause(error: Exception, attempt: int) -> float | None:
    """Return how long to wait before the next attempt, in seconds; None if none would help."""
    longer = math.ldexp(_FIRST_PAUSE_S, attempt - 1)
    if not isinstance(error, urllib.error.HTTPError):
        return longer
    error.close()  # it holds the connection
    if error.code not in _PASSING and error.code < _OVER_THERE:
        return None
    asked = str(error.headers.get("Retry-After", ""))
    return max(longer, float(asked)) if asked.isdecimal() else longer


class _RefusedError(Exception):
    """An answer that is not read."""


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows a redirection into the same scheme alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = newurl.partition(":")[0].lower()
        if scheme != req.type:
            fp.close()
            msg = f"it leads to another scheme, {shown(scheme)}, which is not followed"
            raise _RefusedError(msg)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()  # without files, data and FTP
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SameScheme(),
    ):
        opener.add_handler(handler)
    return opener


def _object_store(scheme: str, settings: RemoteSettings) -> Any:
    try:
        import fsspec

        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if scheme == "s3":
            options["config_kwargs"] = {
                "connect_timeout": settings.seconds,
                "read_timeout": settings.seconds,
            }
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        msg = f"{scheme}:// needs an extra ({error}): pip install 'tagstack[remote]'"
        raise TagstackError(msg) from error


def _version(facts: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "generation", "mtime", "created"):
        if facts.get(key):
            return f"{facts[key]} {facts.get('size')}"
    return ""


def _reason(error: Exception | None) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is gone, or may not be seen"
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {shown(str(error.reason))}"
    text = str(error).strip().splitlines() or [type(error).__name__]
    return shown(text[0])


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Turn whatever a store raises into one line that says what could not be done."""
    try:
        yield
    except TagstackError:
        raise
    except Exception as error:  # every store raises its own
        msg = (
            f"{what}: {_reason(error).rstrip('.')}. Expected a place that is there and may be "
            "read. Look at the address, and at the credentials and endpoint in the environment."
        )
        raise TagstackError(msg) from error
