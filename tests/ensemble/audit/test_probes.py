"""How far tags move in a guise: what is found, what is not, and which pictures are shown."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.guised import GuisedPictures, drawn, originals_of
from tagstack.ensemble.audit.probes import Shown
from tagstack.meta.metrics.bootstrap import Weightings

TAGS = Vocabulary(("blue_eyes", "shoes", "solo"), ("general",) * 3)
SURE = Certainty(resamples=200, seed=0, confidence=0.95, false_discovery_rate=0.05)


def shown(n: int = 80) -> Shown:
    """In grey, blue_eyes go from half of the pictures that have them; in blur nothing moves."""
    rng = np.random.default_rng(0)
    plain = rng.random((n, 3)) < (0.6, 0.4, 0.9)
    grey = plain.copy()
    grey[:, 0] &= np.arange(n) % 2 == 0
    labels = sparse.csr_array(plain)
    return Shown(
        plain={"stack": labels, "doll": labels},
        guised={
            ("grey", "stack"): sparse.csr_array(grey),
            ("blur", "stack"): labels,
            ("grey", "doll"): labels,
        },
        labels=labels,
        unknown=sparse.csr_array((n, 3), dtype=bool),
        groups=np.arange(n),
    )


def lots(own: Shown) -> Weightings:
    return SURE.weightings(own.groups)


def test_a_tag_that_goes_is_named_and_what_stays_is_not() -> None:
    found, n_tested = shown().moved_tags(TAGS, SURE, lots(shown()))
    assert [(one.guise, one.by, one.tag) for one in found] == [("grey", "stack", "blue_eyes")]
    assert n_tested == 1
    assert found[0].both == found[0].after < found[0].before
    assert found[0].difference == pytest.approx((found[0].after - found[0].before) / 80)
    assert found[0].low <= found[0].difference <= found[0].high < 0


def test_all_tags_together_have_what_is_kept_and_f1_before_and_after() -> None:
    grey, blur, doll = shown().moved(SURE, lots(shown()))
    own = shown()
    given, both = own.plain["stack"].nnz, own.guised["grey", "stack"].nnz
    assert grey.kept == both / given
    assert grey.kept_low < grey.kept < grey.kept_high < 1
    assert grey.before == 1
    assert abs(grey.after - 2 * both / (both + given)) < 1e-9
    assert grey.sure
    for still in (blur, doll):
        assert (still.kept, still.difference, still.sure) == (1, 0, False)


def test_copies_of_one_picture_are_one_piece_of_evidence() -> None:
    own = shown()
    few = replace(own, groups=np.arange(80) // 16)
    assert few.moved_tags(TAGS, SURE, lots(few))[0] == ()
    assert not few.moved(SURE, lots(few))[0].sure


def test_unknown_labels_count_nowhere() -> None:
    own = shown()
    unknown = own.unknown.tolil()
    unknown[:, 0] = True
    labels = own.labels.tolil()
    labels[:, 0] = False
    blind = replace(own, unknown=sparse.csr_array(unknown), labels=sparse.csr_array(labels))
    assert blind.moved(SURE, lots(blind))[0].difference == 0


def test_pictures_are_drawn_by_content_one_of_each_group_first_and_seen_ones_last() -> None:
    contents = [sha256(bytes([i])).hexdigest() for i in range(12)]
    groups = np.array([0] * 6 + [1, 2, 3, 4, 5, 6])
    seen = np.arange(12) == 11
    rows = drawn(contents, groups, seen, 6)
    assert sorted(groups[rows].tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(drawn(contents, groups, seen, 100)) == 12
    assert 11 not in drawn(contents, groups, seen, 11)
    order = np.random.default_rng(0).permutation(12)
    again = drawn([contents[i] for i in order], groups[order], seen[order], 6)
    assert {contents[order[i]] for i in again} == {contents[i] for i in rows}
    assert drawn([], np.zeros(0, int), np.zeros(0, bool), 5).tolist() == []


def test_files_that_are_gone_or_others_now_are_left_out_and_said(tmp_path: Path) -> None:
    settings = load_settings().score
    (tmp_path / "in").mkdir()
    for name, shade in (("a.png", 10), ("b.png", 200), ("c.png", 90)):
        Image.new("RGB", (16, 12), (shade, 0, 0)).save(tmp_path / "in" / name)
    (tmp_path / "out.png").write_bytes((tmp_path / "in" / "a.png").read_bytes())
    kept = [
        sha256((tmp_path / "in" / name).read_bytes()).hexdigest() for name in ("a.png", "b.png")
    ]
    found, failures = originals_of(
        tmp_path / "in",
        ["a.png", "b.png", "c.png", "gone.png", "../out.png"],
        [*kept, "0" * 64, "1" * 64, kept[0]],
        settings,
    )
    assert set(found) == {"a.png", "b.png"}
    assert [one.name for one in failures] == ["c.png", "gone.png", "../out.png"]
    assert found["a.png"].other.name == "b.png"
    pictures = GuisedPictures(found, ("plain", "grey", "style"), settings)
    assert len(pictures.names) == 6
    contents = {name: pictures.identify(name, settings).sha256 for name in pictures.names}
    assert len(set(contents.values())) == 6
    lent = pictures.picture("style/a.png", pictures.identify("style/a.png", settings))
    assert isinstance(lent, Image.Image)
    assert np.asarray(lent)[0, 0, 0] > 150  # b's red
