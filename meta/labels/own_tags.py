"""Tags of the labels that no tagger knows, which heads on features can learn."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tagstack.base_models.tag_names import booru_form
from tagstack.base_models.vocabulary import Vocabulary

PROMISED = 5
"""Images with a tag from which on its head is more than a guess."""
_CATEGORY = "general"
_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class OwnTags:
    """Tags that are learnt from the labels alone.

    Parameters
    ----------
    positives : mapping of tag to int
        Images that have it, in the order of the tags' names.
    """

    positives: Mapping[str, int]

    @classmethod
    def none(cls) -> "OwnTags":
        """Return none."""
        return cls(positives={})

    def added_to(self, vocabulary: Vocabulary) -> Vocabulary:
        """Return the vocabulary with these tags behind its own."""
        return Vocabulary(
            (*vocabulary.tags, *self.positives),
            (*vocabulary.categories, *(_CATEGORY for _ in self.positives)),
        )

    def notices(self) -> tuple[str, ...]:
        """Return what is to be said of them, a line each."""
        found = []
        if self.positives:
            found.append(
                f"{len(self.positives)} tags that no tagger knows are learnt from your labels: "
                f"{_listed(self.positives)}"
            )
        few = {tag: n for tag, n in self.positives.items() if n < PROMISED}
        if few:
            found.append(
                f"{len(few)} of these have fewer than {PROMISED} images, so what they do on new "
                f"pictures cannot be promised: {_listed(few)}"
            )
        return tuple(found)


def own_tags(foreign: Counter[str], vocabulary: Vocabulary, least: int) -> OwnTags:
    """Return the tags that are learnt: those on enough images, as boorus write them.

    Parameters
    ----------
    foreign : Counter of str
        Images with each tag that the vocabulary does not know.
    vocabulary : Vocabulary
    least : int
        Images that a tag needs.
    """
    counts: Counter[str] = Counter()
    for tag, n in foreign.items():
        counts[booru_form(tag)] += n
    kept = {tag: n for tag, n in sorted(counts.items()) if n >= least and tag}
    return OwnTags(positives={t: n for t, n in kept.items() if t not in vocabulary.index})


def _listed(counts: Mapping[str, int]) -> str:
    most = Counter(counts).most_common(_NAMED)
    dots = ", ..." if len(counts) > _NAMED else ""
    return ", ".join(f"{tag} ({n})" for tag, n in most) + dots
