"""Every sink keeps the same scores: a store, shards of any number, and memory."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.pictures.given import Given
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scores.shards import ShardWriter, merge_shards
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import GivenPictures, ImageSources, find_images
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store

FLOOR = 0.01
N_FEATURES = 8 * 8 * 3  # the tiny taggers' whole picture
# NumPy drops the zeros at the end of a fixed-width byte string; a digest may well end in some.
ENDS_IN_ZEROS = "ab" * 30 + "0000"


@pytest.fixture
def taggers(make_tagger_folder: Callable[..., Path]) -> Iterator[tuple[Tagger, ...]]:
    """Two members whose names, as whose vocabularies, are not in the order of the run.

    The second keeps features.
    """
    first = make_tagger_folder(name="zulu", tags=("a", "b", "c", "d"))
    second = make_tagger_folder(name="alpha", tags=("e", "d", "b"), layout="NCHW", seed=3)
    loaded = (
        load_tagger(first, floor=FLOOR, threads=1),
        load_tagger(second, floor=FLOOR, threads=1, features=True),
    )
    yield loaded
    for tagger in loaded:
        tagger.close()


def same_scores(left: Level1Scores, right: Level1Scores) -> None:
    assert (left.images, left.members) == (right.images, right.members)
    assert left.vocabulary == right.vocabulary
    for name in ("knows", "floor", "logit"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for name in ("indptr", "tag"):
        one, other = getattr(left.pairs, name), getattr(right.pairs, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert [own.shape for own in left.features] == [own.shape for own in right.features]
    for one, other in zip(left.features, right.features, strict=True):
        np.testing.assert_array_equal(one, other)


def features_of(logits: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return features that follow from the scores that they stand beside."""
    return np.tile(logits.sum(axis=1, keepdims=True), (1, N_FEATURES)).astype(np.float16)


def same_content(left: ScoreReader, right: ScoreReader) -> None:
    """Everything that can be read of two readers is equal."""
    assert left.records() == right.records()
    assert [m.fingerprint for m in left.members()] == [m.fingerprint for m in right.members()]
    same_scores(left.load(), right.load())
    assert left.load().features == ()
    every, expected = left.load(features=True), right.load(features=True)
    same_scores(every, expected)
    some = np.arange(every.n_images)[::-2]
    same_scores(every.take(some), expected.take(some))
    for member in (info.name for info in left.members()):
        same_scores(left.load(members=[member]), right.load(members=[member]))
    names = [record.path for record in left.records()]
    one, other = left.picture_hashes(names), right.picture_hashes(names)
    np.testing.assert_array_equal(one.known, other.known)
    np.testing.assert_array_equal(one.bits, other.bits)
    np.testing.assert_array_equal(one.thumbnails, other.thumbnails)


class SinkContract:
    """What holds for every sink; a sink's own class says how it is opened and read."""

    def opened(self, folder: Path, members: Members) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def reader(self, folder: Path, sink: Any) -> ScoreReader:
        raise NotImplementedError

    @pytest.fixture
    def written(self, tmp_path: Path, taggers: tuple[Tagger, ...]) -> Callable[..., ScoreReader]:
        """Return a writer of images through a sink, committed after every few."""

        def write(logits: list[NDArray[np.float32]], contents: list[str]) -> ScoreReader:
            with self.opened(tmp_path / "own", Members.of(taggers)) as sink:
                write_all(sink, logits, contents)
                return self.reader(tmp_path / "own", sink)

        return write

    @pytest.fixture
    def reference(self, tmp_path: Path, taggers: tuple[Tagger, ...]) -> Callable[..., ScoreStore]:
        """Return the same through a plain store."""

        def write(logits: list[NDArray[np.float32]], contents: list[str]) -> ScoreStore:
            with ScoreWriter(tmp_path / "reference", Members.of(taggers)) as sink:
                write_all(sink, logits, contents)
            return ScoreStore(tmp_path / "reference")

        return write

    def test_reads_what_a_store_reads(
        self,
        written: Callable[..., ScoreReader],
        reference: Callable[..., ScoreStore],
        rng: np.random.Generator,
    ) -> None:
        # Around the floor, where rounding to float16 decides; one image has nothing above it.
        logits = [rng.normal(floor_logit(FLOOR), 0.02, (9, n)).astype(np.float32) for n in (4, 3)]
        for own in logits:
            own[4] = -20
            own[5] = floor_logit(FLOOR)
        contents = [f"{i:02x}" * 32 for i in range(8)] + [ENDS_IN_ZEROS]
        same_content(written(logits, contents), reference(logits, contents))

    @pytest.mark.parametrize("n_images", [1, 2])
    def test_few_images(
        self,
        written: Callable[..., ScoreReader],
        reference: Callable[..., ScoreStore],
        n_images: int,
    ) -> None:
        logits = [np.full((n_images, n), -20, np.float32) for n in (4, 3)]
        contents = ["00" * 32] * n_images  # the smallest digest, twice the same picture
        found = written(logits, contents)
        assert found.load().n_images == n_images
        assert len(found.load().pairs) == 0
        same_content(found, reference(logits, contents))

    def test_knows_what_is_missing(self, tmp_path: Path, taggers: tuple[Tagger, ...]) -> None:
        zeros = np.zeros((1, 3), np.float32)
        with self.opened(tmp_path / "own", Members.of(taggers)) as sink:
            assert sink.missing(ENDS_IN_ZEROS) == (0, 1)
            sink.add_scores(1, [ENDS_IN_ZEROS], zeros, features_of(zeros))
            assert sink.missing(ENDS_IN_ZEROS) == (0,)
            assert not sink.has_hash(ENDS_IN_ZEROS)
            sink.add_hash(ENDS_IN_ZEROS, PictureHash(bits=1, thumbnail=bytes(192)))
            assert sink.has_hash(ENDS_IN_ZEROS)
            assert not sink.has_hash("ab" * 32)

    def test_an_image_waits_until_every_member_has_scored_it(
        self, tmp_path: Path, taggers: tuple[Tagger, ...]
    ) -> None:
        zeros = np.zeros((1, 3), np.float32)
        with self.opened(tmp_path / "own", Members.of(taggers)) as sink:
            sink.add_image(path="x", root="/r", sha256=ENDS_IN_ZEROS, size_bytes=1)
            sink.add_scores(0, [ENDS_IN_ZEROS], np.zeros((1, 4), np.float32))
            assert sink.commit() == 0
            sink.add_scores(1, [ENDS_IN_ZEROS], zeros, features_of(zeros))
            assert sink.commit() == 1
            assert self.reader(tmp_path / "own", sink).load().images == ("x",)

    def test_features_are_kept_as_they_are(
        self, written: Callable[..., ScoreReader], rng: np.random.Generator
    ) -> None:
        logits = [rng.normal(0, 2, (9, n)).astype(np.float32) for n in (4, 3)]
        contents = [f"{i:02x}" * 32 for i in range(8)] + [ENDS_IN_ZEROS]
        found = written(logits, contents).load(features=True)
        by_name = dict(zip(found.members, found.features, strict=True))
        assert by_name["zulu"].shape == (9, 0)
        np.testing.assert_array_equal(by_name["alpha"], features_of(logits[1]))
        assert len(np.unique(by_name["alpha"])) > 1

    def test_a_member_gives_its_features_or_none(
        self, tmp_path: Path, taggers: tuple[Tagger, ...]
    ) -> None:
        zeros = np.zeros((1, 3), np.float32)
        with (
            self.opened(tmp_path / "own", Members.of(taggers)) as sink,
            pytest.raises(ValueError, match=r"alpha keeps features of shape \(1, 192\)"),
        ):
            sink.add_scores(1, [ENDS_IN_ZEROS], zeros)

    def test_failures_are_kept_with_their_reasons(
        self, tmp_path: Path, taggers: tuple[Tagger, ...]
    ) -> None:
        with self.opened(tmp_path / "own", Members.of(taggers)) as sink:
            sink.add_failure(path="gone", root="/r", reason="the file is gone")
            sink.add_image(path="bad", root="/r", sha256=ENDS_IN_ZEROS, size_bytes=3)
            assert sink.failure(ENDS_IN_ZEROS) is None
            sink.fail(ENDS_IN_ZEROS, "truncated")
            assert sink.failure(ENDS_IN_ZEROS) == "truncated"
            assert sink.commit() == 2
            found = self.reader(tmp_path / "own", sink)
            reasons = [(r.path, r.sha256, r.reason) for r in found.failures()]
            assert reasons == [
                ("bad", ENDS_IN_ZEROS, "truncated"),
                ("gone", "", "the file is gone"),
            ]
            with pytest.raises(TagstackError, match="no image has scores of all of"):
                found.load()
            assert not found.picture_hashes(["bad", "gone"]).known.any()


def write_all(sink: Any, logits: list[NDArray[np.float32]], contents: list[str]) -> None:
    for start in range(0, len(contents), 3):
        some = slice(start, start + 3)
        for i, sha256 in enumerate(contents[some], start):
            sink.add_image(path=f"{i:03d}.png", root="/r", sha256=sha256, size_bytes=9)
            sink.add_hash(sha256, PictureHash(bits=i * 2**58, thumbnail=bytes([i] * 192)))
        for number, own in enumerate(logits):
            fresh = range(start, min(start + 3, len(contents)))
            first = [i for i in fresh if contents.index(contents[i]) == i]
            if first:
                kept = features_of(own[first]) if number == 1 else None
                sink.add_scores(number, [contents[i] for i in first], own[first], kept)
        sink.commit()


class TestScoreWriter(SinkContract):
    def opened(self, folder: Path, members: Members) -> AbstractContextManager[Any]:
        return ScoreWriter(folder, members)

    def reader(self, folder: Path, sink: Any) -> ScoreReader:
        return ScoreStore(folder)


class TestMemorySink(SinkContract):
    def opened(self, folder: Path, members: Members) -> AbstractContextManager[Any]:
        return nullcontext(MemorySink(members))

    def reader(self, folder: Path, sink: Any) -> ScoreReader:
        assert not folder.exists()
        assert isinstance(sink, MemorySink)
        return sink


class TestShardWriter(SinkContract):
    def opened(self, folder: Path, members: Members) -> AbstractContextManager[Any]:
        return ShardWriter(folder, members, 7)

    def reader(self, folder: Path, sink: Any) -> ScoreReader:
        sink.__exit__(None, None, None)  # a merge waits for the writers
        merge_shards(folder, part_images=4)
        assert not (folder / "shards").exists()
        return ScoreStore(folder)


def test_members_need_distinct_names(taggers: tuple[Tagger, ...]) -> None:
    with pytest.raises(TagstackError, match=r"distinct names, got \['zulu', 'zulu'\]"):
        Members.of((taggers[0], taggers[0]))
    with pytest.raises(TagstackError, match=r"distinct names, got \[\]"):
        Members.of(())


@pytest.fixture
def images(tmp_path: Path, picture: Callable[..., Image.Image]) -> Path:
    """Eleven pictures, one of them twice, and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(11):
        picture(width=5 + 3 * i, height=20 - i).save(folder / f"{i:02d}.png")
    (folder / "99.png").write_bytes((folder / "03.png").read_bytes())
    (folder / "05.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def sources(images: Path, settings: ScoreSettings) -> ImageSources:
    return find_images([images], extensions=settings.extensions)


def test_a_run_into_memory_gives_the_scores_of_the_store(
    sources: ImageSources, taggers: tuple[Tagger, ...], settings: ScoreSettings, tmp_path: Path
) -> None:
    score_to_store(sources, taggers, tmp_path / "s", settings, threads=2)
    sink = MemorySink(Members.of(taggers))
    summary = score_images(sources, taggers, sink, settings, threads=2)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (10, 1, 1)
    same_content(sink, ScoreStore(tmp_path / "s"))
    # In the order of the run, too, and what is asked for alone.
    order, some = ["zulu", "alpha"], ["07.png", "05.png", "01.png"]
    same_scores(sink.load(some, order), ScoreStore(tmp_path / "s").load(some, order))


def test_memory_that_asks_for_no_hashes_hashes_nothing(
    sources: ImageSources,
    taggers: tuple[Tagger, ...],
    settings: ScoreSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tagstack.base_models.pictures import framed_pixels

    def hashed(image: Image.Image) -> PictureHash:
        raise AssertionError

    monkeypatch.setattr(framed_pixels, "picture_hash", hashed)
    sink = MemorySink(Members.of(taggers), hashes=False)
    score_images(sources, taggers, sink, settings, threads=1)
    assert sink.load().n_images == 11


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "member.json")
    }


def shared_out(
    sources: ImageSources,
    taggers: tuple[Tagger, ...],
    store: Path,
    settings: ScoreSettings,
    n_shards: int,
) -> None:
    """Score every n-th image into a shard of its own."""
    for number in range(n_shards):
        part = ImageSources(sources.root, sources.names[number::n_shards])
        with ShardWriter(store, Members.of(taggers), number) as sink:
            score_images(part, taggers, sink, settings, threads=1)


def test_the_number_of_shards_changes_no_byte(
    sources: ImageSources, taggers: tuple[Tagger, ...], settings: ScoreSettings, tmp_path: Path
) -> None:
    score_to_store(sources, taggers, tmp_path / "plain", settings, threads=2)
    for n_shards in (1, 2, 5):
        store = tmp_path / f"s{n_shards}"
        shared_out(sources, taggers, store, settings, n_shards)
        assert merge_shards(store, part_images=4) == 12
        assert merge_shards(store, part_images=4) == 0
        same_content(ScoreStore(store), ScoreStore(tmp_path / "plain"))
        assert files(store) == files(tmp_path / "s1")
    assert len(part_paths(tmp_path / "s5" / "images")) == 3


def test_a_killed_merge_goes_on(
    sources: ImageSources,
    taggers: tuple[Tagger, ...],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("whole", "killed"):
        shared_out(sources, taggers, tmp_path / name, settings, 3)
    merge_shards(tmp_path / "whole", part_images=4)

    def killed(writer: ScoreWriter) -> int:
        if len(part_paths(tmp_path / "killed" / "images")) == 1:
            writer._members[0].take()()  # of the second part, half is on disk
            raise KeyboardInterrupt
        return commit(writer)

    commit = ScoreWriter.commit
    with monkeypatch.context() as patch:
        patch.setattr(ScoreWriter, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(tmp_path / "killed", part_images=4)
    assert (tmp_path / "killed" / "shards").is_dir()
    merge_shards(tmp_path / "killed", part_images=4)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_shard_takes_up_what_it_and_the_store_have(
    sources: ImageSources, taggers: tuple[Tagger, ...], settings: ScoreSettings, tmp_path: Path
) -> None:
    first = ImageSources(sources.root, sources.names[:4])
    score_to_store(first, taggers, tmp_path / "s", settings, threads=1)
    for n_scored in (6, 0):
        with ShardWriter(tmp_path / "s", Members.of(taggers), 0) as sink:
            summary = score_images(sources, taggers, sink, settings, threads=1)
        assert summary.n_scored == n_scored
    merge_shards(tmp_path / "s", part_images=100)
    score_to_store(sources, taggers, tmp_path / "plain", settings, threads=1)
    same_content(ScoreStore(tmp_path / "s"), ScoreStore(tmp_path / "plain"))


def test_shards_that_do_not_belong_together_are_refused(
    sources: ImageSources, taggers: tuple[Tagger, ...], settings: ScoreSettings, tmp_path: Path
) -> None:
    with ShardWriter(tmp_path / "s", Members.of(taggers), 0):
        pass
    with ShardWriter(tmp_path / "s", Members.of(taggers[:1]), 1):
        with pytest.raises(TagstackError, match=r"00001 was scored with \['zulu'\], .*00000 with"):
            merge_shards(tmp_path / "s", part_images=4)
    with ShardWriter(tmp_path / "s", Members.of(taggers), 1):
        with pytest.raises(TagstackError, match="being written by process"):
            merge_shards(tmp_path / "s", part_images=4)


def _given(given: Given, taggers: tuple[Tagger, ...], settings: ScoreSettings) -> MemorySink:
    sink = MemorySink(Members.of(taggers))
    score_images(GivenPictures({"x": given}), taggers, sink, settings, threads=1)
    return sink


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_pixels_give_what_their_lossless_file_gives(
    mode: str,
    taggers: tuple[Tagger, ...],
    settings: ScoreSettings,
    tmp_path: Path,
    picture: Callable[..., Image.Image],
) -> None:
    image = picture(width=31, height=17, mode=mode)
    path = tmp_path / "x.png"
    image.save(path)
    pixels = np.asarray(image)
    turned = np.asfortranarray(pixels)
    expected = _given(path, taggers, settings).load()
    assert len(expected.pairs)
    with Image.open(path) as unread:
        every: list[Given] = [str(path), path.read_bytes(), image, unread, pixels, turned]
        for given in every:
            same_scores(_given(given, taggers, settings).load(), expected)


def test_the_same_pixels_are_one_content(
    taggers: tuple[Tagger, ...], settings: ScoreSettings, picture: Callable[..., Image.Image]
) -> None:
    image = picture(width=6, height=4)
    wide = np.asarray(image)
    pictures: dict[str, Given] = {
        "image": image,
        "array": wide,
        "other shape": wide.reshape(6, 4, 3),
        "grey": wide[..., 0],
    }
    sink = MemorySink(Members.of(taggers))
    summary = score_images(GivenPictures(pictures), taggers, sink, settings, threads=1)
    assert (summary.n_scored, summary.n_skipped) == (3, 1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "there are no bytes at all"),
        (b"no picture", "not an image that can be read"),
        (b"x" * 1001, "1001 bytes are more than score.max_file_bytes = 1000"),
        (np.zeros((4, 5, 3), np.float32), r"shape \(4, 5, 3\) and float32 is no picture"),
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\) and uint8 is no picture"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\) and uint8 is no picture"),
        (np.zeros((40, 50, 3), np.uint8), r"40 = 2000 pixels are more than score.max_pixels"),
        (Image.new("RGB", (50, 40)), r"40 = 2000 pixels are more than score.max_pixels"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels are no picture"),
        (Image.new("F", (5, 4)), "floating-point pixels"),
        (Path("gone.png"), "the file is gone"),
        (7, "int is no picture; expected a path, bytes, an array or a PIL image"),
    ],
)
def test_a_faulty_picture_costs_itself_alone(
    given: Any, reason: str, taggers: tuple[Tagger, ...], settings: ScoreSettings
) -> None:
    limits = settings.model_copy(update={"max_file_bytes": 1000, "max_pixels": 1000})
    good = np.full((9, 7, 3), 90, np.uint8)
    sink = MemorySink(Members.of(taggers))
    pictures = GivenPictures({"bad": given, "good": good})
    summary = score_images(pictures, taggers, sink, limits, threads=2)
    assert sink.load().images == ("good",)
    (failure,) = summary.failures
    assert failure.name == "bad"
    assert re.search(reason, failure.reason), failure.reason
