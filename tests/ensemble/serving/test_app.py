"""What the service answers: the same tags as from Python, however pictures come, and in one line
what is wrong with them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tagstack
from tagstack.configs.settings import Settings

Start = Callable[..., TestClient]


@pytest.fixture(scope="module")
def expected(made: Path, pictures: list[bytes]) -> list[tuple[str, ...]]:
    with tagstack.load(made / "bundle", settings={"threads": 1}) as stack:
        return [tagged.names for tagged in stack.tag_many(pictures)]


def tags_of(answer: Any) -> list[tuple[str, ...]]:
    assert answer.status_code == 200, answer.text
    return [tuple(one["tags"]) for one in answer.json()["images"]]


def test_a_picture_has_the_tags_that_python_gives_whichever_way_it_comes(
    client: TestClient, pictures: list[bytes], expected: list[tuple[str, ...]]
) -> None:
    raw = client.post("/tags", content=pictures[0])
    form = client.post("/tags", files={"file": ("ä <b>.png", pictures[0])})
    assert tags_of(raw) == tags_of(form) == expected[:1]
    assert form.json()["images"][0]["image"] == "ä <b>.png"
    assert re.fullmatch("[0-9a-f]{12}", raw.json()["bundle"])
    assert raw.json()["thresholds"] == "fit"
    (picture,) = raw.json()["images"]
    probas = [one["proba"] for one in picture["candidates"]]
    assert probas == sorted(probas, reverse=True)
    assert picture["moderation"] is None


def test_several_files_are_answered_in_their_order_and_a_bad_one_costs_itself(
    client: TestClient, pictures: list[bytes], expected: list[tuple[str, ...]]
) -> None:
    contents = [*pictures[:3], b"no picture", pictures[3]]
    files = [("file", (f"{n}.png", data)) for n, data in enumerate(contents)]
    answer = client.post("/tags", files=files)
    assert tags_of(answer) == [*expected[:3], (), expected[3]]
    errors = [one["error"] for one in answer.json()["images"]]
    assert errors == ["", "", "", "not an image that can be read: unknown format", ""]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "No picture"),
        (b"no picture", 422, "unknown format"),
        (b"\x89PNG\r\n\x1a\n", 422, "Cannot read the picture"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(
    client: TestClient, content: bytes, status: int, message: str
) -> None:
    answer = client.post("/tags", content=content)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_evaluate_answers_as_danbooru_s_client_reads_it(
    client: TestClient, pictures: list[bytes]
) -> None:
    answer = client.post(
        "/evaluate",
        files={"file": ("1.png", pictures[0])},
        data={"threshold": "0.01", "format": "json"},
    )
    (first,) = answer.json()
    assert first["filename"] == "1.png"
    assert list(first["tags"].values()) == sorted(first["tags"].values(), reverse=True)
    assert min(first["tags"].values()) < 0.05  # less than what other answers list
    assert any(re.fullmatch("rating:[gsqe]", tag) for tag in first["tags"])
    few = client.post("/evaluate?format=json&threshold=0&limit=3", content=pictures[0])
    assert list(few.json()[0]["tags"]) == list(first["tags"])[:3]


def test_evaluate_has_a_page_for_people_and_shows_names_escaped(
    client: TestClient, pictures: list[bytes]
) -> None:
    page = client.post("/evaluate", files={"file": ("<script>.png", pictures[0])})
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;.png" in page.text
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/evaluate?threshold=a", "threshold='a' is no number from 0 to 1"),
        ("/evaluate?threshold=nan", "threshold='nan' is no number"),
        ("/evaluate?format=xml", "format='xml' is none of html, json"),
        ("/tags?floor=2", "floor='2' is no number from 0 to 1"),
        ("/tags?prefer=solo", "prefer='solo' is no TAG:WEIGHT"),
        ("/tags?prefer=solo:-1", "above 0"),
        ("/explain?tag=1gril", "Did you mean 1girl"),
    ],
)
def test_a_parameter_of_no_use_is_named(
    client: TestClient, pictures: list[bytes], path: str, message: str
) -> None:
    answer = client.post(path, content=pictures[0])
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_explain_says_what_led_to_a_tag(
    client: TestClient, pictures: list[bytes], expected: list[tuple[str, ...]]
) -> None:
    tag = expected[0][0]
    found = client.post(f"/explain?tag={tag}", content=pictures[0]).json()
    (entry,) = found["entries"]
    assert (entry["tag"], entry["tagged"]) == (tag, True)
    assert set(entry["votes"]) == {"doll_resnet", "doll_vit"}
    everything = client.post("/explain", content=pictures[0]).json()
    assert {e["tag"] for e in everything["entries"] if e["tagged"]} == set(expected[0])


def test_preferences_order_and_filter_and_change_no_probability(
    client: TestClient, pictures: list[bytes], expected: list[tuple[str, ...]]
) -> None:
    last, first = expected[0][-1], expected[0][0]
    plain = client.post("/tags", content=pictures[0]).json()["images"][0]
    (mine,) = client.post(
        "/tags", params={"prefer": f"{last}:1000", "hide": [first, "category:rating"]},
        content=pictures[0],
    ).json()["images"]  # fmt: skip
    assert mine["tags"][0] == last
    assert first not in mine["tags"]
    assert mine["hidden"] == len(plain["tags"]) - len(mine["tags"]) >= 1
    probas = {one["tag"]: one for one in plain["candidates"]}
    assert all(one == probas[one["tag"]] for one in mine["candidates"])
    assert not any(one["category"] == "rating" for one in mine["candidates"])


def test_policies_answer_whatever_a_user_hides(
    served: Start, settings_with: Callable[..., Settings], pictures: list[bytes],
    expected: list[tuple[str, ...]],
) -> None:  # fmt: skip
    tag = expected[0][0]
    client = served(settings_with(moderation={"block": [f"{tag}>=.02"]}))
    (picture,) = client.post(f"/tags?hide={tag}", content=pictures[0]).json()["images"]
    assert tag not in picture["tags"]
    assert picture["moderation"]["answer"] == "block"
    assert picture["moderation"]["reasons"][0]["policy"] == f"{tag}>=.02"
    assert client.get("/bundle").json()["moderation"]["block"] == [f"{tag}>=.02"]
    assert 'tagstack_pictures_total{outcome="block"} 1' in client.get("/metrics").text


def test_the_bundle_is_described_without_paths(client: TestClient, made: Path) -> None:
    answer = client.get("/bundle")
    found = answer.json()
    assert found["thresholds"] == "fit"
    assert set(found["taggers"]) == {"doll_resnet", "doll_vit"}
    assert sum(found["tags"].values()) == len(tagstack.load(made / "bundle").tags)
    assert str(made) not in answer.text


def test_health_metrics_and_docs_answer(client: TestClient, pictures: list[bytes]) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"ok": True}
    client.post("/tags", content=pictures[0])
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    assert re.search(r'tagstack_requests_total\{path="/tags",status="200"\} [1-9]', text)
    assert 'path="other",status="404"' in text
    assert "made" not in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+(\{.+="[^"]*"\})? [0-9.e+-]+', line), line
    page = client.get("/")
    assert page.url.path == "/docs"
    for path in ("/tags", "/evaluate", "/explain", "/bundle", "/reload", "/metrics"):
        assert path in client.get("/openapi.json").json()["paths"]
        assert f" {path}</code>" in page.text
    assert not re.search(r"https?://|<script|<link", page.text)  # works offline


def test_answers_are_as_the_document_says(client: TestClient, pictures: list[bytes]) -> None:
    import jsonschema

    document = client.get("/openapi.json").json()
    answer = client.post("/tags", content=pictures[0]).json()
    schema = {**document, "$ref": "#/components/schemas/TagsAnswer"}
    jsonschema.validate(answer, schema)
    jsonschema.validate(
        client.get("/bundle").json(), {**document, "$ref": "#/components/schemas/BundleAnswer"}
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/tags", 405), ("GET", "/../bundle/manifest.json", 404)],
)
def test_there_is_nothing_else(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_another_page_comes_in_under_the_same_guard(served: Start) -> None:
    from fastapi import APIRouter

    router = APIRouter()
    router.add_api_route("/review", lambda: {"page": 1})
    client = served(routers=[router])
    assert client.get("/review").json() == {"page": 1}
    assert client.get("/review", headers={"host": "evil.example"}).status_code == 421


def test_head_answers_as_get_does_without_a_body(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/bundle", "/docs", "/metrics", "/openapi.json"):
        head, got = client.head(path), client.get(path)
        assert head.status_code == got.status_code == 200, path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert client.head("/tags").status_code == 405
    assert "head" not in client.get("/openapi.json").json()["paths"]["/healthz"]


def test_a_form_that_is_none_is_told_with_one_full_stop(client: TestClient) -> None:
    kind = {"content-type": "multipart/form-data"}
    answer = client.post("/tags", content=b"--x", headers=kind)
    assert answer.status_code == 400
    assert answer.json() == {"error": "Missing boundary in multipart."}
