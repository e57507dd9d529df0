"""The review page's answers, and its decisions as labels that a fit reads."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")

from starlette.testclient import TestClient

from tagstack.configs.settings import load_settings
from tagstack.ensemble.feedback.decision import Answer, Decision, Shown
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.review.running import guarded
from tagstack.ensemble.serving.guard import Access
from tagstack.ensemble.tasks.review import ReviewRequest, opened_review
from tagstack.meta.labels.label_files import read_labels

Client = Any
HOSTILE = os.fsdecode(b'a \xff"><img src=x onerror=alert(1)>.png')


def opened(small: Path, out: Path, access: Access, **more: Any) -> Iterator[tuple[Client, Any]]:
    request = ReviewRequest(
        bundle=small / "bundle",
        images=small / "images",
        out=out,
        **{"scores": small / "scores", **more},
    )
    settings = load_settings()
    with opened_review(request, settings, Silent()) as desk:
        app = guarded(desk, settings, access, "ann")
        with TestClient(app, base_url="http://localhost") as client:
            while client.get("/api/state").json()["ready"] < 150:
                assert not desk.fault
            yield client, desk


@pytest.fixture
def review(small: Path, tmp_path: Path) -> Iterator[tuple[Client, Any]]:
    yield from opened(small, tmp_path / "review", Access())


def card_of(client: Client, **more: Any) -> dict[str, Any]:
    found = client.get("/api/cards", params={"page": "c", "n": 1, **more}).json()
    return dict(found["cards"][0])


def answer(client: Client, card: dict[str, Any], said: str, who: str = "ann") -> dict[str, Any]:
    body = {
        "image": card["image"], "tag": card["tag"], "shown": card["shown"], "answer": said,
        "who": who, "token": os.urandom(8).hex(),
    }  # fmt: skip
    reply = client.post("/api/answer", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_decision_is_kept_with_what_was_shown_and_exported(
    review: tuple[Client, Any], tmp_path: Path, done: Callable[..., str], small: Path
) -> None:
    client, desk = review
    said = {}
    for order in ("wrong", "missing", "useful", "random"):
        card = card_of(client, order=order)
        expected = order in ("useful", "random") or card["shown"]["probe"]  # a probe is any pair
        assert expected or card["has"] is (order == "wrong")
        assert answer(client, card, "no")["before"] is None
        said[card["image"], card["tag"]] = card
    kept = [decision for _, _, _, decision, _ in desk.store.log()]
    for decision, card in zip(kept, said.values(), strict=True):
        assert decision.shown.propensity == card["shown"]["propensity"]
        assert decision.shown.bundle == card["shown"]["bundle"]
        assert len(decision.content) == 64
    assert [decision.shown.judging for decision in kept] == [False, False, False, True]
    again = card_of(client, order="wrong")
    assert (again["image"], again["tag"]) not in said
    assert client.get("/api/done").json()["answers"] == 4
    by_page = client.get("/labels.csv").content
    out = tmp_path / "labels.csv"
    review_folder = desk.store.path.parent
    done(
        "feedback", "export", "--review", review_folder, "--out", out, "--bundle", small / "bundle"
    )
    assert out.read_bytes() == by_page
    rows = {row.image: row for row in read_labels(out).rows}
    assert all(row.unknown == ("*",) and row.tags == () for row in rows.values())
    assert {row.columns["part"] for row in rows.values()} == {"train", "judge"}
    told = json.loads(
        done("feedback", "import", small / "labels.csv", "--images", small / "images",
             "--review", review_folder, "--json")
    )  # fmt: skip
    assert told["decisions"] > 1000
    assert client.get("/api/done").json()["answers"] > 1000


def test_cards_are_kept_for_the_page_that_shows_them_and_given_to_no_other(
    review: tuple[Client, Any],
) -> None:
    client, _ = review
    first = card_of(client, order="wrong")
    assert card_of(client, order="wrong")["id"] == first["id"]  # opened again
    others = [card_of(client, order="wrong", page=f"o{n}") for n in range(20)]
    pairs = [(card["image"], card["tag"]) for card in (first, *others)]
    assert len(set(pairs)) == 21


def test_undo_opens_the_question_again_and_another_persons_word_is_told(
    review: tuple[Client, Any],
) -> None:
    client, desk = review
    card = card_of(client, order="missing", tag="smile")
    left = client.get("/api/cards", params={"order": "missing", "tag": "smile"}).json()["left"]
    answer(client, card, "yes")
    before = answer(client, card, "no", who="bob")["before"]
    assert (before["who"], before["answer"]) == ("ann", "yes")
    for who in ("bob", "ann"):
        back = client.post("/api/undo", json={"who": who}).json()["back"]
        assert [item["tag"] for item in back] == ["smile"]
    assert client.post("/api/undo", json={"who": "ann"}).json() == {"back": []}
    again = client.get("/api/cards", params={"order": "missing", "tag": "smile"}).json()
    assert again["left"] == left
    assert list(desk.store.standing()) == []


def test_adding_a_tag_applies_the_rules(review: tuple[Client, Any]) -> None:
    client, _ = review
    image, body = client.get("/api/image").json(), {"who": "ann", "answer": "yes"}
    tags = {row["tag"] for row in image["tags"] if row["has"]}
    new = "1boy" if "1girl" in tags else "1girl"
    body |= {"image": image["image"], "tag": new, "token": "t1"}
    after = client.post("/api/image/answer", json=body).json()
    now = {row["tag"] for row in after["tags"] if row["has"]}
    assert new in now
    assert {item["tag"] for item in after["follow"]} == tags ^ now - {new}
    client.post("/api/undo", json={"who": "ann"})
    back = client.get("/api/image", params={"image": image["image"]}).json()
    assert {row["tag"] for row in back["tags"] if row["has"]} == tags


def test_the_board_loses_what_was_answered(review: tuple[Client, Any]) -> None:
    client, desk = review
    rows = client.get("/api/board", params={"limit": 200}).json()["rows"]
    worst = [row["wrong"] + row["missing"] for row in rows]
    assert worst == sorted(worst, reverse=True)
    table = desk.queue.table
    assert sum(row["wrong"] for row in rows) == pytest.approx((1 - table.proba[table.has]).sum())
    cards = client.get("/api/cards", params={"page": "c", "n": 20, "order": "wrong"}).json()
    card = next(card for card in cards["cards"] if not card["shown"]["probe"])
    answer(client, card, "no")
    (row,) = client.get("/api/board", params={"q": card["tag"], "limit": 1}).json()["rows"]
    (old,) = [own for own in rows if own["tag"] == card["tag"]]
    assert row["wrong"] == pytest.approx(old["wrong"] - 1 + card["shown"]["proba"], abs=1e-6)
    assert row["overturned"] == 1
    assert row["looked"] > 1e9
    assert row["verified"] == pytest.approx(1 / row["has"])


def test_nothing_but_the_folders_pictures_and_answers_is_given(review: tuple[Client, Any]) -> None:
    client, desk = review
    key = desk.key(0)
    assert client.get(f"/picture/{key}").content.startswith(b"\xff\xd8")
    for path in ("/picture/..%2f..%2fetc%2fpasswd", "/picture/x", "/labels", "/templates/"):
        assert client.get(path).status_code in (400, 404), path
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    body = {"who": "x"}
    evil = {"origin": "http://evil.example"}
    assert client.post("/api/undo", json=body, headers=evil).status_code == 403
    plain = {"content-type": "text/plain"}
    assert client.post("/api/undo", content="{}", headers=plain).status_code == 415
    for bad in ("[]", "{", "x" * 70_000, '{"who": 3}'):
        reply = client.post("/api/undo", content=bad, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 413)
        assert reply.json()["error"]
    shown = {"propensity": 7}
    said = {"image": key, "tag": "smile", "answer": "yes", "who": "a", "token": "t"}
    reply = client.post("/api/answer", json={**said, "shown": shown})
    assert "propensity" in reply.json()["error"]
    for name in ("proba", "threshold", "propensity"):
        reply = client.post("/api/answer", json={**said, "shown": {name: 10**400}})
        assert reply.status_code == 400
        assert reply.json()["error"] == f"{name} is beyond all numbers; expected one in [0, 1]."


def test_a_token_is_asked_for_and_carried_by_a_cookie(small: Path, tmp_path: Path) -> None:
    access = Access(token="a-token-of-some-length")
    request = ReviewRequest(
        bundle=small / "bundle", images=small / "images", out=tmp_path, scores=small / "scores"
    )
    with opened_review(request, load_settings(), Silent()) as desk:
        app = guarded(desk, load_settings(), access, "ann")
        with TestClient(app, base_url="http://localhost") as client:
            assert client.get("/api/state").status_code == 401
            assert client.get("/", params={"token": "wrong"}).status_code == 401
            assert client.get("/", params={"token": access.token}).status_code == 200
            assert client.get("/api/state").status_code == 200


def test_labels_say_what_pictures_have_and_a_second_run_makes_nothing_again(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {row.image: set(row.tags) for row in read_labels(small / "labels.csv").rows}
    out = tmp_path / "review"
    for _, desk in opened(small, out, Access(), labels=small / "labels.csv"):
        tags = desk.ground.bundle.vocabulary.tags
        image = desk.ground.images[3]
        assert set(desk.tags_of(3)) == labels[image] & set(tags)
        first = desk.queue.table
    monkeypatch.setattr("tagstack.ensemble.review.ground.ReviewGround._answers", None)
    for _, desk in opened(small, out, Access(), labels=small / "labels.csv"):
        assert np.array_equal(desk.queue.table.proba, first.proba)


def test_without_scores_the_folder_is_scored_and_hostile_names_are_only_text(
    small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(small / "images/doll_000001.png", folder / HOSTILE)
    (folder / "broken.png").write_bytes(b"no picture")
    (tmp_path / "secret.png").write_bytes((small / "images/doll_000002.png").read_bytes())
    request = ReviewRequest(bundle=small / "bundle", images=folder, out=tmp_path / "out")
    with opened_review(request, load_settings(), Silent()) as desk:
        app = guarded(desk, load_settings(), Access(), "ann")
        with TestClient(app, base_url="http://localhost") as client:
            while client.get("/api/state").json()["ready"] < 1:
                assert not desk.fault
            image = client.get("/api/image").json()
            assert "\\udcff" in image["name"]
            assert client.get(f"/picture/{image['image']}").status_code == 200
            body = {"image": image["image"], "tag": "smile", "answer": "yes", "who": "<b>"}
            client.post("/api/image/answer", json={**body, "token": "t"})
            (folder / HOSTILE).unlink()
            (folder / HOSTILE).symlink_to(tmp_path / "secret.png")
            assert client.get(f"/picture/{image['image']}?size=small").status_code == 404
    (row,) = [row for row in read_rows(tmp_path / "out")]
    assert row == (HOSTILE, "smile", "<b>")


def read_rows(review: Path) -> list[tuple[str, str, str]]:
    from tagstack.ensemble.feedback.store import FILE, DecisionStore

    with DecisionStore(review / FILE) as store:
        said = [d for _, _, _, d, _ in store.log() if not d.rule]
    return [(d.image, d.tag, d.who) for d in said]


def wrong_above(desk: Any) -> tuple[str, Any]:
    """Return the tag with most pairs closely above its threshold, and their rows."""
    table = desk.queue.table
    near = table.tagged & (table.margin >= 0) & (table.margin < 1) & ~desk.judging[table.image]
    tag = int(np.bincount(table.tag[near]).argmax())
    return desk.ground.bundle.vocabulary.tags[tag], np.flatnonzero(near & (table.tag == tag))


def test_answers_move_a_threshold_that_is_surely_worse(
    review: tuple[Client, Any], small: Path, tmp_path: Path, done: Callable[..., str], tagstack: Any
) -> None:
    client, desk = review
    folder, bundle = desk.store.path.parent, tmp_path / "bundle"
    shutil.copytree(small / "bundle", bundle)
    arguments = ["feedback", "apply", "--bundle", bundle, "--review", folder]
    assert "stays in use" in done(*arguments)
    tag, rows = wrong_above(desk)
    for row in rows:
        image = desk.key(int(desk.queue.table.image[row]))
        body = {"image": image, "tag": tag, "answer": "no", "who": "ann", "token": f"t{row}"}
        assert client.post("/api/image/answer", json=body).status_code == 200
    config = tmp_path / "own.toml"
    config.write_text(f"[feedback]\nleast_answers = {len(rows)}\n")
    arguments += ["--config", config]
    found = json.loads(done(*arguments, "--json"))
    (move,) = [move for move in found["moves"] if move["tag"] == tag]
    assert move["after"] > move["before"]
    assert move["n_counted"] == len(rows) <= move["n_pairs"]
    assert found["version"] == ""
    assert "Nothing was changed" in done(*arguments)
    # What goes further than the limit is said, and not done.
    config.write_text(f"[feedback]\nleast_answers = {len(rows)}\nmost_shift = 0.001\n")
    held = json.loads(done(*arguments, "--mode", "auto", "--json"))
    assert held["version"] == ""
    assert {one["held_back"] for one in held["moves"]} == {"it is further than feedback.most_shift"}
    assert not (folder / "thresholds-log.jsonl").exists()
    config.write_text(f"[feedback]\nleast_answers = {len(rows)}\n")
    version = json.loads(done(*arguments, "--mode", "auto", "--json"))["version"]
    shown = json.loads(done("thresholds", "show", "--bundle", bundle, "--tag", tag, "--json"))
    assert version in json.dumps(shown)
    assert json.loads((folder / "thresholds-log.jsonl").read_text())["version"] == version
    done("thresholds", "rollback", "--bundle", bundle)
    assert json.loads(done(*arguments, "--json"))["before"] == found["before"]
    other = tmp_path / "other"
    shutil.copytree(small / "bundle", other)
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format":  1'))
    refused = tagstack("feedback", "apply", "--bundle", other, "--review", folder)
    assert refused.returncode == 1
    assert "another bundle" in refused.stderr
    assert "holds no decisions" in tagstack("feedback", "apply", "--bundle", bundle).stderr


def test_the_frozen_slice_holds_back_what_it_contradicts(
    review: tuple[Client, Any], small: Path, done: Callable[..., str], tmp_path: Path
) -> None:
    _, desk = review
    tag, rows = wrong_above(desk)
    table = desk.queue.table
    own = table.tagged & (table.tag == desk.tag_index(tag)) & (table.margin < 1)
    judged = np.flatnonzero(own & desk.judging[table.image])
    if not len(judged):
        desk.judging[table.image[rows[-1]]] = True
        contents = {desk.ground.contents[int(table.image[rows[-1]])]: True}
        rows, judged = rows[:-1], rows[-1:]
        # The slice is drawn once for all; here it is moved, so that it has something to say.
        with desk.store._change() as connection:
            connection.executemany("insert or replace into slice values (?, ?)", contents.items())
    said: list[tuple[Answer, Any, bool]] = [("no", rows, False), ("yes", judged, True)]
    for answer_, chosen, judging in said:
        for row in chosen:
            image = int(table.image[row])
            desk.store.record([
                Decision(
                    who="ann", image=desk.ground.images[image], tag=tag, answer=answer_,
                    content=desk.ground.contents[image], shown=Shown(judging=judging, tagged=True),
                )
            ])  # fmt: skip
    found = json.loads(
        done("feedback", "apply", "--bundle", small / "bundle", "--review",
             desk.store.path.parent, "--json", "--config", _config(tmp_path))
    )  # fmt: skip
    (move,) = [move for move in found["moves"] if move["tag"] == tag]
    assert move["slice_gain"] < 0
    assert "frozen slice" in move["held_back"]


def _config(folder: Path) -> Path:
    path = folder / "one.toml"
    path.write_text("[feedback]\nleast_answers = 1\n")
    return path
