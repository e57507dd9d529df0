"""The service as an ASGI application: routes, what they say of themselves, and what guards them.

Other pages (`routers`) come in under the same guard: they need no check of their own.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from tagstack import __version__
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.serving import answers
from tagstack.ensemble.serving.arms import unit_of
from tagstack.ensemble.serving.batching import QueueFullError, WaitedTooLongError
from tagstack.ensemble.serving.fetching import Fetcher
from tagstack.ensemble.serving.guard import Access, Guard
from tagstack.ensemble.serving.heads import AnswerHeads
from tagstack.ensemble.serving.limits import BodyLimits
from tagstack.ensemble.serving.live import LiveStack
from tagstack.ensemble.serving.metrics import CONTENT_TYPE, Counted, RequestCounts
from tagstack.ensemble.serving.pages import evaluated_page, operations_page
from tagstack.ensemble.serving.preferences import Preferences
from tagstack.ensemble.serving.refusals import RefusedError, error_answer
from tagstack.ensemble.serving.uploads import UploadIntake

logger = logging.getLogger("tagstack")

SUMMARY = 'Tags pictures with a fitted stack. Every error is one line: {"error": "..."}.'
ARM_HEADER = "X-Tagstack-Arm"
_EVALUATE_LIMIT = 50  # tags of a picture, as danbooru's autotagger lists them
_ERROR = {"model": answers.ErrorAnswer}
_BUSY: dict[int | str, dict[str, Any]] = {
    422: {"description": "a picture or parameter is of no use", **_ERROR},
    429: {"description": "the queue is full: come again after Retry-After seconds", **_ERROR},
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "image_url": {"type": "string", "description": "where serve.image_url is on"},
                },
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


def create_app(
    live: LiveStack,
    access: Access,
    settings: Settings,
    *,
    routers: Sequence[APIRouter] = (),
    fetcher: Fetcher | None = None,
    experiment: Experiment | None = None,
) -> FastAPI:
    """Return the application; it starts ``live`` when it is started, and stops it at its end.

    Parameters
    ----------
    live : LiveStack
    access : Access
    settings : Settings
        As the user gave them; the stack's own may list more candidates.
    routers : sequence of APIRouter
        Further pages.
    fetcher : Fetcher, optional
        For pictures by address.
    experiment : Experiment, optional
        Whose arms tag the pictures; answers name the arm of each.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await live.start()
        try:
            yield
        finally:
            await live.stop()

    app = FastAPI(
        title="tagstack",
        version=__version__,
        description=SUMMARY,
        docs_url=None,  # FastAPI's own pages load their script from the network
        redoc_url=None,
        lifespan=running,
    )
    counts = RequestCounts(live)
    intake = UploadIntake(live, settings.serve, fetcher)
    routes = _Routes(live, access, settings, counts, intake, experiment)
    app.include_router(_operations(routes))
    for router in routers:
        app.include_router(router)
    _answer_errors(app)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return operations_page(app.openapi())

    @app.get("/", include_in_schema=False)
    async def start() -> Response:
        return RedirectResponse("docs")

    # The last one added is the first one asked.
    app.add_middleware(AnswerHeads)
    app.add_middleware(
        BodyLimits, max_bytes=settings.serve.request_bytes, seconds=settings.serve.body_seconds
    )
    app.add_middleware(Guard, access=access)
    app.add_middleware(Counted, counts=counts)
    return app


@dataclass(frozen=True)
class _Routes:
    """What the operations have in common, and each of them as a method."""

    live: LiveStack
    access: Access
    settings: Settings
    counts: RequestCounts
    intake: UploadIntake
    experiment: Experiment | None

    async def tags(self, request: Request) -> Response:
        """Tag pictures: files of a form, or one as the body.

        A picture that cannot be read costs only itself; where none can, the answer is 422.
        """
        asked = await self.intake.asked(request)
        preferences = Preferences.of(asked.all("prefer"), asked.all("hide"))
        floor = asked.number("floor", self.settings.output.score_floor, 0, 1)
        judged = await self.live.judged([upload.data for upload in asked.uploads])
        names = [upload.name for upload in asked.uploads]
        self._count(judged)
        failed = list(answers.failures(names, judged))
        if len(failed) == len(judged):
            raise RefusedError(422, f"Cannot read {'; '.join(failed)}.")
        share = self.settings.output.unconfirmed
        images = [
            answers.picture_answer(name, one, preferences, floor=floor, share=share)
            for name, one in zip(names, judged, strict=True)
        ]
        arms = [self._arm(upload.data) for upload in asked.uploads]
        for image, arm in zip(images, arms, strict=True):
            image |= arm
        given = [arm["arm"] for arm in arms if arm]
        headers = {ARM_HEADER: ",".join(given)} if given else None
        return JSONResponse({**vars(judged[0].versions), "images": images}, headers=headers)

    async def evaluate(self, request: Request) -> Response:
        """Answer as danbooru's autotagger: every tag with at least the threshold.

        Probabilities are the stack's, before rules and thresholds.
        """
        asked = await self.intake.asked(request)
        threshold = asked.number("threshold", 0.1, 0, 1)
        limit = int(asked.number("limit", _EVALUATE_LIMIT, 1, 100_000))
        form = asked.text("format", "html")
        if form not in ("html", "json"):
            raise RefusedError(422, f"format={form!r} is none of html, json.")
        judged = await self.live.judged([upload.data for upload in asked.uploads])
        names = [upload.name for upload in asked.uploads]
        self._count(judged)
        if failed := list(answers.failures(names, judged)):
            raise RefusedError(422, f"Cannot read {'; '.join(failed)}.")
        found = [
            {"filename": name, "tags": answers.evaluated(one.tagged, threshold, limit)}
            for name, one in zip(names, judged, strict=True)
        ]
        answer = evaluated_page(found) if form == "html" else JSONResponse(found)
        if given := [arm["arm"] for upload in asked.uploads if (arm := self._arm(upload.data))]:
            answer.headers[ARM_HEADER] = ",".join(given)
        return answer

    async def explain(self, request: Request) -> Response:
        """Say why a tag is on a picture or not: each vote, the stack, the threshold, the rule.

        Without `tag`, all candidates.
        """
        asked = await self.intake.asked(request)
        if len(asked.uploads) != 1:
            raise RefusedError(422, f"{len(asked.uploads)} pictures; expected one to explain.")
        tag = asked.text("tag") or None
        found, versions = await self.live.explained(asked.uploads[0].data, tag)
        return JSONResponse(answers.explanation_answer(found, versions))

    async def bundle(self) -> Response:
        """Say what is in use: the fit, its thresholds, taggers, tags and policies."""
        return JSONResponse(answers.bundle_answer(self.live))

    async def reload(self, request: Request) -> Response:
        """Read the bundle's folder again; only with the token, whatever the address.

        No request is dropped, and a bundle that cannot be used leaves the old one in use.
        """
        if not self.access.has_token(request.headers):
            raise RefusedError(403, "Reloading needs the token that the service was started with.")
        changed = await self.live.reload()
        return JSONResponse({**vars(self.live.versions), "changed": changed})

    async def healthz(self) -> Response:
        """Say that the process answers."""
        return JSONResponse({"ok": True})

    async def readyz(self) -> Response:
        """Say whether pictures are taken: 503 while starting, stopping, or with a full queue."""
        if not self.live.ready:
            raise RefusedError(503, "Not ready: the service is starting or stopping.")
        try:
            self.live.batcher.check_room(1)
        except QueueFullError as error:
            raise RefusedError(503, f"Not ready: the queue is full, {error}.") from error
        return JSONResponse({"ok": True})

    async def metrics(self) -> Response:
        """Return counters for Prometheus."""
        return PlainTextResponse(self.counts.text(), media_type=CONTENT_TYPE)

    def _arm(self, picture: bytes) -> dict[str, str]:
        """Return the arm of a picture and the unit that its outcome is told of."""
        if self.experiment is None:
            return {}
        unit = unit_of(picture)
        arm = self.experiment.arm_of(unit)
        own = self.experiment.arms[arm]
        return {"arm": arm, "unit": unit, "thresholds": own.thresholds}

    def _count(self, judged: Sequence[Any]) -> None:
        for one in judged:
            verdict = "tagged" if one.verdict is None else one.verdict.answer
            self.counts.picture("failed" if one.tagged.failure else verdict)


def _operations(routes: _Routes) -> APIRouter:
    router = APIRouter()

    def add(path: str, call: Any, answer: Any, *, body: bool = False, **parameters: str) -> None:
        extra: dict[str, Any] = {"parameters": [_parameter(*item) for item in parameters.items()]}
        router.add_api_route(
            path,
            call,
            methods=["POST" if body or path == "/reload" else "GET"],
            responses={200: {"description": "done", "model": answer}, **(_BUSY if body else {})},
            response_class=JSONResponse,
            response_model=None,
            openapi_extra=extra | ({"requestBody": _BODY} if body else {}),
        )

    add(
        "/tags", routes.tags, answers.TagsAnswer, body=True,
        prefer="TAG:WEIGHT, repeatable: orders by probability times weight",
        hide="a tag, wildcard or category:NAME to leave out, repeatable",
        floor="list candidates from this probability on",
    )  # fmt: skip
    add(
        "/evaluate", routes.evaluate, list[answers.EvaluatedPicture], body=True,
        threshold="least probability, 0.1 by default", format="html (default) or json",
        limit=f"most tags of a picture, {_EVALUATE_LIMIT} by default",
    )  # fmt: skip
    add("/explain", routes.explain, dict[str, Any], body=True, tag="one tag; all without it")
    add("/bundle", routes.bundle, answers.BundleAnswer)
    add("/reload", routes.reload, answers.ReloadAnswer)
    add("/healthz", routes.healthz, dict[str, bool])
    add("/readyz", routes.readyz, dict[str, bool])
    router.add_api_route("/metrics", routes.metrics, response_class=PlainTextResponse)
    return router


def _parameter(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",  # or a field of the form
        "required": False,
        "description": text,
        "schema": {"type": "string"},
    }


def _answer_errors(app: FastAPI) -> None:
    """Make one line of everything that goes wrong."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return error.answer()

    @app.exception_handler(QueueFullError)
    async def full(_: Request, error: QueueFullError) -> Response:
        status = 503 if isinstance(error, WaitedTooLongError) else 429
        retry = {"Retry-After": str(error.retry_after)}
        return error_answer(status, f"Too busy: {error}.", retry)

    @app.exception_handler(TagstackError)
    async def ours(_: Request, error: TagstackError) -> Response:
        return error_answer(422, str(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return error_answer(error.status_code, f"{error.detail.rstrip('.')}.", error.headers)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> Response:
        logger.error("A fault of tagstack itself", exc_info=error)
        return error_answer(500, "A fault of tagstack itself; its log says more. Please report it.")
