"""The public face: what it gives is what the commands give, in memory, from any thread."""

import csv
import doctest
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import tagstack
from tagstack import api
from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.face import open_bundle, open_stack
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.audit import AuditRequest, audit_bundle
from tagstack.ensemble.tasks.audit_question import AuditQuestion
from tagstack.ensemble.tasks.calibrate import CalibrateRequest, calibrate_bundle
from tagstack.ensemble.tasks.compare import CompareRequest, compare_bundle
from tagstack.ensemble.tasks.explain import explain_image
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest

DOLLS = ["doll_resnet", "doll_convnext", "doll_vit"]
SMALL: dict[str, Any] = {
    "stack": {
        "learners": [], "outer_fold": False, "folds": 3, "calibration_strengths": [100.0],
        "logistic_strengths": [300.0], "selection_rounds": 5, "tuning": {"trials": 0},
    },
    "thresholds": {"joint_rounds": 2, "frontier": []},
    "compare": {"resamples": 100},
}  # fmt: skip
PAGE = Path(__file__).parent.parent / "docs" / "python.md"


@dataclass(frozen=True)
class Booru:
    """Drawn pictures, their labels, scores and a bundle, all on disk; and the stack in memory."""

    root: Path
    scores: tagstack.Scores
    fitted: tagstack.Stack

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.root / "images").glob("*.png"), key=lambda path: int(path.stem))

    @property
    def labels(self) -> tagstack.Labels:
        return tagstack.Labels.read(self.root / "labels.csv")

    def source(self, where: str) -> DatasetSource:
        return DatasetSource(
            scores=self.root / "scores",
            labels=self.root / "labels.csv",
            where=where,
            group="series",
        )


@pytest.fixture(scope="module")
def booru(tmp_path_factory: pytest.TempPathFactory) -> Booru:
    root = tmp_path_factory.mktemp("api")
    text = draw_gallery(root / "images", n_images=60, seed=77).read_text()
    rows = list(csv.DictReader(text.splitlines()))
    (root / "images" / "labels.csv").unlink()
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, [*rows[0], "part"])
        table.writeheader()
        for number, row in enumerate(rows):
            (root / "images" / row["image"]).rename(root / "images" / f"{number}.png")
            part = "test" if int(row["series"][1:]) % 3 == 0 else "fit"
            table.writerow({**row, "image": f"{number}.png", "part": part})
    scores = tagstack.score(root / "images", DOLLS)
    scores.save(root / "scores")
    labels = tagstack.Labels.read(root / "labels.csv")
    fitted = tagstack.fit(
        scores, labels, "danbooru", where="part=fit", group="series", settings=SMALL
    )
    fitted.save(root / "bundle")
    return Booru(root, scores, fitted)


@pytest.fixture(scope="module")
def stack(booru: Booru) -> Iterator[tagstack.Stack]:
    with tagstack.load(booru.root / "bundle") as opened:
        yield opened


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys; before = {*sys.modules}; import tagstack; dir(tagstack); "
    program += "print(*({*sys.modules} - before))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    # Nothing of ours but the package, and of others nothing but the standard library.
    assert [name for name in loaded if name.startswith("tagstack")] == ["tagstack"]
    assert {name.split(".")[0] for name in loaded} - {"tagstack"} <= sys.stdlib_module_names
    assert len(loaded) < 10


def test_every_public_name_is_there() -> None:
    assert [name for name in tagstack.__all__ if not hasattr(tagstack, name)] == []
    assert {*tagstack.__all__} <= {*dir(tagstack)}
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        tagstack.lode  # noqa: B018


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "array", "image"])
def test_the_same_picture_in_any_form_has_the_same_tags(
    kind: str, booru: Booru, stack: tagstack.Stack
) -> None:
    path = booru.pictures[3]
    forms: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "array": pixels_of(path),
        "image": Image.fromarray(pixels_of(path)),
    }
    found = stack.tag(forms[kind])
    assert found.entries == stack.tag(path).entries
    assert len(found.names) > 3
    assert found.image == (str(path) if kind in ("path", "text") else "0")


def test_a_known_bundle_has_each_file_hashed_once(
    booru: Booru, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def noted(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr("tagstack.ensemble.bundle.files.file_sha256", noted)
    load_bundle(booru.root / "bundle")
    assert len(hashed) == len({*hashed}) > 5


def test_the_command_gives_the_same_tags(
    booru: Booru, stack: tagstack.Stack, tmp_path: Path
) -> None:
    request = TagRequest(
        images=(booru.root / "images",),
        bundle=booru.root / "bundle",
        out=tmp_path / "tags",
        formats=("jsonl",),
    )
    tag_images(request, load_settings(), Silent())
    text = (tmp_path / "tags" / "tags.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    written = {line["image"]: line for line in lines}
    many = list(stack.tag_many(booru.pictures))
    assert [found.image for found in many] == [str(path) for path in booru.pictures]
    assert len(many) == len(written) == 60
    for path, found in zip(booru.pictures, many, strict=True):
        line = written[path.name]
        tags = line["tags"]
        names = {tag["tag"] if isinstance(tag, dict) else tag for tag in tags}
        assert {*found.names} == names
    for path, found in zip(booru.pictures[:3], many, strict=False):
        assert stack.tag(path).entries == found.entries


def test_explaining_gives_what_the_command_gives(booru: Booru, stack: tagstack.Stack) -> None:
    path = booru.pictures[0]
    for tag in (None, "1girl"):
        found, command = stack.explain(path, tag), explain_image(path, booru.root / "bundle", tag)
        assert (found.entries, found.changes) == (command.entries, command.changes)
        assert (found.chosen, found.thresholds) == (command.chosen, command.thresholds)
    with pytest.raises(TagstackError, match=r"knows the tag '1gril'\. Did you mean 1girl"):
        stack.explain(path, "1gril")
    with pytest.raises(TagstackError, match=r"Cannot read gone\.png: the file is gone"):
        stack.explain("gone.png")


def test_a_faulty_picture_costs_itself_alone(booru: Booru, stack: tagstack.Stack) -> None:
    good = booru.pictures[1]
    given: list[Any] = [b"", good, "gone.png", np.zeros((2, 2), np.float64), None, good]
    found = list(stack.tag_many(given))
    assert [bool(one.failure) for one in found] == [True, False, True, True, True, False]
    assert "there are no bytes" in found[0].failure
    assert "NoneType is no picture" in found[4].failure
    assert [one.image for one in found] == ["0", str(good), "gone.png", "3", "4", str(good)]
    assert found[1].entries == found[5].entries
    assert found[0].names == ()
    with pytest.raises(TagstackError, match="Cannot read 0: there are no bytes"):
        stack.tag(b"")
    assert list(stack.tag_many([])) == []


def test_pictures_are_taken_a_batch_at_a_time(booru: Booru) -> None:
    taken = 0

    def pictures() -> Iterator[Path]:
        nonlocal taken
        for path in booru.pictures:
            taken += 1
            yield path

    settings = {"score": {"batch_images": 4}}
    with tagstack.load(booru.root / "bundle", settings=settings) as stack:
        many = stack.tag_many(pictures())
        assert taken == 0
        for _ in range(5):
            next(many)
        assert taken == 8


def test_threads_share_a_stack(booru: Booru, stack: tagstack.Stack) -> None:
    expected = {str(path): stack.tag(path) for path in booru.pictures[:8]}
    with tagstack.load(booru.root / "bundle") as fresh, ThreadPoolExecutor(8) as pool:
        singles = [pool.submit(fresh.tag, path) for path in booru.pictures[:8] * 2]
        manys = [pool.submit(lambda: list(fresh.tag_many(booru.pictures[:8]))) for _ in range(2)]
        proba = [pool.submit(fresh.predict_proba, booru.scores) for _ in range(2)]
        for done in singles:
            assert done.result() == expected[done.result().image]
        for many in manys:
            assert many.result() == [*expected.values()]
        np.testing.assert_array_equal(proba[0].result().proba, proba[1].result().proba)


def test_taggers_stay_open_and_are_opened_again_after_closing(
    booru: Booru, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, ...]] = []

    def loaded(models: tuple[str, ...], *args: Any, **options: Any) -> Any:
        opened.append(models)
        return load_taggers(models, *args, **options)

    monkeypatch.setattr(open_bundle, "load_taggers", loaded)
    stack = tagstack.load(booru.root / "bundle")
    assert opened == []
    stack.predict_proba(booru.scores)
    assert opened == []
    first = stack.tag(booru.pictures[0])
    assert stack.tag(booru.pictures[0]) == first
    assert len(opened) == 1
    stack.close()
    stack.close()
    assert stack.tag(booru.pictures[0]) == first
    assert len(opened) == 2
    stack.close()


def test_other_taggers_are_refused_and_freed(booru: Booru) -> None:
    with pytest.raises(TagstackError, match="needs the tagger 'doll_"):
        tagstack.load(booru.root / "bundle", models=["doll_vit"]).tag(booru.pictures[0])
    scores = tagstack.score({"x": booru.pictures[0]}, ["doll_vit"])
    with pytest.raises(TagstackError, match="needs the tagger 'doll_"):
        booru.fitted.predict_proba(scores)


def test_fitting_gives_the_bundle_that_the_command_writes(booru: Booru, tmp_path: Path) -> None:
    request = FitRequest(
        source=booru.source("part=fit"), bundle=tmp_path / "bundle", rules="danbooru"
    )
    fit_bundle(request, load_settings(changes=SMALL), Silent())
    assert files(tmp_path / "bundle") == files(booru.root / "bundle")


def test_saving_a_loaded_stack_loses_nothing(
    booru: Booru, stack: tagstack.Stack, tmp_path: Path
) -> None:
    stack.save(tmp_path / "copy")
    assert files(tmp_path / "copy") == files(booru.root / "bundle")
    with pytest.raises(TagstackError, match="exists"):
        stack.save(tmp_path / "copy")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_comparing_gives_the_figures_of_the_command(booru: Booru, tmp_path: Path) -> None:
    request = CompareRequest(
        bundle=booru.root / "bundle", source=booru.source("part=test"), out=tmp_path / "report"
    )
    written, _ = compare_bundle(request, load_settings(changes=SMALL), Silent())
    found = tagstack.compare(
        booru.fitted, booru.scores, booru.labels, where="part=test", group="series", settings=SMALL
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "report"]
    found.write(tmp_path / "own")
    assert (tmp_path / "own" / "rungs.csv").read_bytes() == (
        tmp_path / "report" / "rungs.csv"
    ).read_bytes()
    assert len(found.comparison.rungs) == len(written.rungs) > 5


def test_auditing_gives_the_tables_of_the_command(booru: Booru, tmp_path: Path) -> None:
    question = AuditQuestion(by=("part",), parts=("category",))
    request = AuditRequest(
        bundle=booru.root / "bundle",
        source=replace(booru.source(""), where=None),
        out=tmp_path / "audit",
        question=question,
    )
    written = audit_bundle(request, load_settings(changes=SMALL), Silent())
    found = tagstack.audit(
        tagstack.load(booru.root / "bundle"), booru.scores, booru.labels, by=["part"],
        parts=["category"], group="series", settings=SMALL,
    )  # fmt: skip
    assert found.found.plain() == written.plain()
    assert sorted(tmp_path.iterdir()) == [tmp_path / "audit"]
    found.write(tmp_path / "own")
    for name in ("slices.csv", "audit.json", "audit.html"):
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "audit" / name).read_bytes()
    assert tagstack.audit(
        booru.fitted, booru.scores, booru.labels, parts=(), where="part=test", settings=SMALL
    ).found.n_images < len(booru.scores)


def test_calibrating_gives_the_thresholds_of_the_command(booru: Booru, tmp_path: Path) -> None:
    booru.fitted.save(tmp_path / "bundle")
    request = CalibrateRequest(
        bundle=tmp_path / "bundle",
        source=booru.source("part=test"),
        objective="precision>=0.9",
        by_tag=("1girl=f1",),
    )
    calibrate_bundle(request, load_settings(changes=SMALL), Silent())
    stack = booru.fitted
    before = stack.bundle.thresholds
    found = tagstack.calibrate(
        stack, booru.scores, booru.labels, "precision>=0.9",
        by_tag={"1girl": "f1"}, where="part=test", group="series", settings=SMALL,
    )  # fmt: skip
    same(found.bundle.thresholds.value, load_bundle(tmp_path / "bundle").thresholds.value)
    assert not np.array_equal(found.bundle.thresholds.value, before.value)
    assert stack.bundle.thresholds is before
    found.save(tmp_path / "own")
    kept = tagstack.load(tmp_path / "own")
    same(kept.bundle.thresholds.value, found.bundle.thresholds.value)
    assert kept.out_of_fold() is not None


def same(left: NDArray[Any], right: NDArray[Any]) -> None:
    np.testing.assert_array_equal(left, right)


def test_scores_in_memory_are_those_of_their_store(booru: Booru) -> None:
    kept = tagstack.Scores.read(booru.root / "scores")
    assert kept.images == booru.scores.images
    assert kept.members == booru.scores.members == ("doll_convnext", "doll_resnet", "doll_vit")
    assert len(kept) == 60
    same(kept.level1().logit, booru.scores.level1().logit)
    proba = booru.fitted.predict_proba(kept)
    same(proba.proba, booru.fitted.predict_proba(booru.scores).proba)
    members = [member.name for member in booru.fitted.bundle.members]
    level1 = booru.scores.level1(members=members)
    same(proba.proba, booru.fitted.predict_proba(level1).proba)


def test_labels_of_a_program_are_those_of_a_file(booru: Booru) -> None:
    rows = booru.labels.table.rows
    given = tagstack.Labels(
        {row.image: row.tags for row in rows},
        {name: {row.image: row.columns[name] for row in rows} for name in ("part", "series")},
    )
    options: dict[str, Any] = {"where": "part=fit", "group": "series", "settings": SMALL}
    found = tagstack.fit(booru.scores, given, "danbooru", **options)
    same(found.bundle.thresholds.value, booru.fitted.bundle.thresholds.value)
    with pytest.raises(TagstackError, match=r"column 'part' has no value for '0\.png'"):
        tagstack.Labels({"0.png": ["1girl"]}, {"part": {}})
    with pytest.raises(TagstackError, match="There are no labels"):
        tagstack.Labels({})


def test_settings_may_be_a_file_and_a_wrong_key_is_named(booru: Booru, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[output]\nscore_floor = 0.9\n")
    with tagstack.load(booru.root / "bundle", settings=tmp_path / "own.toml") as stack:
        found = stack.tag(booru.pictures[0])
    assert all(entry.tagged or entry.proba >= 0.9 for entry in found.entries)
    with pytest.raises(TagstackError, match=r"output\.colour"):
        tagstack.load(booru.root / "bundle", settings={"output": {"colour": "red"}})


def test_the_page_for_python_is_true(booru: Booru, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(booru.root)
    before = files(booru.root)
    results = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert results.failed == 0
    assert results.attempted > 20
    assert files(booru.root) == before  # nothing is written unless asked


def test_examples_in_docstrings_are_true(booru: Booru, stack: tagstack.Stack) -> None:
    globs = {"stack": stack, "picture": booru.pictures[0]}
    results = [doctest.testmod(module, extraglobs=globs) for module in (api, open_stack)]
    assert all(result.failed == 0 for result in results)
    assert sum(result.attempted for result in results) > 3
