"""Names in the options of captions that stand for no tag: what is left out or replaced in vain."""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from tagstack.base_models.tag_names import did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.output import OutputSettings
from tagstack.ensemble.outputs.captions import CATEGORY, OTHERS, name_pattern


def idle_names(
    settings: OutputSettings, given: Collection[str], vocabulary: Vocabulary
) -> Iterator[str]:
    """Yield a line for each name that does nothing, with what it may have meant.

    Parameters
    ----------
    settings : OutputSettings
    given : collection of str
        Settings that this run was given; presets and files are for many vocabularies.
    vocabulary : Vocabulary
    """
    kinds = frozenset(vocabulary.categories)
    if settings.copyrights:
        kinds |= {"copyright"}
    if "exclude" in given:
        for name in settings.exclude:
            if name.startswith(CATEGORY):
                kind = name.removeprefix(CATEGORY)
                if not any(fnmatchcase(own, kind) for own in kinds):
                    yield _line("exclude", name, "category", kinds, kind)
            elif not _means_a_tag(name, vocabulary):
                yield _line("exclude", name, "tag", vocabulary.tags)
    if "replace" in given:
        for name in settings.replace:
            if name not in vocabulary.index:
                yield _line("replace", name, "tag", vocabulary.tags)
    if "categories" in given:
        for name in settings.categories:
            if name != OTHERS and name not in kinds:
                yield _line("categories", name, "category", kinds)


def _means_a_tag(name: str, vocabulary: Vocabulary) -> bool:
    pattern = name_pattern(name)
    return pattern in vocabulary.index or any(fnmatchcase(t, pattern) for t in vocabulary.tags)


def _line(option: str, name: str, what: str, known: Collection[str], meant: str = "") -> str:
    hint = did_you_mean(meant or name, known)
    if not hint and what == "category":
        hint = f"There are {', '.join(sorted(known))}."
    return f"--{option} names {name!r}, which is no {what} of these taggers. {hint}".rstrip()
