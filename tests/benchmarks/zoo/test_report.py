"""The README of the shipped taggers: what its script would write."""

import pytest
from quality import NAMES
from recipes import FOLDER
from report import report_text

from tagstack.base_models.zoo.gallery import Picture, draw_pictures


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return list(draw_pictures(n_images=60, seed=5))


@pytest.fixture(scope="module")
def fresh(pictures: list[Picture]) -> str:
    """Return what the script would write now."""
    return report_text(FOLDER, pictures)


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_committed_readme_agrees_with_the_records_beside_the_models(fresh: str) -> None:
    """All but the measured table, which takes thousands of pictures."""
    committed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for title in ("Training", "Tags they lack"):
        assert section(committed, title) == section(fresh, title)


def test_the_measured_table_has_a_row_of_scores_for_each_tagger(fresh: str) -> None:
    rows = [
        line.split("|")[2:-1]
        for line in section(fresh, "Measured").splitlines()
        if line.startswith(tuple(f"| `{name}`" for name in NAMES))
    ]
    assert len(rows) == len(NAMES)
    for _, *scores in rows:
        assert len(scores) == 6
        assert all(0.3 < float(score) < 1 for score in scores)
