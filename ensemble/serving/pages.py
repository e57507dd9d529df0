"""The pages of the service: what it can do, and `/evaluate` for people.

They hold their style and no script, load nothing, and say so in their policy: they work without any
network but the one that brought them.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.responses import HTMLResponse


def operations_page(document: Mapping[str, Any]) -> HTMLResponse:
    """Return an OpenAPI document as a page."""
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "text": operation.get("description") or operation.get("summary", ""),
            "parameters": [
                {"name": one["name"], "text": one.get("description", "")}
                for one in operation.get("parameters", ())
            ],
            "answers": [(s, a["description"]) for s, a in operation["responses"].items()],
        }
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    info = document["info"]
    return _page(
        "docs.html",
        title=f"{info['title']} {info['version']}",
        summary=info["description"],
        operations=operations,
    )


def evaluated_page(pictures: Sequence[Mapping[str, Any]]) -> HTMLResponse:
    """Return the tags of pictures as tables."""
    return _page("evaluated.html", title="Tags", pictures=pictures)


def _page(template: str, **values: Any) -> HTMLResponse:
    text = _templates().get_template(template).render(style=Markup(_style()), **values)
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("tagstack.ensemble.serving"), autoescape=True, trim_blocks=True
    )


@cache
def _style() -> str:
    folder = resources.files("tagstack.ensemble.serving").joinpath("templates")
    return folder.joinpath("page.css").read_text("utf-8")
