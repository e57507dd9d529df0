"""Names from files lead to nothing outside the folder in use."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.pictures.images import ImageError
from tagstack.base_models.pictures.places import picture_below

parts = st.sampled_from(["..", ".", "a", "b.png", "", "...", "a..b"])


@given(st.lists(parts, max_size=5).map("/".join))
def test_a_name_stays_below_the_folder_or_is_refused(name: str) -> None:
    folder = Path("/somewhere/pictures")
    inside = bool(name.strip("./")) and not name.startswith("/") and ".." not in name.split("/")
    if inside:
        assert picture_below(folder, name).is_relative_to(folder)
    elif name.startswith("/") or ".." in name.split("/"):
        with pytest.raises(ImageError, match="leads out of the folder of the pictures"):
            picture_below(folder, name)


@pytest.mark.parametrize("name", ["", "../1.png", "a/../../1.png", "/etc/1.png", "a\0.png"])
def test_what_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected one below it"):
        picture_below(tmp_path, name)


def test_links_lead_out_where_their_owner_alone_looks(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "pictures", tmp_path / "1.png"
    folder.mkdir()
    elsewhere.write_bytes(b"")
    (folder / "link.png").symlink_to(elsewhere)
    assert picture_below(folder, "link.png") == folder / "link.png"
    with pytest.raises(ImageError, match="leads out"):
        picture_below(folder, "link.png", links=False)
    (folder / "2.png").write_bytes(b"")
    assert picture_below(folder, "2.png", links=False) == folder / "2.png"
