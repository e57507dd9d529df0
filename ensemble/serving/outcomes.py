"""The service's part in an experiment: outcomes come in, and where it stands goes out."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.experiments.contrast import Outcome
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.tasks.experiment import record_outcomes, status_of


def outcome_router(folder: Path) -> APIRouter:
    """Return the routes of the experiment in a folder.

    Parameters
    ----------
    folder : Path
    """
    router = APIRouter()

    @router.post("/outcome", response_class=JSONResponse, response_model=None)
    async def outcome(
        unit: Annotated[str, Body(max_length=4096)], outcome: Annotated[float, Body(ge=0, le=1)]
    ) -> dict[str, Any]:
        """Keep the outcome of a unit (as /tags named it); the first one stands."""

        def record() -> dict[str, Any]:
            experiment = Experiment.load(folder)
            if experiment.paired:
                raise TagstackError("A unit of a paired experiment has two outcomes; give a CSV.")
            arm = experiment.arm_of(unit)
            found = record_outcomes(folder, [Outcome(unit=unit, arm=arm, value=outcome)])
            return {"unit": unit, "arm": arm, "new": found.n_new == 1}

        return await run_in_threadpool(record)

    @router.get("/experiment", response_class=JSONResponse, response_model=None)
    async def standing() -> dict[str, Any]:
        """Say where the experiment stands."""

        def look() -> dict[str, Any]:
            experiment, found, stopped_s = status_of(folder)
            content = {**asdict(found), "name": experiment.name, "stopped_s": stopped_s}
            del content["curve"]
            return {key: _finite(value) for key, value in content.items()}

        return await run_in_threadpool(look)

    return router


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
