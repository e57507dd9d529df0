"""The page's server: what may be asked, and the answers. Who may ask is the guard's business."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagstack.base_models.pictures.images import ImageError
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.ensemble.feedback.decision import Decision, Shown, Standing
from tagstack.ensemble.feedback.label_rows import decided_rows, labels_csv
from tagstack.ensemble.review.queue import ORDERS
from tagstack.ensemble.review.thumbnails import Thumbnails
from tagstack.ensemble.review.views import SORTS, View, Views

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}
_BODY_BYTES = 65_536
_PAGE = 200  # rows at a time, at most


class Review:
    """The routes of the review page.

    Parameters
    ----------
    views : Views
    thumbnails : Thumbnails
    """

    def __init__(self, views: Views, thumbnails: Thumbnails) -> None:
        self.views, self.desk, self.thumbnails = views, views.desk, thumbnails
        folder = resources.files("tagstack.ensemble.review").joinpath("templates")
        self._files = {
            name: folder.joinpath(f"review.{name}").read_bytes() for name in ("html", "css", "js")
        }

    def app(self) -> Starlette:
        """Return the application, without a guard."""
        reads: Mapping[str, Callable[[Request], View]] = {
            "/api/state": lambda _: self.views.state(),
            "/api/cards": self._cards,
            "/api/image": lambda request: self.views.image(self._image(request)),
            "/api/images": self._images,
            "/api/tags": lambda request: self.views.tags(_text(request, "q"), 12),
            "/api/board": self._board,
            "/api/done": lambda _: self.views.done(),
        }
        writes: Mapping[str, Callable[[Mapping[str, Any]], View]] = {
            "/api/answer": self._answer,
            "/api/image/answer": self._answer_with_rules,
            "/api/undo": self._undo,
        }
        routes = [Route("/", self._file("html")), Route("/review.css", self._file("css"))]
        routes += [Route("/review.js", self._file("js")), Route("/picture/{key}", self._picture)]
        routes += [Route("/labels.csv", self._labels), Route("/favicon.ico", _nothing)]
        routes += [Route(path, _read(view)) for path, view in reads.items()]
        routes += [Route(path, _write(view), methods=["POST"]) for path, view in writes.items()]
        handlers = {HTTPException: _refused, TagstackError: _wrong}
        return Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]

    def _file(self, name: str) -> Callable[[Request], Any]:
        headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
        media = f"{_TYPES[name]}; charset=utf-8"

        async def answer(_: Request) -> Response:
            return Response(self._files[name], headers=headers, media_type=media)

        return answer

    async def _picture(self, request: Request) -> Response:
        sizes = self.desk.settings
        small = request.query_params.get("size") == "small"
        side = sizes.thumbnail_px if small else sizes.picture_px

        def made() -> bytes:
            path = self.desk.path(self.desk.place(request.path_params["key"]))
            return self.thumbnails.jpeg(path, side)

        try:
            content = await run_in_threadpool(made)
        except ImageError as error:
            raise HTTPException(404, f"The picture cannot be shown: {error}.") from error
        headers = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    async def _labels(self, _: Request) -> Response:
        rows = decided_rows(self.desk.store, self.desk.consequences.implied)
        content = await run_in_threadpool(labels_csv, rows)
        headers = {"content-disposition": 'attachment; filename="labels.csv"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    def _cards(self, request: Request) -> View:
        order = _one_of(request, "order", ORDERS)
        n = _count(request, "n", 3, 8)
        client = _text(request, "page")[:64]
        found = next(own for own in ORDERS if own == order)
        return self.views.cards(client, found, _text(request, "tag"), n)

    def _image(self, request: Request) -> int:
        key = _text(request, "image")
        return self.desk.place(key) if key else 0

    def _images(self, request: Request) -> View:
        offset, limit = _count(request, "offset", 0), _count(request, "limit", 60, _PAGE)
        return self.views.images(_text(request, "q"), offset, limit)

    def _board(self, request: Request) -> View:
        offset, limit = _count(request, "offset", 0), _count(request, "limit", 60, _PAGE)
        sort = _one_of(request, "sort", SORTS)
        return self.views.board(_text(request, "q"), sort, offset, limit)

    def _answer(self, body: Mapping[str, Any]) -> View:
        decision = self._decision(body, _shown(body.get("shown")))
        return {"before": _said(self.desk.answer(decision))}

    def _answer_with_rules(self, body: Mapping[str, Any]) -> View:
        image = self.desk.place(_field(body, "image"))
        tag = _field(body, "tag")
        self.desk.tag_index(tag)
        decision = self._decision(body, self.desk.shown(image, tag, "picture"))
        if decision.answer == "skip":
            raise TagstackError("Here a tag is there or not; expected 'yes' or 'no'.")
        found, before = self.desk.answer_with_rules(decision)
        follow = [{"tag": f.tag, "there": f.there, "because": f.because} for f in found]
        return {"follow": follow, "before": _said(before), **self.views.image(image)}

    def _undo(self, body: Mapping[str, Any]) -> View:
        action = body.get("action")
        back = self.desk.undo(_field(body, "who"), action if isinstance(action, str) else None)
        return {
            "back": [
                {"tag": item.tag, "answer": item.answer, "name": shown(item.image)} for item in back
            ]
        }

    def _decision(self, body: Mapping[str, Any], shown_: Shown) -> Decision:
        image = self.desk.place(_field(body, "image"))
        tag = _field(body, "tag")
        self.desk.tag_index(tag)
        answer = _field(body, "answer")
        return Decision(
            who=_field(body, "who"),
            image=self.desk.ground.images[image],
            content=self.desk.ground.contents[image],
            tag=tag,
            answer=answer,  # type: ignore[arg-type]  # the decision refuses what is none
            shown=shown_,
            token=_field(body, "token"),
        )


def _read(view: Callable[[Request], View]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return _json(await run_in_threadpool(view, request))

    return answer


def _write(view: Callable[[Mapping[str, Any]], View]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise HTTPException(415, "Expected application/json.")
        body = b""
        async with asyncio.timeout(30):
            async for part in request.stream():
                body += part
                if len(body) > _BODY_BYTES:
                    raise HTTPException(413, f"More than {_BODY_BYTES} bytes.")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "The body is no JSON.") from error
        if not isinstance(found, dict):
            raise HTTPException(400, "Expected an object.")
        return _json(await run_in_threadpool(view, found))

    return answer


def _json(view: View, status: int = 200) -> Response:
    """Return JSON in ASCII, so that any text can be told, and nothing in it is markup."""
    content = json.dumps(view, allow_nan=False)
    return Response(content, status, media_type="application/json")


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _refused(_: Request, error: HTTPException) -> Response:
    return _json({"error": shown(error.detail)}, error.status_code)


async def _wrong(_: Request, error: TagstackError) -> Response:
    return _json({"error": shown(str(error))}, 400)


def _shown(value: object) -> Shown:
    """Return what the page says that it showed, held to what can be."""
    given = value if isinstance(value, dict) else {}

    def number(name: str) -> float | None:
        own = given.get(name)
        if not isinstance(own, int | float) or isinstance(own, bool):
            return None
        try:
            return float(own)
        except OverflowError:  # of a whole number with hundreds of digits
            raise TagstackError(f"{name} is beyond all numbers; expected one in [0, 1].") from None

    return Shown(
        bundle=str(given.get("bundle", ""))[:64],
        thresholds=str(given.get("thresholds", ""))[:200],
        proba=number("proba"),
        threshold=number("threshold"),
        tagged=given.get("tagged") is True,
        order=str(given.get("order", ""))[:20],
        propensity=number("propensity"),
        probe=given.get("probe") is True,
        judging=given.get("judging") is True,
    )


def _said(standing: Standing | None) -> View | None:
    if standing is None:
        return None
    ago = max(0, time.time() - standing.at_s)
    return {"who": shown(standing.who), "answer": standing.answer, "ago_s": round(ago)}


def _field(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise TagstackError(f"{name!r} is {value!r:.60}; expected a text.")
    return value


def _text(request: Request, name: str) -> str:
    return request.query_params.get(name, "")[:500]


def _count(request: Request, name: str, otherwise: int, most: int = 10**9) -> int:
    text = request.query_params.get(name, str(otherwise))
    if not text.isdecimal() or len(text) > 10:
        raise TagstackError(f"{name} is {shown(text[:40])!r}; expected a whole number.")
    return min(int(text), most)


def _one_of(request: Request, name: str, allowed: tuple[str, ...]) -> str:
    text = request.query_params.get(name, allowed[0])
    if text not in allowed:
        raise TagstackError(f"{name} is {shown(text[:40])!r}; expected one of {list(allowed)}.")
    return text
