"""What a folder's files say of a tagger's tags: the list, the categories, published thresholds."""

from pathlib import Path

from tagstack.base_models.taggers.draft import Draft, Fact, Question
from tagstack.base_models.taggers.model_facts import ModelFacts
from tagstack.base_models.taggers.tag_file_kinds import TagFile, tag_files
from tagstack.base_models.taggers.tag_metrics import with_metrics
from tagstack.base_models.taggers.timm_contract import (
    CATEGORIES_FILE,
    THRESHOLDS_FILE,
    category_names,
    category_thresholds,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import METRICS_BYTES, own_file
from tagstack.configs.shown import shown

# What the numbers of a category column mean; those of both sites mean the same on either.
SITES = {
    "danbooru": {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta",
                 "9": "rating"},
    "e621": {"0": "general", "1": "artist", "2": "contributor", "3": "copyright",
             "4": "character", "5": "species", "6": "invalid", "7": "meta", "8": "lore"},
}  # fmt: skip
_ON_BOTH = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "9": "rating"}


def know_tags(draft: Draft, model: Path, facts: ModelFacts) -> TagFile | None:
    """Return the tag file that fits an output, None where several do."""
    wanted = draft.given.get("files.tags", Fact(None, "")).value
    found = [one for one in tag_files(draft.folder, None) if wanted in (None, one.name)]
    widths = {seen.width for seen in facts.seen.values()}
    fitting = [one for one in found if len(one.rows) in widths]
    if not fitting:
        lists = ", ".join(f"{shown(one.name)} {len(one.rows)}" for one in found)
        msg = (
            f"{draft.folder} has no list of the tags: {shown(model.name)} gives "
            f"{' or '.join(map(str, sorted(widths))) or 'no'} scores, and there is "
            f"{lists or 'no file that could be read as one'}. Expected a selected_tags.csv, "
            "tags.txt or one of the JSON formats, with a tag for each score. Put it there."
        )
        raise TagstackError(msg)
    first = fitting[0]
    if any([row.tag for row in one.rows] != [row.tag for row in first.rows] for one in fitting):
        names = tuple(shown(one.name) for one in fitting)
        draft.ask(Question("files.tags", "which file lists the tags", names))
        return None
    draft.know("files.tags", first.name, f"it lists {len(first.rows)} tags, one for each score")
    draft.facts["tags.format"] = Fact(first.format, f"what is in {first.name}")
    for path in _metrics_files(draft.folder):
        try:
            own_file(draft.folder, path.name, max_bytes=METRICS_BYTES)
            with_metrics(first.rows, path)
        except TagstackError:
            continue
        draft.facts["files.metrics"] = Fact(path.name, "it has a threshold for each tag")
        break
    return first


def _metrics_files(folder: Path) -> list[Path]:
    """Return files that may hold a threshold for each tag."""
    told = [path for path in folder.glob("*.json") if "threshold" in path.name.lower()]
    return sorted([*folder.glob("*.npz"), *told])[:10]


def know_categories(draft: Draft, tags: TagFile) -> None:
    """Take the names of the categories, or ask whose numbers they are."""
    rated = [row.tag for row in tags.rows if row.tag.startswith("rating:")]
    if tags.format in ("tags_txt", "json_list", "json_index"):
        if rated:
            source = f"{len(rated)} tags begin so"
            draft.facts["tags.prefixes"] = Fact({"rating:": "rating"}, source)
        return
    codes = set(tags.codes)
    given = draft.given.get("tags.categories")
    if given is not None and given.value in tuple(SITES):
        site = SITES[given.value]
        names = {code: site.get(code, f"category_{code}") for code in sorted(codes)}
        draft.facts["tags.categories"] = Fact(names, f"{given.source}: {given.value}")
    elif given is not None:
        draft.take("tags.categories")
    elif (draft.folder / CATEGORIES_FILE).is_file() or (draft.folder / THRESHOLDS_FILE).is_file():
        try:
            draft.know("tags.categories", category_names(draft.folder), "the publisher's files")
        except TagstackError as error:
            draft.notes.append(shown(str(error)))
            _asked_categories(draft, codes)
    elif not any(code.lstrip("-").isdigit() for code in codes):
        if any(code != code.lower() for code in codes):
            lower = {code: code.lower() for code in sorted(codes)}
            draft.facts["tags.categories"] = Fact(lower, f"the categories in {tags.name}")
    elif codes <= set(_ON_BOTH):
        names = {code: _ON_BOTH[code] for code in sorted(codes)}
        draft.know("tags.categories", names, "codes that mean the same on Danbooru and e621")
    else:
        _asked_categories(draft, codes)


def _asked_categories(draft: Draft, codes: set[str]) -> None:
    what = f"whose numbers the categories {', '.join(map(shown, sorted(codes)))} are"
    draft.ask(Question("tags.categories", what, tuple(SITES)))


def know_thresholds(draft: Draft) -> None:
    """Take the thresholds that the publisher has for whole categories."""
    if (draft.folder / THRESHOLDS_FILE).is_file() and "tags.categories" in draft.facts:
        try:
            found = category_thresholds(draft.folder)
        except TagstackError as error:
            draft.notes.append(shown(str(error)))
            found = {}
        if found:
            draft.facts["threshold.per_category"] = Fact(found, THRESHOLDS_FILE)
    if "threshold.default" in draft.given:
        draft.take("threshold.default")
