"""What changes a member's scores, as one fingerprint; and the floor below which none is stored."""

import hashlib
import json
import math

import numpy as np

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Contract
from tagstack.base_models.pictures.preprocess import (
    PREPROCESSING_VERSION,
    SCALED_VERSION,
)
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.taggers.mirrored import Mirror
from tagstack.base_models.taggers.own_folder import TaggerFiles
from tagstack.base_models.vocabulary import Vocabulary


def member_fingerprint(
    files: TaggerFiles,
    contract: Contract,
    vocabulary: Vocabulary,
    session: Session,
    floor: float,
    scaled_decoding: bool,
    mirror: Mirror | None = None,
) -> str:
    """Return the SHA-256 in hexadecimal over everything that changes a member's scores.

    Parameters
    ----------
    files : TaggerFiles
        The model; its weights count as well.
    contract : Contract
        As the session was opened with.
    vocabulary : Vocabulary
    session : Session
        For its precision and the class of its scores.
    floor : float
        Probabilities below it are not stored.
    scaled_decoding : bool
    mirror : Mirror, optional
        Of a tagger that sees the mirrored picture as well.
    """
    facts: dict[str, object] = {
        "model": [file_sha256(path) for path in (files.model, *files.weights)],
        "contract": contract.digest(),
        "tags": vocabulary.tags,
        "preprocessing": [PREPROCESSING_VERSION, scaled_decoding and SCALED_VERSION],
        "precision": session.info.precision,
        "score_class": session.info.score_class,
        "floor": floor,
    }
    if session.info.n_features:
        facts["features"] = contract.output.features
    if mirror is not None:
        facts["mirrored"] = mirror.sided
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def floor_logit(floor: float) -> np.float32:
    """Return the logit of a probability as the score store rounds it (through float16)."""
    return np.float32(np.float16(math.log(floor / (1 - floor))))
