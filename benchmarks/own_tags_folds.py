"""Whether out-of-fold scores of tags that no tagger knows tell which fold has how many of them.

Pictures, two taggers that know some tags, and features are drawn; a few groups hold most pictures
of each own tag, so that folds have uneven numbers of it. ``--signal`` is what the features show of
own tags: with 0 nothing, and an honest score has an AUC of .5 over all folds; below it, images of
a fold are ranked the lower the more of the tag it has, above it a rung has learnt to turn that
round. What single folds show between their own images is not touched by either.

    python benchmarks/own_tags_folds.py [--signal 0,.25] [--seeds 3] [--images 900] [--folds 3]
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.probe.probe import over_vocabulary
from tagstack.meta.stack.stacker import Stacker

N_KNOWN, N_OWN, N_COLUMNS, GROUP, FLOOR = 12, 16, 48, 30, -12.0
RUNGS = ("single:probe", "shrunken_logistic", "lightgbm", "xgboost", "blend")

Drawn = tuple[Level1Scores, sparse.csr_array, NDArray[np.int64]]


def drawn(n_images: int, signal: float, seed: int) -> Drawn:
    """Return scores with features, labels and groups; own tags lie behind the known ones."""
    rng = np.random.default_rng(seed)
    prior = np.linspace(-1, -3, N_KNOWN)
    truth = rng.random((n_images, N_KNOWN)) < 1 / (1 + np.exp(-prior))
    noise = rng.normal(size=(2, n_images, N_KNOWN)) * 1.5
    logit = np.where(truth, 2.0, -2.5) + prior * 0.3 + noise
    groups = np.arange(n_images) // GROUP
    own = np.zeros((n_images, N_OWN), bool)
    for tag in range(N_OWN):
        share = rng.dirichlet(np.full(groups[-1] + 1, 0.15))[groups] + 1e-6
        chosen = rng.choice(
            n_images, rng.choice([10, 20, 40]), replace=False, p=share / share.sum()
        )
        own[chosen, tag] = True
    shown = signal * (own @ rng.normal(size=(N_OWN, N_COLUMNS)))
    features = rng.normal(size=(n_images, N_COLUMNS)) + shown
    known = tuple(f"known_{i}" for i in range(N_KNOWN))
    tags = (*known, *(f"own_{i}" for i in range(N_OWN)))
    scores = Level1Scores(
        images=tuple(f"{i}.png" for i in range(n_images)),
        vocabulary=Vocabulary(known, ("general",) * N_KNOWN),
        members=("one", "other"),
        knows=np.ones((2, N_KNOWN), bool),
        floor=np.full(2, FLOOR, np.float32),
        pairs=Pairs(
            indptr=np.arange(0, n_images * N_KNOWN + 1, N_KNOWN, dtype=np.int64),
            tag=np.tile(np.arange(N_KNOWN, dtype=np.int32), n_images),
            n_tags=N_KNOWN,
        ),
        logit=np.maximum(logit.reshape(2, -1), FLOOR).astype(np.float32),
        features=(features.astype(np.float16),),
    )
    wide = over_vocabulary(scores, Vocabulary(tags, ("general",) * len(tags)))
    return wide, sparse.csr_array(np.concatenate([truth, own], axis=1)), groups


def fitted(data: Drawn, n_folds: int) -> Stacker:
    """Return a small stack, without the search and the rehearsal."""
    settings = load_settings().stack
    small = {
        "folds": n_folds,
        "outer_fold": False,
        "tuning": settings.tuning.model_copy(update={"trials": 0}),
        "lightgbm": settings.lightgbm.model_copy(update={"rounds": 40, "leaves": 7}),
        "xgboost": settings.xgboost.model_copy(update={"rounds": 40, "depth": 4}),
    }
    relations = TagRelations.none(N_KNOWN + N_OWN)
    return Stacker(settings.model_copy(update=small), seed=0, threads=1).fit(*data, relations)


def judged(stack: Stacker, data: Drawn, rung: str) -> list[tuple[float, float, float]]:
    """Return AP, AUC over all images and mean AUC within folds of each own tag."""
    true = data[1].toarray()[:, N_KNOWN:]
    proba = stack.out_of_fold(rung).dense()[:, N_KNOWN:]
    rows = []
    for tag in range(N_OWN):
        within = [
            roc_auc_score(true[fold, tag], proba[fold, tag])
            for fold in (stack.folds_ == number for number in range(stack.folds_.max() + 1))
            if true[fold, tag].any()
        ]
        own = (true[:, tag], proba[:, tag])
        rows.append((average_precision_score(*own), roc_auc_score(*own), float(np.mean(within))))
    return rows


def main() -> None:
    """Print AP and AUC of each rung."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--signal", default="0,.25", help="comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=900)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    for signal in map(float, options.signal.split(",")):
        began, rows = time.process_time(), dict[str, list[tuple[float, float, float]]]()
        for seed in range(options.seeds):
            data = drawn(options.images, signal, seed)
            stack = fitted(data, options.folds)
            for rung in set(RUNGS) & set(stack.rungs_):
                rows.setdefault(rung, []).extend(judged(stack, data, rung))
        spent = time.process_time() - began
        print(f"signal {signal:g}, {options.seeds * N_OWN} own tags, {spent:.0f} CPU s")
        print("| rung | AP | AUC | AUC within folds |\n|---|--:|--:|--:|")
        for rung in filter(rows.__contains__, RUNGS):
            print(f"| {rung} |", " | ".join(f"{x:.3f}" for x in np.mean(rows[rung], axis=0)), "|")


if __name__ == "__main__":
    main()
