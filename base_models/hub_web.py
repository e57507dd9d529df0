"""Files at an https address of their own, for what a repository on the hub lacks.

``huggingface_hub`` makes these requests, too, but without the user's token: that is for the hub.
"""

from typing import Any

from tagstack.base_models.hub_library import explained, module
from tagstack.configs.errors import TagstackError


def web_headers() -> dict[str, str]:
    """Return what every request says: who asks, and that bytes shall come as they are."""
    # Compressed on the way, a file would have another length, and could not be continued.
    return {"user-agent": "tagstack", "accept-encoding": "identity"}


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
