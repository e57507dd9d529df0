"""Runs the service: binds its address, opens the stack, serves, and stops when told to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.serving.listening import Listening, bound, run_on
from tagstack.ensemble.serving.stack import OpenStack


@dataclass(frozen=True, kw_only=True)
class ServeRequest:
    """What is served, and where.

    Parameters
    ----------
    bundle : Path
    listening : Listening
    experiment : Path, optional
        Folder of an experiment whose arms tag the pictures.
    """

    bundle: Path
    listening: Listening
    experiment: Path | None = None


def serve(
    request: ServeRequest,
    settings: Settings,
    opened: Callable[[Settings], OpenStack],
    told: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; what was taken by then is answered.

    Parameters
    ----------
    request : ServeRequest
    settings : Settings
    opened : callable
        Opens the bundle's stack with settings.
    told : callable
        Is given the address once pictures are taken.

    Raises
    ------
    TagstackError
        If the extra is not installed, the address is taken or open to all, or the stack cannot
        be opened.
    """
    try:
        import uvicorn

        from tagstack.ensemble.experiments.experiment import Experiment
        from tagstack.ensemble.serving.app import create_app
        from tagstack.ensemble.serving.arms import ArmedStack
        from tagstack.ensemble.serving.live import LiveStack
        from tagstack.ensemble.serving.outcomes import outcome_router
        from tagstack.ensemble.tasks.experiment import bundle_of
    except ImportError as error:
        msg = f"The service needs an extra ({error}): pip install 'tagstack[serve]'."
        raise TagstackError(msg) from error
    access = request.listening.access(settings.serve)
    with bound(request.listening.host, request.listening.port) as listener:
        stack = opened(serving_settings(settings))
        trial = None if request.experiment is None else Experiment.load(request.experiment)
        if trial is not None:
            arms = {name: bundle_of(arm) for name, arm in trial.arms.items()}
            stack = ArmedStack(stack, trial, arms)
        live = LiveStack(stack, request.bundle)
        routers = [] if request.experiment is None else [outcome_router(request.experiment)]
        app = create_app(live, access, settings, routers=routers, experiment=trial)
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # no answer depends on where a request comes from
            timeout_graceful_shutdown=int(settings.serve.drain_seconds) or 1,
            limit_concurrency=4 * settings.serve.queue + 64,
        )
        run_on(listener, config, told)


def serving_settings(settings: Settings) -> Settings:
    """Return the settings of the stack: as strict as the service's limits, and listing enough."""
    own, score, output = settings.serve, settings.score, settings.output
    bounds = {
        "max_file_bytes": min(score.max_file_bytes, own.request_bytes),
        "max_pixels": min(score.max_pixels, own.pixels),
    }
    floor = min(output.score_floor, own.floor, settings.moderation.least_proba)
    return settings.model_copy(
        update={
            "score": score.model_copy(update=bounds),
            "output": output.model_copy(update={"score_floor": floor}),
        }
    )
