"""Lines added to a file of somebody else's: undoing them gives the same bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.rules.marked_lines import Addition, Removal, edited, restored, tags
from certctl.rules.nginx_syntax import scan, walk

ONE_LINE = b"server { listen 80; server_name a; }"


def test_lines_are_added_after_the_brace_and_marked() -> None:
    source = b"server {\n    listen 80;\n}\n"

    assert edited(source, "a.example", [Addition(8, (b"    x;", b"    y;"))]) == (
        b"server {\n    x; #certctl a.example\n    y; #certctl a.example\n    listen 80;\n}\n"
    )


def test_a_line_that_must_go_becomes_a_comment() -> None:
    source = b"server {\n    listen 80; # old\n}\n"

    assert edited(source, "a.example", [], [Removal(13, 23)]) == (
        b"server {\n    #certctl# listen 80; # old #certctl a.example\n}\n"
    )


def test_the_rest_of_a_line_goes_on_below_the_added_ones() -> None:
    assert edited(ONE_LINE, "a", [Addition(8, (b"    x;",))]) == (
        b"server {\n    x; #certctl a\n#certctl+ a\n listen 80; server_name a; }"
    )


def test_a_directive_within_a_line_is_taken_out_of_it() -> None:
    changed = edited(ONE_LINE, "a", [], [Removal(9, 19)])

    assert changed == (b"server { \n#certctl#| listen 80; #certctl a\n server_name a; }")
    assert [each.name for each in walk(scan(changed))] == [b"server", b"server_name"]
    assert restored(changed, "a") == ONE_LINE


def test_line_ends_are_those_of_the_file() -> None:
    changed = edited(b"server {\r\n  listen 80;\r\n}\r\n", "a", [Addition(8, (b"  x;",))])

    assert changed == b"server {\r\n  x; #certctl a\r\n  listen 80;\r\n}\r\n"


def test_only_the_marked_lines_are_removed_from_a_file_that_was_changed_since() -> None:
    changed = edited(b"server {\n    listen 80;\n}\n", "a", [Addition(8, (b"    x;",))])
    by_hand = changed.replace(b"listen 80;", b"listen 8080;\n    gzip on;") + b"# more\n"

    assert restored(by_hand, "a") == b"server {\n    listen 8080;\n    gzip on;\n}\n# more\n"


def test_a_comment_that_was_added_by_hand_does_not_swallow_the_next_line() -> None:
    changed = edited(ONE_LINE, "a", [Addition(8, (b"x;",))])
    by_hand = changed.replace(b"#certctl+ a", b"# by hand\n#certctl+ a")

    assert [each.name for each in walk(scan(restored(by_hand, "a")))] == [
        b"server",
        b"listen",
        b"server_name",
    ]


def test_lines_of_another_tag_stay() -> None:
    first = edited(b"server {\n}\n", "a.example", [Addition(8, (b"x;",))])
    both = edited(first, "a.example.org", [Addition(8, (b"y;",))])

    assert tags(both) == {"a.example", "a.example.org"}
    assert restored(both, "a.example.org") == first


fragments = st.lists(
    st.sampled_from(
        b"a;|b 'c\nd';|e\r\n f;|g {|}|\n|\r\n| |\t|# h\n|\xe9;".split(b"|")
    ),
    max_size=14,
)  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, list[Addition], list[Removal]]:
    """A file that can be read, lines to add after braces, and directives to take out."""
    text = b"".join(draw(fragments))
    depth = 0
    parts = []
    for byte in (text[at : at + 1] for at in range(len(text))):
        depth += {b"{": 1, b"}": -1}.get(byte, 0)
        if depth < 0:
            depth = 0
            continue
        parts.append(byte)
    source = b"".join(parts) + b"}" * depth
    found = list(walk(scan(source)))
    lines = (b"  x;", b"  y { z; }")
    additions = [
        Addition(at, lines)
        for each in found
        for at in (() if each.opened is None else (each.opened, each.end))
        if draw(st.booleans())
    ]
    removals = [
        Removal(each.start, each.end)
        for each in found
        if each.opened is None and draw(st.booleans())
    ]
    return source, additions, removals


@given(changes())
def test_undoing_gives_the_same_bytes(made: tuple[bytes, list[Addition], list[Removal]]) -> None:
    source, additions, removals = made

    assert restored(edited(source, "t", additions, removals), "t") == source


@given(changes())
def test_what_is_added_and_taken_out_is_what_nginx_reads(
    made: tuple[bytes, list[Addition], list[Removal]],
) -> None:
    source, additions, removals = made
    before = [(each.name, each.arguments) for each in walk(scan(source))]
    gone = [
        (each.name, each.arguments)
        for each in walk(scan(source))
        if any(each.start == removal.start for removal in removals)
    ]
    added: list[tuple[bytes, tuple[bytes, ...]]] = [(b"x", ()), (b"y", ()), (b"z", ())]

    changed = [
        (each.name, each.arguments) for each in walk(scan(edited(source, "t", additions, removals)))
    ]

    assert sorted(changed + gone) == sorted(before + added * len(additions))


@pytest.mark.parametrize("source", [b"", b"a;", b"a;\n", b"#certctl of somebody\n"])
def test_a_file_without_marked_lines_stays(source: bytes) -> None:
    assert restored(source, "a") == source
