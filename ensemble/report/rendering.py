"""Pages in the look of the comparison's report: one file each, text from outside escaped."""

from importlib import resources
from typing import Any

from tagstack.configs.shown import shown

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
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: template_text(name, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_displayed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup(template_text("report.css"))  # ours
    return environment.get_template(template).render(style=style, **context)


def _displayed(value: Any) -> Any:
    """Show names as text, whatever they hold; markup stays ours."""
    return shown(value) if type(value) is str else value
