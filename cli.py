"""The command line: one short function a command, which parses, calls and prints.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 our error
(one line), 2 usage, 3 done but some images failed, 130 interrupted, 143 ended.
"""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tagstack import __version__
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import RAISED_BY
from tagstack.configs.shown import shown
from tagstack.ensemble.console.commands import Commands
from tagstack.ensemble.console.groups import Audience, Cascading, Running, grouped
from tagstack.ensemble.console.interruption import Interruption
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Images,
    Json,
    Out,
    Overwrite,
    Ray,
    RetryFailed,
    Scores,
    ScoresNow,
    TaggersNow,
    exit_unless,
    exit_with_failures,
    listed_taggers,
    settings_of,
)

app = typer.Typer(
    cls=Commands,
    help="Stack image taggers, calibrate a threshold per tag, and prove the gain.",
    epilog="tagstack demo --out demo\n\ntagstack doctor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; only our own errors become a message."""
    _speak_utf8()
    let_idle_threads_sleep()
    for stream in (sys.stdout, sys.stderr):
        # File names need not be UTF-8; printing one must not end a run.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    interruption = Interruption()
    interruption.watch()
    try:
        try:
            app()
        finally:
            # Typer turns an interruption into an exit, a native module into a failed import.
            if interruption.exit_code is not None:
                interruption.end()
            interruption.stop()
    except TagstackError as error:
        typer.echo(f"Error: {shown(str(error))}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stdout = None  # nothing is left to flush into
        sys.exit(0)
    except (OSError, MemoryError) as error:
        logging.getLogger("tagstack").debug("where it happened", exc_info=True)
        typer.echo(f"Error: {system_fault(error)}", err=True)
        sys.exit(1)
    except Exception as error:
        typer.echo(fault_of(error), err=True)
        raise


def _speak_utf8() -> None:
    """Start anew where the locale would read file names in another encoding than UTF-8.

    A name is the same text in every command, file and machine only if one codec reads it.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.name == "posix":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


OUR_FAULT = "This is a fault of tagstack itself, not of your files. Please report what follows:"


def fault_of(error: Exception) -> str:
    """Return the line above a traceback: whose fault it is, and who is to be told."""
    notes = getattr(error, "__notes__", ())
    whose = next((note for note in notes if note.startswith(RAISED_BY)), None)
    if whose is None:
        return OUR_FAULT
    name = whose.removeprefix(RAISED_BY).rstrip(".")
    return shown(f"This is a fault of the {name}, not of your files. Please tell its authors:")


def system_fault(error: OSError | MemoryError) -> str:
    """Return in one line what the system refused, of which file, and what to do."""
    if isinstance(error, MemoryError):
        return "not enough memory. Close other programs, or give fewer images or tags at once."
    what = error.strerror or str(error) or type(error).__name__
    of = f": {os.fsdecode(error.filename)!r}" if error.filename else ""
    todo = "Free some" if error.errno == errno.ENOSPC else "Mend that"
    return shown(f"{what}{of}. {todo} and run the same command again.")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tagstack {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version."),
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log every stage.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Log errors alone.")] = False,
) -> None:
    """Stack image taggers, calibrate a threshold per tag, and prove the gain."""
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("tagstack").setLevel(level)  # not the root: libraries log every chunk


@app.command(epilog="tagstack demo --out demo\n\ntagstack demo --out demo --images 600")
def demo(
    out: Out = Path("tagstack-demo"),
    images: Annotated[int, typer.Option(min=300, help="Drawn images to learn from.")] = 1200,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw a small booru, score it with three taggers, fit, compare and tag."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.ladder import print_demo
    from tagstack.ensemble.tasks.demo import demo_settings, run_demo

    with stages() as progress:
        result = run_demo(
            out, n_images=images, overwrite=overwrite, settings=demo_settings(), progress=progress
        )
    print_demo(result, as_json=as_json)


@app.command(
    epilog="tagstack score images --models wd-vit-tagger-v3,./mine --scores scores\n\n"
    "tagstack score a.png b.png --models doll_vit --scores scores"
)
@grouped
def score(
    *,
    images: Images,
    models: Annotated[str, typer.Option(help="Taggers by name or folder, comma-separated.")],
    scores: Scores,
    config: Config = None,
    running: Running,
    features: Annotated[
        str | None,
        typer.Option(help="Taggers whose features are kept as well: names, or all."),
    ] = None,
    retry_failed: RetryFailed = False,
    devices: Annotated[
        str | None,
        typer.Option(help="GPUs that share the pictures: 0,1; or cpu,cpu for two processes."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: of N machines this is the I-th; join with `scores merge`."),
    ] = None,
    ray: Ray = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="With --ray: shares of the pictures; by their number otherwise."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run taggers over images and keep every score; run again to resume."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.models import print_score_summary
    from tagstack.ensemble.tasks.scoring import score_folder

    taggers = listed_taggers(models)
    runtime = running.settings(features, devices)
    settings = settings_of(config, runtime=runtime, uses=("threads", "score", "cluster", "remote"))
    with stages() as progress:
        summary = score_folder(
            images, taggers, scores, settings, progress,
            retry_failed=retry_failed, shard=shard, ray=ray, shards=shards,
        )  # fmt: skip
    print_score_summary(summary, as_json=as_json)
    exit_with_failures(summary.n_failed)


@app.command(
    epilog="tagstack explain picture.png --bundle bundle\n\n"
    "tagstack explain picture.png long_hair --bundle bundle"
)
@grouped
def explain(
    *,
    image: Annotated[Path, typer.Argument(help="Image file.")],
    tag: Annotated[str | None, typer.Argument(help="One tag; all candidates without it.")] = None,
    bundle: BundleDir = Path("bundle"),
    models: TaggersNow = None,
    scores: ScoresNow = None,
    cascading: Cascading,
    running: Running,
    as_json: Json = False,
) -> None:
    """Show why a tag is there or not: votes, stack, threshold, rule."""
    from tagstack.ensemble.console.tags import print_explanation
    from tagstack.ensemble.tasks.explain import explain_image

    taggers = None if models is None else listed_taggers(models)
    found = explain_image(
        image, bundle, tag, taggers, scores, running.settings(),
        cascading.cascade, cascading.cascade_loss,
    )  # fmt: skip
    print_explanation(found, as_json=as_json)


@app.command(
    epilog="tagstack moderate images --bundle bundle --config policies.toml\n\n"
    "tagstack moderate upload.png --bundle b --config policies.toml --json"
)
@grouped
def moderate(
    *,
    images: Images,
    bundle: BundleDir,
    config: Config = None,
    models: TaggersNow = None,
    running: Running,
    as_json: Json = False,
) -> None:
    """Say block, review or allow for each image; exit code 0 allow, 5 review, 4 block."""
    from tagstack.api import load
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.moderation import print_answers
    from tagstack.ensemble.tasks.moderate import moderate_images

    used = ("threads", "score", "cascade", "output", "moderation")
    settings = settings_of(config, runtime=running.settings(), uses=used)
    taggers = None if models is None else listed_taggers(models)
    with stages() as progress:
        answers = list(
            moderate_images(images, settings, lambda own: load(bundle, taggers, own), progress)
        )
    print_answers(answers, as_json=as_json)


@app.command(
    epilog="tagstack serve --bundle bundle\n\n"
    "tagstack serve --bundle bundle --host 0.0.0.0 --token-file token.txt"
)
@grouped
def serve(
    *,
    bundle: BundleDir,
    audience: Audience,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8600,
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment whose arms tag the pictures.")
    ] = None,
    models: TaggersNow = None,
    cascading: Cascading,
    config: Config = None,
    running: Running,
) -> None:
    """Answer pictures over HTTP with their tags, until stopped."""
    from tagstack.api import load
    from tagstack.ensemble.console.console import err
    from tagstack.ensemble.serving.running import ServeRequest
    from tagstack.ensemble.serving.running import serve as run

    used = ("threads", "score", "cascade", "output", "serve", "moderation")
    settings = settings_of(
        config, runtime=running.settings(), sections=cascading.settings(), uses=used
    )
    request = ServeRequest(bundle=bundle, listening=audience.listening(port), experiment=experiment)
    taggers = None if models is None else listed_taggers(models)
    run(
        request,
        settings,
        lambda own: load(bundle, taggers, own).__enter__(),
        lambda url: err.print(f"Tags pictures at {url}/tags; all that it can do: {url}/docs"),
    )


@app.command(epilog="tagstack doctor\n\ntagstack doctor --json")
def doctor(as_json: Json = False) -> None:
    """Say what this machine can do and what is missing."""
    from tagstack.ensemble.console.models import print_findings
    from tagstack.ensemble.tasks.doctor import examine

    findings = examine(Path())
    print_findings(findings, as_json=as_json)
    exit_unless(all(finding.state != "fault" for finding in findings))
