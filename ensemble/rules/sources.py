"""Where rules come from: shipped sets, the user's files, tables and dumps, alone or together."""

from functools import reduce
from importlib import resources
from pathlib import Path

from tagstack.base_models.path_lists import names_and_paths
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_text
from tagstack.ensemble.rules.rule_set import Rules

_TABLES = (".csv", ".json", ".jsonl", ".ndjson")


def load_rules(source: str | Path) -> Rules:
    """Return the rules of one source, or of several joined in their order.

    Parameters
    ----------
    source : str or Path
        Names of shipped sets (``"danbooru"``), ``.toml`` files and tables, comma-separated. A
        table, perhaps gzipped, is a tags table (``tag``, ``parent``, ``exclusive_group``) or an
        alias or implication dump of a booru (``antecedent_name``, ``consequent_name``,
        ``status``) as CSV, JSON or JSON lines.

    Raises
    ------
    TagstackError
        If there is no such set or file, it does not hold rules, or the sets do not go together.
    """
    parts = [str(source)] if isinstance(source, Path) else names_and_paths(source)
    return reduce(Rules.joined, [_load_one(part) for part in parts], Rules.none())


def shipped_rules() -> tuple[str, ...]:
    """Return the names of the rule sets that come with the package, sorted."""
    folder = resources.files("tagstack.configs").joinpath("rules")
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[:-5] for name in names if name.endswith(".toml")))


def _load_one(source: str) -> Rules:
    path = Path(source)
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind in _TABLES:
        from tagstack.ensemble.rules.tables import rules_from_table

        return rules_from_table(path)
    if kind == ".toml":
        return Rules.from_toml(read_text(path, what="rules"), path.name)
    if source in (names := shipped_rules()):
        file = resources.files("tagstack.configs").joinpath("rules", f"{source}.toml")
        return Rules.from_toml(file.read_text("utf-8"), f"{source}.toml")
    msg = (
        f"Unknown rules {source!r}. Give one of {list(names)}, a .toml file, or a table or dump "
        f"({', '.join(_TABLES)}, also with .gz); several with a comma between them."
    )
    raise TagstackError(msg)
