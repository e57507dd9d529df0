"""A training folder for programs: what `tagstack dataset` does, as methods that return it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.face.arguments import AnyPath, AnySettings, settings_from, texts
from tagstack.ensemble.face.in_memory import Told
from tagstack.ensemble.tasks.dataset_balance import balance_concepts
from tagstack.ensemble.tasks.dataset_filter import Filtered, FilterRequest, filter_pictures
from tagstack.ensemble.tasks.dataset_lint import LintReport, LintRequest, lint_captions
from tagstack.ensemble.tasks.dataset_prune import Pruned, prune_tags
from tagstack.ensemble.tasks.dataset_split import Split, SplitRequest, split_pictures
from tagstack.ensemble.tasks.dataset_stats import StatsRequest, count_pictures
from tagstack.ensemble.workshop.dataset.concepts import Concept
from tagstack.ensemble.workshop.dataset.filtering import Filters
from tagstack.ensemble.workshop.dataset.statistics import Stats
from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups, tags_of_groups
from tagstack.ensemble.workshop.dataset.undo import Undone, undo


class TrainingSet:
    """Pictures with captions beside them, as trainers read them.

    Nothing is read before a method asks for it, and nothing is changed without ``fix`` or
    ``apply``; what was changed, `undo` takes back.

    Parameters
    ----------
    folder : path
        For `lint` also a file of labels (CSV, JSONL).
    settings : Settings, mapping or path, optional
        Laid over the defaults; ``[dataset]`` has what captions are held to.
    """

    def __init__(self, folder: AnyPath, settings: AnySettings = None) -> None:
        self.folder = Path(folder)
        self.settings = settings_from(settings)

    def stats(self, *, near_duplicates: bool = True, page: "AnyPath | None" = None) -> Stats:
        """Return the counts of tags, pairs, sizes, buckets and near-duplicates.

        ``page`` is where they are drawn as well; a file that is there is replaced.
        """
        request = StatsRequest(
            folder=self.folder,
            near_duplicates=near_duplicates,
            out=_path(page),
            overwrite=True,
        )
        return count_pictures(request, self.settings, Told())

    def lint(
        self,
        *,
        vocabulary: "AnyPath | None" = None,
        deprecated: "AnyPath | None" = None,
        fix: bool = False,
    ) -> LintReport:
        """Return what is wrong with the captions, after mending what is safe where asked.

        Parameters
        ----------
        vocabulary : path, optional
            A bundle, or a CSV with a column ``name`` or ``tag``; without, no tag is unknown.
        deprecated : path, optional
            A text with a tag a line.
        fix : bool
        """
        request = LintRequest(
            source=self.folder,
            vocabulary=_path(vocabulary),
            deprecated=_path(deprecated),
            fix=fix,
        )
        return lint_captions(request, self.settings, Told())

    def filter(
        self,
        out: AnyPath,
        *,
        table: "AnyPath | None" = None,
        vocabulary: "AnyPath | None" = None,
        apply: bool = False,
        **demands: Any,
    ) -> Filtered:
        """Return what the set leaves out; move it to ``.left-out`` where asked.

        Parameters
        ----------
        out : path
            CSV of what is left out and why; a file that is there is replaced.
        table : path, optional
            CSV with a column ``image`` and any of ``id``, ``rating``, ``created_at``, ``quality``.
        vocabulary : path, optional
            CSV with ``name`` and ``category``; without, every tag is general.
        apply : bool
        **demands
            Fields of `tagstack.ensemble.workshop.dataset.filtering.Filters`.

        Raises
        ------
        TagstackError
            If there is no such demand, or folder, table or vocabulary cannot be used.
        """
        known = [field.name for field in fields(Filters)]
        if strange := sorted(set(demands) - set(known)):
            raise TagstackError(f"filter has no {strange}. Expected any of {known}.")
        if "ratings" in demands:
            demands["ratings"] = texts(demands["ratings"], "The ratings", "general")
        request = FilterRequest(
            folder=self.folder,
            filters=Filters(**demands),
            out=Path(out),
            table=_path(table),
            vocabulary=_path(vocabulary),
            apply=apply,
            overwrite=True,
        )
        return filter_pictures(request, self.settings, Told())

    def prune(
        self,
        groups: Sequence[str] = (),
        tags: Sequence[str] = (),
        *,
        own_groups: "AnyPath | None" = None,
        keep: bool = False,
        apply: bool = False,
    ) -> Pruned:
        """Return which tags captions lose; rewrite them where asked.

        Parameters
        ----------
        groups, tags : sequence of str
            Names of tag groups, and further tags.
        own_groups : path, optional
            TOML of groups, over the shipped ones.
        keep : bool
            Keep these tags and take out all others.
        apply : bool
        """
        named, more = texts(groups, "The groups", "hair"), texts(tags, "The tags", "solo")
        chosen = tags_of_groups(named, tag_groups(_path(own_groups)), more)
        return prune_tags(self.folder, chosen, self.settings, Told(), keep=keep, apply=apply)

    def balance(
        self, weights: Mapping[str, float] | None = None, *, most: int = 100
    ) -> tuple[Concept, ...]:
        """Return the concept folders with the repeats that give each its share of an epoch.

        Parameters
        ----------
        weights : mapping of folder to float, optional
            Against 1 of the others.
        most : int
            Repeats at most.
        """
        return balance_concepts(self.folder, weights or {}, self.settings, most=most)

    def split(
        self,
        out: AnyPath,
        folds: int = 5,
        *,
        table: "AnyPath | None" = None,
        group: str | None = None,
        near_duplicates: bool = True,
    ) -> Split:
        """Write the fold of every picture, and return what it came to.

        Parameters
        ----------
        out : path
            CSV with image, tags and fold; a file that is there is replaced.
        folds : int
        table : path, optional
            CSV with a column ``image`` and the one that ``group`` names.
        group : str, optional
            Column whose equal values no split may part.
        near_duplicates : bool
            Whether near-duplicates stay together, which opens every picture.
        """
        request = SplitRequest(
            folder=self.folder,
            out=Path(out),
            folds=folds,
            table=_path(table),
            group=group,
            near_duplicates=near_duplicates,
            overwrite=True,
        )
        return split_pictures(request, self.settings, Told())

    def undo(self, file: AnyPath) -> Undone:
        """Take back what an undo file says, as far as nobody changed the files since."""
        return undo(Path(file))


def _path(given: "AnyPath | None") -> Path | None:
    return None if given is None else Path(given)
