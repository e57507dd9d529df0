"""What the service counts, as Prometheus reads it (text exposition format 0.0.4)."""

import time
from bisect import bisect_left
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagstack.ensemble.serving.live import LiveStack

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
_OTHER = "other"


class RequestCounts:
    """Requests and pictures since the start; only the event loop writes them.

    Parameters
    ----------
    live : LiveStack
    """

    def __init__(self, live: LiveStack) -> None:
        self._live = live
        self._requests: Counter[tuple[str, int]] = Counter()
        self._pictures: Counter[str] = Counter()
        self._seconds = [0] * (len(_BOUNDS) + 1)
        self._sum_seconds = 0.0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request: its route (never what a client made up), status and seconds."""
        self._requests[path, status] += 1
        self._seconds[bisect_left(_BOUNDS, seconds)] += 1
        self._sum_seconds += seconds

    def picture(self, outcome: str) -> None:
        """Count a picture: tagged, failed, or the answer of the policies."""
        self._pictures[outcome] += 1

    def text(self) -> str:
        """Return everything as text."""
        batcher = self._live.batcher
        lines = _metric("tagstack_requests_total", "counter", "Requests by route and status.")
        lines += [
            f'tagstack_requests_total{{path="{path}",status="{status}"}} {n}'
            for (path, status), n in sorted(self._requests.items())
        ]
        lines += self._histogram("tagstack_request_seconds", "Seconds from request to answer.")
        lines += _counted("tagstack_pictures_total", "Pictures by outcome.", self._pictures)
        lines += _counted("tagstack_reloads_total", "Reloads by outcome.", self._live.reloads)
        for name, kind, help_text, value in (
            ("tagstack_queue_length", "gauge", "Pictures waiting.", batcher.n_waiting),
            ("tagstack_batches_total", "counter", "Batches scored.", batcher.batches),
            ("tagstack_batch_pictures_total", "counter", "Pictures in them.", batcher.items),
        ):
            lines += [*_metric(name, kind, help_text), f"{name} {value}"]
        versions = self._live.versions
        lines += _metric("tagstack_in_use", "gauge", "The bundle and its thresholds in use.")
        lines += [
            f'tagstack_in_use{{bundle="{versions.bundle}",thresholds="{versions.thresholds}"}} 1'
        ]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str, help_text: str) -> list[str]:
        lines, total = _metric(name, "histogram", help_text), 0
        for bound, n in zip((*map(str, _BOUNDS), "+Inf"), self._seconds, strict=True):
            total += n
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum_seconds:.6f}", f"{name}_count {total}"]


class Counted:
    """Counts every answer.

    Parameters
    ----------
    app : ASGIApp
    counts : RequestCounts
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", _OTHER)
            self._counts.request(path, status, time.monotonic() - began)


def _metric(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _counted(name: str, help_text: str, counts: "Counter[str] | dict[str, int]") -> list[str]:
    lines = _metric(name, "counter", help_text)
    return lines + [f'{name}{{outcome="{key}"}} {n}' for key, n in sorted(counts.items())]
