"""Files elsewhere: listed, and read with bounds.

Object stores are read through fsspec, so that credentials, regions and endpoints are given as their
own tools take them. Web addresses are read by Python's own client, which is told to follow no
redirection into another scheme and to stop at the bound, whatever the server says.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tagstack.base_models.remote.address import OBJECT_STORES, scheme_of
from tagstack.configs.errors import TagstackError
from tagstack.configs.remote import RemoteSettings
from tagstack.configs.shown import shown

_CHUNK = 1 << 20
_OVER_THERE = 500  # from this status on it is the server's fault, and another attempt may help


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
        last: Exception | None = None
        for _ in range(self.settings.attempts):
            try:
                data = self._read(name, max_bytes + 1)
            except (FileNotFoundError, PermissionError, _RefusedError) as error:
                raise RemoteError(_reason(error)) from error
            except urllib.error.HTTPError as error:
                error.close()  # it holds the connection
                last = error
                if error.code < _OVER_THERE:
                    break
                continue
            except Exception as error:  # connections break in many ways
                last = error
                continue
            if len(data) > max_bytes:
                raise RemoteError(f"more than {max_bytes} bytes, which is all that is read of it")
            return data
        raise RemoteError(_reason(last)) from last

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
        request = urllib.request.Request(f"{self.address}/{name}" if name else self.address)
        with _opener().open(request, timeout=self.settings.seconds) as answer:
            return b"".join(_pieces(answer, n_bytes))

    def _key(self, name: str) -> str:
        key = self.address.partition("://")[2]
        return f"{key}/{name}" if name else key

    @property
    def _store(self) -> Any:
        if self._opened is None:
            self._opened = _object_store(scheme_of(self.address), self.settings)
        return self._opened


def _pieces(answer: http.client.HTTPResponse, n_bytes: int) -> Iterator[bytes]:
    left = n_bytes
    while left > 0 and (piece := answer.read(min(left, _CHUNK))):
        left -= len(piece)
        yield piece


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
