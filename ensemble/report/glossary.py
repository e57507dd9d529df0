"""The words of a comparison, each explained once where it is first met: terminal and page."""

from tagstack.ensemble.comparison.results import Comparison

_TERMS = {
    "ladder": "every way of tagging the same images, the simplest first; each way is a rung",
    "as published": "a tagger with the thresholds it came with: what its users get today",
    "tuned (single:)": "one tagger alone, its scores calibrated on your labels and a threshold "
    "fitted for every tag",
    "mean": "the average of the scores as they come; thresholds expect probabilities, which these "
    "are not, so it does badly, most of all with rules: its fair twin is the calibrated mean",
    "Caruana": "a weighted average of the taggers; they were added one by one while that helped "
    "(greedy selection, Caruana 2004)",
    "stack": "what the gate chose from everything learnt on your labels",
    "gate": "the choice at fit time, on left-out images: the simplest rung that is not surely "
    "worse than the best",
    "decoder (with rules)": "of all sets of tags that break no rule, the most probable one, found "
    "exactly",
}
_REHEARSAL = "the whole fit done once more without a part of the images, and judged on that part"


def terms_of(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Return (term, meaning) of what stands on a comparison's ladder."""
    names = {rung.name for rung in comparison.rungs}
    absent = set() if "caruana" in names else {"Caruana"}
    absent |= set() if "mean" in names else {"mean"}
    if not any(rung.spec.is_published for rung in comparison.rungs):
        absent |= {"as published"}
    if not any(rung.spec.rules_of for rung in comparison.rungs):
        absent |= {"decoder (with rules)"}
    return tuple((term, text) for term, text in _TERMS.items() if term not in absent)


def fit_terms(*, rehearsed: bool) -> tuple[tuple[str, str], ...]:
    """Return (term, meaning) of what a fit speaks of."""
    terms = tuple((term, _TERMS[term]) for term in ("Caruana", "gate"))
    out_of_fold = ("out of fold", "judged by models that had not seen the image")
    return (out_of_fold, *terms, *((("rehearsal", _REHEARSAL),) if rehearsed else ()))
