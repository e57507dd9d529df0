"""Tags that no tagger knows, learnt from few pictures: how well, against what else could be done.

Of each set, tags are hidden from all taggers; the probe gets so many pictures of each (the others
with the tag are unknown to it, those without it are negative) and ranks left-out pictures. Beside
it: a vote of the nearest neighbours on the same features, and the taggers that do know the tag.
The folder is as `benchmarks/real.py` wants it, and its ``--out`` holds the scores with features
that ``real.py --features`` made.

    python benchmarks/own_tags.py FOLDER --out real-results [--sets fashion,emoji] [--seeds 0,1,2]
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real import GROUPS, parser_of_sets, split
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.probe.columns import Columns
from tagstack.meta.probe.fitting import with_probe

N_HIDDEN, NEIGHBOURS = 30, 20
GIVEN = (10, 20, 50, 200)
_LEAST_TEST = 5  # positives among the left-out pictures: fewer make no AP

Floats = NDArray[np.float64]


def loaded(root: Path, out: Path, name: str, seed: int, settings: Settings) -> tuple[Dataset, ...]:
    """Return the pictures to learn from and those that are left out, with features."""
    labels = out / f"labels-{seed}.csv"
    split(root / "data" / name / "labels.csv", GROUPS[name], seed, labels)
    return tuple(
        load_dataset(
            DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name], where=where),
            aliases={},
            groups={},
            labels=settings.labels,
            probe=settings.stack.probe,
        )
        for where in ("part=fit", "part=test")
    )


def hidden_tags(fit: Dataset, test: Dataset, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return tags with enough pictures on both sides, drawn."""
    counts = [np.asarray(part.labels.sum(axis=0)).ravel() for part in (fit, test)]
    able = np.flatnonzero((counts[0] >= GIVEN[0]) & (counts[1] >= _LEAST_TEST))
    return np.sort(rng.permutation(able)[:N_HIDDEN])


def bare(scores: Level1Scores, tags: NDArray[np.int64]) -> Level1Scores:
    """Return scores over some tags alone, of which no tagger knows one; with the features."""
    n_members = len(scores.members)
    names = tuple(scores.vocabulary.tags[tag] for tag in tags)
    return replace(
        scores,
        vocabulary=Vocabulary(names, ("general",) * len(tags)),
        knows=np.zeros((n_members, len(tags)), bool),
        pairs=Pairs(
            indptr=np.zeros(scores.n_images + 1, np.int64),
            tag=np.empty(0, np.int32),
            n_tags=len(tags),
        ),
        logit=np.empty((n_members, 0), np.float32),
    )


def given(
    labels: NDArray[np.bool_], n_given: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return labels with so many pictures of each tag, and which of the others have it."""
    kept = np.zeros_like(labels)
    for tag in range(labels.shape[1]):
        has = np.flatnonzero(labels[:, tag])
        kept[rng.permutation(has)[:n_given], tag] = True
    return kept, labels & ~kept


def probe_logits(
    fit: Dataset,
    test: Dataset,
    tags: NDArray[np.int64],
    kept: Any,
    unknown: Any,
    settings: Settings,
) -> tuple[Floats, float]:
    """Return the probe's logits of left-out pictures, and the CPU seconds that it took."""
    began = time.process_time()
    evidence = Evidence.of(sparse.csr_array(kept), sparse.csr_array(unknown))
    folds = settings.stack.folds
    data = Labelled(
        scores=bare(fit.scores, tags),
        evidence=evidence,
        folds=stratified_group_folds(evidence.labels, fit.groups, folds, settings.seed),
        groups=fit.groups,
        relations=TagRelations.none(len(tags)),
    )
    _, probe = with_probe(
        data, settings.stack, seed=settings.seed, threads=1, progress=lambda *_: None
    )
    assert probe is not None
    found = probe.apply(bare(test.scores, tags))
    logits = np.full((test.scores.n_images, len(tags)), float(probe.floor))
    logits[found.pairs.image, found.pairs.tag] = found.logit[-1]
    return logits, time.process_time() - began


def neighbour_votes(fit: Dataset, test: Dataset, kept: Any, unknown: Any) -> Floats:
    """Return the share of a picture's nearest neighbours that have each tag, by cosine."""
    scale = Columns.of(fit.scores.features)
    sides = [scale.singles(part.scores.features) for part in (fit, test)]
    one, other = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    likeness = other @ one.T
    votes = np.empty((len(other), kept.shape[1]))
    for tag in range(kept.shape[1]):
        own = np.where(unknown[:, tag], -np.inf, likeness)
        nearest = np.argpartition(-own, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        close = np.take_along_axis(own, nearest, axis=1)
        votes[:, tag] = (np.exp(10 * close) * kept[nearest, tag]).sum(axis=1)
    return votes


def knowing(test: Dataset, tags: NDArray[np.int64], true: NDArray[np.bool_]) -> Floats:
    """Return the AP of the best tagger that knows each tag."""
    scores = test.scores
    best = np.zeros(len(tags))
    for member in range(len(scores.members)):
        full = np.full((scores.n_images, len(scores.vocabulary)), scores.floor[member])
        full[scores.pairs.image, scores.pairs.tag] = np.nan_to_num(scores.logit[member], nan=-99)
        best = np.maximum(best, precision(full[:, tags], true))
    return best


def precision(values: NDArray[Any], true: NDArray[np.bool_]) -> Floats:
    """Return each tag's average precision."""
    return np.array(
        [average_precision_score(true[:, i], values[:, i]) for i in range(true.shape[1])]
    )


def run(root: Path, out: Path, name: str, seeds: list[int]) -> None:
    """Print the medians over the tags of one set, all seeds together."""
    rows: dict[int, list[Floats]] = {n: [] for n in GIVEN}
    spent = 0.0
    for seed in seeds:
        settings = load_settings(changes={"seed": seed})
        fit, test = loaded(root, out, name, seed, settings)
        rng = np.random.default_rng(seed)
        tags = hidden_tags(fit, test, rng)
        labels, true = fit.labels[:, tags].toarray(), test.labels[:, tags].toarray()
        known = knowing(test, tags, true)
        for n_given in GIVEN:
            enough = labels.sum(axis=0) >= n_given
            kept, unknown = given(labels[:, enough], n_given, rng)
            logits, seconds = probe_logits(fit, test, tags[enough], kept, unknown, settings)
            spent += seconds
            votes = neighbour_votes(fit, test, kept, unknown)
            held = true[:, enough]
            rows[n_given].append(
                np.stack([precision(logits, held), precision(votes, held), known[enough]])
            )
    print(f"\n## {name}, seeds {seeds}: median AP of hidden tags on left-out pictures\n")
    print("| pictures given | tags | probe | neighbours | knowing tagger | probe / knowing |")
    print("|--:|--:|--:|--:|--:|--:|")
    for n_given, parts in rows.items():
        every = np.concatenate(parts, axis=1)
        probe, votes, known = np.median(every, axis=1)
        share = probe / known
        print(
            f"| {n_given} | {every.shape[1]} | {probe:.3f} | {votes:.3f} | {known:.3f} "
            f"| {share:.2f} |",
            flush=True,
        )
    print(f"Probes: {spent:.0f} CPU s.")


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seeds", default="0")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        run(arguments.folder, arguments.out / name, name, seeds)


if __name__ == "__main__":
    main()
