"""Pages in the look of the comparison's report: one file each, text from outside escaped."""

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from tagstack.configs.shown import shown

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "tagstack.ensemble.report"


def template_text(name: str, package: str = _PACKAGE) -> str:
    """Return a template, style or script as a package ships it."""
    return resources.files(package).joinpath("templates", name).read_text("utf-8")


def rendered(template: str, package: str = _PACKAGE, **context: Any) -> str:
    """Return a page as HTML.

    Parameters
    ----------
    template : str
        Its name; it may include others of the package.
    package : str
        Where the templates lie.
    **context
        What the template reads, beside ``style``: the look that all pages share. Names are shown
        as text, whatever they hold.
    """
    from markupsafe import Markup

    style = Markup(template_text("report.css"))  # ours
    return _environment(package).get_template(template).render(style=style, **context)


@cache
def _environment(package: str) -> "Environment":
    """Return what knows the templates of a package, each of them compiled once a process."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: template_text(name, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_displayed,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _displayed(value: Any) -> Any:
    """Show names as text, whatever they hold; markup stays ours."""
    return shown(value) if type(value) is str else value
