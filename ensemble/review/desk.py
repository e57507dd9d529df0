"""What a review is at work on: pairs, decisions, who looks at what, and the next card.

Pairs are made in the background; the page works with those that are there. Everything here may be
called from several threads.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.places import picture_below
from tagstack.configs.errors import TagstackError
from tagstack.configs.reviewing import ReviewSettings
from tagstack.configs.shown import shown
from tagstack.ensemble.feedback.decision import Answer, Decision, Shown, Standing
from tagstack.ensemble.feedback.drawn import SCOPED
from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.ensemble.review.consequences import Consequence, Consequences
from tagstack.ensemble.review.ground import ReviewGround
from tagstack.ensemble.review.neighbours import Neighbours
from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.review.queue import Order, Queue

logger = logging.getLogger(__name__)

_CLIENTS = 200  # open pages that are remembered
_AHEAD = 8  # cards one page may hold


@dataclass(frozen=True, kw_only=True)
class Card:
    """One question, with what the answer will be kept with.

    Parameters
    ----------
    token : str
        Of the decision that answers it.
    image : int
        Position of the picture.
    tag : str
    shown : Shown
    """

    token: str
    image: int
    tag: str
    shown: Shown


@dataclass
class _Held:
    order: Order
    tag: int | None
    cards: list[tuple[int, Card]]
    until_s: float


class Desk:
    """A collection under review.

    Parameters
    ----------
    ground : ReviewGround
    store : DecisionStore
        Open.
    root : Path
        Folder that the pictures' names are relative to.
    settings : ReviewSettings
    bundle_hash : str
        SHA-256 of the bundle's manifest.
    judging : callable
        Says which pictures judge, shape (n_images,), bool; asked once, in the background.
    groups : callable, optional
        Gives a number for each picture, equal for near-duplicates, shape (n_images,), int64;
        likewise.
    """

    def __init__(
        self,
        ground: ReviewGround,
        store: DecisionStore,
        root: Path,
        settings: ReviewSettings,
        bundle_hash: str,
        judging: Callable[[], NDArray[np.bool_]],
        groups: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        self.ground, self.store, self.root, self.settings = ground, store, root, settings
        self.bundle_hash = bundle_hash
        self.lock = RLock()
        self.n_ready = 0
        self.fault = ""
        self._stopped = False
        self._find_judging = judging
        self._find_groups = groups
        self.judging = np.zeros(len(ground.images), bool)
        self.groups: NDArray[np.int64] | None = None
        self.queue = self._queue(ReviewPairs.empty(len(ground.bundle.vocabulary)))
        self._neighbours: Neighbours | None = None
        self._held: dict[str, _Held] = {}
        self._rng = np.random.default_rng()
        self._newest = 0
        self._place = {_key(name): i for i, name in enumerate(ground.images)}

    @cached_property
    def consequences(self) -> Consequences:
        """What follows from answers by the rules."""
        return Consequences(self.ground.decoder.rules)

    def prepare(self) -> None:
        """Make all pairs, a chunk at a time; a fault is kept for the page and the log."""
        try:
            self.groups = None if self._find_groups is None else self._find_groups()
            self.judging = self._find_judging()
            tables: list[ReviewPairs] = []
            for number in range(self.ground.n_chunks):
                if self._stopped:
                    return
                tables.append(self.ground.table(number))
                n_ready = number + 1
                # Joined at 1, 2, 4, 8, ... chunks, so that the copying stays a small part.
                if n_ready & (n_ready - 1) == 0 or n_ready == self.ground.n_chunks:
                    tables = [ReviewPairs.joined(tables)]
                    self._take(tables[0])
                self.n_ready = n_ready
        except TagstackError as error:
            self.fault = str(error)
        except Exception as error:  # in a thread of its own, where nobody would see it
            logger.exception("the pairs of the review")
            self.fault = f"{type(error).__name__}: {error}"

    def stop(self) -> None:
        """End making pairs after the chunk that is under way; a later run goes on behind it."""
        self._stopped = True

    @property
    def images_ready(self) -> int:
        """How many pictures have their pairs."""
        share = self.n_ready / max(1, self.ground.n_chunks)
        return round(share * len(self.ground.images))

    def neighbours(self, image: int, tag: int, n_each: int) -> tuple[list[int], list[int]]:
        """Return the pictures most like one, with a tag and without it."""
        with self.lock:
            table = self.queue.table
            if self._neighbours is None or self._neighbours.table is not table:
                self._neighbours = Neighbours(table)
            found = self._neighbours
        return found.of(image, tag, n_each)

    def key(self, image: int) -> str:
        """Return what the page calls a picture."""
        return _key(self.ground.images[image])

    def place(self, key: str) -> int:
        """Return the position of a picture that the page names.

        Raises
        ------
        TagstackError
            If there is none.
        """
        if key not in self._place:
            raise TagstackError(f"There is no picture {shown(key[:40])!r} in this review.")
        return self._place[key]

    def place_of(self, name: str) -> int:
        """Return the position of a picture by its name; a `KeyError` if it is not here."""
        return self._place[_key(name)]

    def path(self, image: int) -> Path:
        """Return the file of a picture.

        Raises
        ------
        ImageError
            If the name leads out of the folder, as a link may since it was scored.
        """
        return picture_below(self.root, self.ground.images[image], links=False)

    def tag_index(self, tag: str) -> int:
        """Return the position of a tag; a `TagstackError` if no tagger knows it."""
        found = self.ground.bundle.vocabulary.index.get(tag)
        if found is None:
            msg = f"No tagger of the bundle knows the tag {shown(tag[:80])!r}."
            raise TagstackError(msg)
        return found

    def cards(self, client: str, order: Order, tag: int | None, n: int) -> list[Card]:
        """Return the next cards of a page: those it holds already, then new ones.

        A page that is opened again goes on with the card that it showed.
        """
        with self._fresh() as queue:
            now = time.monotonic()
            held = self._held.get(client)
            if held is None or (held.order, held.tag) != (order, tag):
                held = _Held(order, tag, [], 0.0)
            held.cards = [(row, card) for row, card in held.cards if not queue.done[row]]
            held.until_s = now + self.settings.claim_seconds
            self._held.pop(client, None)
            self._held[client] = held
            while len(self._held) > _CLIENTS:
                self._held.pop(next(iter(self._held)))
            while len(held.cards) < min(n, _AHEAD):
                draw = queue.draw(order, tag, self._rng, self._taken(now))
                if draw is None:
                    break
                scope = order if tag is None else f"{order}{SCOPED}"
                card = self._card(draw.row, scope, draw.propensity, draw.probe)
                held.cards.append((draw.row, card))
            return [card for _, card in held.cards[:n]]

    def left(self, order: Order, tag: int | None) -> int:
        """Return how many pairs of an order are open."""
        with self._fresh() as queue:
            return queue.left(order, tag)

    def answer(self, decision: Decision) -> Standing | None:
        """Keep an answer; return what another person had said of the pair, if anybody did."""
        with self._fresh():
            before = self._said(decision)
            self.store.record([decision])
            self._catch_up()
            return before

    def answer_with_rules(
        self, decision: Decision
    ) -> tuple[tuple[Consequence, ...], Standing | None]:
        """Keep an answer and what follows from it by the rules, as one action."""
        image = self.place_of(decision.image)
        with self._fresh():
            before = self._said(decision)
            there = decision.answer == "yes"
            held = self.tags_of(image)
            found = self.consequences.of(decision.tag, there, held)
            follow = [self._following(decision, image, item) for item in found]
            self.store.record([decision, *follow])
            self._catch_up()
            return found, before

    def undo(self, who: str, action: str | None) -> tuple[Decision, ...]:
        """Take back a person's last action; return what it said."""
        with self._fresh():
            back = self.store.undo(who, action)
            self._catch_up()
            return back

    def tags_of(self, image: int) -> dict[str, Standing | None]:
        """Return the tags that a picture has now, with who said so where somebody did."""
        tags, table = self.ground.bundle.vocabulary.tags, self.queue.table
        first, last = table.rows_of(image)
        has = first + np.flatnonzero(table.has[first:last])
        found: dict[str, Standing | None] = {tags[table.tag[row]]: None for row in has}
        for item in self.store.standing(self.ground.images[image]):
            if item.answer == "yes":
                found[item.tag] = item
            elif item.answer == "no":
                found.pop(item.tag, None)
        return found

    def shown(self, image: int, tag: str, order: str) -> Shown:
        """Return what a page shows of a pair that nobody drew."""
        table, index = self.queue.table, self.tag_index(tag)
        row = table.find(image, index)
        cutting = self.ground.bundle.thresholds.cutting
        least = float(table.threshold[row] if row >= 0 else cutting.value[index])
        return Shown(
            bundle=self.bundle_hash,
            thresholds=self.ground.bundle.threshold_version,
            proba=float(table.proba[row]) if row >= 0 else None,
            threshold=least if least <= 1 else None,
            tagged=bool(row >= 0 and table.has[row]),
            order=order,
            judging=bool(self.judging[image]),
        )

    def decided(self) -> NDArray[np.bool_]:
        """Return which pairs of the table somebody answered, shape (n_pairs,), bool."""
        with self._fresh() as queue:
            return queue.done.copy()

    def _card(self, row: int, order: str, propensity: float, probe: bool) -> Card:
        table = self.queue.table
        image = int(table.image[row])
        tag = self.ground.bundle.vocabulary.tags[table.tag[row]]
        drawn = replace(self.shown(image, tag, order), propensity=propensity, probe=probe)
        return Card(token=secrets.token_hex(12), image=image, tag=tag, shown=drawn)

    def _following(self, decision: Decision, image: int, item: Consequence) -> Decision:
        answer: Answer = "yes" if item.there else "no"
        return Decision(
            who=decision.who,
            image=decision.image,
            content=decision.content,
            tag=item.tag,
            answer=answer,
            rule=item.rule,
            shown=self.shown(image, item.tag, "rule"),
            token=f"{decision.token}-{hashlib.sha256(item.tag.encode()).hexdigest()[:8]}",
        )

    def _said(self, decision: Decision) -> Standing | None:
        """Return another person's word on a pair."""
        for item in self.store.standing(decision.image):
            if item.tag == decision.tag and item.who != decision.who and item.answer != "skip":
                return item
        return None

    def _taken(self, now: float) -> frozenset[int]:
        held = (held for held in self._held.values() if held.until_s > now)
        return frozenset(row for own in held for row, _ in own.cards)

    @contextmanager
    def _fresh(self) -> Iterator[Queue]:
        """Hold the lock and the queue, in step with what other processes wrote."""
        with self.lock:
            self._catch_up()
            yield self.queue

    def _catch_up(self) -> None:
        newest = self.store.newest
        if newest == self._newest:
            return
        touched = self.store.touched_since(self._newest)
        for done in (True, False):
            pairs = [(image, tag) for image, tag, stands in touched if stands == done]
            self.queue.settle(self._rows(pairs), done=done)
        self._newest = newest

    def _rows(self, pairs: Iterable[tuple[str, str]]) -> list[int]:
        """Return the rows of pairs of image and tag, those that are none left out."""
        index, rows = self.ground.bundle.vocabulary.index, []
        for name, tag in pairs:
            image, place = self._place.get(_key(name)), index.get(tag)
            if image is not None and place is not None:
                rows.append(self.queue.table.find(image, place))
        return [row for row in rows if row >= 0]

    def _take(self, table: ReviewPairs) -> None:
        """Put a larger table in use."""
        with self.lock:
            self.queue = self._queue(table)
            self._newest = 0
            self._catch_up()

    def _queue(self, table: ReviewPairs) -> Queue:
        return Queue(
            table,
            self.judging,
            probes=self.settings.probes,
            window=self.settings.window,
            floor=self.ground.floor,
            groups=self.groups,
        )


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def names_with(names: Sequence[str], text: str) -> list[int]:
    """Return the positions of names that contain a text, capitals overlooked."""
    wanted = text.casefold()
    return [i for i, name in enumerate(names) if wanted in name.casefold()]
