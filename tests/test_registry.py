"""A registry finds things by name, refuses duplicates, and helps with a misspelt name."""

import pytest

from criinet import registry
from criinet.errors import ConfigError
from criinet.registry import Registry, nearest


@pytest.fixture
def animals() -> Registry[int]:
    registry: Registry[int] = Registry("animal", "zoo list")
    registry.add("mean-teacher", 1)
    registry.add("crii", 2)
    return registry


def test_entries_come_back_in_order_of_registration(animals):
    assert animals.get("crii") == 2
    assert list(animals) == ["mean-teacher", "crii"]
    assert list(animals.items()) == [("mean-teacher", 1), ("crii", 2)]
    assert len(animals) == 2


def test_add_returns_the_entry(animals):
    entry = object()
    assert animals.add("new", entry) is entry


def test_a_duplicate_raises_and_changes_nothing(animals):
    with pytest.raises(ValueError, match="animal 'crii' is registered twice"):
        animals.add("crii", 3)
    assert animals.get("crii") == 2


def test_an_unknown_name_gets_the_nearest_and_the_list(animals):
    with pytest.raises(ConfigError) as error:
        animals.get("mean-techer")
    assert str(error.value) == (
        "unknown animal 'mean-techer'. Did you mean 'mean-teacher'? `zoo list` lists all 2: mean-teacher, crii."
    )


def test_a_name_like_no_other_gets_the_list_alone(animals):
    with pytest.raises(ConfigError, match=r"^unknown animal 'xyz'\. `zoo list` lists all 2: mean-teacher, crii\.$"):
        animals.get("xyz")


def test_nearest_is_silent_where_nothing_is_near():
    assert nearest("width", ["widht", "depth"]) == " Did you mean 'widht'?"
    assert nearest("qqqq", ["widht", "depth"]) == ""
    assert nearest("note", ["ignore", "source"]) == "", "a far name is no help: it means something else"
    assert nearest("width", []) == ""


def test_a_plugin_that_fails_says_the_same_every_time(animals, monkeypatch):
    """Its second import would fail otherwise, over what the first one had registered already."""

    class Point:
        name, value = "mine", "mypackage.methods"
        imports = 0

        def __lt__(self, other: object) -> bool:
            return False

        def load(self) -> None:
            Point.imports += 1
            animals.add("mine", 3)
            raise RuntimeError("no such file")

    monkeypatch.setattr(registry, "_begun", False)
    monkeypatch.setattr(registry, "_failed", None)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [Point()])
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^plugin 'mine' .* \(RuntimeError: no such file\)"):
            animals.get("crii")
    assert Point.imports == 1
