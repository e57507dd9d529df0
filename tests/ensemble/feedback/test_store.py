"""Decisions: kept through anything, taken back by a new row, nobody's answer lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.feedback import schema
from tagstack.ensemble.feedback.decision import Decision, Shown
from tagstack.ensemble.feedback.store import DecisionStore

HOSTILE = os.fsdecode(b'a \xff"><img src=x onerror=alert(1)>\n.png')


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    with DecisionStore(tmp_path / "d.sqlite") as opened:
        yield opened


def say(answer: Any = "yes", image: str = "1.png", tag: str = "cat", **more: Any) -> Decision:
    return Decision(**{"who": "ann", "image": image, "tag": tag, "answer": answer, **more})


def standing(store: DecisionStore) -> dict[tuple[str, str], str]:
    return {(item.image, item.tag): item.answer for item in store.standing()}


def test_what_was_shown_is_kept_with_who_and_when(store: DecisionStore) -> None:
    shown = Shown(
        bundle="ab12", thresholds="0002-ff", proba=0.25, threshold=0.5, tagged=False,
        order="missing", propensity=0.125, probe=True, judging=True,
    )  # fmt: skip
    said = say(image=HOSTILE, tag="<b>'--", shown=shown, content="cd" * 32)
    store.record([said])
    ((number, at_s, action, decision, undone),) = store.log()
    assert (number, action, decision, undone) == (1, said.token, said, False)
    assert at_s > 1e9
    (now,) = store.standing(HOSTILE)
    assert now.overturned
    assert now.judging


def test_the_last_answer_stands_and_undo_brings_back_the_one_before(store: DecisionStore) -> None:
    store.record([say("yes")])
    store.record([say("no")])
    assert standing(store) == {("1.png", "cat"): "no"}
    (back,) = store.undo("ann")
    assert back.answer == "no"
    assert standing(store) == {("1.png", "cat"): "yes"}
    store.undo("ann")
    assert standing(store) == {}
    assert store.undo("ann") == ()
    assert [undone for *_, undone in store.log()] == [True, True]  # nothing was deleted
    assert store.newest == 4


def test_a_skip_replaces_no_answer(store: DecisionStore) -> None:
    store.record([say("yes")])
    store.record([say("skip", who="bob")])
    assert standing(store) == {("1.png", "cat"): "yes"}


def test_undo_is_ones_own_and_takes_all_of_an_action(store: DecisionStore) -> None:
    first = say("yes", tag="1girl")
    store.record([first, say("no", tag="2girls", rule="count")])
    store.record([say("yes", tag="dog", who="bob")])
    assert {decision.tag for decision in store.undo("ann")} == {"1girl", "2girls"}
    assert standing(store) == {("1.png", "dog"): "yes"}
    assert store.undo("ann", first.token) == ()  # a lost reply, asked again


def test_an_answer_sent_twice_is_kept_once(store: DecisionStore) -> None:
    said = say("yes")
    assert store.record([said]) == store.record([said])
    assert store.newest == 1


def test_an_action_is_kept_whole_or_not_at_all(store: DecisionStore) -> None:
    with pytest.raises(TagstackError, match="Cannot use the decisions"):
        store.record([say(), say(tag="\ud800")])
    assert standing(store) == {}


def test_several_people_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each with a connection of its own, as processes have."""
    DecisionStore(tmp_path / "d.sqlite").__enter__().__exit__(None, None, None)

    def work(who: str) -> None:
        with DecisionStore(tmp_path / "d.sqlite") as own:
            for number in range(15):
                own.record([say("yes", image="same.png", who=who, tag=f"t{number}")])

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with DecisionStore(tmp_path / "d.sqlite") as store:
        said = [(decision.who, decision.tag) for _, _, _, decision, _ in store.log()]
        assert len(said) == len(set(said)) == 60
        assert len(standing(store)) == 15


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    """A writer says each number once it was told that the decision is kept, and is killed."""
    program = """
import sys
from pathlib import Path
from tagstack.ensemble.feedback.decision import Decision
from tagstack.ensemble.feedback.store import DecisionStore
with DecisionStore(Path(sys.argv[1])) as store:
    for n in range(100_000):
        store.record([Decision(who="a", image="1", tag=f"{n}", answer="yes"),
                      Decision(who="a", image="1", tag=f"-{n}", answer="no", rule="r")])
        print(n, flush=True)
"""
    path = tmp_path / "d.sqlite"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 20:
                writer.send_signal(signal.SIGKILL)
                break
        told = 20 + len(writer.stdout.read().split())
    with DecisionStore(path) as store:
        kept = {item.tag for item in store.standing()}
        assert {str(n) for n in range(told + 1)} <= kept
        assert {f"-{tag}" for tag in kept if not tag.startswith("-")} == {
            tag for tag in kept if tag.startswith("-")
        }


def test_the_slice_is_said_once(store: DecisionStore) -> None:
    store.freeze({"a": True, "b": False})
    store.freeze({"a": False, "c": True})
    assert store.judges(["a", "b", "c", "d"]) == [True, False, True, None]
    assert store.fact("seed", "7") == store.fact("seed", "8") == "7"


def test_counts_of_a_tag(store: DecisionStore) -> None:
    for n, (answer, tagged) in enumerate([("yes", True), ("no", True), ("skip", True)]):
        store.record([say(answer, image=f"{n}", shown=Shown(tagged=tagged))])
    count = store.by_tag()["cat"]
    assert (count.n_yes, count.n_no, count.n_skipped, count.n_overturned) == (1, 1, 1, 1)


def test_a_file_of_an_earlier_version_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecisionStore(tmp_path / "d.sqlite") as store:
        store.record([say()])
    later = (*schema.MIGRATIONS, ("create table more (x integer)",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    with DecisionStore(tmp_path / "d.sqlite") as store:
        assert standing(store) == {("1.png", "cat"): "yes"}
    monkeypatch.undo()
    with (
        pytest.raises(TagstackError, match="written by a later tagstack"),
        DecisionStore(tmp_path / "d.sqlite"),
    ):
        pass


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("create table t (x)")
    connection.close()
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to be looked at")
    for name, said in (("other", "another program"), ("text", "not a database")):
        with pytest.raises(TagstackError, match=said), DecisionStore(tmp_path / f"{name}.sqlite"):
            pass
    assert (tmp_path / "text.sqlite").read_text().startswith("no database")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"answer": "perhaps"}, "answer"), ({"who": " "}, "who"), ({"tag": "x" * 5000}, "tag")],
)
def test_what_is_no_decision_is_refused(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(TagstackError, match=f"{said} is"):
        say(**wrong)
    with pytest.raises(TagstackError, match="propensity"):
        Shown(propensity=0.0)
