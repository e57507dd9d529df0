"""Packages that go wrong: whose fault it is stands above what was raised, and answers are held to
their kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.cli import OUR_FAULT, fault_of
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import LABEL_FORMATS, OUTPUT_FORMATS, SCORERS
from tagstack.configs.settings import load_settings
from tagstack.ensemble.outputs.captions import Captions
from tagstack.ensemble.outputs.opening import _opened
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers
from tagstack.meta.labels.label_files import read_labels

Install = Callable[..., Path]
PIXELS = np.zeros((2, 2, 3), np.uint8)

SCORER = """
from tagstack.ensemble.workshop.quality.scorers.scorer import Scorer
def share(pixels):
    {body}
IT = Scorer(name="it", title="It", meaning="it", lower_is_better=True, function=share)
"""
LABELS = """
from tagstack.meta.labels.label_files import LabelRow
def rows(path):
    {body}
"""
SIDECAR = """
from tagstack.ensemble.outputs.format import Sidecar
class It(Sidecar):
    suffix = {suffix!r}
    def render(self, file):
        {body}
    def parse(self, text):
        return ()
"""
TABLE = """
from contextlib import contextmanager
from tagstack.ensemble.outputs.format import Table
class It(Table):
    file_name = {name!r}
    @contextmanager
    def opened(self, path):
        {body}
    def read(self, path):
        return iter(())
"""


@pytest.fixture
def format_of(install_package: Install) -> Callable[[str], Any]:
    def made(source: str) -> Any:
        install_package("at_fault", source, {OUTPUT_FORMATS.group: {"it": "It"}})
        return _opened(OUTPUT_FORMATS.offer("it"), Captions(load_settings().output))

    return made


def test_whose_fault_it_is_stands_above_what_was_raised(install_package: Install) -> None:
    install_package(
        "at_fault", SCORER.format(body="raise ValueError('boo')"), {SCORERS.group: {"it": "IT"}}
    )
    with opened_scorers(["it"], threads=1) as (scorer,):
        with pytest.raises(ValueError, match="boo") as caught:
            scorer.function(PIXELS)
    said = fault_of(caught.value)
    assert said.startswith("This is a fault of the scorer 'it' of at-fault 1.2, not of your files.")
    assert fault_of(ValueError("ours")) == OUR_FAULT


def test_a_package_that_would_end_the_program_is_refused(install_package: Install) -> None:
    install_package(
        "at_fault", SCORER.format(body="raise SystemExit(3)"), {SCORERS.group: {"it": "IT"}}
    )
    with opened_scorers(["it"], threads=1) as (scorer,):
        with pytest.raises(TagstackError, match=r"scorer 'it' of .* would end the program \(3\)"):
            scorer.function(PIXELS)


@pytest.mark.parametrize("body", ["return 10**400", "return 1j", "return None", "return [1.0]"])
def test_a_score_is_one_number(install_package: Install, body: str) -> None:
    install_package("at_fault", SCORER.format(body=body), {SCORERS.group: {"it": "IT"}})
    with opened_scorers(["it"], threads=1) as (scorer,):
        with pytest.raises(TagstackError, match="expected one number"):
            scorer.function(PIXELS)


@pytest.mark.parametrize(
    "body",
    [
        "yield LabelRow(image=3, tags=('a',), columns={})",
        "yield LabelRow(image='1.png', tags='solo', columns={})",
        "yield LabelRow(image='1.png', tags=('a', 1), columns={})",
        "yield LabelRow(image='1.png', tags=('a',), columns={'n': 1})",
        "yield LabelRow(image='1.png', tags=('a',), columns=[])",
    ],
)
def test_rows_of_labels_are_texts(install_package: Install, tmp_path: Path, body: str) -> None:
    install_package("at_fault", LABELS.format(body=body), {LABEL_FORMATS.group: {"pipe": "rows"}})
    (tmp_path / "l.pipe").write_text("x")
    with pytest.raises(TagstackError, match=r"label format 'pipe' of .*expected texts"):
        read_labels(tmp_path / "l.pipe")


@pytest.mark.parametrize("name", ["../t.l", "/t.l", "a/b", "", "..", 3, None, "a\0b", "a\\b"])
def test_files_of_a_format_lie_in_the_folder(format_of: Callable[[str], Any], name: Any) -> None:
    with pytest.raises(TagstackError, match=r"output format 'it' of .*expected the name of a file"):
        format_of(TABLE.format(name=name, body="yield print"))


@pytest.mark.parametrize("suffix", ["/../e", "", 3])
def test_a_suffix_leads_nowhere(format_of: Callable[[str], Any], suffix: Any) -> None:
    with pytest.raises(TagstackError, match="expected the name of a file, or what one ends in"):
        format_of(SIDECAR.format(suffix=suffix, body="return 'x'"))


@pytest.mark.parametrize("body", ["return None", "return b'x'"])
def test_what_a_sidecar_holds_is_text(format_of: Callable[[str], Any], body: str) -> None:
    own = format_of(SIDECAR.format(suffix=".l", body=body))
    with pytest.raises(TagstackError, match=r"output format 'it' of .*; expected text\."):
        own.render(None)


def test_what_a_format_raises_is_its_own(format_of: Callable[[str], Any], tmp_path: Path) -> None:
    own = format_of(TABLE.format(name="t.l", body="yield lambda file: 1 / 0"))
    with own.opened(tmp_path / "t.l") as add:
        with pytest.raises(ZeroDivisionError) as caught:
            add(None)
    assert "output format 'it'" in fault_of(caught.value)
    with pytest.raises(RuntimeError) as caught_later, own.opened(tmp_path / "t.l"):
        raise RuntimeError("ours, while it is open")
    assert fault_of(caught_later.value) == OUR_FAULT


def test_what_adds_images_is_a_function_and_a_format_is_one(
    format_of: Callable[[str], Any], tmp_path: Path
) -> None:
    own = format_of(TABLE.format(name="t.l", body="yield None"))
    with pytest.raises(TagstackError, match="returned NoneType; expected a function"):
        with own.opened(tmp_path / "t.l"):
            pass


def test_what_is_no_format_is_named(format_of: Callable[[str], Any]) -> None:
    with pytest.raises(TagstackError, match="is str; expected a Sidecar or a Table"):
        format_of("def It(captions): return 'no format'")
