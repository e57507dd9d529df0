"""What the Hugging Face hub says of a tagger's files, and getting them from there.

Only `models pull` and `quality pull` come here, after the user has seen what they would fetch.
``huggingface_hub`` (the extra ``hub``) makes the requests: it knows the endpoint (``HF_ENDPOINT``),
the user's token, proxies and pauses. Its own ``hf_hub_download`` begins a file anew after an
interruption, and a model has a gigabyte: so the file is read here, into a folder of ours, from a
public call that yields the answer (``utils.http_stream_backoff``), and goes on where it was.
"""

import hashlib
import importlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Hub
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_path

_INSTALL = "pip install 'tagstack[hub]'"


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turn the library's errors into one line that says what to do.

    Raises
    ------
    TagstackError
    """
    library()
    errors, web = module("huggingface_hub.errors"), _web()
    try:
        yield
    except errors.GatedRepoError as error:
        msg = (
            f"{repo} is gated: accept its terms at https://huggingface.co/{repo}, then log in "
            f"(`hf auth login`, or set HF_TOKEN) and pull again."
        )
        raise TagstackError(msg) from error
    except errors.RevisionNotFoundError as error:
        msg = f"{repo} has no such revision any more: {_line(error)}. Correct [hub] revision."
        raise TagstackError(msg) from error
    except errors.RepositoryNotFoundError as error:
        msg = (
            f"The hub has no repository {repo!r} that you may see. Check its name; if it is "
            f"private, log in first (`hf auth login`, or set HF_TOKEN)."
        )
        raise TagstackError(msg) from error
    except errors.OfflineModeIsEnabled as error:
        msg = f"HF_HUB_OFFLINE is set, so {repo} cannot be reached. Unset it to pull."
        raise TagstackError(msg) from error
    except (errors.HfHubHTTPError, web.HTTPError, OSError) as error:
        msg = (
            f"Cannot fetch from {repo}: {_line(error)}. What has arrived is kept: the same "
            f"command goes on from there."
        )
        raise TagstackError(msg) from error


def library() -> Any:
    """Return ``huggingface_hub``.

    Raises
    ------
    TagstackError
        If it is not installed.
    """
    try:
        return module("huggingface_hub")
    except ImportError as error:
        msg = f"Pulling needs huggingface_hub, which is not installed. Run: {_INSTALL}"
        raise TagstackError(msg) from error


def _web() -> Any:
    # The library's own client, whose errors pass through it: httpx up to version 1, then httpx2.
    return getattr(module("huggingface_hub.file_download"), "httpx2", None) or module("httpx")


def module(name: str) -> Any:
    """Return a module of the library by name."""
    # Not an import statement: type checkers would then ask for an extra that few have installed.
    return importlib.import_module(name)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


_UNFINISHED = ".unfinished"
_CHUNK_BYTES = 1 << 20
_TRIES, _PAUSE_S = 5, 1.0  # while nothing comes
# Compressed on the way, a file would have another length, and could not be continued.
_AS_IT_IS = {"accept-encoding": "identity"}

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a repository at one commit, or at an address of its own.

    Parameters
    ----------
    name : str
        Path inside the tagger's folder.
    path : str
        Path inside the repository.
    size_bytes : int
    sha256 : str or None
        What the hub says it is, in hexadecimal; None for small files, of which it does not say.
    blob : str
        The hub's own identity of the content.
    url : str or None
        Where it lies if that is not the repository.
    """

    name: str
    path: str
    size_bytes: int
    sha256: str | None
    blob: str
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class HubState:
    """A repository at one commit.

    Parameters
    ----------
    repo : str
    commit : str
        40 hexadecimal digits.
    licence : str or None
        What its card says now.
    gated : bool
        Whether its publisher lets only those download who accepted the terms.
    files : tuple of HubFile
        Those that were asked for, and the weights that belong to the model.
    """

    repo: str
    commit: str
    licence: str | None
    gated: bool
    files: tuple[HubFile, ...]


def hub_state(
    hub: Hub, needed: tuple[str, ...], optional: tuple[str, ...], revision: str | None
) -> HubState:
    """Ask the hub for a repository's files at a revision; nothing is downloaded.

    Parameters
    ----------
    hub : Hub
        The contract's section.
    needed : tuple of str
        Names of files inside the tagger's folder, the model first. Weights that lie beside the
        model under a longer name are taken along.
    optional : tuple of str
        Names of files that are taken where the repository has them.
    revision : str, optional
        A commit; the newest one by default.

    Raises
    ------
    TagstackError
        If the hub cannot be reached, or has no such repository, revision or file.
    """
    with explained(hub.repo):
        api = library().HfApi(endpoint=_endpoint())
        info = api.model_info(hub.repo, revision=revision, files_metadata=True)
    found = {file.rfilename: file for file in info.siblings or ()}
    prefix = PurePosixPath(hub.folder)
    for name in needed:
        if name not in hub.elsewhere and str(prefix / name) not in found:
            msg = (
                f"{hub.repo} at {info.sha} has no file {str(prefix / name)!r}; its files are "
                f"{sorted(found)[:20]}. Correct the contract's [hub], or fetch the files by hand."
            )
            raise TagstackError(msg)
    model = str(prefix / needed[0])
    weights = tuple(
        str(PurePosixPath(path).relative_to(prefix)) for path in found if _beside(path, model)
    )
    extra = tuple(name for name in optional if str(prefix / name) in found)
    chosen = dict.fromkeys((*needed, *weights, *extra))
    card = info.card_data or {}
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
        msg = f"{hub.repo} says its commit is {info.sha!r}; expected 40 hexadecimal digits."
        raise TagstackError(msg)
    return HubState(
        repo=hub.repo,
        commit=info.sha,
        licence=card.get("license"),
        gated=bool(info.gated),
        files=tuple(
            _web_file(name, hub.elsewhere[name])
            if name in hub.elsewhere
            else _file(name, found[str(prefix / name)])
            for name in chosen
        ),
    )


def fetch(state: HubState, file: HubFile, folder: Path, report: Report) -> str:
    """Download a file into a folder, going on where an earlier call was cut off.

    Parameters
    ----------
    state : HubState
    file : HubFile
    folder : Path
        Holds what is unfinished, too.
    report : callable
        Called with the file's name, the bytes that are here and its size.

    Returns
    -------
    str
        The SHA-256 of the file in hexadecimal.

    Raises
    ------
    TagstackError
        If the download fails, or its content is not what the hub says.
    """
    target = own_path(folder, file.name, said_by=state.repo)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Under the content's identity: a part of another version is never continued.
    version = hashlib.sha256(file.blob.encode()).hexdigest()[:16]
    unfinished = target.with_name(f"{target.name}.{version}{_UNFINISHED}")
    if not target.exists():
        with explained(file.url or state.repo):
            _download(state, file, unfinished, report)
        unfinished.replace(target)
    found = file_sha256(target)
    if file.sha256 not in (None, found):
        target.unlink()
        msg = (
            f"{file.path} of {state.repo} has SHA-256 {found}, but the hub says {file.sha256}: "
            f"the download was damaged and has been deleted. Pull again."
        )
        raise TagstackError(msg)
    report(file.name, file.size_bytes, file.size_bytes)
    return found


def _download(state: HubState, file: HubFile, unfinished: Path, report: Report) -> None:
    """Fetch what is missing of a file, again where the connection breaks and something came."""
    web, url, headers = _web(), *_address(state, file)
    broken = (web.NetworkError, web.TimeoutException, web.RemoteProtocolError)
    left = _TRIES
    while True:
        here = unfinished.stat().st_size if unfinished.exists() else 0
        try:
            _go_on(file, url, headers, unfinished, report)
        except broken:
            left = _TRIES if unfinished.exists() and unfinished.stat().st_size > here else left - 1
            if not left:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _go_on(
    file: HubFile, url: str, headers: dict[str, str], unfinished: Path, report: Report
) -> None:
    """Add to what has arrived until it is all, or the connection breaks."""
    with unfinished.open("ab") as stream:
        here = stream.tell()
        if here > file.size_bytes:
            here = stream.truncate(0)
        report(file.name, here, file.size_bytes)
        if here == file.size_bytes:
            return
        asked = {**headers, "range": f"bytes={here}-"} if here else headers
        with _answer(url, asked) as answer:
            if here and answer.status_code == 200:  # the server knows no ranges: from the start
                here = stream.truncate(0)
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                here += stream.write(chunk)
                report(file.name, here, file.size_bytes)
                if here > file.size_bytes:
                    break
    if here != file.size_bytes:
        how = "more" if here > file.size_bytes else "fewer"
        raise OSError(f"{file.name} came with {how} than its {file.size_bytes} bytes")


@contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """Yield the library's answer to a request, whose body has not been read yet."""
    tools, limit_s = module("huggingface_hub.utils"), module("huggingface_hub.constants")
    with tools.http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=limit_s.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=(408, 429),
    ) as answer:
        tools.hf_raise_for_status(answer)
        yield answer


def _address(state: HubState, file: HubFile) -> tuple[str, dict[str, str]]:
    """Return where a file lies, and the headers to ask with; only the hub gets the token."""
    if file.url is not None:
        return file.url, web_headers()
    url = library().hf_hub_url(state.repo, file.path, revision=state.commit, endpoint=_endpoint())
    return url, {**module("huggingface_hub.utils").build_hf_headers(), **_AS_IT_IS}


def _file(name: str, facts: Any) -> HubFile:
    return HubFile(
        name=name,
        path=facts.rfilename,
        size_bytes=facts.size,
        sha256=facts.lfs.sha256 if facts.lfs else None,
        blob=facts.lfs.sha256 if facts.lfs else facts.blob_id,
    )


def _web_file(name: str, url: str) -> HubFile:
    return HubFile(
        name=name,
        path=name,
        size_bytes=web_size(url),
        sha256=None,
        blob=hashlib.sha256(url.encode()).hexdigest(),
        url=url,
    )


def _beside(path: str, model: str) -> bool:
    """Return whether a file holds weights of a model: it lies beside it and starts as it does."""
    same_folder = PurePosixPath(path).parent == PurePosixPath(model).parent
    return same_folder and path.startswith(f"{model}") and path != model


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")  # the library itself looks only when it is imported


def web_headers() -> dict[str, str]:
    """Return what every request says: who asks, and that bytes shall come as they are."""
    return {"user-agent": "tagstack", **_AS_IT_IS}


def web_size(url: str) -> int:
    """Ask for the size of the file at an address, in bytes; nothing is downloaded.

    Raises
    ------
    TagstackError
        If it cannot be reached, leads away from https, or says no size.
    """
    with explained(url):
        session: Any = module("huggingface_hub.utils").get_session()
        answer = session.head(url, headers=web_headers(), follow_redirects=True)
        answer.raise_for_status()
    if url.startswith("https:") and answer.url.scheme != "https":
        msg = f"{url} leads to {answer.url}, which is not https. Correct [hub] elsewhere."
        raise TagstackError(msg)
    size = str(answer.headers.get("content-length", ""))
    if not size.isdecimal():
        raise TagstackError(f"{url} does not say how large it is; fetch the file by hand.")
    return int(size)
