"""The command ``watch``: `tag` for a folder that goes on changing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import Cascading, Running, Target, grouped
from tagstack.ensemble.console.options import (
    Config,
    Json,
    Prune,
    RetryFailed,
    Seed,
    TaggersNow,
    exit_with_failures,
    listed_taggers,
)
from tagstack.ensemble.console.tagging import USED, tag_settings

if TYPE_CHECKING:
    from tagstack.ensemble.progress import Progress
    from tagstack.ensemble.tasks.watch import Batch

_USES = (*USED, "watch")


@grouped
def watch(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of pictures (recursive); may be empty.")],
    target: Target,
    beside: Annotated[
        bool | None, typer.Option(help="Sidecars beside the pictures.", show_default=False)
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Bring the folder up to date and end, as cron needs it.")
    ] = False,
    retry_failed: RetryFailed = False,
    prune: Prune = False,
    models: TaggersNow = None,
    cascading: Cascading,
    config: Config = None,
    running: Running,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Tag a folder and then whatever is new, changed, renamed or deleted in it, until stopped."""
    from tagstack.ensemble.tasks.tag_request import TagRequest
    from tagstack.ensemble.tasks.watch import look_once, watch_folder

    given: dict[str, object] = {} if beside is None else {"beside": beside}
    settings, formats = tag_settings(config, target, given, running, seed, _USES)
    request = TagRequest(
        images=(folder,),
        bundle=target.bundle,
        out=target.out,
        formats=formats,
        models=None if models is None else listed_taggers(models),
        prune=prune,
        retry_failed=retry_failed,
        cascade=cascading.cascade,
        cascade_loss=cascading.cascade_loss,
    )
    if once:
        batch = look_once(request, settings, _shown)
        print_batch(batch, as_json=as_json)
        exit_with_failures(batch.summary.n_failed)
        return
    watch_folder(request, settings, _Shown(), lambda batch: print_batch(batch, as_json=as_json))


def print_batch(batch: "Batch", *, as_json: bool) -> None:
    """Print one line about a batch on standard output, and what failed on standard error."""
    from tagstack.ensemble.console.console import out, print_failures, print_json_line

    now = datetime.now().astimezone().isoformat(timespec="seconds")
    if as_json:
        print_json_line({"time": now, **_facts(batch)})
    else:
        out.print(f"{now} {_line(batch)}", soft_wrap=True)
    print_failures([(item.name, item.reason) for item in batch.failed])


def _facts(batch: "Batch") -> dict[str, object]:
    summary = batch.summary
    return {
        "written": batch.n_written,
        "failed": [{"image": item.name, "reason": item.reason} for item in batch.failed],
        "stale": [str(path) for path in batch.stale],
        "pruned": summary.pruned,
        "moved": [str(path) for path in summary.moved],
        "kept": len(summary.kept),
        "waiting": batch.n_waiting,
        "images": summary.n_images,
        "failures": summary.n_failed,
        "thresholds": summary.thresholds,
        "bundle": "" if batch.in_use is None else batch.in_use.bundle,
        "other": batch.is_other,
    }


def _line(batch: "Batch") -> str:
    summary = batch.summary
    now = batch.in_use if batch.is_other else None
    parts = [
        f"In use now: bundle {now.bundle}, thresholds {now.thresholds}" if now else "",
        f"{batch.n_written} tagged",
        f"{len(batch.failed)} failed" if batch.failed else "",
        f"{len(summary.moved)} files renamed" if summary.moved else "",
        f"{len(batch.stale)} files of pictures that are gone" if batch.stale else "",
        f"{summary.pruned} files of pictures that are gone deleted" if summary.pruned else "",
        f"{batch.n_waiting} still being written" if batch.n_waiting else "",
        f"{summary.n_images} images have their tags",
    ]
    if summary.n_failed:
        parts.append(f"{summary.n_failed} have none (--retry-failed tries them again)")
    return "; ".join(filter(None, parts)) + "."


def _shown() -> "AbstractContextManager[Progress]":
    from tagstack.ensemble.console.console import stages

    return stages()


class _Shown:
    """Progress of batches: bars on a terminal; in a log the notices alone, each of them once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self) -> "AbstractContextManager[Progress]":
        from tagstack.ensemble.console.console import err

        return _shown() if err.is_terminal else self._quiet()

    @contextmanager
    def _quiet(self) -> "Iterator[Progress]":
        from tagstack.ensemble.console.console import err, is_quiet
        from tagstack.ensemble.progress import Silent

        said = self._said

        class Notices(Silent):
            def notice(self, text: str) -> None:
                if text not in said and not is_quiet():
                    said.add(text)
                    err.print(f"Note: {text}", soft_wrap=True)

        yield Notices()
