"""What scoring says before it begins."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring import words
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.scoring import score_folder


class Told(Silent):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_a_processor_that_could_score_twice_as_fast_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "1.png")
    settings = load_settings(changes={"threads": 1})
    for units, n_said in ((("amx_bf16",), 1), ((), 0)):
        monkeypatch.setattr(words, "bf16_units", lambda units=units: units)
        told = Told()
        store = tmp_path / f"scores{n_said}"
        score_folder([tmp_path / "1.png"], ["doll_resnet"], store, settings, told)
        said = [text for text in told.notices if "--backend openvino --precision bf16" in text]
        assert len(said) == n_said


@pytest.mark.parametrize(("device", "precision"), [("cpu", "bf16"), ("cuda:0", "fp32")])
def test_nothing_is_advised_where_it_would_not_help(
    device: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "bf16_units", lambda: ("amx_bf16",))
    with loaded_taggers(["doll_resnet"], load_settings(changes={"threads": 1})) as (one,):
        assert words.faster_text([one])
        info = replace(one.session.info, device=device, precision=precision)
        monkeypatch.setattr(one.session, "info", info)
        assert words.faster_text([one]) == ""
