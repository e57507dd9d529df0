"""The score store: what is read back is what was scored, whatever the parts look like."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from tagstack.base_models.atomic import TEMPORARY
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scores.verifying import verify_store
from tagstack.base_models.spill import Spill
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError

FLOOR = 0.01


@pytest.fixture
def taggers(make_tagger_folder: Callable[..., Path]) -> Iterator[tuple[Tagger, Tagger]]:
    """Two members whose vocabularies overlap, in different orders."""
    first = make_tagger_folder(name="first", tags=("a", "b", "c", "d"))
    second = make_tagger_folder(name="second", tags=("e", "d", "b"))
    loaded = tuple(load_tagger(folder, floor=FLOOR, threads=1) for folder in (first, second))
    yield loaded  # type: ignore[misc]
    for tagger in loaded:
        tagger.close()


def _sha(i: int) -> str:
    return f"{i:02x}" * 32


def _write(
    directory: Path,
    taggers: tuple[Tagger, ...],
    logits: list[NDArray[np.float32]],
    contents: range,
    n_parts: int = 1,
) -> None:
    with ScoreWriter(directory, Members.of(taggers)) as writer:
        for chunk in np.array_split(np.array(contents), n_parts):
            shas = [_sha(i) for i in chunk]
            for i, sha in zip(chunk, shas, strict=True):
                writer.add_image(path=f"{i:03d}.png", root="/r", sha256=sha, size_bytes=9)
            for number, values in enumerate(logits):
                writer.add_scores(number, shas, values[chunk])
            writer.commit()


@pytest.fixture
def logits(rng: np.random.Generator) -> list[NDArray[np.float32]]:
    return [rng.normal(-3, 3, (40, n)).astype(np.float32) for n in (4, 3)]


def _dense(store: ScoreStore, **options: Any) -> tuple[Any, NDArray[np.float32]]:
    """Return the scores, and them as (n_members, n_images, n_tags) by an explicit loop."""
    scores = store.load(**options)
    shape = (len(scores.members), scores.n_images, len(scores.vocabulary))
    full = np.full(shape, np.nan, np.float32)
    for m in range(shape[0]):
        for i in range(shape[1]):
            full[m, i, scores.knows[m]] = scores.floor[m]
            for p in range(scores.pairs.indptr[i], scores.pairs.indptr[i + 1]):
                full[m, i, scores.pairs.tag[p]] = scores.logit[m, p]
    return scores, full


def _expected(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    rounded = logits.astype(np.float16).astype(np.float32)
    return np.where(rounded >= floor_logit(FLOOR), rounded, floor_logit(FLOOR))


@pytest.mark.parametrize("n_parts", [1, 3, 40])
def test_round_trip(
    tmp_path: Path,
    taggers: tuple[Tagger, Tagger],
    logits: list[NDArray[np.float32]],
    n_parts: int,
) -> None:
    _write(tmp_path / "s", taggers, logits, range(40), n_parts)
    scores, full = _dense(ScoreStore(tmp_path / "s"))
    assert scores.images == tuple(f"{i:03d}.png" for i in range(40))
    assert scores.vocabulary.tags == ("a", "b", "c", "d", "e")
    assert scores.vocabulary.categories == ("general",) * 3 + ("character", "general")
    assert scores.members == ("first", "second")
    np.testing.assert_array_equal(scores.knows, [[1, 1, 1, 1, 0], [0, 1, 0, 1, 1]])
    np.testing.assert_array_equal(full[0][:, :4], _expected(logits[0]))
    np.testing.assert_array_equal(full[1][:, [4, 3, 1]], _expected(logits[1]))
    assert np.isnan(full[0][:, 4]).all()
    assert np.isnan(full[1][:, [0, 2]]).all()
    # A pair is listed when, and only when, a member reaches the floor.
    floor = floor_logit(FLOOR)
    reached = [values.astype(np.float16) >= floor for values in logits]
    union = np.zeros((40, 5), bool)
    union[:, :4] |= reached[0]
    union[:, [4, 3, 1]] |= reached[1]
    listed = np.zeros((40, 5), bool)
    listed[scores.pairs.image, scores.pairs.tag] = True
    np.testing.assert_array_equal(listed, union)
    assert 0 < listed.sum() < listed.size
    assert scores.logit.dtype == np.float32
    assert scores.pairs.tag.dtype == np.int32


def test_chosen_images_and_members_keep_the_given_order(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(40), 5)
    names = ["031.png", "002.png", "missing.png", "017.png"]
    store = ScoreStore(tmp_path / "s")
    scores, full = _dense(store, images=names, members=["second", "first"])
    assert scores.images == ("031.png", "002.png", "017.png")
    assert scores.members == ("second", "first")
    np.testing.assert_array_equal(full[0][:, [4, 3, 1]], _expected(logits[1][[31, 2, 17]]))
    alone, _ = _dense(store, members=["second"])
    assert alone.vocabulary.tags == ("b", "d", "e")


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_chunks_are_slices_of_the_whole(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]], size: int
) -> None:
    _write(tmp_path / "s", taggers, logits, range(40), 6)
    store = ScoreStore(tmp_path / "s")
    whole = store.load()
    start = 0
    for chunk in store.iter_chunks(size):
        assert chunk.n_images <= size
        part = whole.take(np.arange(start, start + chunk.n_images))
        assert chunk.images == part.images
        assert chunk.vocabulary == part.vocabulary
        np.testing.assert_array_equal(chunk.pairs.indptr, part.pairs.indptr)
        np.testing.assert_array_equal(chunk.pairs.tag, part.pairs.tag)
        np.testing.assert_array_equal(chunk.logit, part.logit)
        start += chunk.n_images
    assert start == 40


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_joined_a_few_at_a_time_are_as_joined_together(
    tmp_path: Path,
    on_disk: bool,
    taggers: tuple[Tagger, Tagger],
    logits: list[NDArray[np.float32]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _write(tmp_path / "s", taggers, logits, range(40), 6)
    store = ScoreStore(tmp_path / "s")
    whole = store.load()
    monkeypatch.setattr("tagstack.base_models.scores.reading._AT_ONCE", 7)
    parts = store.load(spill=Spill(tmp_path, least_bytes=1)) if on_disk else store.load()
    assert parts.logit.flags.owndata != on_disk
    some = np.array([31, 3, 4])
    taken = parts.take(some, Spill(tmp_path, least_bytes=1)).logit
    np.testing.assert_array_equal(taken, whole.take(some).logit)
    assert (parts.images, parts.vocabulary) == (whole.images, whole.vocabulary)
    np.testing.assert_array_equal(parts.pairs.indptr, whole.pairs.indptr)
    np.testing.assert_array_equal(parts.pairs.tag, whole.pairs.tag)
    np.testing.assert_array_equal(parts.logit, whole.logit)
    assert parts.features == whole.features == ()


def test_only_images_that_every_chosen_member_scored(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    first, second = taggers
    _write(tmp_path / "s", (first,), logits[:1], range(10))
    _write(tmp_path / "s", (second,), logits[1:], range(5, 15))
    store = ScoreStore(tmp_path / "s")
    assert store.load().images == tuple(f"{i:03d}.png" for i in range(5, 10))
    assert store.load(members=["first"]).n_images == 10
    with pytest.raises(
        TagstackError, match=r"members \['third'\] asked for; .*\['first', 'second'\]"
    ):
        store.load(members=["third"])
    with pytest.raises(TagstackError, match="no image has scores of all of"):
        store.load(images=["000.png"])


def test_member_info_round_trip(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(4))
    for info, tagger in zip(ScoreStore(tmp_path / "s").members(), taggers, strict=True):
        assert (info.name, info.fingerprint) == (tagger.name, tagger.fingerprint)
        assert (info.vocabulary, info.source) == (tagger.vocabulary, tagger.source)
        assert (info.floor, info.aliases) == (FLOOR, {})
        np.testing.assert_array_equal(info.published_thresholds, tagger.published_thresholds)
        np.testing.assert_array_equal(info.published_counts, tagger.published_counts)


def test_a_store_from_before_counts_were_kept_knows_none(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(4))
    for path in (tmp_path / "s").glob("members/*/member.json"):
        content = json.loads(path.read_text())
        del content["published_counts"]
        path.write_text(json.dumps(content))
    assert all(np.isnan(m.published_counts).all() for m in ScoreStore(tmp_path / "s").members())


def test_a_new_version_of_a_member_replaces_the_old_one(
    tmp_path: Path,
    taggers: tuple[Tagger, Tagger],
    logits: list[NDArray[np.float32]],
    make_tagger_folder: Callable[..., Path],
) -> None:
    _write(tmp_path / "s", taggers, logits, range(10))
    old = ScoreStore(tmp_path / "s").members()
    newer = replace(taggers[0], fingerprint="ab" * 32)
    _write(tmp_path / "s", (newer,), logits[:1], range(6))
    store = ScoreStore(tmp_path / "s")
    assert [m.fingerprint for m in store.members()] == ["ab" * 32, old[1].fingerprint]
    assert store.load().n_images == 6
    _write(tmp_path / "s", (taggers[0],), [], range(0))
    assert ScoreStore(tmp_path / "s").load().n_images == 10


def test_writer_knows_what_is_there(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers[:1], logits[:1], range(5))
    with ScoreWriter(tmp_path / "s", Members.of(taggers)) as writer:
        assert writer.missing(_sha(3)) == (1,)
        assert writer.missing(_sha(30)) == (0, 1)


def test_records_and_failures(tmp_path: Path, taggers: tuple[Tagger, Tagger]) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    with ScoreWriter(tmp_path / "s", Members.of(taggers)) as writer:
        writer.add_failure(path=name, root="/r", reason="the file is gone")
        writer.add_image(path="bad.png", root="/r", sha256=_sha(1), size_bytes=3)
        writer.fail(_sha(1), "truncated")
        writer.commit()
    found = ScoreStore(tmp_path / "s").failures()
    assert [(r.path, r.reason) for r in found] == [
        ("bad.png", "truncated"),
        (name, "the file is gone"),
    ]
    assert [r.status for r in found] == ["failed", "failed"]
    assert (found[0].sha256, found[0].size_bytes, found[0].root) == (_sha(1), 3, "/r")
    assert found[1].sha256 == ""


def test_the_last_record_of_a_name_counts(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(3))
    with ScoreWriter(tmp_path / "s", Members.of(taggers)) as writer:
        writer.add_image(path="001.png", root="/r", sha256=_sha(2), size_bytes=9)
        writer.add_failure(path="000.png", root="/r", reason="gone")
        writer.commit()
    scores, full = _dense(ScoreStore(tmp_path / "s"))
    assert scores.images == ("001.png", "002.png")
    np.testing.assert_array_equal(full[0][0], full[0][1])


def test_another_picture_of_the_name_from_another_folder_is_refused(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(3))
    with ScoreWriter(tmp_path / "s", Members.of(taggers)) as writer:
        writer.add_image(path="001.png", root="/moved", sha256=_sha(1), size_bytes=9)
        writer.commit()
        with pytest.raises(TagstackError, match=r"another picture named '001\.png', .*'/moved'"):
            writer.add_image(path="001.png", root="/other", sha256=_sha(2), size_bytes=9)
    records = {record.path: record.root for record in ScoreStore(tmp_path / "s").records()}
    assert records == {"000.png": "/r", "001.png": "/moved", "002.png": "/r"}


def test_uncommitted_scores_are_not_there(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    with ScoreWriter(tmp_path / "s", Members.of(taggers)) as writer:
        writer.add_image(path="x", root="/r", sha256=_sha(0), size_bytes=1)
        writer.add_scores(0, [_sha(0)], logits[0][:1])
        assert writer.commit() == 0  # the second member has not scored it: the image must wait
    assert ScoreStore(tmp_path / "s").records() == []


def test_hashes_belong_to_contents(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    look = PictureHash(bits=2**63 + 5, thumbnail=bytes(range(192)))
    with ScoreWriter(tmp_path / "s", Members.of(taggers[:1])) as writer:
        for name, content in (("b", 1), ("a", 0), ("c", 1), ("d", 2)):
            writer.add_image(path=name, root="/r", sha256=_sha(content), size_bytes=1)
        writer.add_scores(0, [_sha(i) for i in range(3)], logits[0][:3])
        writer.add_hash(_sha(1), look)
        writer.commit()
        writer.add_hash(_sha(1), PictureHash(bits=0, thumbnail=bytes(192)))  # once is enough
        writer.add_hash(_sha(0), replace(look, bits=7))
        writer.commit()
    store = ScoreStore(tmp_path / "s")
    found = store.picture_hashes(["d", "c", "a", "b"])
    assert found.known.tolist() == [False, True, True, True]
    assert found.bits.tolist() == [0, look.bits, 7, look.bits]
    assert found.thumbnails[[1, 2, 3]].tolist() == [list(range(192))] * 3
    assert found.take(np.array([2])).bits.tolist() == [7]
    with pytest.raises(TagstackError, match="has no image 'e'"):
        store.picture_hashes(["a", "e"])


def test_a_second_writer_is_refused_while_the_first_one_lives(
    tmp_path: Path, taggers: tuple[Tagger, Tagger]
) -> None:
    with ScoreWriter(tmp_path / "s", Members.of(taggers)):
        with pytest.raises(TagstackError, match=rf"being written by process {os.getpid()}\."):
            ScoreWriter(tmp_path / "s", Members.of(taggers)).__enter__()
        ScoreStore(tmp_path / "s").records()  # reading needs no lock
    with (
        ScoreWriter(tmp_path / "s", Members.of(taggers)),
        (tmp_path / "s" / "lock").open() as handle,
    ):
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_leftovers_of_a_killed_writer_are_removed(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(3))
    (member, *_) = sorted((tmp_path / "s" / "members").iterdir())
    for folder in (member, tmp_path / "s" / "images", tmp_path / "s"):
        (folder / f"{TEMPORARY}abc.parquet").write_bytes(b"half a part")
    before = ScoreStore(tmp_path / "s").load()
    with ScoreWriter(tmp_path / "s", Members.of(taggers)):
        pass
    assert list((tmp_path / "s").rglob(f"{TEMPORARY}*")) == []
    assert ScoreStore(tmp_path / "s").load().images == before.images


def test_a_damaged_part_is_named_set_aside_and_scored_again(
    tmp_path: Path,
    taggers: tuple[Tagger, Tagger],
    logits: list[NDArray[np.float32]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _write(tmp_path / "s", taggers, logits, range(9), 3)
    before = ScoreStore(tmp_path / "s").load()
    part = part_paths(next((tmp_path / "s" / "members").glob("first-*")))[1]
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        TagstackError, match=rf"Cannot read the part .*{part.name}.*its checksum.*scored again"
    ):
        ScoreStore(tmp_path / "s").load()
    _write(tmp_path / "s", taggers, logits, range(9), 3)
    assert part.name in caplog.text
    aside = list((tmp_path / "s" / "damaged").iterdir())
    assert [path.read_bytes() for path in aside] == [whole[: len(whole) // 2]]
    after = ScoreStore(tmp_path / "s").load()
    assert after.images == before.images
    np.testing.assert_array_equal(after.logit, before.logit)


@pytest.mark.parametrize("kind", ["members", "images"])
def test_no_changed_byte_reads_as_other_scores(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]], kind: str
) -> None:
    _write(tmp_path / "s", taggers, logits, range(6), 3)
    part = sorted((tmp_path / "s" / kind).rglob("part-*"), key=str)[0]
    whole, rng = part.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        part.write_bytes(bytes(data))
        found = verify_store(tmp_path / "s")
        assert [error.path for error in found.damaged] == [part]
    part.write_bytes(whole)
    assert verify_store(tmp_path / "s").damaged == ()


def test_parts_from_before_checksums_are_read_and_their_ranges_checked(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(6), 3)
    before = ScoreStore(tmp_path / "s").load()
    for path in list((tmp_path / "s").rglob("part-*.parquet")):
        path.rename(path.with_name(f"{path.name[:13]}.parquet"))
    np.testing.assert_array_equal(ScoreStore(tmp_path / "s").load().logit, before.logit)
    found = verify_store(tmp_path / "s")
    assert found.n_unsealed == found.n_parts > 0
    part = part_paths(next((tmp_path / "s" / "members").glob("first-*")))[0]
    table = parquet.read_table(part)
    for column, value in (("tag", 99), ("tag", -1), ("logit", float("nan"))):
        rows = table.to_pylist()
        rows[0][column][0] = value
        parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), part)
        with pytest.raises(TagstackError, match=r"a tag index is not|a logit is not finite"):
            ScoreStore(tmp_path / "s").load()
        assert len(verify_store(tmp_path / "s").damaged) == 1


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"no score store: store\.json is missing"):
        ScoreStore(tmp_path).load()
    (tmp_path / "store.json").write_text(json.dumps({"format": 99, "members": {}}))
    with pytest.raises(TagstackError, match="has format 99, expected 1"):
        ScoreStore(tmp_path).members()
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(TagstackError, match=r"store\.json: not valid JSON"):
        ScoreStore(tmp_path).members()


def test_a_file_in_the_way_is_one_line(tmp_path: Path, taggers: tuple[Tagger, Tagger]) -> None:
    (tmp_path / "s").write_text("not a folder")
    with pytest.raises(TagstackError, match="Cannot write the score store"):
        ScoreWriter(tmp_path / "s", Members.of(taggers)).__enter__()


def _with_features(directory: Path, folder: Path, logits: NDArray[np.float32]) -> list[int]:
    """Score what the store lacks, two images a part; return which those were."""
    tagger = load_tagger(folder, floor=FLOOR, threads=1, features=True)
    tagger.close()
    scored = []
    with ScoreWriter(directory, Members.of((tagger,))) as writer:
        for i, row in enumerate(logits):
            writer.add_image(path=f"{i}.png", root="/r", sha256=_sha(i), size_bytes=9)
            if writer.missing(_sha(i)):
                scored.append(i)
                writer.add_scores(0, [_sha(i)], row[None], np.full((1, 192), i, np.float16))
            if i % 2:
                writer.commit()
    return scored


def _part(directory: Path, kind: str, number: int) -> Path:
    pattern = f"members/*/features/part-{number:08d}*" if kind else f"members/*/part-{number:08d}*"
    (found,) = directory.glob(pattern)
    return found


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda part: part.write_bytes(part.read_bytes()[:-9]), "its checksum is"),
        (lambda part: part.unlink(), "0 parts of features number 1, expected 1"),
        (
            lambda part: part.rename(part.with_name("part-00000001.parquet")).write_bytes(
                _part(part.parents[3], "features", 0).read_bytes()
            ),
            "its contents are not those of",
        ),
    ],
)
def test_damaged_features_cost_their_own_images_alone(
    tmp_path: Path,
    make_tagger_folder: Callable[..., Path],
    logits: list[NDArray[np.float32]],
    damage: Callable[[Path], object],
    message: str,
) -> None:
    folder, store = make_tagger_folder(tags=("a", "b", "c", "d")), tmp_path / "s"
    assert _with_features(store, folder, logits[0][:6]) == [*range(6)]
    expected = ScoreStore(store).load(features=True)
    assert verify_store(store).damaged == ()
    assert verify_store(store).n_parts == 9
    damage(_part(store, "features", 1))
    ScoreStore(store).load()  # scores alone are whole
    with pytest.raises(TagstackError, match=message):
        ScoreStore(store).load(features=True)
    assert [message in error.reason for error in verify_store(store).damaged] == [True]
    assert _with_features(store, folder, logits[0][:6]) == [2, 3]
    found = ScoreStore(store).load(features=True)
    np.testing.assert_array_equal(found.features[0], expected.features[0])
    np.testing.assert_array_equal(found.logit, expected.logit)
    assert verify_store(store).damaged == ()


def test_features_without_scores_are_what_a_kill_left(
    tmp_path: Path, make_tagger_folder: Callable[..., Path], logits: list[NDArray[np.float32]]
) -> None:
    folder, store = make_tagger_folder(tags=("a", "b", "c", "d")), tmp_path / "s"
    _with_features(store, folder, logits[0][:6])
    _part(store, "", 2).unlink()  # features come first
    assert _with_features(store, folder, logits[0][:6]) == [4, 5]
    found = ScoreStore(store).load(features=True)
    np.testing.assert_array_equal(found.features[0][:, 0], np.arange(6))
    assert verify_store(store).damaged == ()


def test_a_store_without_features_says_nothing_of_them(
    tmp_path: Path, taggers: tuple[Tagger, Tagger], logits: list[NDArray[np.float32]]
) -> None:
    _write(tmp_path / "s", taggers, logits, range(3))
    (folder, _) = sorted((tmp_path / "s" / "members").iterdir())
    assert "n_features" not in (folder / "member.json").read_text()
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".parquet"]
    content = json.loads((folder / "member.json").read_text())
    for width in (-1, "7", 10**9, True):
        (folder / "member.json").write_text(json.dumps(content | {"n_features": width}))
        with pytest.raises(TagstackError, match="n_features is"):
            ScoreStore(tmp_path / "s").members()
