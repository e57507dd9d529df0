"""Decisions as labels: read back by the readers of labels, unknown where nobody spoke."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.feedback.decision import Decision, Shown
from tagstack.ensemble.feedback.label_rows import (
    decided_rows,
    keep_labels,
    write_labels,
    write_sidecars,
)
from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.labels.labels import AlignedLabels, align_labels

TAGS = ("1girl", "animal_ears", "cat_ears", ";d", "=_=", "solo")
VOCABULARY = Vocabulary(TAGS, ("general",) * len(TAGS))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    with DecisionStore(tmp_path / "d.sqlite") as opened:
        said = {
            ("a.png", "cat_ears"): "yes", ("a.png", ";d"): "no", ("a.png", "solo"): "skip",
            ("b \udcff.png", "=_="): "yes", ("c.png", "1girl"): "no", ("d.png", "solo"): "skip",
        }  # fmt: skip
        for (image, tag), answer in said.items():
            opened.record([
                Decision(who="ann", image=image, tag=tag, answer=answer,  # type: ignore[arg-type]
                         shown=Shown(judging=image == "c.png"))
            ])  # fmt: skip
        yield opened


def implied(tags: object) -> set[str]:
    return {"animal_ears"} if "cat_ears" in tags else set()  # type: ignore[operator]


def cells(labels: AlignedLabels) -> list[str]:
    """Return each image's pairs as a text: + for there, - for not, ? for unknown."""
    matrix, unknown = labels.matrix.toarray(), labels.unknown.toarray()
    return [
        "".join("?" if u else "+" if m else "-" for m, u in zip(own, un, strict=True))
        for own, un in zip(matrix, unknown, strict=True)
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_fit_reads_what_was_decided_and_nothing_else(
    store: DecisionStore, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / f"labels.{ending}"
    assert write_labels(decided_rows(store, implied), target) == 3
    table = read_labels(target)
    labels = align_labels(table, ("a.png", "b \udcff.png", "c.png", "d.png"), VOCABULARY)
    assert cells(labels) == ["?++-??", "????+?", "-?????"]
    assert labels.columns["part"] == ("train", "train", "judge")
    assert len(table.where("part=train").rows) == 2


def test_labels_from_before_are_corrected(store: DecisionStore, tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text('image,tags,unknown\na.png,"1girl, ;d",\nc.png,"1girl, solo",cat_ears\n')
    write_labels(decided_rows(store, base=read_labels(old)), tmp_path / "new.csv")
    images = ("a.png", "c.png")
    labels = align_labels(read_labels(tmp_path / "new.csv"), images, VOCABULARY)
    assert cells(labels) == ["+-+---", "--?--+"]


def test_a_tag_that_csv_cannot_hold_is_refused_and_jsonl_holds_it(
    store: DecisionStore, tmp_path: Path
) -> None:
    store.record([Decision(who="ann", image="e.png", tag="a, b", answer="yes")])
    with pytest.raises(TagstackError, match=r"Write \.jsonl"):
        write_labels(decided_rows(store), tmp_path / "labels.csv")
    assert not (tmp_path / "labels.csv").exists()
    write_labels(decided_rows(store), tmp_path / "labels.jsonl")
    with pytest.raises(TagstackError, match=r"ends in '\.txt'"):
        write_labels(decided_rows(store), tmp_path / "labels.txt")


def test_sidecars_become_decisions_once(store: DecisionStore, tmp_path: Path) -> None:
    folder = tmp_path / "sidecars"
    folder.mkdir()
    (folder / "a.txt").write_text("cat_ears, solo")
    (folder / "unrelated.txt").write_text("solo, 1girl")
    for new in (1, 0):
        table = read_labels(folder)
        assert keep_labels(store, table, "import", ("a.png", "c.png"), lambda _: "00" * 32) == new
    (row,) = [row for row in decided_rows(store) if row.image == "a.png"]
    assert row.tags == ("cat_ears", "solo")
    store.undo("import")
    assert len(list(store.standing("a.png"))) == 3  # an import is no slip of a key


def test_imported_labels_name_pictures_as_labels_of_a_fit_do(
    store: DecisionStore, tmp_path: Path
) -> None:
    (tmp_path / "l.csv").write_text("image,tags\n./c.png,1girl\nC:\\\\pics\\\\c.png,hat\n")
    table = read_labels(tmp_path / "l.csv")
    assert keep_labels(store, table, "me", ("c.png",), lambda _: "00" * 32, ("/my/pics",)) == 2
    with pytest.raises(TagstackError, match=r"None of the 2 images .* among the 1 pictures"):
        keep_labels(store, table, "me", ("other.png",), lambda _: "00" * 32)


def test_sidecars_are_corrected(store: DecisionStore, tmp_path: Path) -> None:
    folder = tmp_path / "sidecars"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("1girl, ;d")
    (folder / "sub/other.txt").write_text("solo, 1girl")
    rows = decided_rows(store, implied, read_labels(folder))
    assert write_sidecars(rows, tmp_path / "new") == 4
    assert (tmp_path / "new/a.txt").read_text() == "1girl, animal_ears, cat_ears\n"
    assert (tmp_path / "new/sub/other.txt").read_text() == "solo, 1girl\n"
    store.record([Decision(who="ann", image="../../evil.png", tag="solo", answer="yes")])
    with pytest.raises(TagstackError, match="evil"):
        write_sidecars(decided_rows(store), tmp_path / "again")
    assert not (tmp_path / "evil.txt").exists()
