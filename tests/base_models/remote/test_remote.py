"""Pictures and stores elsewhere: an object store and a web server here, and what neither may do."""

import io
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.addresses import address_of, addresses_of, plain_name
from tagstack.base_models.pictures.images import FileContent, ImageError
from tagstack.base_models.remote.cache import FileCache
from tagstack.base_models.remote.files import RemoteError, RemoteFiles
from tagstack.base_models.remote.pictures import RemotePictures, find_remote
from tagstack.base_models.remote.stores import _seen, mirror_of
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.sources import find_images
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scores_merge import merge_stores
from tagstack.ensemble.tasks.scoring import score_folder

SETTINGS = load_settings(changes={"threads": 1, "remote": {"attempts": 2, "seconds": 5}})
SCORE = SETTINGS.score
MODEL = "doll_resnet"


def png(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An object store on this machine."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    own = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    own.start()
    host, port = own.get_host_and_port()
    yield f"http://{host}:{port}"
    own.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RemoteFiles:
    for key, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    name = f"b{abs(hash(str(tmp_path)))}"
    files = RemoteFiles(f"s3://{name}", SETTINGS.remote)
    files._store.mkdir(name)
    return files


def under(bucket: RemoteFiles, folder: str) -> Path:
    """Return an address as a command gets it: as a path."""
    return Path(f"{bucket.address}/{folder}")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("s3://b/k/", "s3://b/k"),
        (Path("s3://b/k"), "s3://b/k"),
        ("gs://b", "gs://b"),
        (Path("https://h/a.png"), "https://h/a.png"),
        ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a"),
        ("s3/b", None),
        ("/s3://b", None),
        ("file:///etc/passwd", None),
    ],
)
def test_what_is_an_address(given: Any, address: str | None) -> None:
    assert address_of(given) == address


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["http://example.org/a.png"], "is not encrypted"),
        (["http://127.0.0.1.example.org/a.png"], "is not encrypted"),
        (["https://me:word@h/a.png"], "name or password in it"),
        (["s3://b/k", "here.png"], "on this machine. Expected pictures of one place"),
    ],
)
def test_addresses_that_are_not_taken(given: list[str], said: str) -> None:
    with pytest.raises(TagstackError, match=said):
        addresses_of(given)


@pytest.mark.parametrize(
    "name",
    ["../a.png", "a/../../b.png", "/a.png", "a//b.png", "a\\b.png", "C:/a.png", "a\n.png", "."],
)
def test_names_that_are_no_plain_paths(name: str) -> None:
    assert not plain_name(name)
    assert plain_name("d/ä b.png")


def test_pictures_of_an_object_store(bucket: RemoteFiles) -> None:
    for name, data in {
        "i/a.png": png(0), "i/d/b.png": png(1), "i/big.png": b"x" * 2000, "i/empty.png": b"",
        "i/../c.png": png(2), "i/notes.txt": b"", "i/.hidden/d.png": png(3),
    }.items():  # fmt: skip
        bucket.write(name, data)
    found = find_remote([f"{bucket.address}/i"], SETTINGS.remote, extensions=(".png",))
    assert found.names == ("a.png", "big.png", "d/b.png", "empty.png")
    assert [failure.name for failure in found.failures] == ["../c.png"]
    assert found.passed_over == 2
    # As a cluster sends them to its workers; nothing of ours is kept or read in that form.
    there: RemotePictures = pickle.loads(pickle.dumps(found.chosen(["d/b.png", "a.png"])))
    content = there.identify("a.png", SCORE)
    bucket.delete(["i/a.png"])  # from the cache from here on
    assert there.picture("a.png", content) == png(0)
    small = SCORE.model_copy(update={"max_file_bytes": 1000})
    with pytest.raises(ImageError, match="2000 bytes are more than score"):
        found.identify("big.png", small)
    with pytest.raises(ImageError, match="is empty"):
        found.identify("empty.png", SCORE)
    with pytest.raises(ImageError, match="changed while it was being read"):
        found.picture("d/b.png", FileContent("0" * 64, 10_000))
    assert find_remote(
        [f"{bucket.address}/i/d/b.png"], SETTINGS.remote, extensions=(".png",)
    ).names == ("b.png",)
    with pytest.raises(TagstackError, match=r"No images at s3://.*/nothing"):
        find_remote([f"{bucket.address}/nothing"], SETTINGS.remote, extensions=(".png",))


def digests(store: Path) -> dict[str, bytes]:
    reader = ScoreStore(store)
    return {
        path.relative_to(reader.directory).as_posix(): path.read_bytes()
        for path in reader.directory.rglob("part-*")
    }


def test_scores_of_pictures_elsewhere_in_a_store_elsewhere(
    bucket: RemoteFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    for i in range(4):
        bucket.write(f"i/{i}.png", png(i))
        (tmp_path / "here" / f"{i}.png").write_bytes(png(i))
    bucket.write("s/../../evil", b"not ours")
    pictures, store = under(bucket, "i"), under(bucket, "s")

    def scored(settings: Settings = SETTINGS, shard: str | None = None) -> int:
        return score_folder([pictures], [MODEL], store, settings, Silent(), shard=shard).n_scored

    assert scored(shard="1/2") == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert scored() == 2  # what the first one has put there is known
    assert ScoreStore(store).load().n_images == 4
    score_folder([tmp_path / "here"], [MODEL], tmp_path / "local", SETTINGS, Silent())
    for name, place in (("a", store), ("b", tmp_path / "local")):
        merge_stores([place], under(bucket, name), SETTINGS, Silent())
    merged = [digests(under(bucket, name)) for name in ("a", "b")]
    members = [{k: v for k, v in own.items() if k.startswith("members")} for own in merged]
    assert members[0] == members[1]
    assert not list(tmp_path.rglob("evil"))


def test_a_store_that_was_deleted_elsewhere_does_not_come_back(bucket: RemoteFiles) -> None:
    bucket.write("i/a.png", png(0))
    store = under(bucket, "s")
    score_folder([under(bucket, "i")], [MODEL], store, SETTINGS, Silent())
    bucket.delete([file.name for file in bucket.listed() if file.name.startswith("s/")])
    with pytest.raises(TagstackError, match=r"s is no score store|no score store"):
        ScoreStore(store).members()
    assert not list(mirror_of(f"{bucket.address}/s").rglob("part-*"))


def test_what_does_not_go_elsewhere_says_so(bucket: RemoteFiles, tmp_path: Path) -> None:
    from tagstack.base_models.scores.members import Members

    with pytest.raises(TagstackError, match="only `score` and `scores merge` write"):
        ScoreWriter(under(bucket, "s"), Members(()))
    with pytest.raises(TagstackError, match="only `score` reads pictures from elsewhere"):
        find_images([under(bucket, "i")], extensions=(".png",))
    with pytest.raises(TagstackError, match="cannot hold a score store"):
        ScoreStore(Path("https://h/s")).members()
    with pytest.raises(TagstackError, match="Cannot list s3://no-such-bucket-here"):
        find_remote(["s3://no-such-bucket-here"], SETTINGS.remote, extensions=(".png",))
    assert not (Path.cwd() / "s3:").exists()


class Web(BaseHTTPRequestHandler):
    """A web server that gives pictures, endless files, and redirections."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/endless.png":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(1000):
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                self.asked.append("closed")
        elif self.path == "/list.txt":
            self._give(b"a.png\n\n../../b.png\nto//a.png\n")
        elif self.path == "/odd.txt":
            self._give("b #1 \xe4.png\nb%201.png\n".encode())
        elif self.path in ("/a.png", "/b%20%231%20%C3%A4.png", "/b%201.png"):
            self._give(png(0))
        elif self.path == "/cut.png":
            self._give(png(0), promised=len(png(0)) + 9)
        elif self.path == "/slow.png":
            self._drip()
        elif self.path == "/busy.png" and self.asked.count(self.path) == 1:
            self.send_response(429)
            self.send_header("Retry-After", "0")
            self.end_headers()
        elif self.path == "/busy.png":
            self._give(png(0))
        else:
            self.send_error(404)

    def _give(self, data: bytes, promised: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(promised or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)


@pytest.fixture
def web() -> Iterator[str]:
    Web.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def picture(web: str) -> Callable[[str], RemotePictures]:
    return lambda name: find_remote([f"{web}/{name}"], SETTINGS.remote, extensions=(".png",))


def test_a_picture_of_the_web_is_fetched_once(picture: Callable[[str], RemotePictures]) -> None:
    found = picture("a.png")
    assert found.picture("a.png", found.identify("a.png", SCORE)) == png(0)
    assert Web.asked == ["/a.png"]
    redirected = picture("to//a.png")
    assert redirected.identify("a.png", SCORE).size_bytes == len(png(0))


def test_a_list_of_the_web_gives_names_and_no_ways_out(
    picture: Callable[[str], RemotePictures],
) -> None:
    found = picture("list.txt")
    assert found.names == ("a.png",)
    assert [failure.name for failure in found.failures] == ["../../b.png", "to//a.png"]


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "https://127.0.0.1:9/a"]
)
def test_no_redirection_leads_into_another_scheme(
    picture: Callable[[str], RemotePictures], target: str
) -> None:
    name = f"to/{target}"
    found = picture(name)
    with pytest.raises(ImageError, match=r"leads to another scheme|is not allowed"):
        found.identify(name.rpartition("/")[2], SCORE)


def test_what_never_ends_is_read_as_far_as_the_bound(
    picture: Callable[[str], RemotePictures],
) -> None:
    small = SCORE.model_copy(update={"max_file_bytes": 100_000})
    with pytest.raises(ImageError, match="more than 100000 bytes"):
        picture("endless.png").identify("endless.png", small)


def test_what_is_not_there_is_named(picture: Callable[[str], RemotePictures]) -> None:
    with pytest.raises(ImageError, match="the server says 404"):
        picture("gone.png").identify("gone.png", SCORE)
    with pytest.raises(TagstackError, match=r"Cannot read the list .*: the server says 404"):
        picture("gone.txt")


def test_a_file_that_ends_early_is_no_picture(picture: Callable[[str], RemotePictures]) -> None:
    with pytest.raises(ImageError, match="the file ends 9 bytes too early"):
        picture("cut.png").identify("cut.png", SCORE)
    assert Web.asked == ["/cut.png"] * 2


def test_a_server_that_is_busy_is_asked_again(picture: Callable[[str], RemotePictures]) -> None:
    assert picture("busy.png").identify("busy.png", SCORE).size_bytes == len(png(0))
    assert Web.asked == ["/busy.png"] * 2


def test_what_comes_drop_by_drop_is_given_up(web: str) -> None:
    settings = SETTINGS.remote.model_copy(update={"seconds": 0.3})
    with pytest.raises(RemoteError, match="it comes slower than 16 KiB a second"):
        RemoteFiles(web, settings).read("slow.png", max_bytes=1000)


def test_names_of_a_list_are_asked_for_as_they_are(
    picture: Callable[[str], RemotePictures],
) -> None:
    found = picture("odd.txt")
    assert found.names == ("b #1 \xe4.png", "b%201.png")
    for name in found.names:
        assert found.identify(name, SCORE).size_bytes == len(png(0))


@pytest.mark.parametrize("note", ["{", "3", '["../../kept", "/kept"]'])
def test_a_damaged_note_of_a_mirror_deletes_nothing(tmp_path: Path, note: str) -> None:
    (tmp_path / "kept").touch()
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "elsewhere.json").write_text(note)
    assert _seen(folder) == set()


def test_the_cache_keeps_to_its_bound_and_gives_up_the_oldest(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_bytes=1000)
    for i in range(30):
        assert cache.get(str(i), lambda: bytes(90)) == bytes(90)
    cache.prune()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in kept) <= 1000
    assert cache.get("29", lambda: b"fetched anew") == bytes(90)
    assert cache.get("0", lambda: b"fetched anew") == b"fetched anew"
