"""A cascade on labelled images: what every stage would answer, and what each row costs and loses.

Fitted images flatter it; on others this is what `tag --cascade` would have done.
"""

from collections.abc import Callable

import numpy as np

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.configs.cascade import CascadeSettings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.cascade import Cascade, FrontierRow, Head
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.cascade.frontier import CascadeJudging, Staged, frontier_rows
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.versions import FIT


def judged_rows(
    bundle: Bundle, dataset: Dataset, reader: ScoreReader, settings: CascadeSettings, seed: int
) -> tuple[FrontierRow, ...]:
    """Return each row of a bundle's cascade as it is on other images; none without a cascade.

    None either where thresholds were changed since the fit: a cascade then refuses to work.

    Parameters
    ----------
    bundle : Bundle
    dataset : Dataset
        With scores as the whole stack takes them.
    reader : ScoreReader
        Of the same images, by all taggers.
    settings : CascadeSettings
    seed : int
        Of the resamples.
    """
    cascade = bundle.cascade
    if cascade is None or bundle.threshold_version != FIT:
        return ()

    def completed(head: Head) -> Level1Scores:
        features = head.stacker.needs_features
        return head.completed(reader.load(dataset.scores.images, head.members, features=features))

    staged = staged_answers(bundle, cascade, dataset, completed)
    judging = CascadeJudging(staged, resamples=settings.resamples, seed=seed)
    return frontier_rows(staged, judging, [row.least_promise for row in cascade.rows])


def staged_answers(
    bundle: Bundle, cascade: Cascade, dataset: Dataset, completed: Callable[[Head], Level1Scores]
) -> Staged:
    """Return what every stage answers for labelled images, and what its head promises.

    Parameters
    ----------
    bundle : Bundle
    cascade : Cascade
        The bundle's.
    dataset : Dataset
        With scores as the whole stack takes them.
    completed : callable
        Gives the images' scores as a head takes them.
    """
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    probas = [head.proba(completed(head)) for head in cascade.heads]
    whole = bundle.stacker.predict_proba(dataset.scores)
    earlier = (None, *probas[:-1])
    promises = [
        cascade.promise(stage, proba, before)
        for stage, (proba, before) in enumerate(zip(probas, earlier, strict=True))
    ]
    return Staged(
        decided=(
            *(
                head.thresholds.cutting.decoded(proba, decoder)
                for head, proba in zip(cascade.heads, probas, strict=True)
            ),
            bundle.thresholds.cutting.decoded(whole, decoder),
        ),
        promise=np.array(promises),
        seconds=np.array(cascade.stage_seconds),
        labels=dataset.labels,
        unknown=dataset.unknown,
        groups=dataset.groups,
    )
