"""Options of captions whose names stand for nothing are said, with what they may have meant."""

import re
from typing import Any

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.outputs.idle_names import idle_names

VOCABULARY = Vocabulary(
    ("solo", "long_hair", "hat_[blue]", "rem"), ("general", "general", "general", "character")
)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("exclude", ("sollo",), ["--exclude names 'sollo', which is no tag.* mean solo"]),
        ("exclude", ("*_hiar", "*_hair"), [r"'\*_hiar'"]),
        ("exclude", ("long hair", "hat_[blue]", "category:char*"), []),
        ("exclude", ("category:meta",), ["no category of these taggers. There are character, gen"]),
        ("replace", {"solo": "alone", "rem ": ""}, ["'rem '"]),
        ("categories", ("charcter", "*"), ["'charcter'.*mean character"]),
    ],
)
def test_names_in_vain(option: str, value: Any, said: list[str]) -> None:
    settings = load_settings(None, {"output": {option: value}}).output
    found = list(idle_names(settings, (option,), VOCABULARY))
    assert len(found) == len(said)
    assert all(re.search(words, line) for words, line in zip(said, found, strict=True))
    assert not list(idle_names(settings, (), VOCABULARY))  # a preset's are for many taggers


def test_a_table_of_copyrights_makes_their_category() -> None:
    output = {"categories": ["copyright"], "copyrights": "danbooru"}
    settings = load_settings(None, {"output": output}).output
    assert not list(idle_names(settings, ("categories",), VOCABULARY))
