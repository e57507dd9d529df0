"""Settings of what is written for a tagged image."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tagstack.configs.section import Section

_PICTURES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .ico .jfif .jp2 .jpe .jpeg .jpg .jxl .png .ppm .qoi .tga"
    " .tif .tiff .webp".split()
)


class OutputSettings(Section):
    """How tags are written; each default and its reason stand in default.toml."""

    implied: Literal["keep", "add", "drop"]
    first: tuple[str, ...]
    exclude: tuple[str, ...]
    categories: tuple[str, ...]
    replace: dict[str, str]
    copyrights: str
    rating: bool
    max_tags: int = Field(ge=0)
    order: Literal["category", "proba", "name", "random"]
    keep_first: int = Field(ge=0)
    separator: str = Field(min_length=1)
    spaces: bool
    escape_parentheses: bool
    existing: Literal["keep", "append", "merge", "replace", "skip"]
    extension: str
    sidecar_name: Literal["format", "stem", "full"]
    beside: bool
    score_floor: float = Field(ge=0, le=1)
    unconfirmed: float = Field(ge=0, le=1)
    parquet_rows: Literal["image", "pair"]

    @field_validator("extension")
    @classmethod
    def _names_a_suffix(cls, extension: str) -> str:
        plain = extension.startswith(".") and len(extension) > 1
        if not plain or "/" in extension or extension.endswith(".") or not extension.isprintable():
            msg = "expected a suffix with its dot, such as .caption"
            raise ValueError(msg)
        if extension.lower() in _PICTURES:
            msg = f"{extension!r} is a picture's, and a later run would read captions as pictures"
            raise ValueError(f"{msg}; expected another, such as .txt")
        return extension

    @field_validator("separator")
    @classmethod
    def _is_no_part_of_tags(cls, separator: str) -> str:
        plain = separator.strip()
        if plain == "_" or (len(plain) == 1 and plain.isalnum()):
            msg = f"{separator!r} is part of tags and would be taken out of them; take another"
            raise ValueError(msg)
        return separator

    @model_validator(mode="after")
    def _can_be_read_back(self) -> Self:
        if self.spaces and not self.separator.strip():
            msg = (
                f"separator {self.separator!r} cannot part tags that are written with spaces: "
                "set spaces = false, or a separator such as ', '"
            )
            raise ValueError(msg)
        return self
