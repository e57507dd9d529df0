"""Lists with commas whose parts may be paths with commas."""

from pathlib import Path

import pytest

from tagstack.base_models.path_lists import names_and_paths


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "a,b, c", "a", "x,y"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("",)),
        ("resnet, convnext", ("resnet", "convnext")),
        ("resnet,,convnext,", ("resnet", "", "convnext", "")),
        ("a,b", ("a,b",)),
        ("resnet,a,b,vit", ("resnet", "a,b", "vit")),
        ("a,b, c", ("a,b, c",)),  # the longest that is there
        ("a,c", ("a", "c")),
        ("./a,b,x,y+flip", ("./a,b", "x,y+flip")),
        ("no\0path,a,b", ("no\0path", "a,b")),
        ("x" * 5000 + ",a", ("x" * 5000, "a")),
    ],
)
def test_a_path_with_commas_is_one_part(text: str, parts: tuple[str, ...]) -> None:
    assert names_and_paths(text) == parts


def test_every_list_that_may_hold_paths_is_read_so(tmp_path: Path) -> None:
    from tagstack.ensemble.console.options import listed_taggers
    from tagstack.ensemble.rules.sources import load_rules

    assert listed_taggers("vit,a,b") == ("vit", "a,b")
    for name, tag in (("one,two.csv", "boots"), ("three.csv", "hat")):
        (tmp_path / name).write_text(f"tag,parent,exclusive_group\n{tag},clothes,\n")
    rules = load_rules("one,two.csv,three.csv")
    assert {rule.source for rule in rules.implications} == {"one,two.csv", "three.csv"}
