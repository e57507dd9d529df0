"""Stacks taken wrong from Python: one picture for many, into another process, over other files."""

import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tagstack
from tagstack.base_models import threads
from tagstack.base_models.pictures.given import content_of
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import load_settings

PIXELS = np.full((16, 12, 3), 90, np.uint8)
QUICK: dict[str, Any] = {
    "stack": {
        "learners": [], "outer_fold": False, "folds": 3, "calibration_strengths": [100.0],
        "logistic_strengths": [300.0], "selection_rounds": 5, "tuning": {"trials": 0},
    },
    "thresholds": {"joint_rounds": 2, "frontier": []},
    "compare": {"resamples": 100},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("taken")
    draw_gallery(root / "images", n_images=60, seed=5).rename(root / "labels.csv")
    scores = tagstack.score(root / "images", ["doll_resnet", "doll_vit"])
    scores.save(root / "scores")
    labels = tagstack.Labels.read(root / "labels.csv")
    tagstack.fit(scores, labels, group="series", settings=QUICK).save(root / "bundle")
    return root


@pytest.fixture
def stack(root: Path) -> Iterator[tagstack.Stack]:
    with tagstack.load(root / "bundle") as opened:
        yield opened


@pytest.mark.parametrize(
    "one",
    ["1.png", Path("1.png"), b"\x89PNG", bytearray(b"x"), PIXELS, PIXELS[..., 0],
     Image.new("L", (4, 4))],
)  # fmt: skip
def test_one_picture_is_not_taken_for_many(stack: tagstack.Stack, one: Any) -> None:
    with pytest.raises(TagstackError, match=r"^One picture \(.*use tag, or \[picture\]"):
        stack.tag_many(one)


def test_many_pictures_may_be_one_array(stack: tagstack.Stack) -> None:
    both = list(stack.tag_many(np.stack([PIXELS, PIXELS])))
    assert both[0].tags == both[1].tags == stack.tag(PIXELS).tags
    assert both[0].tags


def test_a_name_that_no_file_can_have_costs_one_picture(stack: tagstack.Stack) -> None:
    failed, good = stack.tag_many(["a\0.png", PIXELS])
    assert "no file can have this name" in failed.failure
    assert not good.failure
    with pytest.raises(TagstackError) as caught:
        stack.tag("gone\n\x1b[2J.png")
    assert str(caught.value).startswith(r"Cannot read gone\n\x1b[2J.png: ")


def test_grey_with_premultiplied_transparency_is_a_picture() -> None:
    grey = Image.new("LA", (4, 4), (90, 128)).convert("La")
    assert content_of(grey, load_settings().score) == content_of(
        grey.convert("LA"), load_settings().score
    )
    assert isinstance(load_settings().score, ScoreSettings)


def test_what_is_no_text_is_no_tag_to_explain(stack: tagstack.Stack) -> None:
    for tag in (3, b"1girl", ["1girl"]):
        with pytest.raises(TagstackError, match="expected text, such as"):
            stack.explain(PIXELS, tag)  # type: ignore[arg-type]


def test_a_stack_is_not_pickled_but_loaded_where_it_is_wanted(stack: tagstack.Stack) -> None:
    with pytest.raises(TypeError, match=r"tagstack\.load\(folder\)"):
        pickle.dumps(stack)


def test_probabilities_are_of_scores(stack: tagstack.Stack) -> None:
    with pytest.raises(TagstackError, match="expected Scores or Level1Scores"):
        stack.predict_proba("scores")  # type: ignore[arg-type]


def test_saving_never_deletes_what_is_no_bundle(root: Path, tmp_path: Path) -> None:
    stack = tagstack.load(root / "bundle")
    file, folder, other = tmp_path / "notes.txt", tmp_path / "pictures", tmp_path / "extension"
    for holder in (folder, other):
        holder.mkdir()
        (holder / "mine.txt").write_text("mine")
    file.write_text("mine")
    (other / "manifest.json").write_text('{"name": "of another program"}')
    for target in (file, folder, other):
        with pytest.raises(TagstackError, match=r"no folder that can be read|would delete them"):
            stack.save(target, overwrite=True)
    kept = [file, folder / "mine.txt", other / "mine.txt"]
    assert [path.read_text() for path in kept] == ["mine"] * 3
    stack.save(tmp_path / "own")
    stack.save(tmp_path / "own", overwrite=True)
    (tmp_path / "own" / "thresholds.csv").unlink()  # damaged, but a bundle
    stack.save(tmp_path / "own", overwrite=True)
    assert tagstack.load(tmp_path / "own").tags == stack.tags


def test_reports_are_written_to_a_folder_by_its_name(root: Path, tmp_path: Path) -> None:
    scores, labels = (
        tagstack.Scores.read(root / "scores"),
        tagstack.Labels.read(root / "labels.csv"),
    )
    names = scores.images
    some = {row.image: row.tags for row in labels.table.rows}
    half = tagstack.Labels({name: some[name] for name in names[:40]})
    stack = tagstack.fit(scores, half, settings=QUICK)
    rest = tagstack.Labels({name: some[name] for name in names[40:]})
    tagstack.compare(stack, scores, rest, settings=QUICK).write(str(tmp_path / "report"))
    tagstack.audit(stack, scores, rest, settings=QUICK).write(str(tmp_path / "audit"))
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "audit" / "audit.html").is_file()


def test_rules_of_several_sources_come_as_a_list(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "a,b.toml"
    own.write_text(
        '[[implication]]\nid = "mine"\ntags = ["cat_ears"]\nimplies = ["animal_ears"]\n'
        'source = "own"\n'
    )
    scores, labels = (
        tagstack.Scores.read(root / "scores"),
        tagstack.Labels.read(root / "labels.csv"),
    )
    both = tagstack.fit(scores, labels, ["danbooru", own], settings=QUICK)
    alone = tagstack.fit(scores, labels, "danbooru", settings=QUICK)
    assert set(both.bundle.rules.implications) >= set(alone.bundle.rules.implications)
    assert "mine" in both.bundle.rules.ids


def ended(work: Callable[[], object], seconds: float = 60) -> str:
    """Return what a forked process said of ``work``, and end it where it hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, repr(work()).encode()[:500])
        except BaseException as error:  # a fork must never go on with the parent's tests
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:500])
        os._exit(0)
    os.close(writing)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            with os.fdopen(reading, "rb") as said:
                return said.read().decode()
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reading)
    return "hangs"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_from_one_at_work_is_refused_and_does_not_hang(
    root: Path, stack: tagstack.Stack
) -> None:
    stack.tag(PIXELS)
    scores = tagstack.Scores.read(root / "scores")
    for work in (
        lambda: stack.tag(PIXELS),
        lambda: next(stack.tag_many([PIXELS])),
        lambda: stack.explain(PIXELS),
        lambda: stack.predict_proba(scores),
        lambda: tagstack.load(root / "bundle"),
        lambda: tagstack.score({"a": PIXELS}, ["doll_resnet"]),
    ):
        assert ended(work).startswith("TagstackError: This process was forked")
    with stack._lock:  # as another thread of the parent may hold it
        assert ended(stack.close) == "None"
    assert stack.tag(PIXELS).tags


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_before_any_work_may_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_at_work", None)
    assert ended(threads.begin_work) == "None"
    assert not threads.was_forked()
