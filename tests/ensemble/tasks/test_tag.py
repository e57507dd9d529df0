"""`tag` brings a folder up to date, keeps what others made, and accounts for every picture."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.decisions import Judge, TaggedImage
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.runs import score_to_store
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks import tag as tag_task
from tagstack.ensemble.tasks.explain import explain_image
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scores_export import export_scores
from tagstack.ensemble.tasks.scores_import import ImportRequest, import_scores
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary

Tag = Callable[..., TagSummary]

QUICK = {
    "threads": 1,
    "stack": {
        "learners": [], "outer_fold": False, "folds": 2, "member_worth": "none",
        "calibration_strengths": [100.0], "logistic_strengths": [300.0], "selection_rounds": 5,
        "tuning": {"trials": 0},
    },
    "thresholds": {"strategy": "fixed", "guarantee": "none"},
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with sixty drawn pictures and a bundle fitted on them with one tagger."""
    root = tmp_path_factory.mktemp("fitted")
    settings = load_settings(changes=QUICK)
    labels = draw_gallery(root / "drawn", n_images=60, seed=5)
    score_folder([root / "drawn"], ["doll_resnet"], root / "scores", settings, Silent())
    source = DatasetSource(scores=root / "scores", labels=labels)
    request = FitRequest(source=source, bundle=root / "bundle", rules="danbooru")
    fit_bundle(request, settings, Silent())
    return root


@pytest.fixture
def pictures(fitted: Path, tmp_path: Path) -> Path:
    """Return a folder with three of the pictures, written long ago."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, path in enumerate(sorted((fitted / "drawn").glob("*.png"))[:3], 1):
        put(path, folder / f"{number}.png")
    return folder


def put(source: Path, target: Path, age_s: float = 100.0) -> None:
    """Copy a picture and date it back, so that it counts as settled."""
    shutil.copyfile(source, target)
    then = target.stat().st_mtime - age_s
    os.utime(target, (then, then))


@pytest.fixture
def drawn(fitted: Path) -> list[Path]:
    return sorted((fitted / "drawn").glob("*.png"))


@pytest.fixture
def run(fitted: Path, pictures: Path, tmp_path: Path) -> Tag:
    """Return what tags the folder under changed settings of ``[output]``."""

    def tag(
        *formats: str, images: Path = pictures, out: Path | None = tmp_path / "out",
        bundle: Path = fitted / "bundle", overwrite: bool = False, rehash: bool = False,
        prune: bool = False, **output: Any,
    ) -> TagSummary:  # fmt: skip
        request = TagRequest(
            images=(images,), bundle=bundle, out=out, formats=formats or ("txt",),
            overwrite=overwrite, rehash=rehash, prune=prune,
        )  # fmt: skip
        return tag_images(
            request, load_settings(changes={"threads": 1, "output": output}), Silent()
        )

    return tag


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return the list of what is scored from now on: the names of each run of the taggers."""
    scored: list[tuple[str, ...]] = []
    real = score_to_store

    def noted(sources: Any, *rest: Any, **options: Any) -> Any:
        scored.append(sources.names)
        return real(sources, *rest, **options)

    monkeypatch.setattr("tagstack.ensemble.tasks.tag_scoring.score_to_store", noted)
    return scored


def texts(folder: Path, pattern: str = "*.txt") -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob(pattern))}


def rows(path: Path) -> set[str]:
    with path.open(newline="") as stream:
        return {row["filename"] for row in csv.DictReader(stream)}


def test_a_second_run_reads_nothing_and_changes_nothing(
    run: Tag, tmp_path: Path, loads: list[tuple[str, ...]]
) -> None:
    first = run("txt", "csv", "jsonl")
    before = {path: path.stat() for path in (tmp_path / "out").rglob("*.*") if path.is_file()}
    again = run("txt", "csv", "jsonl")
    assert (first.n_images, first.n_current, again.n_images, again.n_current) == (3, 0, 3, 3)
    assert (again.n_tags, again.kept) == (first.n_tags, ())
    assert loads == [("1.png", "2.png", "3.png")]
    outputs = {path for path in before if ".tagstack" not in path.parts}
    assert {path: path.stat().st_mtime_ns for path in outputs} == {
        path: before[path].st_mtime_ns for path in outputs
    }


def test_tables_hold_what_was_added(
    run: Tag, pictures: Path, drawn: list[Path], tmp_path: Path, loads: list[tuple[str, ...]]
) -> None:
    run("csv", "jsonl", "parquet", "kohya")
    put(drawn[4], pictures / "4.png")
    summary = run("csv", "jsonl", "parquet", "kohya")
    assert loads[1:] == [("4.png",)]
    assert (summary.n_images, summary.kept) == (4, ())
    assert rows(tmp_path / "out/tags.csv") == {f"{i}.png" for i in range(1, 5)}
    lines = (tmp_path / "out/tags.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [f"{i}.png" for i in range(1, 5)]
    assert len(json.loads((tmp_path / "out/kohya.json").read_text())) == 4
    # A run about one picture does not lose the others.
    run("csv", images=pictures / "4.png")
    assert len(rows(tmp_path / "out/tags.csv")) == 4
    (pictures / "4.png").unlink()
    run("csv")
    assert len(rows(tmp_path / "out/tags.csv")) == 3


def test_only_what_is_new_is_judged_and_tables_are_those_of_a_whole_run(
    run: Tag,
    pictures: Path,
    drawn: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = ("csv", "jsonl", "kohya", "kohya-jsonl", "danbooru")
    judged: list[str] = []
    real = Judge.judge

    def noted(judge: Judge, scores: Any, *rest: Any, **options: Any) -> Any:
        judged.extend(scores.images)
        return real(judge, scores, *rest, **options)

    monkeypatch.setattr(Judge, "judge", noted)

    def anew(*expected: str) -> None:
        judged.clear()
        run("txt", *tables)
        assert judged == list(expected)
        run("txt", *tables, out=tmp_path / "whole")
        for path in filter(Path.is_file, (tmp_path / "whole").iterdir()):
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path
        shutil.rmtree(tmp_path / "whole")

    anew("1.png", "2.png", "3.png")
    put(drawn[4], pictures / "0.png")
    put(drawn[5], pictures / "2b.png")
    put(drawn[6], pictures / "3.png")
    anew("0.png", "2b.png", "3.png")
    (pictures / "2.png").rename(pictures / "9.png")
    anew("9.png")
    (pictures / "9.png").unlink()
    anew()
    # A table that is added is judged whole, and so is one that somebody took the rows' note of.
    judged.clear()
    run("txt", *tables, "parquet")
    assert judged == ["0.png", "1.png", "2b.png", "3.png"]
    for note in (tmp_path / "out/.tagstack").glob("rows-*"):
        note.unlink()
    put(drawn[7], pictures / "7.png")
    anew("0.png", "1.png", "2b.png", "3.png", "7.png")


def test_a_table_of_places_follows_its_pictures(run: Tag, pictures: Path, tmp_path: Path) -> None:
    run("kohya", "csv")
    moved = pictures.rename(tmp_path / "elsewhere")
    run("kohya", "csv", images=moved)
    found = json.loads((tmp_path / "out/kohya.json").read_text())
    assert set(found) == {str(moved / f"{i}.png") for i in (1, 2, 3)}


def test_a_picture_replaced_under_its_name_gets_its_own_caption(
    run: Tag, pictures: Path, drawn: list[Path], tmp_path: Path
) -> None:
    run("txt", "csv")
    before = texts(tmp_path / "out")
    put(drawn[9], pictures / "2.png")
    summary = run("txt", "csv")
    after = texts(tmp_path / "out")
    assert (summary.n_current, summary.kept) == (2, ())
    assert {name for name in after if after[name] != before[name]} == {"2.txt"}
    expected = run("txt", images=pictures / "2.png", out=tmp_path / "alone")
    assert expected.n_images == 1
    assert after["2.txt"] == (tmp_path / "alone/2.txt").read_text()


def test_a_picture_that_was_only_touched_is_read_once(
    run: Tag, pictures: Path, loads: list[tuple[str, ...]]
) -> None:
    run()
    os.utime(pictures / "1.png", (1e9, 1e9))
    assert run().n_current == 3
    assert run().n_current == 3
    assert loads[1:] == [("1.png",)]
    assert run(rehash=True).n_current == 3
    assert loads[2:] == [("1.png", "2.png", "3.png")]


def test_a_twin_takes_its_own_name_and_the_old_file_goes(
    run: Tag, pictures: Path, drawn: list[Path], tmp_path: Path
) -> None:
    run("txt")
    with Image.open(drawn[7]) as picture:
        picture.convert("RGB").save(pictures / "2.jpg")
    summary = run("txt")
    assert set(texts(tmp_path / "out")) == {"1.txt", "2.jpg.txt", "2.png.txt", "3.txt"}
    assert summary.moved == (tmp_path / "out/2.txt",)
    (pictures / "2.jpg").unlink()
    summary = run("txt")
    assert summary.moved == (tmp_path / "out/2.png.txt",)
    assert summary.stale == (tmp_path / "out/2.jpg.txt",)
    assert run("txt", prune=True).pruned == 1
    assert set(texts(tmp_path / "out")) == {"1.txt", "2.txt", "3.txt"}


def test_what_a_person_changed_stays_and_is_named(
    run: Tag, pictures: Path, drawn: list[Path], tmp_path: Path
) -> None:
    run("txt", "csv")
    for name in ("1.txt", "tags.csv"):
        (tmp_path / "out" / name).write_text("by hand")
    put(drawn[9], pictures / "1.png")
    put(drawn[8], pictures / "2.png")
    old = texts(tmp_path / "out")
    for summary in (run("txt", "csv"), run("txt", "csv")):
        assert set(summary.kept) == {tmp_path / "out/1.txt", tmp_path / "out/tags.csv"}
    new = texts(tmp_path / "out")
    assert new["1.txt"] == "by hand" == (tmp_path / "out/tags.csv").read_text()
    assert new["2.txt"] != old["2.txt"]
    (pictures / "1.png").unlink()
    assert run("txt", prune=True).stale == (tmp_path / "out/1.txt",)
    assert (tmp_path / "out/1.txt").exists()
    assert run("txt", "csv", overwrite=True).kept == ()
    assert len(rows(tmp_path / "out/tags.csv")) == 2


def test_new_settings_bring_own_files_up_to_date_without_scoring(
    run: Tag, tmp_path: Path, loads: list[tuple[str, ...]]
) -> None:
    run("txt")
    before = texts(tmp_path / "out")
    summary = run("txt", first=["mychar"])
    assert (summary.n_current, summary.kept, len(loads)) == (0, (), 1)
    after = texts(tmp_path / "out")
    assert after == {name: f"mychar, {text}" for name, text in before.items()}


def test_a_deleted_file_comes_back(run: Tag, tmp_path: Path) -> None:
    run("txt", "csv")
    before = texts(tmp_path / "out")
    (tmp_path / "out/1.txt").unlink()
    (tmp_path / "out/tags.csv").unlink()
    run("txt", "csv")
    assert texts(tmp_path / "out") == before
    assert len(rows(tmp_path / "out/tags.csv")) == 3


def test_without_its_record_a_folder_is_taken_over_where_it_is_the_same(
    run: Tag, tmp_path: Path
) -> None:
    run("txt")
    shutil.rmtree(tmp_path / "out/.tagstack")
    (tmp_path / "out/2.txt").write_text("by hand")
    assert run("txt").kept == (tmp_path / "out/2.txt",)
    assert run("txt", first=["mychar"]).kept == (tmp_path / "out/2.txt",)
    assert (tmp_path / "out/1.txt").read_text().startswith("mychar, ")


@pytest.fixture
def by_hand(pictures: Path, tmp_path: Path) -> Path:
    """Return a caption that a person wrote for the first picture."""
    path = tmp_path / "out/1.txt"
    path.parent.mkdir()
    path.write_text("A Sentence about her,  Long Hair ,1girl\n")
    return path


def test_append_keeps_every_letter_and_never_doubles(
    run: Tag, by_hand: Path, tmp_path: Path
) -> None:
    first = by_hand.read_text().rstrip("\n")
    run("txt", existing="append")
    text = by_hand.read_text()
    assert text.startswith(f"{first}, ")
    tags = [tag.strip().lower().replace(" ", "_") for tag in text.split(",")]
    assert len(tags) == len(set(tags)) > 3
    assert run("txt", existing="append").n_current == 3
    run("txt", existing="append", exclude=["*"])
    assert by_hand.read_text() == "A Sentence about her, Long Hair, 1girl\n"


def test_a_tag_that_a_person_takes_out_again_stays_out(run: Tag, by_hand: Path) -> None:
    run("txt", existing="append")
    *others, last = by_hand.read_text().rstrip("\n").split(", ")
    by_hand.write_text(", ".join(others))
    for first in ([], ["mychar"], ["other"]):
        run("txt", existing="append", first=first)
        tags = by_hand.read_text().rstrip("\n").split(", ")
        assert last not in tags
        assert set(first) <= set(tags)
    assert "mychar" not in by_hand.read_text()


def test_merge_puts_both_in_our_order(run: Tag, by_hand: Path) -> None:
    run("txt", existing="merge", order="name", first=["mychar"])
    tags = by_hand.read_text().rstrip("\n").split(", ")
    assert tags[0] == "mychar"
    assert tags[1:] == sorted(tags[1:])
    assert {"A Sentence about her", "Long Hair", "1girl"} <= set(tags)


def test_a_tag_by_hand_has_its_category_however_unlikely_it_is(run: Tag, by_hand: Path) -> None:
    by_hand.write_text("1girl, sensitive\n")
    run("txt", existing="merge", order="category", categories=["rating", "general"])
    tags = by_hand.read_text().rstrip("\n").split(", ")
    assert tags.index("sensitive") < tags.index("1girl")


@pytest.mark.parametrize("form", ["txt", "csv", "hydrus", "xmp", "kohya", "danbooru"])
def test_a_file_is_the_same_beside_one_that_tells_more(
    run: Tag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    judged: list[bool] = []
    real = Judge.judge

    def noted(judge: Judge, *rest: Any) -> Iterator[TaggedImage]:
        judged.append(judge.detailed)
        return real(judge, *rest)

    monkeypatch.setattr(Judge, "judge", noted)
    out = tmp_path / "out"
    run(form)
    alone = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    shutil.rmtree(out / ".tagstack")
    run(form, "jsonl", overwrite=True)
    assert judged == [False, True]
    assert alone
    assert all((out / name).read_bytes() == content for name, content in alone.items())


def test_replace_replaces_and_keep_keeps(run: Tag, by_hand: Path) -> None:
    before = by_hand.read_text()
    assert run("txt").kept == (by_hand,)
    assert by_hand.read_text() == before
    assert run("txt", existing="replace").kept == ()
    assert by_hand.read_text() != before


def test_skip_does_not_even_score(
    run: Tag, by_hand: Path, loads: list[tuple[str, ...]], tmp_path: Path
) -> None:
    before = by_hand.read_text()
    summary = run("txt", existing="skip")
    assert (summary.n_images, summary.n_skipped, by_hand.read_text()) == (2, 1, before)
    assert loads == [("2.png", "3.png")]
    again = run("txt", existing="skip")
    assert (again.n_images, again.n_skipped, again.n_current) == (2, 1, 2)


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>Mum</rdf:li></rdf:Bag>
 </dc:subject><dc:source>film</dc:source></rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_of_others_is_merged_and_cleaned_of_our_tags_alone(run: Tag, tmp_path: Path) -> None:
    path, other = tmp_path / "out/1.png.xmp", tmp_path / "out/2.png.xmp"
    path.parent.mkdir()
    path.write_text(XMP)
    other.write_text("no XMP")
    summary = run("xmp")
    assert summary.kept == (other,)
    assert path.read_text().count("<rdf:li>1girl</rdf:li>") == 3
    assert "film" in path.read_text()
    run("xmp", exclude=["*"])
    assert path.read_text().count("<rdf:li>") == 3 == path.read_text().count("Mum")
    assert run("xmp", exclude=["*"]).n_current == 3


def test_sidecars_beside_the_pictures(run: Tag, pictures: Path) -> None:
    summary = run("txt", "hydrus", out=None, beside=True, extension=".caption")
    assert summary.n_images == 3
    assert set(texts(pictures, "*.caption")) == {"1.caption", "2.caption", "3.caption"}
    assert set(texts(pictures, "*.txt")) == {"1.png.txt", "2.png.txt", "3.png.txt"}
    assert run("txt", "hydrus", out=None, beside=True, extension=".caption").n_current == 3


def test_formats_that_would_share_a_file_are_refused(run: Tag) -> None:
    with pytest.raises(TagstackError, match="formats txt and hydrus would both write"):
        run("txt", "hydrus", sidecar_name="full")


def test_a_sidecar_never_replaces_a_picture(run: Tag, pictures: Path) -> None:
    before = (pictures / "1.png").read_bytes()
    with pytest.raises(TagstackError, match=r"'\.png' is a picture's"):
        run("txt", beside=True, extension=".png", overwrite=True)
    named = (pictures / "1.png").rename(pictures / "1.picture")  # a suffix that nobody knows
    with pytest.raises(TagstackError, match="would replace the picture"):
        run("txt", images=named, out=None, beside=True, extension=".picture", overwrite=True)
    assert named.read_bytes() == before


def test_excluded_tags_are_there_for_the_rules(run: Tag, tmp_path: Path) -> None:
    run("txt", "json")
    before = {name: json.loads(text) for name, text in texts(tmp_path / "out", "*.json").items()}
    run("txt", "json", exclude=["1girl", "category:rating"])
    for name, record in before.items():
        after = json.loads((tmp_path / "out" / name).read_text())
        assert after["candidates"] == record["candidates"]
        assert "1girl" not in after["caption"].split(", ")
    assert any("1girl" in record["caption"].split(", ") for record in before.values())


def test_every_picture_is_accounted_for(
    run: Tag, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")
    summary = run("txt")
    assert (summary.n_images, summary.n_failed) == (3, 1)
    real = ScoreStore.iter_chunks

    def losing(self: Any, n: int, images: Any, members: Any, **options: Any) -> Any:
        return real(self, n, [name for name in images if name != "2.png"], members, **options)

    monkeypatch.setattr(ScoreStore, "iter_chunks", losing)
    with pytest.raises(TagstackError, match=r"4 pictures were found, but 1 were neither .* 2\.png"):
        run("txt", out=pictures.parent / "other")


def test_two_runs_do_not_share_a_folder(run: Tag, tmp_path: Path) -> None:
    with tag_task._held(tmp_path / "out"), pytest.raises(TagstackError, match="is writing tags to"):
        run("txt")


def test_a_run_that_dies_between_record_and_files_loses_nothing(
    run: Tag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagstack.base_models.atomic_batch import AtomicBatch

    run("txt", "csv")
    before = texts(tmp_path / "out")

    def die(self: AtomicBatch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AtomicBatch, "publish", die)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            run("txt", "csv", first=["mychar"])
    assert texts(tmp_path / "out") == before
    summary = run("txt", "csv", first=["mychar"])
    assert (summary.kept, summary.n_current) == ((), 0)
    assert texts(tmp_path / "out") == {n: f"mychar, {text}" for n, text in before.items()}


def test_an_imported_member_fits_and_tags_from_the_store(
    fitted: Path, pictures: Path, tmp_path: Path
) -> None:
    settings = load_settings(changes=QUICK)
    table = tmp_path / "resnet.parquet"
    done = export_scores(fitted / "scores", table, Silent(), member="doll_resnet")
    store, bundle = tmp_path / "store", tmp_path / "bundle"
    request = ImportRequest(
        table=table, store=store, member="theirs", tags=done.tags, images=fitted / "drawn"
    )
    import_scores(request, settings, Silent())
    source = DatasetSource(scores=store, labels=fitted / "drawn" / "labels.csv")
    fit_bundle(FitRequest(source=source, bundle=bundle, rules="danbooru"), settings, Silent())
    out = tmp_path / "out"
    wanted = TagRequest(images=(pictures,), bundle=bundle, out=out)
    with pytest.raises(TagstackError, match=r"'theirs' is scores that were imported, .*--scores"):
        tag_images(wanted, settings, Silent())
    Image.new("RGB", (8, 8)).save(pictures / "unscored.png")
    summary = tag_images(replace(wanted, scores=store), settings, Silent())
    assert summary.n_images == 3
    (failure,) = summary.failures
    assert failure.name == "unscored.png"
    assert "has no scores of it by all of theirs" in failure.reason
    own = replace(wanted, bundle=fitted / "bundle", out=tmp_path / "own", scores=fitted / "scores")
    assert tag_images(own, settings, Silent()).n_images == 3
    for number in (1, 2, 3):  # the same scores: the same tags as of the tagger itself
        theirs, its = (folder / f"{number}.txt" for folder in (out, tmp_path / "own"))
        assert theirs.read_text() == its.read_text() != ""
    again = tag_images(replace(wanted, scores=store), settings, Silent())
    assert (again.n_current, again.n_failed) == (3, 1)
    why = explain_image(pictures / "1.png", bundle, None, scores=store)
    assert {entry.tag for entry in why.entries if entry.tagged}
    with pytest.raises(TagstackError, match="no image has scores of all of"):
        explain_image(pictures / "unscored.png", bundle, None, scores=store)


def test_a_cluster_scores_what_is_new_and_the_tags_are_the_same(
    run: Tag, fitted: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def on_cluster(
        sources: Any, models: Any, store: Path, settings: Any, progress: Any, **how: Any
    ) -> Any:
        asked.append((how["address"], *sources.names))
        with loaded_taggers(models, settings) as taggers:
            how["check"](Members.of(taggers).infos)
            return score_to_store(sources, taggers, store, settings, progress)

    monkeypatch.setattr("tagstack.ensemble.cluster.scoring.score_on_cluster", on_cluster)
    request = TagRequest(
        images=(pictures,), bundle=fitted / "bundle", out=tmp_path / "apart", ray="local"
    )
    for _ in range(2):
        tag_images(request, load_settings(changes={"threads": 1}), Silent())
    run()
    assert asked == [("local", "1.png", "2.png", "3.png")]
    assert texts(tmp_path / "apart") == texts(tmp_path / "out")
