"""A cascade: cheaper, a function of the picture and the bundle, and harmless when off."""

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import tagstack
from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.cascade import Cascade
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.doubt import Doubt, Margins
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.cascade.frontier import EVERYBODY, CascadeJudging, Staged, frontier
from tagstack.ensemble.cascade.judged import judged_rows
from tagstack.ensemble.cascade.order import best_order
from tagstack.ensemble.cascade.routing import Judges, Route
from tagstack.ensemble.cascade.timing import member_seconds
from tagstack.ensemble.console.groups import Cascading
from tagstack.ensemble.console.options import settings_of
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.runs import score_to_store
from tagstack.ensemble.serving.live import LiveStack
from tagstack.ensemble.tasks import tag_scoring
from tagstack.ensemble.tasks.compare import _dataset, compared
from tagstack.ensemble.tasks.explain import explain_image
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.review import ReviewRequest, opened_review
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest
from tagstack.ensemble.tasks.watch import look_once
from tagstack.meta.stack.prefixes import prefix_scores

SECONDS = {"doll_resnet": 0.001, "doll_vit": 0.002}
SMALL: dict[str, Any] = {
    "threads": 1,
    "stack": {
        "learners": [], "outer_fold": False, "folds": 2, "member_worth": "none",
        "calibration_strengths": [100.0], "logistic_strengths": [300.0], "selection_rounds": 5,
        "tuning": {"trials": 0},
    },
    "thresholds": {"strategy": "fixed", "guarantee": "none"},
    "cascade": {"seconds": SECONDS, "points": 7, "resamples": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return forty drawn pictures, twelve of them apart, and bundles without and with a cascade."""
    root = tmp_path_factory.mktemp("cascade")
    chosen = load_settings(changes=SMALL)
    labels = draw_gallery(root / "drawn", n_images=40, seed=5)
    (root / "few").mkdir()
    for path in sorted((root / "drawn").glob("*.png"))[:12]:
        shutil.copy(path, root / "few")
    score_folder([root / "drawn"], list(SECONDS), root / "scores", chosen, Silent())
    source = DatasetSource(scores=root / "scores", labels=labels)
    for name, cascade in (("plain", False), ("bundle", True)):
        request = FitRequest(source=source, bundle=root / name, rules="danbooru", cascade=cascade)
        fit_bundle(request, chosen, Silent())
    return root


@pytest.fixture(scope="module")
def bundle(root: Path) -> Bundle:
    return load_bundle(root / "bundle")


def cascade_of(bundle: Bundle) -> Cascade:
    assert bundle.cascade is not None
    return bundle.cascade


@pytest.fixture(scope="module")
def middle(bundle: Bundle) -> float:
    """Return a share of the cost at which some pictures end early and others do not."""
    shares = [row.cost for row in cascade_of(bundle).rows if 0.1 < row.ended[0] < 0.9]
    return shares[len(shares) // 2]


def tag(root: Path, images: Path, out: Path, **more: Any) -> dict[str, Any]:
    request = TagRequest(
        images=(images,), bundle=root / "bundle", out=out, formats=("json",), **more
    )
    tag_images(request, load_settings(changes={"threads": 1}), Silent())
    found = {path.name: json.loads(path.read_text()) for path in out.glob("*.json")}
    return {name: content for name, content in found.items() if name != "run.json"}


@settings(max_examples=25)
@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=4), st.integers(0, 99))
def test_the_order_is_the_best_of_all(seconds: list[float], seed: int) -> None:
    n = len(seconds)
    values = np.random.default_rng(seed).random(1 << n)

    def score(chosen: tuple[int, ...]) -> float:
        return float(values[sum(1 << member for member in chosen)])

    def worth(order: tuple[int, ...]) -> float:
        held = [score(tuple(sorted(order[:i]))) * seconds[order[i]] for i in range(1, n)]
        return sum(held)

    found = best_order(seconds, score)
    assert sorted(found) == list(range(n))
    best = max(worth(order) for order in itertools.permutations(range(n)))
    assert worth(found) == pytest.approx(best)


def test_many_members_are_ordered_too() -> None:
    found = best_order([1.0] * 9, lambda chosen: sum(1 / (1 + member) for member in chosen))
    assert found == tuple(range(9))


def test_scores_of_some_members_do_not_know_of_the_others(root: Path, bundle: Bundle) -> None:
    store = ScoreStore(root / "scores")
    both, alone = store.load(members=list(SECONDS)), store.load(members=["doll_vit"])
    found = prefix_scores(both, ["doll_vit"], bundle.vocabulary)
    again = prefix_scores(alone, ["doll_vit"], bundle.vocabulary)
    assert found.members == again.members == ("doll_vit",)
    assert len(found.pairs) < len(both.pairs)
    for name in ("indptr", "tag"):
        np.testing.assert_array_equal(getattr(found.pairs, name), getattr(again.pairs, name))
    for name in ("logit", "floor", "knows"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    kept = both.knows[both.members.index("doll_vit")]
    assert found.knows.all() == (~kept).any() or kept.all()
    assert not np.isnan(found.logit).any()


def test_doubt_grows_near_thresholds_and_with_disagreement(make_proba: Callable[..., Any]) -> None:
    proba, _ = make_proba(0, n_images=30)
    cuts = np.full(proba.pairs.n_tags, 0.5, np.float32)
    now = Margins.of(proba, cuts)
    np.testing.assert_array_equal(now.at(proba.pairs), now.listed)
    calm, split = Doubt(variance=0.1, disagreement=0.0), Doubt(variance=0.1, disagreement=1.0)
    before = replace(now, listed=now.listed + 2)
    one, other = calm.signs(now, before), split.signs(now, before)
    assert (other[:, 1] >= one[:, 1]).all()
    assert other[:, 1].sum() > one[:, 1].sum()
    surer = Margins.of(replace(proba, proba=np.where(proba.proba < 0.5, 0.01, 0.99)), cuts)
    assert calm.signs(surer, None)[:, 1].sum() < one[:, 1].sum()
    fitted = Doubt.fitted(now, None, replace(now, listed=now.listed + 1.5))
    assert fitted.variance == pytest.approx(2.25)


def test_the_table_goes_from_the_cheapest_to_all(bundle: Bundle) -> None:
    cascade = cascade_of(bundle)
    rows, costs = cascade.rows, [row.cost for row in cascade.rows]
    assert costs == sorted(costs)
    first = sum(SECONDS[name] for name in cascade.heads[0].members)
    assert costs[0] == pytest.approx(first / sum(SECONDS.values()))
    assert (rows[-1].cost, rows[-1].micro_loss, rows[-1].ended) == (1.0, 0.0, (0.0, 1.0))
    for row in rows:
        assert sum(row.ended) == pytest.approx(1)
        assert row.cost <= 1
        assert row.micro_low <= row.micro_loss <= row.micro_high
    assert cascade.row_of_cost(1.0) == rows[-1]
    assert cascade.row_of_cost(rows[1].cost) == rows[1]
    assert cascade.row_of_loss(1.0) == rows[0]
    assert cascade.row_of_loss(0.0).micro_loss <= 0
    with pytest.raises(TagstackError, match=r"--cascade 0\.01 is less than the cheapest share"):
        cascade.row_of_cost(0.01)


def test_a_table_of_known_images() -> None:
    """Four images, a second stage that puts right the first two of them."""
    true = sparse.csr_array(np.array([[1, 0], [0, 1], [1, 0], [0, 1]], bool))
    early = sparse.csr_array(np.array([[0, 1], [1, 0], [1, 0], [0, 1]], bool))
    none = sparse.csr_array((4, 2), dtype=bool)
    staged = Staged(
        decided=(early, true),
        promise=np.array([[4.0, 3.0, 2.0, 1.0]]),
        seconds=np.array([1.0, 4.0]),
        labels=true,
        unknown=none,
        groups=np.arange(4),
    )
    rows = frontier(staged, points=5, resamples=30, seed=0)
    np.testing.assert_allclose([row.cost for row in rows], [0.25, 0.4375, 0.625, 0.8125, 1])
    np.testing.assert_allclose([row.micro_f for row in rows], [0.5, 0.75, 1, 1, 1])
    assert rows[-1].least_promise == EVERYBODY
    judging = CascadeJudging(replace(staged, unknown=true), resamples=10, seed=0)
    assert judging(true)[0][0] == 0  # what is unknown counts for nobody


def test_the_bundle_is_the_same_beside_its_cascade(root: Path) -> None:
    plain, other = root / "plain", root / "bundle"
    names = [p.relative_to(plain) for p in plain.rglob("*") if p.is_file()]
    added = {p.relative_to(other) for p in other.rglob("*") if p.is_file()} - {*names}
    assert {name.parts[0] for name in added} == {"cascade"}
    for name in names:
        if name.name != "manifest.json":
            assert file_sha256(plain / name) == file_sha256(other / name), name
    assert load_bundle(plain).cascade is None


def test_what_is_kept_is_what_was_fitted(bundle: Bundle, tmp_path: Path) -> None:
    cascade = cascade_of(bundle)
    cascade.save(tmp_path / "cascade")
    again = Cascade.load(tmp_path / "cascade")
    assert (again.rows, again.seconds) == (cascade.rows, SECONDS)
    np.testing.assert_array_equal(again.heads[0].worth, cascade.heads[0].worth)
    record = tmp_path / "cascade" / "cascade.json"
    content = json.loads(record.read_text())
    for damage, match in (
        ({"version": 9}, "has version 9"),
        ({"rows": []}, "contradicts itself"),
        ({"seconds": {"doll_resnet": -1}}, "expected a number"),
        ({"heads": []}, "expected 1|contradicts itself"),
    ):
        record.write_text(json.dumps({**content, **damage}))
        with pytest.raises((TagstackError, ValueError), match=match):
            Cascade.load(tmp_path / "cascade")


def test_tags_do_not_depend_on_company_order_or_what_is_scored(
    root: Path, bundle: Bundle, middle: float
) -> None:
    store, route = ScoreStore(root / "scores"), Route.of(bundle, share=middle)
    assert route is not None
    names = [record.path for record in store.records()]
    judges = Judges(route, 0.05)
    whole = route.tagged(store, names, judges)
    assert list(whole) == names
    voters = {name: set(image.tags[0].votes) for name, image in whole.items() if image.tags}
    assert {len(own) for own in voters.values()} == {1, 2}  # some ended early
    backwards = route.tagged(store, names[::-1], judges)
    alone = {name: route.tagged(store, [name], judges)[name] for name in names[:6]}
    assert backwards == whole
    assert alone == {name: whole[name] for name in names[:6]}


def test_tagging_scores_only_what_goes_on(
    root: Path, bundle: Bundle, middle: float, tmp_path: Path
) -> None:
    found = tag(root, root / "few", tmp_path / "out", cascade=middle)
    assert len(found) == 12
    store = ScoreStore(tmp_path / "out" / ".scores")
    names = [record.path for record in store.records()]
    first = cascade_of(bundle).heads[0].members
    (second,) = set(SECONDS) - set(first)
    assert store.scored(names, first) == names
    went_on = store.scored(names, [second])
    assert 0 < len(went_on) < 12
    route = Route.of(bundle, share=middle)
    assert route is not None
    asked = route.tagged(ScoreStore(root / "scores"), names, Judges(route, 0.05))
    assert went_on == [name for name in names if second in asked[name].tags[0].votes]
    # All scores are there already, which changes nothing; and so from Python.
    again = tag(root, root / "few", tmp_path / "b", cascade=middle, scores=root / "scores")
    assert again == found
    with tagstack.load(root / "bundle", settings={"threads": 1}) as stack:
        paths = [root / "few" / name for name in names[:5]]
        for path, image in zip(paths, stack.tag_many(paths, cascade=middle), strict=True):
            assert set(image.names) == set(found[f"{path.stem}.json"]["tags"])


def test_a_comparison_shows_what_tagging_would_have_done(
    root: Path, bundle: Bundle, middle: float, tmp_path: Path
) -> None:
    chosen = load_settings(changes=SMALL)
    labels = draw_gallery(tmp_path / "new", n_images=10, seed=8)
    score_folder([tmp_path / "new"], list(SECONDS), tmp_path / "scores", chosen, Silent())
    source = DatasetSource(scores=tmp_path / "scores", labels=labels)
    rows = compared(bundle, source, chosen, Silent()).extra.cascade
    assert [row.least_promise for row in rows] == [r.least_promise for r in cascade_of(bundle).rows]
    dataset = _dataset(bundle, source)
    reader, route = ScoreStore(tmp_path / "scores"), Route.of(bundle, share=middle)
    assert route is not None
    tagged = route.tagged(reader, dataset.scores.images, Judges(route, 0.05))
    names, index = list(tagged), bundle.vocabulary.index
    given = np.zeros(dataset.labels.shape, bool)
    for image, name in enumerate(names):
        given[image, [index[tag] for tag in tagged[name].names]] = True
    (row,) = [row for row in rows if row.least_promise == route.row.least_promise]
    known = ~dataset.unknown.toarray()
    true = dataset.labels.toarray()
    hits, both = (given & true & known).sum(), (given & known).sum() + true.sum()
    assert row.micro_f == pytest.approx(2 * hits / both)
    assert row.ended[0] == np.mean([len(tagged[name].tags[0].votes) == 1 for name in names])
    moved = replace(bundle, threshold_version="x")
    assert judged_rows(moved, dataset, reader, chosen.cascade, 0) == ()
    assert judged_rows(replace(bundle, cascade=None), dataset, reader, chosen.cascade, 0) == ()


def test_explain_and_review_ask_as_tag_does(
    root: Path, bundle: Bundle, middle: float, tmp_path: Path
) -> None:
    """On pictures that nothing was fitted on: of fitted ones a review has better answers."""
    draw_gallery(tmp_path / "new", n_images=10, seed=8)
    wanted = tag(root, tmp_path / "new", tmp_path / "tagged", cascade=middle)
    store, all_ = tmp_path / "tagged" / ".scores", set(SECONDS)
    chosen = load_settings(changes={"threads": 1})
    early = []
    with tagstack.load(root / "bundle", settings=chosen) as stack:
        for path in sorted((tmp_path / "new").glob("*.png")):
            found = explain_image(path, root / "bundle", None, scores=store, cascade=middle)
            assert {own.tag for own in found.entries if own.tagged} == {
                *wanted[f"{path.stem}.json"]["tags"]
            }
            assert set(found.entries[0].votes) == all_ - {*found.not_asked}
            assert replace(stack.explain(path, cascade=middle), image=found.image) == found
            early += [path] if found.not_asked else []
        assert 0 < len(early) < 10
        asked = explain_image(early[0], root / "bundle", None, cascade=middle)
        assert asked == explain_image(early[0], root / "bundle", None, scores=store, cascade=middle)
        assert stack.explain(early[0]).not_asked == ()
    request = ReviewRequest(
        bundle=root / "bundle", images=tmp_path / "new", out=tmp_path / "review", cascade=middle
    )
    with opened_review(request, chosen, Silent()) as desk:
        ground = desk.ground
        table = ground.table(0)
        for image, name in enumerate(ground.images):
            own = table.tag[(table.image == image) & table.tagged]
            stem = Path(name).stem
            assert {bundle.vocabulary.tags[i] for i in own} == {*wanted[f"{stem}.json"]["tags"]}
            answering, _ = ground.answering(name)
            assert (len(answering.members) < 2) == (stem in {path.stem for path in early})
        assert len(ground.reader.scored(ground.images)) == 10 - len(early)
        assert len(ground.images) == 10


def test_the_service_and_the_watch_ask_as_the_settings_say(
    root: Path, bundle: Bundle, middle: float, tmp_path: Path
) -> None:
    """The tags are those of `tag --cascade`, whoever tags, in whatever company."""
    wanted = tag(root, root / "drawn", tmp_path / "tagged", cascade=middle)
    asked = load_settings(changes={"threads": 1, "cascade": {"cost": middle}})
    request = TagRequest(
        images=(root / "drawn",), bundle=root / "bundle", out=tmp_path / "watched",
        formats=("json",),
    )  # fmt: skip
    look_once(request, asked, lambda: nullcontext(Silent()))
    for name, content in wanted.items():
        assert json.loads((tmp_path / "watched" / name).read_text()) == content
    pictures = sorted((root / "drawn").glob("*.png"))[:12]
    contents = [path.read_bytes() for path in pictures]
    with tagstack.load(root / "bundle", settings=asked) as stack:
        live = LiveStack(stack, root / "bundle")
        served = [judged.tagged for judged in live._judged(contents)]
        alone = [live._judged([content])[0].tagged for content in contents[::-1]][::-1]
        everybody = list(stack.tag_many(contents, cascade=1.0))
    assert {len(own.tags[0].votes) for own in served} == {1, 2}  # some ended early
    for path, one, other in zip(pictures, served, alone, strict=True):
        assert one.tags == other.tags
        assert set(one.names) == set(wanted[f"{path.stem}.json"]["tags"])
    assert {len(own.tags[0].votes) for own in everybody} == {2}


def test_a_bundle_that_cannot_do_what_the_settings_say_is_refused_at_once(root: Path) -> None:
    for section, match in (
        ({"cost": 0.5}, "This bundle has no cascade"),
        ({"cost": 0.5, "loss": 0.1}, r"Both --cascade .* or cascade\.cost and cascade\.loss"),
    ):
        asked = load_settings(changes={"threads": 1, "cascade": section})
        with pytest.raises(TagstackError, match=match):
            tagstack.load(root / "plain", settings=asked).__enter__()
    asked = load_settings(changes={"threads": 1, "cascade": {"loss": 0.5}})
    with tagstack.load(root / "bundle", settings=asked) as stack:
        with pytest.raises(TagstackError, match="This bundle has no cascade"):
            stack.beside(load_bundle(root / "plain"))


def test_options_lie_over_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[cascade]\nloss = 0.01\n")
    for options, (cost, loss) in (
        (Cascading(), (1.0, 0.01)),
        (Cascading(cascade=0.5), (0.5, 0.0)),
        (Cascading(cascade_loss=0.002), (1.0, 0.002)),
        (Cascading(cascade_loss=0.0), (1.0, 0.0)),
    ):
        own = settings_of(config, sections=options.settings()).cascade
        assert (own.cost, own.loss) == (cost, loss)
    with pytest.raises(TagstackError, match=r"cascade\.cost"):
        settings_of(config, sections=Cascading(cascade=0.0).settings())


def test_a_killed_run_goes_on_and_another_share_tags_anew(
    root: Path, middle: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def dying(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score_to_store(*arguments, **more)

    monkeypatch.setattr(tag_scoring, "score_to_store", dying)
    few, kept = root / "few", {"scores": root / "scores"}  # of one that ran through
    with pytest.raises(KeyboardInterrupt):
        tag(root, few, tmp_path / "out", cascade=middle)
    monkeypatch.undo()
    found = tag(root, few, tmp_path / "out", cascade=middle)
    assert found == tag(root, few, tmp_path / "new", cascade=middle, **kept)
    whole = tag(root, few, tmp_path / "out")
    assert whole != found
    assert whole == tag(root, few, tmp_path / "all", cascade=1.0, **kept)


def test_what_cannot_be_done_is_said(root: Path, bundle: Bundle, tmp_path: Path) -> None:
    assert Route.of(bundle) is None
    with pytest.raises(TagstackError, match="Both --cascade and --cascade-loss are said"):
        Route.of(bundle, 0.5, 0.01)
    with pytest.raises(TagstackError, match=r"no cascade\. Fit one with `tagstack fit --cascade`"):
        Route.of(replace(bundle, cascade=None), 0.5)
    with pytest.raises(TagstackError, match="fitted with the thresholds of 'fit', but version 'x'"):
        Route.of(replace(bundle, threshold_version="x"), 0.9)
    route = Route.of(bundle, loss=1.0)
    assert route is not None
    assert "Cascade: of 4 pictures 3 after" in route.said([3, 1])
    labels = root / "drawn" / "labels.csv"
    request = FitRequest(
        source=DatasetSource(scores=root / "scores", labels=labels),
        bundle=tmp_path / "bundle",
        cascade=True,
    )
    wrong = load_settings(changes={**SMALL, "cascade": {"seconds": {"doll_vitt": 1.0}}})
    with pytest.raises(TagstackError, match="names 'doll_vitt', which is none of the taggers"):
        member_seconds(ScoreStore(root / "scores").members(), wrong)
    chosen = load_settings(changes=SMALL)
    score_folder([root / "few"], ["doll_resnet"], tmp_path / "one", chosen, Silent())
    request = replace(request, source=DatasetSource(scores=tmp_path / "one", labels=labels))
    with pytest.raises(TagstackError, match="needs at least two taggers, the bundle has one"):
        fit_bundle(request, chosen, Silent())


def test_taggers_are_timed(root: Path) -> None:
    chosen = load_settings(changes={**SMALL, "cascade": {"trial_images": 2, "trial_rounds": 1}})
    members = ScoreStore(root / "scores").members()
    found = member_seconds(members, chosen)
    assert set(found) == set(SECONDS)
    assert all(0 < seconds < 10 for seconds in found.values())
    gone = replace(members[0], source="/nowhere/tagger")
    match = r"cannot be timed: There is no folder /nowhere/tagger.* Or cascade\.seconds"
    with pytest.raises(TagstackError, match=match):
        member_seconds([gone], chosen)
    imported = replace(members[0], source="import:scores.csv")
    with pytest.raises(TagstackError, match="were imported, so it cannot be timed"):
        member_seconds([imported], chosen)
