from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import apply_overrides, build, difference, digest, dump, flatten, load, settings


@settings
class Circle:
    kind: Literal["circle"] = "circle"
    radius: Annotated[float, Field(gt=0)] = 1.0
    """In millimetres."""


@settings
class Square:
    kind: Literal["square"] = "square"
    side: float


@settings
class Drawing:
    title: str
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = field(default_factory=Circle)
    more: list[Annotated[Circle | Square, Field(discriminator="kind")]] = field(default_factory=list)
    limit: Annotated[int, Field(gt=0)] | None = None


@settings
class Shape:
    corners: ClassVar[int] = 0
    """Belongs to the class."""
    name: str = ""


@settings
class Triangle(Shape):
    corners = 3


def test_what_belongs_to_a_class_is_no_field_of_its_settings():
    assert [each.name for each in fields(Triangle)] == ["name"]
    assert Triangle().corners == build(Triangle, {}).corners == 3


def messages(tree: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(Drawing, tree)
    return str(caught.value).splitlines()


def test_all_errors_come_at_once_with_their_paths():
    found = messages({"titel": "x", "shape": {"kind": "circle", "radius": -1}, "more": [{"kind": "squre"}], "limit": 0})
    assert [line.split(":")[0] for line in found] == ["limit", "more.0.kind", "shape.radius", "titel", "title"]


def test_an_unknown_key_names_the_key_that_was_meant():
    assert messages({"title": "x", "shape": {"kind": "circle", "raduis": 2}}) == [
        "shape.raduis: unknown key; did you mean 'radius'?"
    ]


def test_an_unknown_kind_names_the_kind_that_was_meant():
    assert messages({"title": "x", "shape": {"kind": "sqare"}}) == [
        "shape.kind: unknown kind 'sqare'; did you mean 'square'?"
    ]


def test_keys_of_a_sibling_variant_are_refused():
    assert messages({"title": "x", "shape": {"kind": "square", "side": 1, "radius": 2}})[0].startswith("shape.radius")


def test_a_missing_value_is_named():
    assert messages({"title": "x", "shape": {"kind": "square"}}) == ["shape.side: needs a value"]


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("title: x\nshape: {kind: circle, radius: 5e-4}\n")
    assert load(Drawing, path).shape == Circle(radius=0.0005)


def test_overrides_reach_into_mappings_and_lists():
    tree = apply_overrides({"title": "x", "more": [{"kind": "circle"}]}, ["more.0.radius=3", "shape.kind=circle"])
    assert build(Drawing, tree).more == [Circle(radius=3.0)]


def test_overrides_leave_their_source_alone():
    tree: dict = {"more": [{"kind": "circle"}]}
    apply_overrides(tree, ["more.0.radius=3"])
    assert tree == {"more": [{"kind": "circle"}]}


@pytest.mark.parametrize("override", ["title", "=3", "title.deeper=1", "more.7.radius=1", "title=[1"])
def test_a_malformed_override_is_one_line(override: str):
    with pytest.raises(ConfigError) as caught:
        apply_overrides({"title": "x", "more": [{"kind": "circle"}]}, [override])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ["a: [1", "- 1\n- 2", "a: 1\na: 2", "a: &x [1]\nb: *x", "a: !!python/object/apply:os.system ['true']", "\0"],
)
def test_yaml_that_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as caught:
        load(Drawing, path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load(Drawing, tmp_path / "none.yaml")


def test_settings_survive_a_round_trip_through_yaml():
    drawing = Drawing(title="é", shape=Square(side=2.0), more=[Circle()], limit=3)
    assert build(Drawing, dump(drawing)) == drawing


def test_the_digest_sees_every_value():
    assert digest(Drawing(title="a")) != digest(Drawing(title="a", limit=1))
    assert digest(Drawing(title="a")) == digest(Drawing(title="a", shape=Circle(radius=1.0)))


def test_differences_are_named_by_path():
    assert difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        ("a.c", 2, 3),
        ("d", "(unset)", 4),
    ]


@given(st.recursive(st.integers() | st.text(), lambda leaf: st.dictionaries(st.text("abc", min_size=1), leaf)))
def test_flattened_trees_differ_exactly_when_trees_do(tree):
    assert difference(tree, tree) == []
    assert flatten(tree) == flatten(tree)
