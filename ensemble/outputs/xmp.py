"""``IMAGE.EXT.xmp``: keywords as photo managers read them, merged into what the file held.

Three fields hold the same tags: ``dc:subject`` (flat, read by nearly all), Lightroom's
``lr:hierarchicalSubject`` and ``digiKam:TagsList``; Immich reads the last, else the second, and
ignores the others where it exists (https://docs.immich.app/features/xmp-sidecars). ``|`` and ``/``
stand between the levels of the second and third, so a tag is written without them.

Other fields, comments and packet marks of a file stay. A file that is no XMP is left alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import ClassVar, Literal
from xml.dom.minidom import Document, Element, Node, Text, parseString
from xml.parsers.expat import ExpatError

from tagstack.ensemble.outputs.captions import CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import Sidecar
from tagstack.ensemble.outputs.tag_text import same_tag, spaced

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_META = "adobe:ns:meta/"
# What XML 1.0 cannot hold at all, and what parts the levels of a hierarchical keyword.
_NEVER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LEVELS = re.compile(r"[|/]")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")

_EMPTY = f"""<x:xmpmeta xmlns:x="{_META}">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
"""


@dataclass(frozen=True)
class Field:
    """A keyword field: its namespace, names, kind of array, and what parts the levels in it."""

    namespace: str
    prefix: str
    local: str
    array: str
    between: str


SUBJECT = Field("http://purl.org/dc/elements/1.1/", "dc", "subject", "Bag", "")
HIERARCHY = Field("http://ns.adobe.com/lightroom/1.0/", "lr", "hierarchicalSubject", "Bag", "|")
TAGS_LIST = Field("http://www.digikam.org/ns/1.0/", "digiKam", "TagsList", "Seq", "/")
FIELDS = (TAGS_LIST, HIERARCHY, SUBJECT)  # in the order in which one is filled from another


class Xmp(Sidecar):
    """Three keyword fields of an XMP sidecar."""

    suffix = ".xmp"
    detailed = False
    name: ClassVar[Literal["full"]] = "full"
    merges: ClassVar[Literal["always"]] = "always"

    def render(self, file: TaggedFile) -> str:
        """Return a file that holds the tags and nothing else."""
        return self.merged(_EMPTY, self.tags(file), frozenset())

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the keywords of the file, the last level of each."""
        document = _parsed(text)
        names = (
            _leaf(keyword, field) for field in FIELDS for keyword in _keywords(document, field)
        )
        return tuple({self.key(name): name for name in names if name.strip()}.values())

    def key(self, name: str) -> str:
        """Return what a tag has in common with its other spellings in a keyword."""
        return same_tag(_LEVELS.sub("_", name))

    def merged(self, text: str, tags: Sequence[CaptionTag], dropped: Set[str]) -> str:
        """Return the file with the tags in all three fields; others' keywords stay as they are."""
        document = _parsed(text)
        before = {field: _keywords(document, field) for field in FIELDS}
        after = {field: self._merged(field, before, tags, dropped) for field in FIELDS}
        if after == before:
            return text  # to the byte, as nothing is to be changed
        for field, keywords in after.items():
            _write(document, field, keywords)
        return _serialised(document)

    def _merged(
        self,
        field: Field,
        before: Mapping[Field, list[str]],
        tags: Sequence[CaptionTag],
        dropped: Set[str],
    ) -> list[str]:
        present = before[field] or list(_other(before, field))
        leaves = {keyword: self.key(_leaf(keyword, field)) for keyword in present}
        theirs = [keyword for keyword, key in leaves.items() if key not in dropped]
        new = [tag.name for tag in tags if self.key(tag.name) not in leaves.values()]
        return list(dict.fromkeys((*theirs, *map(self._written, new))))

    def _written(self, name: str) -> str:
        name = _NEVER.sub("", _LEVELS.sub("_", name))
        return spaced(name) if self.captions.settings.spaces else name


def _other(before: Mapping[Field, list[str]], field: Field) -> Iterator[str]:
    """Yield the keywords of a field that is there for one that is not."""
    source = next((other for other in FIELDS if before[other]), None)
    for keyword in before[source] if source else ():
        levels = keyword.split(source.between) if source and source.between else [keyword]
        yield field.between.join(levels) if field.between else levels[-1]


def _leaf(keyword: str, field: Field) -> str:
    return keyword.rpartition(field.between)[2] if field.between else keyword


def _parsed(text: str) -> Document:
    """Return the document of a sidecar.

    Raises
    ------
    ValueError
        If it is no XML, declares entities, or holds no RDF.
    """
    if "<!DOCTYPE" in text:  # XMP has none; entities could make a small file a huge one
        msg = "it declares a document type, which XMP does not have"
        raise ValueError(msg)
    try:
        # The text is decoded already, whatever encoding a declaration names.
        text = _DECLARATION.sub("", text.lstrip("\ufeff"), count=1)
        document: Document = parseString(text.encode("utf-8"))
    except (ExpatError, ValueError, UnicodeEncodeError) as error:
        msg = f"it is no XML: {error}"
        raise ValueError(msg) from error
    if not document.getElementsByTagNameNS(RDF, "RDF"):
        msg = "it holds no rdf:RDF, so it is no XMP"
        raise ValueError(msg)
    return document


def _elements(document: Document, field: Field) -> list[Element]:
    found = document.getElementsByTagNameNS(field.namespace, field.local)
    return [element for element in found if _is_property(element)]


def _is_property(element: Element) -> bool:
    parent = element.parentNode
    return parent is not None and (parent.namespaceURI, parent.localName) == (RDF, "Description")


def _keywords(document: Document, field: Field) -> list[str]:
    items = (
        item
        for element in _elements(document, field)
        for item in element.getElementsByTagNameNS(RDF, "li")
    )
    return list(dict.fromkeys(filter(None, map(_text, items))))


def _text(item: Element) -> str:
    texts = (node.data for node in item.childNodes if isinstance(node, Text))
    return "".join(texts).strip()


def _write(document: Document, field: Field, keywords: Sequence[str]) -> None:
    """Put keywords into a field, in place of what it held; make it where it is missing."""
    elements = _elements(document, field)
    element = elements[0] if elements else _new_field(document, field)
    for other in elements[1:]:
        other.parentNode.removeChild(other)  # type: ignore[union-attr]
    for child in list(element.childNodes):
        element.removeChild(child)
    rdf = _prefix(element, RDF, "rdf")
    array = document.createElementNS(RDF, f"{rdf}:{field.array}")
    element.appendChild(array)
    for keyword in keywords:
        item = document.createElementNS(RDF, f"{rdf}:li")
        item.appendChild(document.createTextNode(keyword))
        array.appendChild(item)


def _new_field(document: Document, field: Field) -> Element:
    root = document.getElementsByTagNameNS(RDF, "RDF")[0]
    found = root.getElementsByTagNameNS(RDF, "Description")
    if found:
        description = found[0]
    else:
        rdf = _prefix(root, RDF, "rdf")
        description = document.createElementNS(RDF, f"{rdf}:Description")
        description.setAttributeNS(RDF, f"{rdf}:about", "")
        root.appendChild(description)
    prefix = _prefix(description, field.namespace, field.prefix)
    element = document.createElementNS(field.namespace, f"{prefix}:{field.local}")
    description.appendChild(element)
    return element


def _prefix(element: Element, namespace: str, wanted: str) -> str:
    """Return a prefix that means a namespace at an element; declare one where there is none."""
    node: Node | None = element
    taken: dict[str, str] = {}
    while node is not None and node.nodeType == Node.ELEMENT_NODE:
        for name, value in node.attributes.items():  # type: ignore[union-attr]
            if name.startswith("xmlns:"):
                taken.setdefault(name.removeprefix("xmlns:"), value)
        node = node.parentNode
    for prefix, value in taken.items():
        if value == namespace:
            return prefix
    prefix = wanted
    while prefix in taken:
        prefix += "1"
    element.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
    return prefix


def _serialised(document: Document) -> str:
    """Return the document as it was but for what was changed, in UTF-8."""
    text = "\n".join(node.toxml() for node in document.childNodes)
    return text if text.endswith("\n") else f"{text}\n"
