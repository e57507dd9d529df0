"""PNG files without the metadata that a decoder would stumble over.

Pillow refuses a whole picture for one text or colour profile that unpacks to over a megabyte,
to save its memory. Nothing here looks at them, so such chunks are left out before Pillow sees the
file; how large they are is found out without unpacking more than that.

References
----------
https://www.w3.org/TR/png-3/#5Chunk-layout
"""

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PACKED = {b"zTXt", b"iTXt", b"iCCP"}
_TEXTS = {b"tEXt", *_PACKED}
_LARGEST = 1 << 16  # far below what Pillow refuses; descriptions and profiles mostly fit
_TOGETHER = 1 << 20


def without_large_texts(content: bytes) -> bytes:
    """Return a PNG file without texts and profiles over 64 kB, or over a megabyte together.

    Other files, and those without such chunks, come back as they are.
    """
    if not content.startswith(_SIGNATURE):
        return content
    kept, at, spent, dropped = [content[:8]], 8, 0, False
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if kind in _TEXTS and end <= len(content):
            spent += _size(kind, content[at + 8 : end - 4])
            if spent > _TOGETHER or _size(kind, content[at + 8 : end - 4]) > _LARGEST:
                dropped, at = True, end
                continue
        kept.append(content[at:end])
        at = end
    return b"".join(kept) + content[at:] if dropped else content


def _size(kind: bytes, body: bytes) -> int:
    """Return how large a chunk is unpacked; of a larger one, only that it is too large."""
    if kind not in _PACKED or len(body) > _LARGEST:
        return len(body)
    name, _, packed = body.partition(b"\0")
    if kind == b"iTXt":
        flag, packed = packed[:1], packed[2:].split(b"\0", 2)[-1]
        if flag != b"\x01":
            return len(body)
    else:
        packed = packed[1:]  # the method
    try:
        return len(name) + len(zlib.decompressobj().decompress(packed, _LARGEST + 1))
    except zlib.error:
        return len(body)
