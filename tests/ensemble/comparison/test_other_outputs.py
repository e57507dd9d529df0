from pathlib import Path

import numpy as np
import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.comparison.other_outputs import read_other
from tagstack.meta.labels.image_names import match_names

VOCABULARY = Vocabulary(("cat", "long_hair", "dog", "never"), ("general",) * 4)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_scores_of_a_csv_meet_our_images_and_tags(tmp_path: Path) -> None:
    source = write(
        tmp_path / "out.csv",
        "filename,tag,score\na/1.png,cat,0.9\na/1.png,long hair,0.25\n2.png,perro,0.5\n"
        "2.png,unheard,0.4\n2.png,cat,0.1\n2.png,cat,0.3\n",
    )
    output = read_other("mine", source)
    found = output.proba(("a/1.png", "b/2.png", "3.png"), VOCABULARY, {"perro": "dog"})
    expected = [[0.9, 0.25, 0, np.nan], [0.3, 0, 0.5, np.nan], [0, 0, 0, np.nan]]
    assert output.scored
    assert found.proba.dense() == pytest.approx(np.array(expected), nan_ok=True)
    assert found.missing == ("3.png",)
    assert found.foreign == ("unheard",)
    assert found.notices("mine") == (
        "mine says nothing about 1 images, which count as untagged, such as 3.png",
        "mine has 1 tags that no tagger knows; they are ignored, such as unheard",
    )


def test_sidecars_say_yes_or_no(tmp_path: Path) -> None:
    write(tmp_path / "tags/sub/1.txt", "cat, long hair")
    write(tmp_path / "tags/2.png.txt", "dog")
    write(tmp_path / "tags/3.txt", "")
    output = read_other("mine", tmp_path / "tags")
    found = output.proba(("sub/1.jpg", "2.png", "3.webp"), VOCABULARY, {})
    assert not output.scored
    assert np.nan_to_num(found.proba.dense()).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0], [0] * 4]
    assert found.missing == ()


def test_a_csv_without_scores_says_yes_or_no(tmp_path: Path) -> None:
    output = read_other("mine", write(tmp_path / "o.csv", "image,tag\n1.png,cat\n2.png,\n"))
    found = output.proba(("1.png", "2.png"), VOCABULARY, {})
    assert not output.scored
    assert np.nan_to_num(found.proba.dense()).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.missing == ()  # an empty tag is an answer


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a/1.png", "a/1.png"),
        ("a/1", "a/1.png"),
        ("a\\1.png", "a/1.png"),
        ("./a/1.webp", "a/1.png"),
        ("/elsewhere/1.png", "a/1.png"),
        ("1", "a/1.png"),
        ("v1.5", "deep/v1.5.jpg"),
    ],
)
def test_names_are_matched_by_path_or_stem(name: str, image: str) -> None:
    matched = match_names((name, "nobody.png"), (image, "other.png"), elsewhere=True)
    assert matched.found == {name: (0,)}


def test_a_stem_of_two_images_means_neither() -> None:
    images = ("a/1.png", "b/1.png", "c/2.png")
    assert match_names(("1", "2"), images, elsewhere=True).found == {"2": (2,)}
    # What is taken by its whole path leaves the other as the only one.
    found = match_names(("a/1.png", "1"), images, elsewhere=True).found
    assert found == {"a/1.png": (0,), "1": (1,)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "o.csv",
            "image,tags\n1.png,cat\n",
            "must have the columns filename,tag and perhaps score",
        ),
        ("o.csv", "filename,tag,score\n", "holds no line"),
        ("o.csv", "filename,tag,score\n1.png,cat,3.2\n", "line 2: score '3.2' is no number in"),
        ("o.csv", "filename,tag,score\n1.png,cat,nan\n", "score 'nan' is no number in"),
        ("o.csv", "filename,tag,score\n1.png,cat,\n", "score '' is no number in"),
        ("o.json", "{}", "neither a folder of .txt sidecars nor a .csv"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        read_other("mine", write(tmp_path / name, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"Cannot read .*gone\.csv"):
        read_other("mine", tmp_path / "gone.csv")
