"""The probe as a member: out of fold, its own tags, the same for any company, on disk and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.probe.fitting import _lowest, _spread, with_probe
from tagstack.meta.probe.probe import PROBE, over_vocabulary
from tagstack.meta.stack.stacker import Stacker

OWN = 2  # tags that no tagger knows, behind the others


@pytest.fixture
def featured(make_labelled: Callable[..., Any], rng: np.random.Generator) -> Any:
    """Return poor taggers with good features, and labels with tags that they do not know."""
    made = make_labelled(n_images=160, n_tags=6, noise=(4.0, 5.0), floor=-6.0)
    n_images = made.scores.n_images
    own = rng.random((n_images, OWN)) < 0.15
    labels = np.concatenate([made.labels.toarray(), own], axis=1)
    drawn = labels @ rng.normal(0, 1, (6 + OWN, 20)) + rng.normal(0, 0.6, (n_images, 20))
    features = (drawn[:, :12].astype(np.float16), drawn[:, 12:].astype(np.float16))
    vocabulary = Vocabulary(
        (*made.scores.vocabulary.tags, *(f"own_{i}" for i in range(OWN))),
        (*made.scores.vocabulary.categories, *("general" for _ in range(OWN))),
    )
    base = replace(made.scores, features=features)
    return base, over_vocabulary(base, vocabulary), sparse.csr_array(labels), made.groups


def labelled(scores: Level1Scores, labels: sparse.csr_array, groups: NDArray[np.int64]) -> Labelled:
    return Labelled(
        scores=scores,
        evidence=Evidence.of(labels),
        folds=groups % 3,
        groups=groups,
        relations=TagRelations.none(len(scores.vocabulary)),
    )


def told(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def dense(scores: Level1Scores, member: int) -> NDArray[np.float32]:
    full = np.full((scores.n_images, len(scores.vocabulary)), scores.floor[member])
    own = np.nan_to_num(scores.logit[member], nan=float(scores.floor[member]))
    full[scores.pairs.image, scores.pairs.tag] = own
    return full


def test_the_probe_ranks_better_than_its_taggers_and_learns_tags_of_its_own(
    featured: Any, stack_settings: Callable[..., StackSettings]
) -> None:
    _, scores, labels, groups = featured
    data, probe = with_probe(
        labelled(scores, labels, groups), stack_settings(), seed=0, threads=1, progress=told
    )
    assert probe is not None
    assert data.scores.members == (*scores.members, PROBE)
    assert data.scores.features == ()
    true = labels.toarray()
    ap = [
        [average_precision_score(true[:, tag], dense(data.scores, member)[:, tag]) for tag in
         range(true.shape[1])]
        for member in range(3)
    ]  # fmt: skip
    assert np.mean(ap[2][:-OWN]) > np.mean(ap[:2]) + 0.1
    assert min(ap[2][-OWN:]) > 3 * true[:, -OWN:].mean()
    # The taggers' own scores are what they were.
    for member in range(2):
        np.testing.assert_array_equal(
            dense(data.scores, member)[:, :-OWN], dense(scores, member)[:, :-OWN]
        )
        assert not data.scores.knows[member, -OWN:].any()


def test_an_images_own_labels_have_no_say_in_its_scores(
    featured: Any, stack_settings: Callable[..., StackSettings]
) -> None:
    _, scores, labels, groups = featured
    settings = stack_settings()
    settings = settings.model_copy(
        update={
            "probe": settings.probe.model_copy(
                update={"strengths": (0.4,), "own_strengths": (0.4,), "pair_proba": 1e-9}
            )
        }
    )
    turned = labels.toarray()
    turned[groups % 3 == 1] = ~turned[groups % 3 == 1]
    found = [
        dense(
            with_probe(
                labelled(scores, sparse.csr_array(own), groups),
                settings,
                seed=0,
                threads=1,
                progress=told,
            )[0].scores,
            2,
        )
        for own in (labels.toarray(), turned)
    ]
    same = (found[0] == found[1]).all(axis=1)
    np.testing.assert_array_equal(same, groups % 3 == 1)


def test_scores_do_not_tell_how_many_labels_their_fold_has(
    featured: Any, stack_settings: Callable[..., StackSettings]
) -> None:
    # Where heads say nothing, the same taggers' scores must give the same in every fold: else the
    # stack learns from the labels that a fold lacks which of the others' it has.
    base, _, labels, groups = featured
    n_tags = len(base.vocabulary)
    level = np.linspace(-4, 2, 20).astype(np.float32)
    logit = np.tile(level, (2, base.pairs.n_images * n_tags // 20))
    scores = replace(
        base,
        pairs=Pairs(
            indptr=np.arange(0, base.n_images * n_tags + 1, n_tags, dtype=np.int64),
            tag=np.tile(np.arange(n_tags, dtype=np.int32), base.n_images),
            n_tags=n_tags,
        ),
        logit=logit,
    )
    true = labels[:, :n_tags].toarray()
    true[groups % 3 > 0, 0] = False  # all pictures with the first tag lie in one fold
    settings = stack_settings()
    dull = settings.probe.model_copy(update={"strengths": (1e7,)})
    found, _ = with_probe(
        labelled(scores, sparse.csr_array(true), groups),
        settings.model_copy(update={"probe": dull, "calibration_strengths": (0.1,)}),
        seed=0,
        threads=1,
        progress=told,
    )
    own = dense(found.scores, 2)[:, 0]
    said = dense(scores, 0)[:, 0]
    spread = [np.ptp(own[said == one]) for one in np.unique(said)]
    assert max(spread) < 0.6  # calibrated by tag, 4.5


@pytest.mark.parametrize("n_own", [1, OWN])
def test_scores_of_own_tags_do_not_tell_how_many_labels_their_fold_has(
    featured: Any, stack_settings: Callable[..., StackSettings], n_own: int
) -> None:
    base, scores, labels, groups = featured
    n_known = len(base.vocabulary)
    wide = over_vocabulary(
        base,
        Vocabulary(
            scores.vocabulary.tags[: n_known + n_own],
            scores.vocabulary.categories[: n_known + n_own],
        ),
    )
    true = labels[:, : n_known + n_own].toarray()
    true[:, n_known:] = False
    true[(groups % 3 == 0).nonzero()[0][::3], n_known] = True  # all of them lie in one fold
    settings = stack_settings()
    dull = settings.probe.model_copy(update={"own_strengths": (1e7,), "pair_proba": 1e-9})
    found, probe = with_probe(
        labelled(wide, sparse.csr_array(true), groups),
        settings.model_copy(update={"probe": dull}),
        seed=0,
        threads=1,
        progress=told,
    )
    own = dense(found.scores, 2)[:, n_known]
    assert np.ptp(own) < 0.4  # by its own rate without each fold, 3.6
    assert probe is not None
    new = dense(probe.apply(wide), 2)[:, n_known]
    assert new == pytest.approx(own.mean(), abs=0.3)


@given(place=st.floats(-1, 9), n=st.integers(1, 8), seed=st.integers(0, 9))
def test_the_strength_of_least_loss_is_found_without_a_fit_for_each(
    place: float, n: int, seed: int
) -> None:
    strengths = np.random.default_rng(seed).permutation(np.arange(1.0, n + 1))
    asked = []

    def loss(strength: float) -> float:
        asked.append(strength)
        return (strength - place) ** 2

    best = min(strengths, key=lambda s: ((s - place) ** 2, -s))
    assert _lowest(strengths.tolist(), loss) == best
    assert len(set(asked)) <= n // 2 + 2


def test_the_tags_that_choose_are_spread_from_frequent_to_rare() -> None:
    positives = np.array([0, 9, 1, 0, 500, 30, 2])
    assert _spread(positives, 99).tolist() == [1, 2, 4, 5, 6]
    assert _spread(positives, 3).tolist() == [1, 2, 4]
    assert len(_spread(positives * 0, 3)) == 1


def fitted(featured: Any, settings: StackSettings, threads: int = 1) -> Stacker:
    _, scores, labels, groups = featured
    relations = TagRelations.none(len(scores.vocabulary))
    return Stacker(settings, seed=0, threads=threads).fit(scores, labels, groups, relations)


@pytest.fixture
def settings(stack_settings: Callable[..., StackSettings]) -> StackSettings:
    return stack_settings(learners=(), member_worth="none")


def test_a_stack_with_a_probe_is_a_pure_function_of_each_image(
    featured: Any, settings: StackSettings, tmp_path: Path
) -> None:
    base, scores, _, _ = featured
    stack = fitted(featured, settings, threads=2)
    assert stack.rungs_[:3] == ("single:member_0", "single:member_1", f"single:{PROBE}")
    whole = stack.predict_proba(stack.completed(base))
    assert whole.pairs.n_tags == len(scores.vocabulary)
    for images in (np.array([7]), np.arange(160)[::-3]):
        part = stack.predict_proba(stack.completed(base.take(images)))
        np.testing.assert_array_equal(part.proba, whole.take(images).proba)
    # Completing twice is completing once; other members or features are refused by name.
    again = stack.completed(stack.completed(base))
    assert again.members == (*base.members, PROBE)
    with pytest.raises(TagstackError, match=r"fitted on 20 features, the scores .* have \[0, 12\]"):
        stack.completed(replace(base, features=(base.features[0][:, :0], base.features[0])))
    with pytest.raises(TagstackError, match="stack was fitted on"):
        stack.completed(replace(base, members=("member_0", "other")))
    with pytest.raises(TagstackError, match=f"fitted on .*'{PROBE}'"):
        stack.predict_proba(base)
    stack.save(tmp_path)
    loaded = Stacker.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(loaded.completed(base)).proba, whole.proba)
    one_thread = fitted(featured, settings)
    np.testing.assert_array_equal(
        one_thread.predict_proba(one_thread.completed(base)).proba, whole.proba
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda a: a * np.nan, "probe:weights holds"),
        ("weights", lambda a: a[:, 1:].copy(), r"probe:weights is float32 .*; expected \(20, 8\)"),
        ("mean", lambda a: a[:0].copy(), "a probe of 0 features"),
        ("deviation", lambda a: a * 0, "probe:deviation holds"),
        ("bias", lambda a: a + 1e9, "probe:bias holds"),
        ("rate", lambda a: a.astype(np.int32), "probe:rate is int32"),
        ("shift", lambda a: a * np.nan, "probe:shift holds"),
        ("limits", lambda a: a + 99, "probe:limits holds"),
        ("limits", None, "probe:limits is missing"),
    ],
)
def test_arrays_that_no_fit_gives_are_refused(
    featured: Any,
    settings: StackSettings,
    once: Callable[..., Path],
    tmp_path: Path,
    name: str,
    change: Callable[[Any], Any] | None,
    message: str,
) -> None:
    saved = once("probe stack", lambda folder: fitted(featured, settings).save(folder))
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays = load_file(tmp_path / "stack.safetensors")
    if change is None:
        del arrays[f"probe:{name}"]
    else:
        arrays[f"probe:{name}"] = change(arrays[f"probe:{name}"])
    save_file(arrays, tmp_path / "stack.safetensors")
    with pytest.raises(TagstackError, match=message):
        Stacker.load(tmp_path)


def test_a_probe_from_before_own_tags_started_alike_answers_as_it_did(
    featured: Any, settings: StackSettings, once: Callable[..., Path], tmp_path: Path
) -> None:
    saved = once("probe stack", lambda folder: fitted(featured, settings).save(folder))
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    arrays = load_file(tmp_path / "stack.safetensors")
    shift = arrays.pop("probe:shift")
    save_file(arrays, tmp_path / "stack.safetensors")
    now, before = (
        dense(Stacker.load(folder).completed(featured[0]), 2) for folder in (saved, tmp_path)
    )
    listed = (before > before.min()) & (now > now.min())
    added = np.broadcast_to(shift, now.shape)[listed]
    np.testing.assert_allclose((now - before)[listed], added, atol=1e-5)
    assert not shift[:-OWN].any()
    assert shift[-OWN:].all()


def test_without_features_or_where_it_is_off_there_is_no_probe(
    featured: Any, stack_settings: Callable[..., StackSettings]
) -> None:
    base, _, labels, groups = featured
    known = labels[:, :-OWN]
    settings = stack_settings()
    off = settings.model_copy(
        update={"probe": settings.probe.model_copy(update={"enabled": False})}
    )
    plain = replace(base, features=())
    for scores, own in ((plain, settings), (base, off)):
        data, probe = with_probe(
            labelled(scores, known, groups), own, seed=0, threads=1, progress=told
        )
        assert probe is None
        assert data.scores.members == base.members
        assert data.scores.features == ()
    with pytest.raises(TagstackError, match="tagger is named 'probe'"):
        with_probe(
            labelled(replace(base, members=("a", PROBE)), known, groups),
            settings,
            seed=0,
            threads=1,
            progress=told,
        )
