"""Scores of another program become a member: what is read back, and what is refused in one line."""

import json
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from scipy.special import expit, logit
from typer.testing import CliRunner

from tagstack.base_models.scores.store import ScoreStore
from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scores_export import export_scores, prune_store, store_facts
from tagstack.ensemble.tasks.scores_import import ImportRequest, ImportSummary, import_scores

TAGS = ("1girl", "long_hair", "=_=", "sky")
SETTINGS = load_settings(changes={"threads": 1})


@dataclass(frozen=True)
class Foreign:
    """Six pictures, their scores by another program, and a folder to write into."""

    folder: Path
    names: tuple[str, ...]
    proba: NDArray[np.float64]

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def imported(self, table: Path, **more: Any) -> ImportSummary:
        given: dict[str, Any] = {
            "store": self.store, "member": "mine", "tags": self.folder / "tags.csv",
            "images": self.pictures,
        }  # fmt: skip
        return import_scores(ImportRequest(table=table, **(given | more)), SETTINGS, Silent())

    def wide(self, file: str, values: Any = None, **columns: Any) -> Path:
        values = self.proba if values is None else values
        columns = columns or {"image": list(self.names)}
        own = {tag: values[:, j] for j, tag in enumerate(TAGS)}
        parquet.write_table(pa.table(columns | own), self.folder / file)
        return self.folder / file

    def long(self, file: str, kept: float = 0.0, column: str = "probability") -> Path:
        rows = [
            {"image": name, "tag": tag, column: float(self.proba[i, j])}
            for j, tag in enumerate(TAGS)
            for i, name in enumerate(self.names)
            if self.proba[i, j] >= kept
        ]
        parquet.write_table(pa.Table.from_pylist(rows), self.folder / file)
        return self.folder / file


@pytest.fixture
def foreign(tmp_path: Path, rng: np.random.Generator) -> Foreign:
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    names = ("1.png", "2.png", "sub/1.png", "A b.jpg", "é.webp", "z.png")
    for name in names:  # hashed and never decoded
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    lines = ["name,category,best_threshold", "1girl,0,0.3", "long_hair,0,", "'=_=,5,", "sky,0,0.6"]
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    return Foreign(tmp_path, names, expit(rng.normal(-2, 3, (6, 4))).astype(np.float32))


def dense(store: Path, member: str = "mine") -> dict[str, NDArray[np.float32]]:
    """Return each picture's logits by an explicit loop."""
    scores = ScoreStore(store).load(members=[member])
    column = [scores.vocabulary.index[tag] for tag in TAGS]
    found = {}
    for i, name in enumerate(scores.images):
        row = np.full(len(TAGS), scores.floor[0])
        for p in range(scores.pairs.indptr[i], scores.pairs.indptr[i + 1]):
            row[scores.pairs.tag[p]] = scores.logit[0, p]
        found[name] = row[column]
    return found


def expected(foreign: Foreign, floor: float = 1e-4) -> dict[str, NDArray[np.float32]]:
    own = logit(foreign.proba.astype(np.float64)).astype(np.float32).astype(np.float16)
    low = np.float16(logit(floor))
    rows = np.where(own >= low, own, low).astype(np.float32)
    return dict(zip(foreign.names, rows, strict=True))


def assert_same(
    found: dict[str, NDArray[np.float32]], wanted: dict[str, NDArray[np.float32]]
) -> None:
    assert sorted(found) == sorted(wanted)
    for name, row in wanted.items():
        np.testing.assert_array_equal(found[name], row)


def csv_of(foreign: Foreign, rows: Sequence[Sequence[object]], file: str = "scores.csv") -> Path:
    path = foreign.folder / file
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return path


def wide_csv(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    header = ["filename", "sky", "'=_=", "Long hair", "1girl"]  # another order and writing
    rows = [
        [n, *map(repr, p[::-1].tolist())] for n, p in zip(foreign.names, foreign.proba, strict=True)
    ]
    return csv_of(foreign, [header, *rows]), {"kind": "probabilities"}


def long_csv(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    rows = [
        [name, tag, repr(float(p))]
        for name, own in zip(foreign.names, foreign.proba, strict=True)
        for tag, p in zip(TAGS, own, strict=True)
    ]
    return csv_of(foreign, [["image", "tag", "proba"], *rows]), {"floor": 1e-4}


def json_lines(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    rows = [
        {"image": name, "probabilities": dict(zip(TAGS, map(float, own), strict=True))}
        for name, own in zip(foreign.names, foreign.proba, strict=True)
    ]
    path = foreign.folder / "scores.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, {"floor": 1e-4}


def imgutils_lines(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    """Rows as ``get_wd14_tags`` fills them with fmt={"general": "general", ...}."""
    rows = []
    for name, own in zip(foreign.names, foreign.proba, strict=True):
        given = dict(zip(("1girl", "long hair", "=_=", "sky"), map(float, own), strict=True))
        character = {"=_=": given.pop("=_=")}
        row = {"image": name, "general": given, "character": character, "tag": given | character}
        rows.append(row)
    path = foreign.folder / "imgutils.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, {"floor": 1e-4}


def imgutils_predictions(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    rows = [
        {"image": name, "prediction": own.tolist()}
        for name, own in zip(foreign.names, foreign.proba, strict=True)
    ]
    path = foreign.folder / "predictions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, {}


def archive(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    path = foreign.folder / "scores.npz"
    np.savez(path, images=np.array(foreign.names), probabilities=foreign.proba)
    return path, {}


def array(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    path, names = foreign.folder / "scores.npy", foreign.folder / "names.txt"
    np.save(path, foreign.proba)
    names.write_text("\n".join(foreign.names))
    return path, {"names": names, "kind": "probabilities"}


def wide_parquet(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    return foreign.wide("scores.parquet"), {"kind": "probabilities"}


def long_parquet(foreign: Foreign) -> tuple[Path, dict[str, Any]]:
    return foreign.long("scores.parquet"), {"floor": 1e-4}


@pytest.mark.parametrize(
    "write",
    [
        wide_csv,
        long_csv,
        json_lines,
        imgutils_lines,
        imgutils_predictions,
        archive,
        array,
        wide_parquet,
        long_parquet,
    ],
)
def test_every_form_gives_the_same_member(
    foreign: Foreign, write: Callable[[Foreign], tuple[Path, dict[str, Any]]]
) -> None:
    table, more = write(foreign)
    done = foreign.imported(table, **more)
    assert (done.n_images, done.n_known, done.unknown, done.floor) == (6, 0, (), 1e-4)
    assert_same(dense(foreign.store), expected(foreign))
    (info,) = ScoreStore(foreign.store).members()
    assert info.is_imported
    assert info.vocabulary.categories[2] == "meta"
    np.testing.assert_allclose(info.published_thresholds, [0.3, 0.5, 0.5, 0.6], rtol=1e-6)
    assert foreign.imported(table, **more).n_images == 0  # the same again is nothing new


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_what_was_exported_is_imported_bit_for_bit(foreign: Foreign, suffix: str) -> None:
    proba = foreign.proba.copy()
    proba[2] = 1e-6  # a picture without any score
    foreign.imported(foreign.wide("s.parquet", proba), kind="probabilities", floor=0.05)
    out = foreign.folder / f"out{suffix}"
    done = export_scores(foreign.store, out, Silent(), member=None)
    assert done.n_images == 6
    foreign.imported(out, store=foreign.folder / "second", member="again", tags=done.tags)
    assert_same(dense(foreign.folder / "second", "again"), dense(foreign.store))
    first, second = (ScoreStore(p).members()[0] for p in (foreign.store, foreign.folder / "second"))
    assert first.vocabulary == second.vocabulary
    assert (first.floor, second.floor) == (0.05, 0.05)
    np.testing.assert_array_equal(first.published_thresholds, second.published_thresholds)
    with pytest.raises(TagstackError, match=r"out\S* exists"):
        export_scores(foreign.store, out, Silent(), member="mine")


def test_pictures_are_known_by_content_and_by_the_store(foreign: Foreign) -> None:
    foreign.imported(foreign.wide("s.parquet"), kind="probabilities")
    records = ScoreStore(foreign.store).image_records()
    digests = [records[name].sha256.upper() for name in foreign.names]
    table = foreign.wide("t.parquet", None, sha256=digests)
    done = foreign.imported(table, kind="probabilities", member="other", images=None)
    assert done.n_images == 6
    assert_same(dense(foreign.store, "other"), expected(foreign))


def test_unknown_pictures_cost_themselves_alone(foreign: Foreign) -> None:
    names = ["gone.png", *foreign.names[1:]]
    done = foreign.imported(foreign.wide("s.parquet", image=names), kind="probabilities")
    assert (done.n_images, done.unknown) == (5, ("gone.png",))
    table = foreign.wide("t.parquet", image=[f"x{i}" for i in range(6)])
    with pytest.raises(TagstackError, match="none of its 6 pictures is known"):
        foreign.imported(table, kind="probabilities", member="other")


def test_another_table_takes_no_place_unless_told(foreign: Foreign) -> None:
    half = foreign.folder / "half.csv"
    csv_of(foreign, [["image", *TAGS[:2], "'=_=", "sky"], ["1.png", 0.5, 0.2, 0.1, 0.9]], half.name)
    first = foreign.imported(half, kind="probabilities")
    whole = foreign.wide("s.parquet")
    with pytest.raises(TagstackError, match=r"has other scores of 'mine'.*--append"):
        foreign.imported(whole, kind="probabilities")
    with pytest.raises(TagstackError, match="another floor"):
        foreign.imported(whole, kind="probabilities", append=True, floor=0.01)
    more = foreign.imported(whole, kind="probabilities", append=True)
    assert (more.fingerprint, more.n_images, more.n_known) == (first.fingerprint, 5, 1)
    new = foreign.imported(whole, kind="probabilities", overwrite=True)
    assert new.fingerprint != first.fingerprint
    assert new.n_images == 6
    facts = store_facts(foreign.store)
    assert (facts.n_images, facts.members[0].n_images, facts.n_unused) == (6, 6, 1)
    assert len(prune_store(foreign.store, delete=False).folders) == 1
    assert len(prune_store(foreign.store, delete=True).folders) == 1
    assert store_facts(foreign.store).n_unused == 0
    assert_same(dense(foreign.store), expected(foreign))


def _pickled(foreign: Foreign) -> Path:
    path = foreign.folder / "bad.npy"
    path.write_bytes(pickle.dumps(foreign.proba))
    return path


def _objects(foreign: Foreign) -> Path:
    path = foreign.folder / "bad.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    return path


def _objects_in_archive(foreign: Foreign) -> Path:
    path = foreign.folder / "bad.npz"
    np.savez(path, images=np.array([{}] * 6, object), probabilities=foreign.proba)
    return path


def _cut(foreign: Foreign) -> Path:
    path = foreign.wide("bad.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    return path


def _npz_list(foreign: Foreign) -> Path:
    path = foreign.folder / "bad.npz"
    np.savez(
        path, images=np.array(foreign.names), tags=np.array(TAGS), indptr=np.arange(7),
        tag=np.full(6, 4), probabilities=np.ones(6),
    )  # fmt: skip
    return path


def _changed(place: tuple[int, int], value: float) -> Callable[[Foreign], Path]:
    def write(foreign: Foreign) -> Path:
        values = foreign.proba.copy()
        values[place] = value
        return foreign.wide("bad.parquet", values)

    return write


def _saved(shape: tuple[int, ...]) -> Callable[[Foreign], Path]:
    def write(foreign: Foreign) -> Path:
        path = foreign.folder / "bad.npy"
        np.save(path, np.zeros(shape, np.float32))
        return path

    return write


def _csv(*lines: str) -> Callable[[Foreign], Path]:
    def write(foreign: Foreign) -> Path:
        path = foreign.folder / "bad.csv"
        path.write_text("\n".join(lines))
        return path

    return write


def _jsonl(*lines: str) -> Callable[[Foreign], Path]:
    def write(foreign: Foreign) -> Path:
        path = foreign.folder / "bad.jsonl"
        path.write_text("\n".join(lines))
        return path

    return write


def _pipe(foreign: Foreign) -> Path:
    os.mkfifo(foreign.folder / "bad.parquet")
    return foreign.folder / "bad.parquet"


HEAD = "image,1girl,long_hair,'=_=,sky"
FAULTS: dict[str, tuple[Callable[[Foreign], Path], str]] = {
    "pickle": (_pickled, "Cannot read the scores .*pickle"),
    "objects": (_objects, "Cannot read the scores .*(pickle|object)"),
    "objects in archive": (_objects_in_archive, "Cannot read the scores .*(pickle|[Oo]bject)"),
    "cut": (_cut, "Cannot read the scores"),
    "pipe": (_pipe, "no regular file"),
    "list of no tag": (_npz_list, "do not fit together"),
    "NaN": (_changed((4, 1), np.nan), "'é.webp', tag 'long_hair': nan is not 0 to 1"),
    "infinite": (_changed((0, 0), np.inf), "'1.png', tag '1girl': inf is not 0 to 1"),
    "above 1": (_changed((5, 3), 1.5), "'z.png', tag 'sky': 1.5 is not 0 to 1"),
    "below 0": (_changed((5, 3), -2), "'z.png', tag 'sky': -2 is not 0 to 1"),
    "rows": (_saved((5, 4)), r"shape \(5, 4\), expected \(6, 4\)"),
    "columns": (_saved((6, 3)), "3 scores a picture, .* has 4 tags"),
    "flat": (_saved((24,)), r"shape \(24,\)"),
    "unknown tag": (_csv(HEAD + ",hat", "1.png,0,0,0,0,0"), "1 of its tags .*'hat'"),
    "tag left out": (_csv("image,1girl,sky", "1.png,0,0"), "no column for the tag 'long_hair'"),
    "tag in two writings": (_csv(HEAD + ",Sky", "1.png,0,0,0,0,0"), "two of its tags mean 'sky'"),
    "picture twice": (_csv(HEAD, "1.png,0,0,0,0", "1.png,0,0,0,1"), "'1.png' is there twice"),
    "picture in two writings": (
        _csv(HEAD, "1.png,0,0,0,0", "./1.png,0,0,0,1"),
        "'1.png' and './1.png' are one picture",
    ),
    "no picture": (_csv(HEAD), "no picture in it"),
    "no picture column": (_csv("1girl,sky", "0,0"), "no column names the pictures"),
    "word": (_csv(HEAD, "1.png,0,much,0,0"), "line 2, long_hair: 'much' is no number"),
    "empty cell": (_csv(HEAD, "1.png,0,,0,0"), "line 2, long_hair: '' is no number"),
    "no digest": (_csv("sha256,1girl,long_hair,'=_=,sky", "xy,0,0,0,0"), "'xy' is no SHA-256"),
    "json number": (_jsonl('{"image": "1.png", "scores": {"sky": "1"}}'), "line 1: a score is no"),
    "json list": (_jsonl("[1]"), "line 1: expected an object"),
    "json other": (_jsonl('{"image": "1.png", "scores": {}}', "{}"), "line 2: expected 'image'"),
    "ending": (lambda foreign: foreign.folder / "bad.xlsx", "none of .parquet"),
    "gone": (lambda foreign: foreign.folder / "gone.parquet", "No such file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_refused_in_one_line(foreign: Foreign, fault: str) -> None:
    write, match = FAULTS[fault]
    (foreign.folder / "names.txt").write_text("\n".join(foreign.names))
    with pytest.raises(TagstackError, match=match) as caught:
        foreign.imported(
            write(foreign), kind="probabilities", floor=1e-4, names=foreign.folder / "names.txt"
        )
    assert "\n" not in str(caught.value)
    assert not foreign.store.exists()


def test_kind_and_floor_are_said_and_checked(foreign: Foreign) -> None:
    wide, long = foreign.wide("w.parquet"), foreign.long("l.parquet", 0.05)
    with pytest.raises(TagstackError, match="does not say whether its scores are logits"):
        foreign.imported(wide)
    with pytest.raises(TagstackError, match="names its scores probabilities, but --kind says"):
        foreign.imported(long, kind="logits", floor=0.05)
    with pytest.raises(TagstackError, match="Say with --floor"):
        foreign.imported(long)
    with pytest.raises(TagstackError, match=r"is not from 1e-7 to less than 0\.5"):
        foreign.imported(long, floor=0.9)
    many = np.tile(foreign.proba, (20, 1))
    np.savez(foreign.folder / "m.npz", images=np.array([f"{i}" for i in range(120)]), logits=many)
    with pytest.raises(TagstackError, match=r"all 480 lie in .*they are probabilities"):
        foreign.imported(foreign.folder / "m.npz")
    foreign.imported(long, floor=0.05)
    assert_same(dense(foreign.store), expected(foreign, 0.05))


def test_the_commands_speak_in_lines_and_json(foreign: Foreign) -> None:
    def run(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["scores", *map(str, words)])
        return done.exit_code, done.output

    table = foreign.wide("s.parquet", image=["gone.png", *foreign.names[1:]])
    code, said = run(
        "import", table, "--scores", foreign.store, "--member", "mine", "--tags",
        foreign.folder / "tags.csv", "--kind", "probabilities", "--images", foreign.pictures,
    )  # fmt: skip
    assert code == 3
    assert "mine: 5 pictures imported" in said
    assert "left out: 'gone.png'" in said
    code, said = run("info", foreign.store, "--json")
    (member,) = json.loads(said)["members"]
    assert (code, member["imported"], member["contents"], member["floor"]) == (0, True, 5, 1e-4)
    assert "mine: 5 contents, 4 tags, floor 0.0001" in run("info", foreign.store)[1]
    code, said = run("export", foreign.store, "--out", foreign.folder / "e.parquet")
    assert code == 0
    assert "of 5 pictures" in said
    assert run("prune", foreign.store)[1] == "0 folders, 0.0 MB.\n"
