"""What Ray raises, as one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown


@contextmanager
def translated(ray: Any) -> Iterator[None]:
    """Turn what Ray raises into a `TagstackError`, and a task's error into that error."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise of_task(error) from None
    except ray.exceptions.RayError as error:
        raise TagstackError(lost_text("A task", error)) from error


def of_task(error: Any) -> BaseException:
    """Return the error that was raised in a worker, its place there noted."""
    cause: BaseException = getattr(error, "cause", error)
    if not isinstance(cause, TagstackError):
        cause.add_note(str(error))  # where it was raised: a fault of ours, to be reported
    return cause


def lost_text(what: str, error: Exception) -> str:
    """Return what to say where workers were lost too often."""
    reason = shown(str(error).strip().splitlines()[0] if str(error).strip() else "no reason given")
    return (
        f"{what} was lost with its worker again and again ({reason.rstrip('.')}). Expected a "
        f"worker to live; memory that ran out is what mostly ends one. What was done is kept: give "
        f"a worker more (cluster.cpus), raise cluster.retries, and run the same command again."
    )
