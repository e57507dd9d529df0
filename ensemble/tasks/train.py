"""From pictures and labels to a tagger of one's own: `tagstack train`.

Labels give the vocabulary. Whole groups of pictures (copies, what looks alike, an artist) are left
out; they say when to stop and which thresholds to publish. Needs the extra ``train``.
"""

import shutil

from tagstack.base_models.atomic import remove_leftovers
from tagstack.base_models.contract import CONTRACT_FILE
from tagstack.base_models.training.libraries import require_torch
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.training.preparing import prepared
from tagstack.ensemble.training.request import Trained, TrainRequest

WORK = "training"  # below the tagger's folder: pixels and checkpoint, gone when it is done


def train_tagger(request: TrainRequest, settings: Settings, progress: Progress) -> Trained:
    """Train a tagger and write its folder; a run that was ended goes on where it was.

    Raises
    ------
    TagstackError
        If torch is not installed, pictures, labels or weights cannot be used, or the folder holds
        something else.
    """
    require_torch()
    from tagstack.ensemble.training.run import Run
    from tagstack.ensemble.training.search import searched

    _check_out(request)
    work = request.out / WORK
    remove_leftovers(request.out)
    remove_leftovers(work, below=True)  # of a search, a folder for each training
    if request.search:
        found = searched(request, settings, work, progress)
    else:
        run = Run(prepared(request, settings, work, progress))
        for notice in run.notices:
            progress.notice(notice)
        found = run.write(run.train(work, progress.stage), progress.stage)
    shutil.rmtree(work)
    return found


def _check_out(request: TrainRequest) -> None:
    out = request.out
    if request.overwrite and (out / WORK).is_dir():
        shutil.rmtree(out / WORK)
    if (out / CONTRACT_FILE).exists() and not request.overwrite:
        msg = f"{out} holds a tagger already. Train into another folder, or say --overwrite."
        raise TagstackError(msg)
    if out.is_dir() and not request.overwrite and not (out / WORK).is_dir() and any(out.iterdir()):
        msg = f"{out} is not empty and holds no training; expected a new folder for the tagger."
        raise TagstackError(msg)
