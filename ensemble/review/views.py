"""What the page is told: cards, pictures with their tags, the board, what was done. Plain values.

Names come from outside: they are told as they may be shown, and a picture is asked for by a key,
never by its name.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.shown import shown
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge, TagEntry
from tagstack.ensemble.contradictions.explanations import Change
from tagstack.ensemble.feedback.decision import Standing
from tagstack.ensemble.feedback.drawn import drawn_as
from tagstack.ensemble.feedback.label_rows import decided_rows
from tagstack.ensemble.review.board import board_columns
from tagstack.ensemble.review.desk import Card, Desk, names_with
from tagstack.ensemble.review.queue import ORDERS, TITLES, Order
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.intervals import f_interval, share_interval

View: TypeAlias = dict[str, Any]
SORTS = (
    "worst", "tag", "wrong", "missing", "verified", "near", "certified", "overturned", "looked",
)  # fmt: skip
_KEPT = 64  # explanations of pictures
_CONFIDENCE = 0.95
_LATEST = 60
_ALIKE = 3  # pictures beside a card, with its tag and without it


class Views:
    """Tells the page what it shows; threads may share it.

    Parameters
    ----------
    desk : Desk
    who : str
        Whom the page takes its visitor for until told otherwise.
    """

    def __init__(self, desk: Desk, who: str) -> None:
        self.desk, self.who = desk, who
        self._judges: dict[tuple[str, ...], Judge] = {}
        self._judged: OrderedDict[int, tuple[dict[str, TagEntry], dict[str, Change]]] = (
            OrderedDict()
        )

    def state(self) -> View:
        """Return what the page needs at first, and how far the pairs are."""
        desk, bundle = self.desk, self.desk.ground.bundle
        return {
            "who": shown(self.who),
            "bundle": desk.bundle_hash[:12],
            "thresholds": bundle.threshold_version,
            "images": len(desk.ground.images),
            "ready": desk.images_ready,
            "fault": shown(desk.fault),
            "tags": len(bundle.vocabulary),
            "judging": int(desk.judging.sum()),
            "first": self._first(),
            "orders": [{"name": order, "title": TITLES[order]} for order in ORDERS],
        }

    def _first(self) -> Order:
        """Return the order that a page opens with: copies that disagree, on a new collection."""
        fresh = not self.desk.store.newest and self.desk.left("twins", None)
        return "twins" if fresh else "wrong"

    def cards(self, client: str, order: Order, tag: str, n: int) -> View:
        """Return the next cards of a page, and how many are left."""
        index = self.desk.tag_index(tag) if tag else None
        found = self.desk.cards(client, order, index, n)
        return {
            "cards": [self.card(card) for card in found],
            "left": self.desk.left(order, index),
            **self.state(),
        }

    def card(self, card: Card) -> View:
        """Return one question."""
        entries, changes = self._explained(card.image)
        entry = entries.get(card.tag)
        change = changes.get(card.tag)
        said = card.shown
        return {
            "id": card.token,
            **self._picture(card.image),
            "tag": card.tag,
            "category": self._category(card.tag),
            "has": said.tagged,
            "votes": _votes(entry),
            "alike": self._alike(card),
            "rule": "" if change is None else _change_text(change),
            "shown": {
                "bundle": said.bundle,
                "thresholds": said.thresholds,
                "proba": said.proba,
                "threshold": said.threshold,
                "tagged": said.tagged,
                "order": said.order,
                "propensity": said.propensity,
                "probe": said.probe,
                "judging": said.judging,
            },
        }

    def _alike(self, card: Card) -> list[View]:
        """Return the pictures most like a card's, those with its tag first."""
        tag = self.desk.tag_index(card.tag)
        found = self.desk.neighbours(card.image, tag, _ALIKE)
        return [
            {**self._picture(image), "has": has}
            for has, images in zip((True, False), found, strict=True)
            for image in images
        ]

    def image(self, image: int) -> View:
        """Return a picture with its tags and the candidates beside them."""
        desk = self.desk
        entries, changes = self._explained(image)
        with desk.lock:
            has = desk.tags_of(image)
            spoken = {item.tag: item for item in desk.store.standing(desk.ground.images[image])}
        floor = desk.ground.floor
        near = [tag for tag, entry in entries.items() if entry.proba >= floor or entry.tagged]
        names = dict.fromkeys((*has, *near, *spoken))
        rows = [
            self._tag(image, tag, tag in has, entries.get(tag), changes.get(tag), spoken.get(tag))
            for tag in names
        ]
        rows.sort(key=lambda row: (not row["has"], -(row["proba"] or 0), row["tag"]))
        n = len(desk.ground.images)
        return {
            **self._picture(image),
            "tags": rows,
            "position": image + 1,
            "of": n,
            "previous": desk.key(image - 1) if image else "",
            "next": desk.key(image + 1) if image + 1 < n else "",
            "judging": bool(desk.judging[image]),
        }

    def images(self, text: str, offset: int, limit: int) -> View:
        """Return pictures whose names hold a text."""
        names = self.desk.ground.images
        found: Sequence[int] = names_with(names, text) if text else range(len(names))
        part = found[offset : offset + limit]
        rows = [{"image": self.desk.key(i), "name": shown(names[i])} for i in part]
        return {"images": rows, "found": len(found)}

    def tags(self, text: str, limit: int) -> View:
        """Return tags that begin with a text, then those that hold it, each with its category."""
        vocabulary = self.desk.ground.bundle.vocabulary
        wanted = text.strip().casefold().replace(" ", "_")
        first, second = [], []
        for tag in vocabulary.tags:
            place = tag.casefold().find(wanted)
            if place == 0:
                first.append(tag)
            elif place > 0:
                second.append(tag)
        found = (sorted(first, key=len) + sorted(second, key=len))[:limit]
        return {"tags": [{"tag": tag, "category": self._category(tag)} for tag in found]}

    def board(self, text: str, sort: str, offset: int, limit: int) -> View:
        """Return tags with what is known of them, the worst first or sorted by a column."""
        desk, vocabulary = self.desk, self.desk.ground.bundle.vocabulary
        columns = board_columns(desk)
        keys = {name: -column for name, column in columns.items()}
        keys["worst"] = -(columns["wrong"] + columns["missing"])
        keys["verified"] = columns["verified"]
        keys["looked"] = columns["looked"]
        if text:
            rows = np.array(names_with(vocabulary.tags, text.strip().replace(" ", "_")), np.int64)
        else:
            rows = np.flatnonzero(columns["pairs"] + columns["decided"])
        if sort != "tag":
            rows = rows[np.argsort(keys[sort][rows], kind="stable")]
        part = rows[offset : offset + limit].tolist()
        values = [{name: float(column[tag]) for name, column in columns.items()} for tag in part]
        return {
            "rows": [
                {
                    "tag": vocabulary.tags[tag],
                    "category": vocabulary.categories[tag],
                    "promise": self._promise(tag),
                    **own,
                }
                for tag, own in zip(part, values, strict=True)
            ],
            "found": len(rows),
            "ready": desk.images_ready,
            "images": len(desk.ground.images),
        }

    def _promise(self, tag: int) -> str:
        """Return what a certified threshold guarantees, as its objective says; else nothing."""
        thresholds = self.desk.ground.bundle.thresholds
        return thresholds.objective[tag] if thresholds.state[tag] == "certified" else ""

    def done(self) -> View:
        """Return what was decided, what it changed, and how often the bundle was right."""
        standing = list(self.desk.store.standing())
        said = [item for item in standing if item.answer != "skip"]
        changed = sorted((item for item in said if item.overturned), key=lambda item: -item.number)
        return {
            "answers": len(said),
            "skipped": len(standing) - len(said),
            "changed": len(changed),
            "pictures": len({item.image for item in said}),
            "people": [
                {"who": shown(who), "answers": n}
                for who, n in Counter(s.who for s in said).most_common(20)
            ],
            "latest": [self._latest(item) for item in changed[:_LATEST]],
            "judge": self._judge_share(),
            "labels": sum(1 for _ in decided_rows(self.desk.store)),
        }

    def _judge_share(self) -> View:
        """Return how often the bundle was right on the frozen slice, with an interval."""
        log = [
            (decision.image, decision.tag, decision.answer, decision.shown)
            for _, _, _, decision, undone in self.desk.store.log()
            if not undone
            and drawn_as(decision.shown.order)[0] == "random"
            and decision.answer != "skip"
        ]
        right = sum((answer == "yes") == said.tagged for _, _, answer, said in log)
        hits, trials = np.array([right]), np.array([len(log)])
        low, high = share_interval(hits, trials, _CONFIDENCE)
        if not log:
            return {"asked": 0}
        there = np.array([answer == "yes" for _, _, answer, _ in log])
        shown_then = np.array([said.tagged for _, _, _, said in log])
        now = np.array([self._tagged_now(image, tag) for image, tag, _, _ in log])
        return {
            "asked": len(log), "right": right / len(log), "low": low[0], "high": high[0],
            "before": _f1(shown_then, there), "after": _f1(now, there),
            "versions": sorted({said.thresholds for _, _, _, said in log}),
        }  # fmt: skip

    def _tagged_now(self, image: str, tag: str) -> bool:
        """Return whether the bundle that the review is opened with gives a picture a tag."""
        place = self.desk.ground.bundle.vocabulary.index.get(tag)
        try:
            row = (
                -1
                if place is None
                else self.desk.queue.table.find(self.desk.place_of(image), place)
            )
        except KeyError:  # a picture that is gone
            return False
        return bool(row >= 0 and self.desk.queue.table.tagged[row])

    def _latest(self, item: Standing) -> View:
        known = self.desk.ground.bundle.vocabulary.index
        try:
            place = self.desk.place_of(item.image)
        except KeyError:  # of a picture that is in another folder
            place = -1
        return {
            "image": self.desk.key(place) if place >= 0 else "",
            "name": shown(item.image),
            "tag": item.tag,
            "category": self._category(item.tag) if item.tag in known else "",
            "answer": item.answer,
            "who": shown(item.who),
        }

    def _tag(
        self,
        image: int,
        tag: str,
        has: bool,
        entry: TagEntry | None,
        change: Change | None,
        said: Standing | None,
    ) -> View:
        now = self.desk.shown(image, tag, "picture")
        return {
            "tag": tag,
            "category": self._category(tag),
            "has": has,
            "proba": now.proba if now.proba is not None else (entry.proba if entry else None),
            "threshold": now.threshold,
            "votes": _votes(entry),
            "rule": "" if change is None else _change_text(change),
            "said": None
            if said is None
            else {"who": shown(said.who), "answer": said.answer, "at": said.at_s},
        }

    def _picture(self, image: int) -> View:
        return {"image": self.desk.key(image), "name": shown(self.desk.ground.images[image])}

    def _category(self, tag: str) -> str:
        vocabulary = self.desk.ground.bundle.vocabulary
        return vocabulary.categories[vocabulary.index[tag]] if tag in vocabulary.index else ""

    def _explained(self, image: int) -> tuple[dict[str, TagEntry], dict[str, Change]]:
        """Return a picture's candidates and what the rules changed, kept for a while."""
        with self.desk.lock:
            if image not in self._judged:
                ground = self.desk.ground
                bundle, scores = ground.answering(ground.images[image])
                proba, judge = bundle.stacker.predict_proba(scores), self._judge(bundle)
                (tagged,) = judge.judge(scores, proba)
                changes = bundle.thresholds.cutting.explained(proba, judge.decoder)
                self._judged[image] = (
                    {entry.tag: entry for entry in tagged.entries},
                    {change.tag: change for change in changes},
                )
                if len(self._judged) > _KEPT:
                    self._judged.popitem(last=False)
            return self._judged[image]

    def _judge(self, bundle: Bundle) -> Judge:
        """Return the judge of what answers: the whole stack, or a head of its cascade."""
        if bundle.member_names not in self._judges:
            self._judges[bundle.member_names] = Judge(bundle, floor=0.0)
        return self._judges[bundle.member_names]


def _f1(tagged: NDArray[np.bool_], there: NDArray[np.bool_]) -> View | None:
    """Return F1 of some pairs with its interval; None where none of them shows its tag."""
    counts = Counts(
        hits=np.array([(tagged & there).sum()]),
        predicted=np.array([tagged.sum()]),
        positives=np.array([there.sum()]),
    )
    if not there.any():
        return None
    low, high = f_interval(counts, 1.0, _CONFIDENCE)
    return {"f1": float(counts.f_beta(1.0)[0]), "low": float(low[0]), "high": float(high[0])}


def _votes(entry: TagEntry | None) -> list[View]:
    if entry is None:
        return []
    return [{"name": shown(name), "proba": proba} for name, proba in entry.votes.items()]


def _change_text(change: Change) -> str:
    verb = "implied by" if change.action == "added" else "against"
    others = ", ".join(f"{tag} ({proba:.2f})" for tag, proba in change.because[:4])
    cost = "" if not math.isfinite(change.margin) else f"; the opposite costs {change.margin:.2f}"
    reason = f"{verb} {others}; " if others else ""
    return f"{change.action.capitalize()} by a rule: {reason}rule {change.rule}{cost}"
