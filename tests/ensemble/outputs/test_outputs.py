"""Written tags: right text, whole files, and nobody's work replaced without being told."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.configs.output import OutputSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.outputs.outputs import OutputFolder, caption, is_kaomoji, tag_text, writer


def entry(tag: str, proba: float, category: str = "general", tagged: bool = True) -> TagEntry:
    return TagEntry(
        tag=tag, category=category, proba=proba, threshold=0.5, votes={"a": proba, "b": None},
        tagged=tagged,
    )  # fmt: skip


TAGGED = TaggedImage(
    image="sub/1.png",
    entries=(
        entry("long_hair", 0.9),
        entry("safe", 0.8, "rating"),
        entry("hat", 0.2, tagged=False),
    ),
)


@pytest.fixture
def settings() -> OutputSettings:
    return load_settings().output


def write(folder: OutputFolder, settings: OutputSettings, name: str) -> None:
    with writer(name, folder, settings) as put:
        put(TAGGED)


def test_the_caption_orders_by_category_then_probability(settings: OutputSettings) -> None:
    assert caption(TAGGED.tags, settings) == "safe, long_hair"
    by_name = settings.model_copy(update={"order": "name", "spaces": True})
    assert caption(TAGGED.tags, by_name) == "long hair, safe"
    by_proba = settings.model_copy(update={"order": "proba", "separator": " "})
    assert caption(TAGGED.tags, by_proba) == "long_hair safe"


@pytest.mark.parametrize(
    "tag", ["0_0", "^_^", ">_<", "<o>_<o>", "<|>_<|>", "(o)_(o)", "||_||", "._."]
)
def test_kaomoji_keep_their_underscores(settings: OutputSettings, tag: str) -> None:
    assert is_kaomoji(tag)
    assert tag_text(tag, settings.model_copy(update={"spaces": True})) == tag


@pytest.mark.parametrize(
    "tag", ["long_hair", "arm_up", "m_legs", "eva_02", "no_bra", "au_ra", "1girl"]
)
def test_words_are_not_kaomoji(tag: str) -> None:
    assert not is_kaomoji(tag)


def test_parentheses_are_escaped_only_when_asked(settings: OutputSettings) -> None:
    assert tag_text("saber_(fate)", settings) == "saber_(fate)"
    escaped = settings.model_copy(update={"escape_parentheses": True, "spaces": True})
    assert tag_text("saber_(fate)", escaped) == r"saber \(fate\)"


def test_every_format_holds_the_same_tags(tmp_path: Path, settings: OutputSettings) -> None:
    folder = OutputFolder(tmp_path, ["sub/1.png"], overwrite=False)
    for name in OUTPUT_FORMATS.built_in:
        write(folder, settings, name)
    assert (tmp_path / "sub/1.txt").read_text() == "safe, long_hair\n"
    record = json.loads((tmp_path / "sub/1.json").read_text())
    assert record["tags"] == ["long_hair", "safe"]
    assert record["candidates"][2]["votes"] == {"a": 0.2, "b": None}
    assert json.loads((tmp_path / "tags.jsonl").read_text()) == record
    with (tmp_path / "tags.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[1:] == [["sub/1.png", "long_hair", "0.9000"], ["sub/1.png", "safe", "0.8000"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub", "tags.csv", "tags.jsonl"]


@pytest.mark.parametrize("name", sorted(OUTPUT_FORMATS.built_in))
def test_an_existing_file_stays_unless_told(
    tmp_path: Path, settings: OutputSettings, name: str
) -> None:
    target = tmp_path / {"txt": "sub/1.txt", "json": "sub/1.json"}.get(name, f"tags.{name}")
    target.parent.mkdir(exist_ok=True)
    target.write_text("by hand")
    folder = OutputFolder(tmp_path, ["sub/1.png"], overwrite=False)
    write(folder, settings, name)
    assert (target.read_text(), folder.kept) == ("by hand", [target])
    write(OutputFolder(tmp_path, ["sub/1.png"], overwrite=True), settings, name)
    assert target.read_text() != "by hand"


def test_the_same_content_again_is_not_a_conflict(tmp_path: Path, settings: OutputSettings) -> None:
    folder = OutputFolder(tmp_path, ["sub/1.png"], overwrite=False)
    write(folder, settings, "txt")
    write(folder, settings, "txt")
    assert folder.kept == []


def test_images_of_one_stem_get_a_sidecar_each(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, ["1.png", "1.jpg", "2.png"], overwrite=False)
    assert folder.collisions == ("1.png", "1.jpg")
    paths = [folder.sidecar(image, ".txt").name for image in ("1.png", "1.jpg", "2.png")]
    assert paths == ["1.png.txt", "1.jpg.txt", "2.txt"]


def test_a_table_that_breaks_off_leaves_nothing(tmp_path: Path, settings: OutputSettings) -> None:
    folder = OutputFolder(tmp_path, ["1.png"], overwrite=False)

    def break_off() -> None:
        with writer("jsonl", folder, settings) as put:
            put(TAGGED)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf8_is_written_losslessly(
    tmp_path: Path, settings: OutputSettings
) -> None:
    name = "caf\udce9.png"
    tagged = TaggedImage(image=name, entries=TAGGED.entries)
    folder = OutputFolder(tmp_path, [name], overwrite=False)
    for kind in ("jsonl", "csv", "txt"):
        with writer(kind, folder, settings) as put:
            put(tagged)
    assert json.loads((tmp_path / "tags.jsonl").read_text())["image"] == name
    assert r"caf\udce9.png" in (tmp_path / "tags.csv").read_text()
    assert (tmp_path / "caf\udce9.txt").exists()


@given(st.lists(st.sampled_from("abc"), max_size=4), st.sampled_from(["category", "name", "proba"]))
def test_a_caption_never_loses_a_tag(tags: list[str], order: str) -> None:
    settings = load_settings().output.model_copy(update={"order": order})
    entries = [entry(tag, 0.5, category="odd") for tag in tags]
    assert sorted(filter(None, caption(entries, settings).split(", "))) == sorted(tags)
