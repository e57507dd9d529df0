"""Listens on an address for whoever may ask, and serves there until told to stop."""

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagstack.configs.errors import TagstackError
from tagstack.configs.serving import ServeSettings

if TYPE_CHECKING:  # both come with an extra
    import uvicorn

    from tagstack.ensemble.serving.guard import Access


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where something is served, and to whom.

    Parameters
    ----------
    host : str
        Address or name to listen on.
    port : int
        0 takes one that is free.
    token_file : Path, optional
        With the token that every visitor must know; else that of the environment counts.
    trust_proxy : bool
        Whether a proxy in front says who may ask.
    """

    host: str
    port: int
    token_file: Path | None = None
    trust_proxy: bool = False

    def access(self, settings: ServeSettings) -> "Access":
        """Return who may ask.

        Raises
        ------
        TagstackError
            If others than this machine reach it and nobody asks them for a token.
        """
        from tagstack.ensemble.serving.guard import access_of, token_of

        return access_of(
            self.host,
            token=token_of(self.token_file),
            trust_proxy=self.trust_proxy,
            hosts=settings.hosts,
            origins=settings.origins,
        )


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that holds an address; taggers are not opened for one that is taken.

    Raises
    ------
    TagstackError
        If it cannot be had.
    """
    found: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        if found is not None:
            found.close()
        msg = f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another --port."
        raise TagstackError(msg) from error
    return found


def run_on(listener: socket.socket, config: "uvicorn.Config", told: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; ``told`` is given the address once it answers."""
    import uvicorn

    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises again what it ended by
    # What ends other commands two seconds after a signal is told of none here: the server finishes
    # what it has taken first, and has its own limit for that.
    signal.set_wakeup_fd(-1)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            told(url)

    Server(config).run(sockets=[listener])
