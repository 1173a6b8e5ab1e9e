from __future__ import annotations

from pathlib import Path

import pytest

from capsule_inspection.data.annotations.documents import Node, read_json, read_xml, read_yaml
from capsule_inspection.types import DataError

TEXT = '{"name": "Kratzer \u00e4"}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_the_encodings_of_unicode(tmp_path: Path, encoding: str):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode(encoding))
    assert read_json(path, "a.json").get("name").text() == "Kratzer \u00e4"
    assert read_yaml(path, "a.yaml").get("name").text() == "Kratzer \u00e4"


def test_other_encodings_are_refused_with_the_place(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(DataError, match=r"a.json: expected text in UTF-8"):
        read_json(path, "a.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Expecting value in line 1"),
        ('{"a": 1,\n "b" 2}', "in line 2"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "digits"),
    ],
)
def test_mistakes_of_json_are_told(tmp_path: Path, text: str, expected: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected JSON, found a mistake") as caught:
        read_json(path, "a.json")
    assert expected in str(caught.value)


def test_yaml_makes_no_objects_of_python(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("names: !!python/object/apply:os.getcwd []")
    with pytest.raises(DataError, match="expected YAML, found a mistake"):
        read_yaml(path, "a.yaml")


@pytest.mark.parametrize("text", ["a: &a [x]\nb: [*a, *a]", "&a [*a]", "a: &a {}\n<<: *a"])
def test_yaml_that_could_expand_to_any_size_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"it has aliases \(\*name\), which are not read"):
        read_yaml(path, "a.yaml")


def test_xml_of_another_root_is_refused(tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_text("<html/>")
    with pytest.raises(DataError, match="expected XML with <annotation>, found <html>"):
        read_xml(path, "a.xml", root="annotation")


@pytest.mark.parametrize("value", [True, None, "x", float("inf"), [], "1e999"])
def test_what_is_no_number_is_refused_with_its_place(value: object):
    with pytest.raises(DataError, match="expected a number, found"):
        Node(value, "a.json.width").number()


def test_numbers_may_be_text():
    assert Node("12.5", "a").number() == 12.5
    assert [Node(value, "a").text() for value in (1, 1.0, "1")] == ["1", "1", "1"]
    assert Node(["1", 2], "a").numbers() == (1, 2)
    with pytest.raises(DataError, match=r"a: expected a whole number, found 0.5"):
        Node(0.5, "a").whole()
