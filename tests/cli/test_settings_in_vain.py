"""What is set where it has no effect is named, never ignored in silence."""

from pathlib import Path

import pytest

from tagstack.ensemble.console.options import settings_of


def test_sections_that_a_command_does_not_use_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[thresholds]\nbeta = 2\n[score]\nbatch_images = 2\n[stack]\nfolds = 3\n")
    assert settings_of(config, uses=("score", "output")).score.batch_images == 2
    said = capsys.readouterr().err
    assert "mine.toml: [thresholds], [stack] is not used by this command" in said
    settings_of(config)
    assert capsys.readouterr().err == ""
