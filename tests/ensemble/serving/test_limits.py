"""How much may come, and how fast: refused before it costs anything."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.serving.limits import BodyLimits
from tagstack.ensemble.serving.listening import bound
from tagstack.ensemble.serving.refusals import RefusedError
from tagstack.ensemble.serving.running import serving_settings

Start = Callable[..., TestClient]


def png(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (side, side), 128).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def strict(settings_with: Callable[..., Settings]) -> Settings:
    return settings_with(serve={"request_bytes": 5000, "pixels": 90_000, "files": 3, "queue": 3})


def test_bytes_pixels_and_files_are_bounded(served: Start, strict: Settings) -> None:
    client = served(strict)
    for answer in (
        client.post("/tags", content=b"x" * 5001),
        client.post("/tags", content=iter([b"x" * 3000] * 2)),  # no length is said
        client.post("/tags", files={"file": b"x" * 5001}),
    ):
        assert answer.status_code == 413
        assert answer.json() == {"error": "More than serve.request_bytes = 5000 bytes."}
    assert len(png(301)) < 5000
    large = client.post("/tags", content=png(301))
    assert (large.status_code, "pixels" in large.json()["error"]) == (422, True)
    assert client.post("/tags", content=png(300)).status_code == 200
    for n_files in (4, 30):
        many = client.post("/tags", files=[("file", ("1.png", png(8)))] * n_files)
        assert many.status_code in (400, 413), many.text
        assert list(many.json()) == ["error"]
    assert client.post("/tags", files=[("file", ("1.png", png(8)))] * 3).status_code == 200


def test_a_full_queue_says_when_to_come_again_and_reads_nothing(
    served: Start, strict: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagstack.ensemble.serving.batching import Batcher

    client = served(strict)
    monkeypatch.setattr(Batcher, "n_waiting", 99)
    monkeypatch.setattr(Batcher, "check_room", _full)
    answer = client.post("/tags", content=b"not even looked at")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json() == {"error": "Too busy: try again in 7 seconds."}
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def _full(_: object, n_items: int) -> None:
    from tagstack.ensemble.serving.batching import QueueFullError

    raise QueueFullError(7)


def test_pictures_by_address_are_off_unless_allowed(
    served: Start, settings_with: Callable[..., Settings], client: TestClient
) -> None:
    off = client.post("/tags?image_url=http://8.8.8.8/1.png")
    assert off.status_code == 403
    assert "serve.image_url" in off.json()["error"]
    on = served(settings_with(serve={"image_url": True}))
    inside = on.post("/tags", files={"image_url": (None, "http://127.0.0.1/1.png")})
    assert inside.status_code == 422
    assert "no public address" in inside.json()["error"]


def test_a_picture_by_address_is_tagged_like_its_file(
    served: Start, settings_with: Callable[..., Settings], pictures: list[bytes]
) -> None:
    class Fetcher:
        def fetched(self, url: str) -> bytes:
            return {"http://x.example/1.png": pictures[0]}[url]

    client = served(settings_with(serve={"image_url": True}), fetcher=Fetcher())
    both = client.post(
        "/tags?image_url=http://x.example/1.png", files={"file": ("1.png", pictures[0])}
    ).json()["images"]
    assert [one["image"] for one in both] == ["1.png", "http://x.example/1.png"]
    assert both[0]["tags"] == both[1]["tags"] != []


def test_a_body_that_never_comes_is_given_up() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
        except RefusedError as error:
            await error.answer()(scope, receive, send)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(BodyLimits(app, max_bytes=10, seconds=0.05)(scope, never, send))
    assert sent[0]["status"] == 408
    assert "serve.body_seconds = 0.05" in json.loads(sent[1]["body"])["error"]


def test_the_stack_is_as_strict_as_the_service_and_lists_enough(
    settings_with: Callable[..., Settings],
) -> None:
    settings = settings_with(
        serve={"pixels": 100, "request_bytes": 200},
        score={"max_pixels": 90, "max_file_bytes": 300},
        moderation={"block": ["gore>=.002"]},
    )
    own = serving_settings(settings)
    assert (own.score.max_pixels, own.score.max_file_bytes) == (90, 200)
    assert own.output.score_floor == 0.002
    assert serving_settings(settings_with()).output.score_floor == 0.01


def test_an_address_that_is_taken_is_told_before_anything_is_opened() -> None:
    with bound("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(TagstackError, match=rf"Cannot listen on 127\.0\.0\.1:{port}: .*--port"):
            bound("127.0.0.1", port)
    with pytest.raises(TagstackError, match=r"Cannot listen on no\.such\.name\.invalid"):
        bound("no.such.name.invalid", 0)
