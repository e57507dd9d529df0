"""Presets: each can be used as it is, and what is wrong with a file is one line."""

from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.configs.presets import load_preset, shipped_presets
from tagstack.configs.settings import load_settings


@pytest.mark.parametrize("name", shipped_presets())
def test_a_shipped_preset_can_be_used_and_copied(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    assert set(preset.formats) <= set(OUTPUT_FORMATS.built_in)
    output = load_settings(under={"output": dict(preset.output)}).output
    assert {key: getattr(output, key) for key in preset.output} == {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in preset.output.items()
    }
    copy = tmp_path / "mine.toml"
    copy.write_text(preset.text)
    assert load_preset(str(copy)).output == preset.output


def test_a_preset_lies_under_the_users_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[output]\nspaces = false\n")
    under = {"output": dict(load_preset("kohya").output)}
    output = load_settings(file, {"output": {"rating": True}}, under=under).output
    assert (output.beside, output.spaces, output.rating) == (True, False, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formats = ['txt']\n", "about is missing"),
        ("about = 'x'\nformats = []\n", "formats"),
        ("about = 'x'\nformats = ['txt']\n[output]\nspace = true\n", "output.space"),
        ("about = 'x'\nformats = ['txt']\n[captions]\n", "captions"),
        ("about = ", "mine.toml"),
    ],
)
def test_what_is_wrong_with_a_preset_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(TagstackError, match=message):
        load_preset(str(file))


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(TagstackError, match=r"Unknown preset 'koyha'. Known are .*kohya"):
        load_preset("koyha")
