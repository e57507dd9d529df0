"""``huggingface_hub``, imported where it is used, and its errors in our words."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tagstack.configs.errors import TagstackError

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
        msg = f"`models pull` needs huggingface_hub, which is not installed. Run: {_INSTALL}"
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
