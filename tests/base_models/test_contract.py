"""Contracts: what is refused, what changes a fingerprint, and the shipped ones."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.contract import contract_from_toml, read_contract
from tagstack.configs.errors import TagstackError

SHIPPED = sorted((Path(str(resources.files("tagstack.configs"))) / "taggers").glob("*.toml"))
WD = [path for path in SHIPPED if path.stem.startswith("wd-")]
EMBEDDINGS = "-embeddings"


@pytest.fixture
def values() -> dict[str, Any]:
    return tomllib.loads("""
name = "x"
source = "s"
licence = "MIT"
[input]
layout = "NHWC"
colour = "BGR"
size = [320, 448]
geometry = "squash"
resample = "area"
range = "0-1"
batch = 1
[output]
kind = "logits"
[tags]
format = "tags_txt"
""")


def test_size_may_be_height_and_width(values: dict[str, Any]) -> None:
    assert contract_from_toml(values, origin="f").input.height_width == (320, 448)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("input", {"colours": "RGB"}, r"f: input.colours is no known key"),
        ("input", {"colour": "RBG"}, r"input.colour = 'RBG': expected 'RGB' or 'BGR'"),
        ("input", {"layout": None}, "input.layout"),
        ("input", {"pad": [0, 0, 256]}, "input.pad.2 = 256: expected at most 255"),
        ("input", {"batch": 0}, "input.batch"),
        ("input", {"range": None}, "either range, or mean and std"),
        ("input", {"mean": [0.5, 0.5, 0.5]}, "either range, or mean and std"),
        (
            "input",
            {"range": None, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.0, 0.5]},
            "std must be positive",
        ),
        ("output", {"name": "a", "index": 0}, "name or index, not both"),
        ("output", {"kind": "probability"}, "output.kind"),
        ("tags", {"format": "csv"}, "tags.format"),
    ],
)
def test_faults_name_file_key_and_value(
    values: dict[str, Any], section: str, changes: dict[str, Any], message: str
) -> None:
    values[section] = {k: v for k, v in (values[section] | changes).items() if v is not None}
    with pytest.raises(TagstackError, match=message) as caught:
        contract_from_toml(values, origin="f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "UPPER", "", "a b", "."])
def test_names_are_safe_as_folders(values: dict[str, Any], name: str) -> None:
    with pytest.raises(TagstackError, match="name"):
        contract_from_toml(values | {"name": name}, origin="f")


def test_digest_follows_what_changes_scores(values: dict[str, Any]) -> None:
    base = contract_from_toml(values, origin="f").digest()
    words = {"title": "t", "source": "u", "licence": "GPL", "threshold": {"default": 0.1}}
    assert contract_from_toml(values | words, origin="f").digest() == base
    for section, change in (
        ("input", {"colour": "RGB"}),
        ("input", {"matte": [0, 0, 0]}),
        ("output", {"kind": "probabilities"}),
    ):
        changed = values | {section: values[section] | change}
        assert contract_from_toml(changed, origin="f").digest() != base
    assert contract_from_toml(values | {"aliases": {"a": "b"}}, origin="f").digest() != base


def test_unreadable_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tagger.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(TagstackError, match=r"tagger\.toml"):
        read_contract(tmp_path / "tagger.toml")


def test_ten_wd_contracts_are_shipped_and_each_with_embeddings() -> None:
    own = {path.stem for path in WD if not path.stem.endswith(EMBEDDINGS)}
    assert {path.stem for path in WD} == own | {f"{name}{EMBEDDINGS}" for name in own}
    assert own == {
        "wd-v1-4-convnext-tagger-v2",
        "wd-v1-4-convnextv2-tagger-v2",
        "wd-v1-4-moat-tagger-v2",
        "wd-v1-4-swinv2-tagger-v2",
        "wd-v1-4-vit-tagger-v2",
        "wd-convnext-tagger-v3",
        "wd-eva02-large-tagger-v3",
        "wd-swinv2-tagger-v3",
        "wd-vit-large-tagger-v3",
        "wd-vit-tagger-v3",
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_contracts_say_where_they_come_from(path: Path) -> None:
    contract = read_contract(path)
    assert contract.name == path.stem
    assert contract.title
    assert contract.licence
    assert contract.source.startswith("https://")
    assert contract.training is not None


@pytest.mark.parametrize("path", WD, ids=lambda path: path.stem)
def test_shipped_wd_contracts_state_the_published_facts(path: Path) -> None:
    contract = read_contract(path)
    version_3 = "tagger-v3" in contract.name
    assert contract.name == path.stem
    assert contract.licence == "Apache-2.0"
    assert (contract.input.layout, contract.input.colour) == ("NHWC", "BGR")
    assert (contract.input.size, contract.input.range) == (448, "0-255")
    assert contract.input.geometry == "pad_square"
    assert contract.input.pad == contract.input.matte == (255, 255, 255)
    assert contract.input.batch == ("dynamic" if version_3 else 1)
    assert contract.output.kind == "probabilities"
    assert contract.tags.categories == {"0": "general", "4": "character", "9": "rating"}
    assert contract.training is not None
    assert (contract.training.modulus, contract.training.remainders) == (1000, (0, 899))
    assert contract.training.last_id == (7_220_105 if version_3 else None)
    assert 0.25 < contract.threshold.default < 0.54
