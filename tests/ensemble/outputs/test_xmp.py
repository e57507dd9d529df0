"""XMP: one content in three fields, merged into what a file held, read by an XML parser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tagstack.ensemble.outputs.captions import CaptionTag
from tagstack.ensemble.outputs.xmp import Xmp

Make = Callable[..., Any]

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
FIELDS = {
    "{http://purl.org/dc/elements/1.1/}subject": "Bag",
    "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject": "Bag",
    "{http://www.digikam.org/ns/1.0/}TagsList": "Seq",
}
EXIV2 = ("dc.subject", "lr.hierarchicalSubject", "digiKam.TagsList")
THEIRS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.55">
   <!-- by hand -->
   <keys:subject xmlns:keys="http://purl.org/dc/elements/1.1/"><rdf:Bag>
     <rdf:li>Mum &amp; Dad</rdf:li><rdf:li>Long Hair</rdf:li></rdf:Bag></keys:subject>
   <dc:title xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt>
     <rdf:li xml:lang="x-default">A title</rdf:li></rdf:Alt></dc:title>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/">
   <exif:UserComment>kept</exif:UserComment>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def keywords(text: str) -> list[list[str]]:
    root = ElementTree.fromstring(text)
    found = []
    for field, array in FIELDS.items():
        (element,) = root.iter(field)
        assert [child.tag for child in element] == [f"{RDF}{array}"]
        found.append([item.text or "" for item in element.iter(f"{RDF}li")])
    return found


def other_fields(text: str) -> list[tuple[str, dict[str, str], str]]:
    root = ElementTree.fromstring(text)
    for field in FIELDS:
        for parent in root.iter(f"{RDF}Description"):
            for element in parent.findall(field):
                parent.remove(element)
    return [(e.tag, e.attrib, (e.text or "").strip()) for e in root.iter()]


def test_photo_managers_find_one_content_in_three_fields(
    make_captions: Make, make_file: Make
) -> None:
    text = Xmp(make_captions(spaces=True)).render(make_file())
    # | and / stand between levels in two of the fields, so no tag holds one.
    expected = ["safe", "saber (fate)", "fate stay night", "wlop", "long hair", "\\m "]
    assert keywords(text) == [expected] * 3


@pytest.mark.parametrize("merged", [False, True])
def test_exiv2_which_digikam_and_darktable_read_with_finds_them(
    merged: bool, make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    pyexiv2 = pytest.importorskip("pyexiv2", reason="no wheel of Exiv2 for this machine")
    form = Xmp(make_captions())
    path = tmp_path / "1.xmp"
    # Exiv2 takes no other prefix for Dublin Core, in files of anybody.
    theirs = THEIRS.replace("keys:subject", "dc:subject").replace("xmlns:keys", "xmlns:dc")
    tags = form.tags(make_file())
    path.write_text(form.merged(theirs, tags, frozenset()) if merged else form.render(make_file()))
    with pyexiv2.Image(str(path)) as image:
        found = image.read_xmp()
    fields = [found[f"Xmp.{name}"] for name in EXIV2]
    assert fields[0] == fields[1] == fields[2]
    assert {"saber_(fate)", "fate_stay_night", "wlop"} <= set(fields[0])
    if merged:
        assert fields[0][:2] == ["Mum & Dad", "Long Hair"]
        assert (found["Xmp.xmp.Rating"], found["Xmp.crs.Exposure2012"]) == ("4", "+0.55")


def test_other_fields_stay(make_captions: Make, make_file: Make) -> None:
    form = Xmp(make_captions())
    text = form.merged(THEIRS, form.tags(make_file()), frozenset())
    assert other_fields(text) == other_fields(THEIRS)
    for mark in ("<!-- by hand -->", "<?xpacket begin=", '<?xpacket end="w"?>', 'xmp:Rating="4"'):
        assert mark in text
    flat, hierarchy, listed = keywords(text)
    assert flat[:2] == ["Mum & Dad", "Long Hair"]
    assert "long_hair" not in flat  # it has that tag, as they spell it
    assert set(flat) == set(hierarchy) == set(listed)
    assert form.merged(text, form.tags(make_file()), frozenset()) == text


def test_tags_that_no_longer_hold_go_from_all_three_fields(make_captions: Make) -> None:
    form = Xmp(make_captions())
    before = form.merged(THEIRS, [CaptionTag("fate/stay_night"), CaptionTag("solo")], frozenset())
    after = form.merged(before, [CaptionTag("solo")], {form.key("fate/stay_night")})
    assert keywords(after) == [["Mum & Dad", "Long Hair", "solo"]] * 3


def test_levels_of_other_programs_stay(make_captions: Make) -> None:
    levels = (
        '<lr:hierarchicalSubject xmlns:lr="http://ns.adobe.com/lightroom/1.0/"><rdf:Bag>'
        "<rdf:li>Family|Mum</rdf:li></rdf:Bag></lr:hierarchicalSubject>"
    )
    before = THEIRS.replace("   <!-- by hand -->", levels)
    text = Xmp(make_captions()).merged(before, [CaptionTag("solo")], frozenset())
    flat, hierarchy, listed = keywords(text)
    assert flat == ["Mum & Dad", "Long Hair", "solo"]
    assert hierarchy == ["Family|Mum", "solo"]
    assert listed == ["Family/Mum", "solo"]


def test_a_tag_that_xml_cannot_hold_costs_its_signs_alone(make_captions: Make) -> None:
    text = Xmp(make_captions()).merged(THEIRS, [CaptionTag("a\x00b<&>\udce9")], frozenset())
    assert keywords(text)[2][-1] == "ab<&>"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tags, in, a, line", "it is no XML"),
        ("<a/>", "holds no rdf:RDF"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
    ],
)
def test_what_is_no_xmp_is_not_merged_into(make_captions: Make, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Xmp(make_captions()).merged(text, [CaptionTag("solo")], frozenset())
