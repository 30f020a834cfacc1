"""A class of `lazy_dataclass` behaves as one of the standard library, before and after its first
object is made.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any, ClassVar

import pytest

from certctl.model.lazy_dataclass import dataclass

decorators = pytest.mark.parametrize(
    "decorate",
    [dataclasses.dataclass(frozen=True), dataclass(frozen=True)],
    ids=["standard", "lazy"],
)


@dataclass(frozen=True)
class Point:
    """A class at the top of a module, so that it can be pickled."""

    x: int
    y: int = 2


def sample(decorate: Callable[[type], type]) -> Any:
    """Return a new class with every kind of field that is in use, which has no objects yet."""

    class Sample:
        """A sample."""

        kind: ClassVar[str] = "sample"
        name: str
        count: int = 3
        secret: str = field(default="s", repr=False)
        note: str = field(default="", compare=False)
        parts: list[int] = field(default_factory=list, hash=False)

    return decorate(Sample)


@decorators
def test_positions_names_and_defaults_give_the_fields(decorate: Callable[[type], type]) -> None:
    made = sample(decorate)("a", 4, parts=[1])

    assert (made.name, made.count, made.secret, made.note, made.parts) == ("a", 4, "s", "", [1])


@decorators
def test_each_object_gets_its_own_default_list(decorate: Callable[[type], type]) -> None:
    cls = sample(decorate)
    first, second = cls("a"), cls("b")
    first.parts.append(1)

    assert second.parts == []


@decorators
def test_objects_are_compared_by_the_fields_that_count(decorate: Callable[[type], type]) -> None:
    cls = sample(decorate)

    assert cls("a", note="x") == cls("a", note="y")
    assert cls("a") != cls("b")
    assert cls("a") != "a"


@decorators
def test_an_object_of_another_class_is_not_equal(decorate: Callable[[type], type]) -> None:
    assert sample(decorate)("a") != sample(decorate)("a")


@decorators
def test_the_representation_leaves_out_secrets(decorate: Callable[[type], type]) -> None:
    shown = repr(sample(decorate)("a"))

    assert shown.endswith("Sample(name='a', count=3, note='', parts=[])")


@decorators
@pytest.mark.parametrize("name", ["count", "unknown"])
def test_nothing_can_be_set_or_deleted(decorate: Callable[[type], type], name: str) -> None:
    made = sample(decorate)("a")

    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(made, name, 4)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(made, name)


@decorators
def test_equal_objects_have_equal_hashes(decorate: Callable[[type], type]) -> None:
    class Pair:
        left: int
        right: int = field(default=0, compare=False)

    cls: Any = decorate(Pair)

    assert len({cls(1), cls(1, 5), cls(2)}) == 2
    assert hash(sample(decorate)("a")) == hash(sample(decorate)("a", parts=[1]))


@decorators
def test_objects_without_fields_are_equal(decorate: Callable[[type], type]) -> None:
    class Nothing:
        pass

    cls: Any = decorate(Nothing)

    assert cls() == cls()
    assert hash(cls()) == hash(cls())


@decorators
def test_methods_of_the_class_itself_are_kept(decorate: Callable[[type], type]) -> None:
    class Odd:
        value: int

        def __repr__(self) -> str:
            return "odd"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Odd) and self.value % 2 == other.value % 2

        def __hash__(self) -> int:
            return self.value % 2

    cls: Any = decorate(Odd)

    assert (repr(cls(1)), cls(1) == cls(3), hash(cls(5))) == ("odd", True, 1)


@decorators
def test_what_is_checked_after_the_fields_are_set_is_checked(
    decorate: Callable[[type], type],
) -> None:
    class Positive:
        value: int

        def __post_init__(self) -> None:
            if self.value <= 0:
                raise ValueError(self.value)

    cls: Any = decorate(Positive)

    with pytest.raises(ValueError, match="-1"):
        cls(-1)


@decorators
def test_a_subclass_has_the_fields_of_its_base_first(decorate: Callable[[type], type]) -> None:
    base = sample(decorate)

    class Longer(base):  # type: ignore[misc, valid-type]
        """A subclass, completed before its base has an object."""

        extra: int = 9

    cls: Any = decorate(Longer)

    assert [each.name for each in fields(cls)][-2:] == ["parts", "extra"]
    assert (cls("a").name, cls("a").extra) == ("a", 9)


@decorators
def test_a_subclass_with_its_own_initializer_calls_that_of_its_base(
    decorate: Callable[[type], type],
) -> None:
    base = sample(decorate)

    class Fixed(base):  # type: ignore[misc, valid-type]
        """Not a dataclass itself."""

        def __init__(self) -> None:
            super().__init__("fixed")

    assert Fixed().name == "fixed"


@decorators
def test_the_fields_can_be_read_before_there_is_an_object(
    decorate: Callable[[type], type],
) -> None:
    cls = sample(decorate)

    assert [each.name for each in fields(cls)] == ["name", "count", "secret", "note", "parts"]
    assert dataclasses.is_dataclass(cls)


@decorators
def test_positions_can_be_matched(decorate: Callable[[type], type]) -> None:
    cls = sample(decorate)

    match cls("a", 7):
        case cls(name, count):
            found = (name, count)

    assert found == ("a", 7)


@decorators
def test_a_changed_copy_has_the_other_fields(decorate: Callable[[type], type]) -> None:
    made = replace(sample(decorate)("a", 5), name="b")

    assert (made.name, made.count) == ("b", 5)
    assert dataclasses.asdict(made)["count"] == 5
    assert copy.deepcopy(made) == made


@decorators
@pytest.mark.parametrize("arguments", [(), ("a", 1, "", "", [], "too many")])
def test_a_wrong_number_of_values_is_an_error(
    decorate: Callable[[type], type], arguments: tuple[object, ...]
) -> None:
    with pytest.raises(TypeError, match=r"Sample\.__init__\(\)"):
        sample(decorate)(*arguments)


@decorators
def test_a_default_that_all_objects_would_share_is_an_error(
    decorate: Callable[[type], type],
) -> None:
    class Shared:
        parts: list[int] = []  # noqa: RUF012

    with pytest.raises(ValueError, match="mutable default"):
        fields(decorate(Shared))


@decorators
def test_the_signature_of_a_completed_class_names_its_fields(
    decorate: Callable[[type], type],
) -> None:
    cls = sample(decorate)
    cls("a")

    assert list(inspect.signature(cls).parameters) == ["name", "count", "secret", "note", "parts"]


def test_a_field_that_cannot_be_given_by_position_is_an_error() -> None:
    class Hidden:
        value: int = field(default=1, init=False)

    with pytest.raises(TypeError, match=r"Hidden\.value: fields must be given by position"):
        dataclass(frozen=True)(Hidden)()


def test_an_object_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1, 2)  # noqa: S301 - our own bytes


def test_other_options_are_left_to_the_standard_library() -> None:
    @dataclass(frozen=True, order=True)
    class Ordered:
        value: int

    @dataclass
    class Changeable:
        value: int

    changed = Changeable(1)
    changed.value = 2

    assert sorted([Ordered(2), Ordered(1)]) == [Ordered(1), Ordered(2)]
    assert changed == Changeable(2)


def test_threads_that_make_the_first_object_together_all_get_one() -> None:
    def attempt() -> list[object]:
        cls = sample(dataclass(frozen=True))
        together = threading.Barrier(8)
        made: list[object] = []

        def make() -> None:
            together.wait()
            made.append(cls("a"))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return made

    assert [len(set(map(repr, attempt()))) for _ in range(20)] == [1] * 20
    assert len(attempt()) == 8


def test_classes_with_as_many_fields_are_compiled_once() -> None:
    program = """
import sys
from certctl.model.lazy_dataclass import dataclass

classes = []
for number in range(20):
    fields = {f"a{number}": int, f"b{number}": str}
    classes.append(dataclass(frozen=True)(type("C", (), {"__annotations__": fields})))
compiled = []
sys.addaudithook(lambda event, _: compiled.append(event) if event == "compile" else None)
made = [each(1, "b") for each in classes]
print(len(compiled), made[7])
"""

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split(maxsplit=1) == ["1", "C(a7=1, b7='b')\n"]
