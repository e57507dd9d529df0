"""Files that keep a decoder busy: ended, named, and not met again."""

import io
import os
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.pictures import decoding_process
from tagstack.base_models.pictures.decoding_process import CRASHED, DecodingProcesses, is_cheap
from tagstack.base_models.pictures.images import ImageError, decode, open_image
from tagstack.base_models.pictures.png_chunks import without_large_texts
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store

MANY = 10**9


def _jpeg(side: int = 200, scans: int = 0) -> bytes:
    """Return a progressive JPEG, its last scan repeated."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    start, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[start:end] * scans + data[end:]


@pytest.fixture
def processes() -> Iterator[Callable[[float], DecodingProcesses]]:
    made: list[DecodingProcesses] = []

    def make(seconds: float) -> DecodingProcesses:
        made.append(DecodingProcesses(seconds, MANY, MANY))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_takes_long_is_told_from_its_header() -> None:
    for data, cheap in ((_jpeg(), True), (_jpeg(scans=1200), False)):
        assert is_cheap(data, open_image(data, max_pixels=MANY)) == cheap
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, "TIFF")
    assert not is_cheap(stream.getvalue(), open_image(stream.getvalue(), max_pixels=MANY))


def test_pixels_and_faults_come_back_as_they_are(
    processes: Callable[[float], DecodingProcesses],
) -> None:
    apart, data = processes(100.0), _jpeg()
    expected = np.asarray(decode(open_image(data, max_pixels=MANY)))
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(apart.decoded(data, 1)), expected)
    with pytest.raises(ImageError, match="truncated or damaged"):
        apart.decoded(data[: len(data) // 2], 1)
    assert apart.decoded(data, 2).size == (100, 100)


def test_one_that_takes_too_long_or_crashes_costs_itself_alone(
    processes: Callable[[float], DecodingProcesses],
) -> None:
    apart = processes(0.2)
    with pytest.raises(ImageError, match=r"longer than score\.decode_seconds = 0\.2"):
        apart.decoded(_jpeg(800, scans=2000), 1)
    patient = processes(100.0)
    patient.decoded(_jpeg(), 1)
    (process,) = patient._all
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ImageError, match="its decoder crashed"):
        patient.decoded(_jpeg(), 1)
    assert patient.decoded(_jpeg(), 1).size == (200, 200)


def test_the_next_run_does_not_meet_it_again(
    make_tagger_folder: Callable[..., Path], settings: ScoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "slow.jpg").write_bytes(_jpeg(800, scans=2000))
    (tmp_path / "images" / "good.jpg").write_bytes(_jpeg(40))
    tagger = load_tagger(make_tagger_folder(kind="logits"), floor=1e-4, threads=1)
    sources = find_images([tmp_path / "images"], extensions=settings.extensions)
    quick = settings.model_copy(update={"decode_seconds": 0.2})
    said = "decoding took longer than score.decode_seconds = 0.2; it is left alone from now on, "
    for again in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if again:
                patch.setattr(DecodingProcesses, "decoded", None)  # it would be called
            found = score_to_store(sources, [tagger], tmp_path / "s", quick, threads=1)
        assert [(f.name, f.reason) for f in found.failures] == [
            ("slow.jpg", said + "unless --retry-failed is said")
        ]
    assert ScoreStore(tmp_path / "s").load().images == ("good.jpg",)


def test_what_was_given_up_on_is_tried_again_where_that_is_said(
    make_tagger_folder: Callable[..., Path], settings: ScoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "crashing.jpg").write_bytes(_jpeg(40, scans=1200))
    (tmp_path / "images" / "twin.jpg").write_bytes(_jpeg(40, scans=1200))
    tagger = load_tagger(make_tagger_folder(kind="logits"), floor=1e-4, threads=1)
    sources = find_images([tmp_path / "images"], extensions=settings.extensions)
    fault: list[ImageError] = [ImageError(CRASHED)]

    def decoded(_: DecodingProcesses, content: bytes, factor: int) -> Image.Image:
        if fault:
            raise fault[0]
        return decode(open_image(content, max_pixels=MANY))

    def failed(*, retry_failed: bool = False) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding_process, "_CHEAP", 0)
            patch.setattr(DecodingProcesses, "decoded", decoded)
            found = score_to_store(
                sources, [tagger], tmp_path / "s", settings, threads=1, retry_failed=retry_failed
            )
        return [failure.name for failure in found.failures]

    both = ["crashing.jpg", "twin.jpg"]
    assert failed() == both
    assert failed(retry_failed=True) == both
    fault.clear()
    assert failed() == both
    assert failed(retry_failed=True) == []
    assert failed() == []


def _with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Put a chunk behind a PNG's header."""
    chunk = kind + body
    whole = len(body).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return data[:33] + whole + data[33:]


BOMB = zlib.compress(b"x" * 3_000_000)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"Comment\0\0" + BOMB),
        (b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        (b"iTXt", b"Comment\0\0\0\0\0" + b"x" * 3_000_000),
        (b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        (b"iCCP", b"Profile\0\0" + BOMB),
    ],
)
def test_metadata_never_costs_a_picture(kind: bytes, body: bytes) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    data = _with_chunk(stream.getvalue(), kind, body)
    assert without_large_texts(data) == stream.getvalue()
    np.testing.assert_array_equal(np.asarray(decode(open_image(data, max_pixels=100))), noise)
    small = _with_chunk(stream.getvalue(), b"tEXt", b"Comment\0hello")
    assert without_large_texts(small) == small
    many = small
    for _ in range(40):
        many = _with_chunk(many, b"tEXt", b"Comment\0" + b"x" * 60_000)
    assert len(without_large_texts(many)) < 1_200_000
