import gzip
import json
from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule import Alias
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules

ROWS = [
    {"id": 1, "antecedent_name": "a", "consequent_name": "b", "status": "active"},
    {"id": 2, "antecedent_name": "c", "consequent_name": "d", "status": "deleted"},
    {"id": 3, "antecedent_name": "e", "consequent_name": "b", "status": "retired"},
    {"id": 4, "antecedent_name": "a", "consequent_name": "b", "status": "active"},
    {"id": 5, "antecedent_name": "f", "consequent_name": "g", "status": "pending"},
]


def test_tags_table(tmp_path: Path) -> None:
    table = tmp_path / "tags.csv"
    table.write_text(
        "tag,images,parent,exclusive_group\nshoes,9,,kind\nboots,4,shoes,\nhat,3,,kind\nred,1,,colour\n"
    )
    rules = load_rules(table)
    assert [rule.edges for rule in rules.implications] == [(("boots", "shoes"),)]
    assert [rule.tags for rule in rules.exclusives] == [("shoes", "hat")]
    assert rules.exclusives[0].hard
    assert {rule.source for rule in rules.exclusives} == {"tags.csv"}


def test_dumps_count_active_rows_only(tmp_path: Path) -> None:
    text = "id,antecedent_name,consequent_name,created_at,status\n1,a,b,x,active\n2,c,d,x,deleted\n"
    for name in ("tag_implications-2025.csv", "tag_aliases-2025.csv"):
        (tmp_path / name).write_text(text)
    implications = load_rules(tmp_path / "tag_implications-2025.csv")
    assert [rule.edges for rule in implications.implications] == [(("a", "b"),)]
    aliases = load_rules(tmp_path / "tag_aliases-2025.csv")
    assert aliases == Rules(aliases=(Alias(old="a", new="b"),))


def test_unusable_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"Unknown rules 'danboru'. Give one of \['danbooru'"):
        load_rules("danboru")
    with pytest.raises(TagstackError, match=r"Cannot read the rules .*no\.toml"):
        load_rules(tmp_path / "no.toml")
    with pytest.raises(TagstackError, match=r"Cannot read the rules .*no\.csv"):
        load_rules(tmp_path / "no.csv")
    (tmp_path / "t.csv").write_text("name,parent\na,b\n")
    with pytest.raises(TagstackError, match=r"t.csv has columns \['name', 'parent'\]; rules need"):
        load_rules(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["i.json", "i.jsonl", "i.lines.json", "i.json.gz", "i.csv.gz"])
def test_dumps_of_every_kind_say_the_same(tmp_path: Path, name: str) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    text = lines if "lines" in name or name.endswith("jsonl") else json.dumps(ROWS)
    if "csv" in name:
        text = "\n".join([",".join(ROWS[0]), *(",".join(map(str, r.values())) for r in ROWS)])
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    rules = load_rules(path)
    assert [(rule.id, rule.source) for rule in rules.implications] == [("dump.a->b", name)]


# Compressed at a fixed time: every worker must find the same tests.
@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"a,b\n", mtime=0)[:-9]])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tag_aliases.csv.gz"
    path.write_bytes(content)
    with pytest.raises(TagstackError, match=r"Cannot read the rules .*tag_aliases\.csv\.gz"):
        load_rules(path)


def test_json_that_holds_no_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2]")
    with pytest.raises(TagstackError, match="expected objects, got 1"):
        load_rules(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[]")
    assert load_rules(tmp_path / "x.json") == Rules.none()


def test_several_sources_are_joined_in_their_order(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        "without = ['place.in_or_out', 'dump.a->b']\n"
        "[[exclusive]]\nid='place.in_or_out'\ntags=['indoors','outdoors']\npenalty=1\nsource='me'\n"
    )
    dump = tmp_path / "implications.json"
    dump.write_text(json.dumps([*ROWS, ROWS[0] | {"antecedent_name": "z"}]))
    rules = load_rules(f"danbooru, {dump},{mine}")
    by_id = {rule.id: rule for rule in rules.rules}
    assert by_id["place.in_or_out"].penalty == 1
    assert "dump.z->b" in by_id
    assert "dump.a->b" not in by_id
    assert len(rules) == len(load_rules("danbooru")) + 1
    with pytest.raises(TagstackError, match="'without' names rules that are not there"):
        load_rules(f"{mine},danbooru")
    with pytest.raises(TagstackError, match="Unknown rules ''"):
        load_rules("danbooru,")


def test_a_file_name_may_hold_a_comma(tmp_path: Path) -> None:
    path = tmp_path / "a,b.toml"
    path.write_text("[[alias]]\nfrom='x'\nto='y'\n")
    assert load_rules(path) == Rules(aliases=(Alias(old="x", new="y"),))
