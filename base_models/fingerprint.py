"""The identity of a member's scores: scores of two fingerprints never mix."""

import hashlib
import json
from pathlib import Path

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Contract
from tagstack.base_models.preprocess import PREPROCESSING_VERSION, SCALED_VERSION
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.vocabulary import Vocabulary


def member_fingerprint(
    model: Path,
    contract: Contract,
    vocabulary: Vocabulary,
    session: Session,
    floor: float,
    scaled_decoding: bool,
) -> str:
    """Return the SHA-256 in hexadecimal over everything that changes a member's scores.

    Parameters
    ----------
    model : Path
        The model file; weights beside it count as well.
    contract : Contract
    vocabulary : Vocabulary
    session : Session
        For its precision and the class of its scores.
    floor : float
        Probabilities below it are not stored.
    scaled_decoding : bool
    """
    # Weights above 2 GB lie in files of their own, named after the model.
    weights = sorted(path for path in model.parent.glob(f"{model.name}?*") if path.is_file())
    facts = {
        "model": [file_sha256(path) for path in (model, *weights)],
        "contract": contract.digest(),
        "tags": vocabulary.tags,
        "preprocessing": [PREPROCESSING_VERSION, scaled_decoding and SCALED_VERSION],
        "precision": session.info.precision,
        "score_class": session.info.score_class,
        "floor": floor,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
