"""Settings: one place for defaults, and nothing misspelt gets through."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings

DEFAULT_TEXT = resources.files("tagstack.configs").joinpath("default.toml").read_text("utf-8")


def leaves(values: dict[str, object], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key, value in values.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key)}
    return found


def test_the_file_holds_every_default_and_the_classes_none() -> None:
    written = leaves(tomllib.loads(DEFAULT_TEXT))
    assert written == leaves(load_settings().model_dump())
    for key in ("seed", "threads"):
        assert Settings.model_fields[key].is_required()


def test_every_default_has_a_reason() -> None:
    """A comment on the line, or one above with nothing but settings in between."""
    explained = False
    for line in DEFAULT_TEXT.splitlines():
        explained = line.startswith("#") or (explained and bool(line.strip()))
        if re.match(r"^[a-z_0-9]+ = ", line):
            assert explained or "#" in line, line


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = 7\n[stack.tuning]\ntrials = 0\n")
    mine, default = load_settings(path), load_settings()
    assert (mine.seed, mine.stack.tuning.trials) == (7, 0)
    assert mine.stack.tuning.splits == default.stack.tuning.splits
    assert mine.score == default.score


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("seed = 7\n")
    assert load_settings(path, {"seed": 9}).seed == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"mine\.toml: sed is no known key"),
        ("[stack]\nfold = 3", r"stack\.fold is no known key"),
        ("[stack]\nfolds = 1", r"stack\.folds = 1: expected at least 2"),
        ("threads = true", r"threads = True: expected a whole number"),
        ('threads = "4"', r"threads = '4': expected a whole number"),
        ("[compare]\nbeta = inf", r"compare\.beta = inf: expected a finite number"),
        ("[compare]\nbeta = nan", r"compare\.beta = nan: expected a finite number"),
        ("[compare]\nresamples = 1e18", r"compare\.resamples = 1e\+18: expected a whole number"),
        ("[compare]\nresamples = 1000000000000000000", r"expected at most 1000000"),
        ("[stack]\nfolds = 2024-01-01", r"stack\.folds = '2024-01-01': expected a whole number"),
        ("[thresholds]\nvalue = 50", r"thresholds\.value = 50: expected below 1"),
        ("[stack]\ndevice = ['cpu']", r"stack\.device = \['cpu'\]: expected 'cpu' or 'cuda'"),
        ("a = " + "[" * 5000, "nested too deep"),
        ("seed = " + "9" * 5000, "Exceeds the limit"),
        ("seed = ", "Cannot read .*mine.toml"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TagstackError, match=message) as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().seed = 3


def test_a_value_of_several_kinds_says_what_each_expects() -> None:
    from pydantic import ValidationError

    from tagstack.configs.section import Section, validated, validation_summary

    class Sized(Section):
        size: int | tuple[int, int]

    with pytest.raises(ValidationError) as caught:
        validated(Sized, {"size": "x"})
    assert validation_summary(caught.value) == "size = 'x': expected a whole number or a list"
