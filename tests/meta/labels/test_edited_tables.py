"""Label tables as people and programs leave them: understood, or refused in one line."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.image_names import match_names
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.labels.labels import align_labels
from tagstack.meta.labels.tag_texts import split_tags, tag_separator

TAGS = ("1girl", "closed_mouth", "long_hair", "solo", "white_hair", ";d", ":|", "caf\u00e9")
VOCABULARY = Vocabulary(TAGS, ("general",) * len(TAGS))
IMAGES = ("a.png", "b.png", "sub/c.jpg")


def labels_of(path: Path, text: str | bytes, **options: float) -> dict[str, set[str]]:
    """Return what the file's labels are understood to be."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    aligned = align_labels(read_labels(path), IMAGES, VOCABULARY, **options)  # type: ignore[arg-type]
    rows = aligned.matrix.toarray()
    return {
        IMAGES[image]: {TAGS[tag] for tag in row.nonzero()[0]}
        for image, row in zip(aligned.rows, rows, strict=True)
    }


WANTED = {"a.png": {"1girl", "long_hair", "solo"}, "b.png": {"white_hair"}}


@pytest.mark.parametrize(
    "text",
    [
        "image,tags\na.png,1girl long_hair solo\nb.png,white_hair\n",
        "image,tags\na.png,1girl; long hair; solo\nb.png,white hair\n",
        "image,tags\na.png,1girl;long_hair;solo\nb.png,white_hair\n",
        "image,tags\na.png,1girl | long hair | solo\nb.png,white hair\n",
        'image,tags\na.png,"1girl, long hair, solo"\nb.png,white hair\n',
        'image;tags\na.png;"1girl, long hair, solo"\nb.png;white hair\n',
        "image\ttags\na.png\t1girl, long hair, solo\nb.png\twhite hair\n",
        'image,tags\na.png,"1girl\nlong hair\nsolo"\nb.png,white hair\n',
        "image,tag\na.png,1girl\na.png,long hair\na.png,solo\nb.png,white hair\n",
        "image,tags\na.png,1girl\na.png,long_hair\na.png,solo\nb.png,white hair\n",
        "filename,tag,score\na.png,1girl,.9\na.png,long_hair,.8\na.png,Solo,.7\nb.png,White hair,1",
        "\ufeffimage,tags\r\na.png,1Girl long_hair SOLO\r\nb.png,White_Hair\r\n",
        ("image;tags\r\na.png;1girl long_hair solo\r\nb.png;white_hair\r\n").encode("utf-16"),
        ("image,tags\na.png,1girl long_hair solo\nb.png,white_hair\n").encode("utf-16-le"),
        ("image,tags\na.png,1girl long_hair solo\nb.png,white_hair\n").encode("utf-32"),
        "image,tags\ra.png,1girl long_hair solo\rb.png,white_hair\r",
        "sep=;\r\nimage;tags\r\na.png;1girl long_hair solo\r\nb.png;white_hair\r\n",
        '"sep=;"\nimage;tags\na.png;1girl long_hair solo\nb.png;white_hair\n',
        "\nimage,tags,,\na.png,1girl long_hair solo,,\nb.png,white_hair,,\n,,,\n",
        "image,tags\na.png,1girl long_hair solo,,\nb.png,white_hair,\n",
        "image,tags\na.png,1girl\uff0clong hair\uff0csolo\nb.png,white hair\n",
        'image,tags\na.png,"1girl, long hair\uff0csolo"\nb.png,white hair\n',
        "image,tags\na.png,1girl\u3001long hair\u3001solo\nb.png,white hair\n",
        "image,tags\na.png,1girl\uff1blong hair\uff1b solo\nb.png,white hair\n",
        'image,tags\na.png,"1girl ||| long hair, solo"\nb.png,white hair\n',
        'image,tags\na.png,"1girl BREAK long hair, solo"\nb.png,white hair\n',
        'image,tags\na.png,"(1girl:1.2), ((long hair)), solo:0.93"\nb.png,"{white hair}."\n',
        'image,tags\na.png,"\u200b1girl, \ufefflong\u00a0hair, solo\u200e"\nb.png,white hair\n',
        "image,tags\na.png,\"['1girl', 'long hair', \"\"solo\"\"]\"\nb.png,['white_hair']\n",
        "image,tags\na.png,['1girl' 'long_hair' 'solo']\nb.png,['white_hair']\n",
        'image,tags\na.png,"{1girl,""long hair"",solo}"\nb.png,{white_hair}\n',
        "image,tags\n a.png ,1girl long_hair solo\nb.png ,white_hair\n",
        "image,tag\na.png,1girl\n./a.png,long_hair\n.\\a.png,solo\nb.png,white_hair\n",
        "file_name,tag_string\na.png,1girl long_hair solo\nb.png,white_hair\n",
    ],
    ids=range(34),
)
def test_every_form_of_a_table_is_the_same_labels(tmp_path: Path, text: str | bytes) -> None:
    assert labels_of(tmp_path / "labels.csv", text) == WANTED


def test_lists_with_spaces_are_the_same_as_text(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "tags": ["1girl", "long hair", " Solo "]},
        {"image": "b.png", "tags": "white hair"},
    ]
    text = "\n".join(map(json.dumps, rows))
    assert labels_of(tmp_path / "labels.jsonl", text) == WANTED


def test_json_lines_of_other_programs_name_image_and_tags_in_their_way(tmp_path: Path) -> None:
    text = '{"file_name": "a.png", "tag_string": "1girl long_hair solo"}\n'
    text += '{"filename": "b.png", "tag": "white hair"}\n'
    assert labels_of(tmp_path / "labels.jsonl", text) == WANTED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", 'image,tag\na.png,"a,b"\na.png,"c, d"\na.png,;d\n'),
        ("l.csv", 'image,tag_string\na.png,"a,b c,_d ;d"\n'),
        ("l.jsonl", '{"image": "a.png", "tag_string": "a,b c,_d ;d"}\n'),
        ("l.jsonl", '{"image": "a.png", "tags": ["a,b", "c, d", ";d"]}\n'),
    ],
)
def test_tags_that_hold_commas_stay_whole(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name).rows[0].tags == ("a,b", "c,_d", ";d")


@pytest.mark.parametrize("column", ["tag", "tags"])
def test_a_tag_whose_words_are_tags_too_stays_beside_them(tmp_path: Path, column: str) -> None:
    tags = ("bow", "hair_bow", "shirt", "striped", "striped_shirt")
    path = tmp_path / "labels.csv"
    rows = "a.png,hair bow\na.png,bow\na.png,striped shirt\na.png,shirt\nb.png,bow\n"
    path.write_text(f"image,{column}\n{rows}")
    aligned = align_labels(read_labels(path), IMAGES, Vocabulary(tags, ("general",) * 5))
    assert [tags[i] for i in aligned.matrix[[0]].indices] == [
        "bow", "hair_bow", "shirt", "striped_shirt",
    ]  # fmt: skip


def test_conditions_choose_rows_before_they_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,tag,by\na.png,solo,me\na.png,1girl,you\nb.png,solo,you\n")
    table = read_labels(path, where="by=you")
    assert [(row.image, row.tags) for row in table.rows] == [
        ("a.png", ("1girl",)), ("b.png", ("solo",)),
    ]  # fmt: skip
    assert table.filtered


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("", "no"), ("1.0", "0.0")])
def test_a_column_that_says_whether_each_tag_holds_is_not_passed_over(
    tmp_path: Path, yes: str, no: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"image,tag,holds\na.png,solo,{yes}\na.png,1girl,{no}\nb.png,solo,{no}\n")
    with pytest.raises(TagstackError, match=r"'a.png' hold both .* in the column 'holds'.*--where"):
        read_labels(path)
    assert [row.tags for row in read_labels(path, where=f"holds={yes}").rows] == [("solo",)]


def test_a_column_of_one_word_an_image_may_say_yes_and_no(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,tag,mine\na.png,solo,1\na.png,1girl,1\nb.png,solo,0\n")
    assert read_labels(path).column("mine") == ["1", "0"]


def test_images_without_an_understood_tag_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,tags\na.png,NaN\nb.png,\nsub/c.jpg,solo\n")
    notices = align_labels(read_labels(path), IMAGES, VOCABULARY).notices
    assert notices[0].startswith("2 labelled images have no tag that a tagger knows")
    assert notices[0].endswith(": a.png, b.png")


def test_sidecars_are_found_in_any_case_and_escaped_backslashes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_text(r"\\m/, 1girl")
    aligned = align_labels(read_labels(tmp_path), IMAGES, Vocabulary(("1girl", r"\m/"), ("g", "g")))
    assert aligned.matrix.nnz == 2


def test_one_spaced_tag_in_a_sidecar_is_one_tag(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("white hair\n")
    aligned = align_labels(read_labels(tmp_path), IMAGES, VOCABULARY)
    assert aligned.matrix.indices.tolist() == [TAGS.index("white_hair")]
    assert aligned.notices == ("2 scored images have no labels: a.png, sub/c.jpg",)


def test_what_was_overlooked_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('image,tags\na.png,"Closed mouth, Solo"\nb.png,"cafe\u0301, solo"\n')
    aligned = align_labels(read_labels(path), IMAGES, VOCABULARY)
    assert aligned.matrix.nnz == 4
    notices = "; ".join(aligned.notices)
    assert "2 label tags were understood in spite of capitals: Closed_mouth, Solo" in notices


def test_a_tag_of_the_vocabulary_is_never_read_as_another() -> None:
    vocabulary = Vocabulary((":d", ":D", "a b"), ("general",) * 3)
    from tagstack.base_models.tag_names import TagNames

    names = TagNames(vocabulary)
    assert [names.find(tag) for tag in (":d", ":D", "a b", "a_b", "A_B")] == [0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,tags\na.png,solo\nb.png,\"solo\n" + "x.png,solo\n" * 300 + 'y.png,solo"\n',
            r"line 3: a quote opens there and takes in the next 301 lines",
        ),
        ('image,tags\na.png,"solo\nb.png,solo\n', r"line 2: .*quote"),
        ("image,tags\na.png,solo,extra\n", r"line 2: 3 cells, expected 2"),
        ("image,tags\na.png," + "x" * 200_000 + "\n", r"line 2: field larger than field limit"),
        ("image,tags,image\na.png,solo,b\n", "has the column 'image' twice"),
        ("image,tags,,\na.png,solo,b,c\n", "has several columns without a name"),
        ("image," + ",".join(f"t{i}" for i in range(3000)), r"'t10'\] and 2,989 more"),
        (b"image,tags\na.png,\xff\xfe\n\x00\n", "labels.csv"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_meant_names_its_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(TagstackError, match=message) as caught:
        labels_of(tmp_path / "labels.csv", text, least_understood=0.5)
    assert "\n" not in str(caught.value)


def test_labels_of_which_little_is_understood_are_refused_with_the_cause(tmp_path: Path) -> None:
    text = "image,tags\n" + "".join(f"{name},1girl/solo\n" for name in ("a.png", "b.png"))
    with pytest.raises(TagstackError, match=r"Only 0% of the tags .* separated by slashes"):
        labels_of(tmp_path / "labels.csv", text, least_understood=0.5)
    assert labels_of(tmp_path / "labels.csv", text + "sub/c.jpg,solo\n")["sub/c.jpg"] == {"solo"}


def test_rows_of_one_image_that_disagree_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,tags,part\na.png,1girl,fit\na.png,solo,test\nb.png,solo,fit\n")
    table = read_labels(path)
    assert table.column("part") == ["fit", "fit"]
    notices = align_labels(table, IMAGES, VOCABULARY).notices
    assert "1 images have several rows, which are joined: a.png" in notices
    assert any("differ between rows of one image; the first row counts: part" in n for n in notices)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a.png", None),
        (".\\a.png", "the way paths are written"),
        ("/data/pictures/a.png", "the folder in front"),
        ("C:\\old\\pictures\\a.png", "the folder in front"),
        ("pictures/a.png", "the folder in front"),
        ("A.PNG", "capitals"),
        ("a", "the suffix"),
        ("pictures\\A", "the suffix"),
    ],
)
def test_image_names_are_matched_by_stated_steps(name: str, step: str | None) -> None:
    matched = match_names([name, "gone.png"], IMAGES, roots=["/data/pictures"])
    assert matched.found == {name: (0,)}
    assert matched.steps == ({} if step is None else {step: 1})


def test_unicode_forms_of_a_name_meet() -> None:
    composed = "\u00e9.png"
    apart = unicodedata.normalize("NFD", composed)
    assert match_names([apart], [composed]).found == {apart: (0,)}
    assert match_names([composed], [apart]).found == {composed: (0,)}


def test_a_name_that_could_mean_two_images_means_neither() -> None:
    assert match_names(["a"], ["a.png", "a.jpg"]).found == {}
    assert match_names(["A.png"], ["a.png", "a.PNG"]).found == {}
    assert match_names(["sub1/x.png"], ["sub2/x.png"]).found == {}, "another folder, another image"


@given(
    st.lists(st.text("abc :()d", min_size=1).map(lambda t: " ".join(t.split())), min_size=2),
    st.sampled_from([", ", "; ", "\n"]),
)
def test_splitting_inverts_joining(tags: list[str], mark: str) -> None:
    own = list(dict.fromkeys(tag.replace(" ", "_") for tag in tags if tag))
    text = mark.join(tag.replace("_", " ") for tag in own)
    separator = {"\n": ","}.get(mark, mark)
    assert list(split_tags(text, separator if mark != ", " else ",")) == own


def test_emoticons_are_no_separators() -> None:
    assert tag_separator(["1girl ;d solo", ":| 1girl"]) == " "
    assert split_tags("1girl; ;d; :|", tag_separator(["1girl; ;d; :|"])) == ("1girl", ";d", ":|")


def test_captions_of_another_ending_are_read_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.caption").write_text("1girl, solo")
    with pytest.raises(TagstackError, match=r"a file ending in \.txt.*has 1 \.caption"):
        read_labels(tmp_path)
    assert read_labels(tmp_path, sidecars=(".caption",)).rows[0].tags == ("1girl", "solo")


def test_system_files_beside_captions_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1girl")
    (tmp_path / "._a.txt").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / ".thumbs/b.txt").write_text("solo")
    assert [row.image for row in read_labels(tmp_path).rows] == ["a"]
