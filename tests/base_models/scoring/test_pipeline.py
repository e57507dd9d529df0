"""Scoring folders: hostile files, progress, and results that depend on the image alone."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scoring.pipeline import ScoreProgress, score_images
from tagstack.base_models.scoring.sources import ImageSources
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store
from tests.base_models.scoring.runs import (
    add_hostile_files,
    assert_equal,
    assert_nothing_twice,
    pictures_in,
    score,
)

Folder = Callable[..., Path]


def test_scores_are_the_models_on_the_framed_pictures(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (23, 0, 0)
    assert {"read", "decode", "frame", "infer nhwc", "infer nchw", "store"} == set(
        summary.stage_seconds
    )
    scores = ScoreStore(tmp_path / "s").load(members=["nhwc", "nchw"])
    assert scores.images == tuple(sorted(f"d{i % 3}/{i:02d}.png" for i in range(23)))
    for i, name in enumerate(scores.images):
        picture = Image.open(images / name)
        side = max(picture.size)
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        pixels = np.asarray(square.resize((8, 8), Image.Resampling.BICUBIC))[None]
        rows = slice(scores.pairs.indptr[i], scores.pairs.indptr[i + 1])
        tags = [scores.vocabulary.tags[t] for t in scores.pairs.tag[rows]]
        for m, tagger in enumerate(taggers):
            own = [tagger.vocabulary.index[tag] for tag in tags]
            expected = tagger.logits(pixels)[0, own].astype(np.float16)
            floor = scores.floor[m]
            np.testing.assert_array_equal(scores.logit[m, rows], np.maximum(expected, floor))


@pytest.mark.parametrize(
    ("batch_images", "part_images", "threads"), [(1, 1, 1), (3, 5, 2), (32, 2048, 4), (9, 2, 3)]
)
def test_results_do_not_depend_on_batches_parts_or_threads(
    images: Path,
    folders: list[Path],
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    batch_images: int,
    part_images: int,
    threads: int,
) -> None:
    score(images, taggers, tmp_path / "reference", settings)
    changed = settings.model_copy(update={"batch_images": batch_images, "part_images": part_images})
    others = [load_tagger(folder, floor=1e-4, threads=threads) for folder in folders]
    score(images, others[::-1], tmp_path / "other", changed, threads=threads)
    assert_equal(ScoreStore(tmp_path / "reference").load(), ScoreStore(tmp_path / "other").load())


def test_results_do_not_depend_on_order_or_neighbours(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers, tmp_path / "reference", settings)
    sources = pictures_in(images, settings)
    names = list(sources.names)
    random.Random(0).shuffle(names)
    for some in (names[:10], names[10:]):
        part = ImageSources(sources.root, tuple(some))
        score_to_store(part, taggers, tmp_path / "other", settings, threads=2)
    assert_equal(ScoreStore(tmp_path / "reference").load(), ScoreStore(tmp_path / "other").load())


def test_a_second_run_scores_nothing_and_writes_nothing(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers, tmp_path / "s", settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("part-*")}
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (0, 23, 0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("part-*")} == before


def test_a_further_member_runs_alone(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers[:1], tmp_path / "s", settings)
    summary = score(images, taggers, tmp_path / "s", settings)
    assert summary.n_scored == 23
    score(images, taggers, tmp_path / "reference", settings)
    assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    assert_nothing_twice(tmp_path / "s")


def test_copies_are_scored_once(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    content = (images / "d0" / "00.png").read_bytes()
    for name in ("copy.png", "d0/00b.png", "z/last.png"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(content)
    for name in ("bad1.png", "z/bad2.png"):
        (images / name).write_bytes(b"no image")
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (23, 3, 2)
    assert [failure.name for failure in summary.failures] == ["bad1.png", "z/bad2.png"]
    scores = ScoreStore(tmp_path / "s").load(images=["d0/00.png", "copy.png", "z/last.png"])
    assert scores.n_images == 3
    np.testing.assert_array_equal(
        scores.take(np.array([0])).logit, scores.take(np.array([2])).logit
    )
    assert_nothing_twice(tmp_path / "s")


def test_a_changed_file_is_scored_anew_under_its_name(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers, tmp_path / "s", settings)
    Image.new("RGB", (5, 5), "red").save(images / "d0" / "00.png")
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped) == (1, 22)
    score(images, taggers, tmp_path / "fresh", settings)
    assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "fresh").load())


def test_a_mended_file_is_no_failure_any_more(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    whole = (images / "d0" / "00.png").read_bytes()
    (images / "d0" / "00.png").write_bytes(whole[: len(whole) // 2])
    assert score(images, taggers, tmp_path / "s", settings).n_failed == 1
    assert ScoreStore(tmp_path / "s").load().n_images == 22
    (images / "d0" / "00.png").write_bytes(whole)
    assert score(images, taggers, tmp_path / "s", settings).n_scored == 1
    assert ScoreStore(tmp_path / "s").failures() == []
    assert ScoreStore(tmp_path / "s").load().n_images == 23


def test_faulty_files_are_recorded_and_never_stop_the_run(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers, tmp_path / "clean", settings)
    reasons = add_hostile_files(images)
    limited = settings.model_copy(update={"max_pixels": 100_000})
    summary = score(images, taggers, tmp_path / "s", limited)
    assert summary.n_scored == 23
    assert {failure.name for failure in summary.failures} == set(reasons)
    for failure in summary.failures:
        assert reasons[failure.name] in failure.reason
    store = ScoreStore(tmp_path / "s")
    assert [(r.path, r.reason) for r in store.failures()] == [
        (failure.name, failure.reason) for failure in summary.failures
    ]
    assert_equal(store.load(), ScoreStore(tmp_path / "clean").load())


def test_only_faulty_files(taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    summary = score(tmp_path / "images", taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_failed) == (0, 1)
    with pytest.raises(TagstackError, match="no image has scores"):
        ScoreStore(tmp_path / "s").load()


def test_an_image_that_a_model_cannot_score_fails_alone(
    images: Path,
    taggers: list[Tagger],
    settings: ScoreSettings,
    make_tagger_folder: Folder,
    tmp_path: Path,
) -> None:
    Image.new("RGB", (9, 9), "white").save(images / "white.png")
    fragile = load_tagger(
        make_tagger_folder(name="fragile", nan_above=254.0), floor=1e-4, threads=1
    )
    summary = score(images, [*taggers, fragile], tmp_path / "s", settings)
    assert [failure.name for failure in summary.failures] == ["white.png"]
    assert "tagger 'fragile' gave a number that is not finite" in summary.failures[0].reason
    assert ScoreStore(tmp_path / "s").load().n_images == 23


def test_a_file_that_vanishes_during_the_run(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    sources = pictures_in(images, settings)
    (images / "d1" / "01.png").unlink()
    summary = score_to_store(sources, taggers, tmp_path / "s", settings, threads=2)
    assert [failure.name for failure in summary.failures] == ["d1/01.png"]
    assert summary.n_scored == 22


def test_progress_counts_up_to_everything(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    seen: list[ScoreProgress] = []
    (images / "bad.png").write_bytes(b"x")
    score(images, taggers, tmp_path / "s", settings, progress=seen.append)
    assert [state.n_images for state in seen] == [24] * len(seen)
    done = [state.n_done for state in seen]
    assert done == sorted(done)
    assert done[-1] == 24
    assert seen[-1].images_per_s > 0


def test_progress_says_what_each_stage_can_do(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    seen: list[ScoreProgress] = []
    summary = score(images, taggers, tmp_path / "s", settings, progress=seen.append, threads=3)
    stages = {"read", "decode", "frame", "infer nhwc", "infer nchw", "store"}
    assert set(seen[-1].stage_rates) == set(summary.stage_rates) == stages
    for stage in stages:
        threads = 3 if stage in ("read", "decode", "frame") else 1
        expected = 23 * threads / summary.stage_seconds[stage]
        assert summary.stage_rates[stage] == pytest.approx(expected), stage


def test_a_store_from_before_hashes_gets_them_without_running_a_model(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    (images / "copy.png").write_bytes((images / "d0" / "00.png").read_bytes())
    score(images, taggers, tmp_path / "s", settings)
    before = ScoreStore(tmp_path / "s")
    names = before.load().images
    expected = before.picture_hashes(names)
    assert expected.known.all()
    for path in part_paths(tmp_path / "s" / "hashes"):
        path.unlink()
    assert not ScoreStore(tmp_path / "s").picture_hashes(names).known.any()
    assert_equal(ScoreStore(tmp_path / "s").load(), before.load())
    parts = sorted((tmp_path / "s" / "members").rglob("*.parquet"))
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (0, 24, 0)
    assert sorted((tmp_path / "s" / "members").rglob("*.parquet")) == parts
    after = ScoreStore(tmp_path / "s").picture_hashes(names)
    np.testing.assert_array_equal(after.bits, expected.bits)
    np.testing.assert_array_equal(after.thumbnails, expected.thumbnails)
    assert_nothing_twice(tmp_path / "s")


def test_a_store_in_use_is_refused(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    def score_again(_: ScoreProgress) -> None:
        with pytest.raises(TagstackError, match="is being written by process"):
            score(images, taggers, tmp_path / "s", settings)

    assert score(images, taggers, tmp_path / "s", settings, progress=score_again).n_scored == 23


def test_members_need_distinct_names(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    with pytest.raises(TagstackError, match=r"distinct names, got \['nhwc', 'nhwc'\]"):
        score(images, [taggers[0], taggers[0]], tmp_path / "s", settings)
    with pytest.raises(TagstackError, match=r"distinct names, got \[\]"):
        score(images, [], tmp_path / "s", settings)


def test_a_mirrored_tagger_scores_alike_however_it_is_run(
    images: Path, folders: list[Path], settings: ScoreSettings, tmp_path: Path
) -> None:
    taggers = [
        load_tagger(folders[0], floor=1e-4, threads=2),
        load_tagger(folders[0], floor=1e-4, threads=2, sided=("tag_1",)),
    ]
    few = settings.model_copy(update={"batch_images": 2})
    found = pictures_in(images, settings)
    sink = MemorySink(Members.of(taggers))
    score_images(found, taggers, sink, settings, threads=2)
    store = tmp_path / "store"
    first = replace(found, names=found.names[:5])  # what a killed run had written
    for sources in (first, replace(found, names=found.names[::-1])):
        score_to_store(sources, taggers, store, few, threads=1)
    whole, again = sink.load(), ScoreStore(store).load(list(found.names), ["nhwc", "nhwc+flip"])
    assert whole.members == again.members == ("nhwc", "nhwc+flip")
    np.testing.assert_array_equal(whole.logit, again.logit)
    kept = whole.pairs.tag == whole.vocabulary.index["tag_1"]
    np.testing.assert_array_equal(whole.logit[0, kept], whole.logit[1, kept])
    assert (whole.logit[0, ~kept] != whole.logit[1, ~kept]).any()
