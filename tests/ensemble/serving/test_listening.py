"""How a server ends: by its own limit, not by that of other commands."""

import signal
import socket

import pytest
import uvicorn

from tagstack.ensemble.serving.listening import bound, run_on


async def _nothing(scope: object, receive: object, send: object) -> None:
    """Answer nothing."""


def test_whoever_watches_for_signals_is_not_told_of_the_server_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that ends other commands two seconds after SIGTERM would cut answers off."""
    listening: list[int] = []
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda *_, **__: listening.append(signal.set_wakeup_fd(-1))
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    watcher, told = socket.socketpair()
    with watcher, told, bound("127.0.0.1", 0) as listener:
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno())
        try:
            run_on(listener, uvicorn.Config(_nothing), print)
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert listening == [-1]
