"""Decisions at rest: one SQLite file that only ever grows.

An answer is a row; taking one back is another row. What holds now follows from the rows and is
kept beside them in the same transaction, so that a process that is killed between two answers
leaves the first one whole and nothing of the second. Several processes may write: each answer is
a short transaction of its own, and the later of two answers to one question stands while both
are kept.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tagstack.ensemble.feedback.decision import Decision, Shown, Standing, TagCount
from tagstack.ensemble.feedback.schema import opened
from tagstack.ensemble.sqlite_file import SqliteFile

FILE = "decisions.sqlite"
_WAIT_S = 30.0  # for another writer, which needs milliseconds
_COLUMNS = (
    "token, action, at_s, who, image, tag, answer, undoes, rule, bundle, thresholds, proba, "
    "threshold, tagged, shown_by, propensity, probe, judging"
)
_INSERT = f"insert into decisions ({_COLUMNS}) values ({', '.join('?' * 18)})"
# The last answer that nobody took back; one that says something goes before a skip.
_STAND = """insert or replace into standing
    select d.image, d.tag, d.id from decisions d
    where d.image = ? and d.tag = ? and d.answer != 'undo'
      and not exists (select 1 from decisions u where u.undoes = d.id)
    order by d.answer = 'skip', d.id desc limit 1"""
_STANDING = """select d.id, d.at_s, d.who, i.name, d.tag, d.answer,
    d.answer != 'skip' and (d.answer = 'yes') != d.tagged and d.shown_by not in ('import', 'rule'),
    d.judging from standing s
    join decisions d on d.id = s.decision join images i on i.id = s.image"""


class DecisionStore(SqliteFile):
    """The decisions of one collection; use it as a context manager. Threads may share it."""

    _holds = "decisions"
    _advice = "What was kept before is whole; mend that (space, permissions) and go on."

    def _connect(self) -> sqlite3.Connection:
        return opened(self.path, wait_s=_WAIT_S)

    def record(self, decisions: Sequence[Decision]) -> tuple[int, ...]:
        """Keep decisions that belong together, all or none; return their numbers.

        They are on the disk when this returns. What was sent before, told by its token, is not
        kept again. The first decision is what the person said, others follow from it; taking it
        back takes all of them back.
        """
        with self._change() as connection:
            return tuple(
                self._recorded(connection, decision, decisions[0].token) for decision in decisions
            )

    def undo(self, who: str, action: str | None = None) -> tuple[Decision, ...]:
        """Take back a person's last action that still stands, and return what it said.

        Nothing is deleted: each decision gets a row that takes it back.

        Parameters
        ----------
        who : str
        action : str, optional
            Token of an action's first decision: that action alone, if it still stands. Said
            twice it takes nothing more back.
        """
        with self._change() as connection:
            last = connection.execute(
                """select action from decisions d where who = ? and action = coalesce(?, action)
                and answer != 'undo' and shown_by != 'import'
                and not exists (select 1 from decisions u where u.undoes = d.id)
                order by id desc limit 1""",
                (who, action),
            ).fetchone()
            return self._taken_back(connection, who, last[0]) if last else ()

    def standing(self, image: str | None = None) -> Iterator[Standing]:
        """Yield what holds now of one image or of all, skipped questions included."""
        where, values = ("", ()) if image is None else (" where i.name = ?", (_bytes(image),))
        for number, at_s, who, name, tag, answer, overturned, judging in self._rows(
            f"{_STANDING}{where} order by i.name, d.tag", values
        ):
            yield Standing(
                number=number,
                at_s=at_s,
                who=who,
                image=_text(name),
                tag=tag,
                answer=answer,
                overturned=bool(overturned),
                judging=bool(judging),
            )

    def by_tag(self) -> Mapping[str, TagCount]:
        """Return what was decided about each tag that somebody spoke of."""
        found = self._rows(
            """select d.tag, sum(answer = 'yes'), sum(answer = 'no'), sum(answer = 'skip'),
            sum(answer != 'skip' and shown_by not in ('import', 'rule')),
            sum(answer != 'skip' and (answer = 'yes') != tagged
                and shown_by not in ('import', 'rule')), max(at_s)
            from standing s join decisions d on d.id = s.decision group by d.tag""",
            (),
        )
        return {
            tag: TagCount(
                n_yes=yes, n_no=no, n_skipped=skip, n_asked=asked, n_overturned=turned, last_s=last
            )
            for tag, yes, no, skip, asked, turned, last in found
        }

    def log(self) -> Iterator[tuple[int, float, str, Decision, bool]]:
        """Yield every answer ever given: number, time, action, decision, whether it was taken back.

        Rows that take back are not among them.
        """
        columns = ", ".join(f"d.{column.strip()}" for column in _COLUMNS.split(","))
        query = f"""select d.id, i.name, i.content,
            exists (select 1 from decisions u where u.undoes = d.id), {columns}
            from decisions d join images i on i.id = d.image where d.answer != 'undo'
            order by d.id"""
        for number, name, content, undone, *rest in self._rows(query, ()):
            yield number, rest[2], rest[1], _decision(name, content, rest), bool(undone)

    def touched_since(self, number: int) -> list[tuple[str, str, bool]]:
        """Return image, tag and whether an answer stands, of what rows after a number speak of."""
        rows = self._rows(
            """select distinct i.name, d.tag, exists (
                select 1 from standing s where s.image = d.image and s.tag = d.tag
            ) from decisions d join images i on i.id = d.image where d.id > ?""",
            (number,),
        )
        return [(_text(name), tag, bool(stands)) for name, tag, stands in rows]

    @property
    def newest(self) -> int:
        """Number of the last row; it changes whenever anybody says anything."""
        ((number,),) = self._rows("select coalesce(max(id), 0) from decisions", ())
        return int(number)

    def judges(self, contents: Sequence[str]) -> list[bool | None]:
        """Return whether each content is in the frozen slice; None where that was never said."""
        known = dict(self._rows("select content, judging from slice", ()))
        return [None if content not in known else bool(known[content]) for content in contents]

    def freeze(self, contents: Mapping[str, bool]) -> None:
        """Say of contents whether they judge; what was said before stays."""
        with self._change() as connection:
            connection.executemany("insert or ignore into slice values (?, ?)", contents.items())

    def fact(self, name: str, otherwise: str) -> str:
        """Return what the file says under a name; ``otherwise`` from now on if it said none."""
        with self._change() as connection:
            connection.execute("insert or ignore into facts values (?, ?)", (name, otherwise))
            found = connection.execute("select value from facts where name = ?", (name,))
            return str(found.fetchone()[0])

    def _recorded(self, connection: sqlite3.Connection, decision: Decision, action: str) -> int:
        known = connection.execute(
            "select id from decisions where token = ?", (decision.token,)
        ).fetchone()
        if known is not None:
            return int(known[0])
        image = self._image(connection, decision)
        values = (decision.token, action, time.time(), decision.who, image, decision.tag)
        shown = decision.shown
        cursor = connection.execute(
            _INSERT,
            (
                *values, decision.answer, None, decision.rule,
                shown.bundle, shown.thresholds, shown.proba, shown.threshold, int(shown.tagged),
                shown.order, shown.propensity, int(shown.probe), int(shown.judging),
            ),
        )  # fmt: skip
        number = int(cursor.lastrowid or 0)
        _settle(connection, image, decision.tag)
        return number

    def _image(self, connection: sqlite3.Connection, decision: Decision) -> int:
        name = _bytes(decision.image)
        connection.execute(
            """insert into images (name, content) values (?, ?)
            on conflict (name) do update set content = excluded.content
            where excluded.content != '' and excluded.content != content""",
            (name, decision.content),
        )
        found = connection.execute("select id from images where name = ?", (name,))
        return int(found.fetchone()[0])

    def _taken_back(
        self, connection: sqlite3.Connection, who: str, action: str
    ) -> tuple[Decision, ...]:
        columns = ", ".join(f"d.{column.strip()}" for column in _COLUMNS.split(","))
        rows = connection.execute(
            f"""select d.id, i.name, i.content, {columns} from decisions d
            join images i on i.id = d.image
            where d.action = ? and d.answer != 'undo'
            and not exists (select 1 from decisions u where u.undoes = d.id) order by d.id""",
            (action,),
        ).fetchall()
        for number, _, _, token, _, _, _, image, tag, _, _, rule, *shown in rows:
            connection.execute(
                _INSERT,
                (f"undo-{token}", action, time.time(), who, image, tag, "undo", number, rule,
                 *shown),
            )  # fmt: skip
            _settle(connection, image, tag)
        return tuple(_decision(name, content, rest) for _, name, content, *rest in rows)

    def _rows(self, query: str, values: Iterable[object]) -> list[tuple[Any, ...]]:
        with self._lock, self._blamed():
            return self._open().execute(query, tuple(values)).fetchall()


def _settle(connection: sqlite3.Connection, image: int, tag: str) -> None:
    """Bring what holds of one pair in step with its rows."""
    connection.execute("delete from standing where image = ? and tag = ?", (image, tag))
    connection.execute(_STAND, (image, tag))


def _decision(name: bytes, content: str, row: Sequence[Any]) -> Decision:
    (token, _, _, who, _, tag, answer, _, rule, bundle, thresholds, proba, threshold, tagged,
     order, propensity, probe, judging) = row  # fmt: skip
    shown = Shown(
        bundle=bundle,
        thresholds=thresholds,
        proba=proba,
        threshold=threshold,
        tagged=bool(tagged),
        order=order,
        propensity=propensity,
        probe=bool(probe),
        judging=bool(judging),
    )
    return Decision(
        who=who, image=_text(name), content=content, tag=tag, answer=answer, rule=rule,
        token=token, shown=shown,
    )  # fmt: skip


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
