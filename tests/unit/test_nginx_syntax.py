"""Where the directives of an nginx file are: what its own reader says, byte for byte."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.rules.nginx_syntax import Directive, SyntaxProblem, scan, walk


def names(source: bytes) -> list[tuple[bytes, tuple[bytes, ...]]]:
    return [(each.name, each.arguments) for each in walk(scan(source))]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"listen 80;", [(b"listen", (b"80",))]),
        (b"a 'b c' \"d;}\";", [(b"a", (b"b c", b"d;}"))]),
        (b"a b#c; # d }\ne;", [(b"a", (b"b#c",)), (b"e", ())]),
        (b"if ($x = \"y\") { z; }", [(b"if", (b"($x", b"=", b"y", b")")), (b"z", ())]),
        (b"a ${b}c{ d; }", [(b"a", (b"${b}c",)), (b"d", ())]),
        (b"a \\;b;", [(b"a", (b"\\;b",))]),
        (b"a \"\\\"b\";", [(b"a", (b'"b',))]),
        (b"a ~^\\d+\\.x$;", [(b"a", (b"~^\\d+\\.x$",))]),
        (b"a\r\n\tb\r\n;\r\n", [(b"a", (b"b",))]),
        (b"a caf\xe9;", [(b"a", (b"caf\xe9",))]),
        (b"server{listen 80;server_name a b;}", [
            (b"server", ()), (b"listen", (b"80",)), (b"server_name", (b"a", b"b"))
        ]),
        (b"content_by_lua_block { if x then y = '}' end -- }\n z = [[}]] t = {} } a;", [
            (b"content_by_lua_block", ()), (b"a", ())
        ]),
        (b"set_by_lua_block $r { return \"\\\"}\" --[==[ } ]==] } a;", [
            (b"set_by_lua_block", (b"$r",)), (b"a", ())
        ]),
        (b"# only a comment", []),
    ],
)  # fmt: skip
def test_words_are_those_of_nginx(
    source: bytes, found: list[tuple[bytes, tuple[bytes, ...]]]
) -> None:
    assert names(source) == found


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b"a {\nb;\n", 1),
        (b"a;\n}", 2),
        (b"a;\n;", 2),
        (b"a 'b", 1),
        (b"a\nb", 2),
        (b'a;\nb "c"d;', 2),
        (b"{ }", 1),
        (b"a;\nx_by_lua_block { '}'", 2),
        (b"a }", 1),
    ],
)
def test_what_nginx_cannot_read_is_refused_with_its_line(source: bytes, line: int) -> None:
    with pytest.raises(SyntaxProblem) as problem:
        scan(source)

    assert problem.value.line == line


def test_a_directive_is_at_its_line_and_offsets() -> None:
    source = b"http {\r\n  server { # {\r\n    listen 80;\r\n  }\r\n}\r\n"
    (http,) = scan(source)
    (server,) = http.children
    (listen,) = server.children

    assert (http.line, server.line, listen.line) == (1, 2, 3)
    assert server.opened is not None
    assert source[server.start : server.opened] == b"server {"
    assert source[listen.start : listen.end] == b"listen 80;"
    assert source[server.end - 1 : server.end] == b"}"


words = st.binary(min_size=1, max_size=6).filter(
    lambda text: not set(text) & set(b" \t\r\n;{}#\"'\\$")
)
spaces = st.sampled_from([b" ", b"\n", b"\r\n  ", b"\t", b" # a { comment ; }\n", b"\n#\n"])


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[bytes, list[object]]:
    """A file, and what its directives are: name, arguments and, of a block, those in it."""
    source = b""
    tree: list[object] = []
    for _ in range(draw(st.integers(0, 4))):
        text = [draw(words) for _ in range(draw(st.integers(1, 3)))]
        quoted = [draw(st.sampled_from([b"%s", b'"%s"', b"'%s'"])) % each for each in text]
        source += draw(spaces) + draw(spaces).join(quoted)
        if depth and not text[0].endswith(b"_by_lua_block") and draw(st.booleans()):
            inner, children = draw(trees(depth - 1))
            source += draw(spaces) + b"{" + inner + draw(spaces) + b"}"
            tree.append((text[0], tuple(text[1:]), children))
        else:
            source += b";"
            tree.append((text[0], tuple(text[1:]), None))
    return source, tree


def plain(directives: tuple[Directive, ...]) -> list[object]:
    return [
        (each.name, each.arguments, None if each.opened is None else plain(each.children))
        for each in directives
    ]


@given(trees())
def test_every_tree_is_read_as_it_was_written(made: tuple[bytes, list[object]]) -> None:
    source, tree = made

    assert plain(scan(source)) == tree


@given(trees())
def test_offsets_cut_out_whole_directives(made: tuple[bytes, list[object]]) -> None:
    source, _ = made

    for each in walk(scan(source)):
        (alone,) = scan(source[each.start : each.end])
        assert plain((alone,)) == plain((each,))


@given(st.binary(max_size=60))
def test_no_bytes_break_it(source: bytes) -> None:
    with contextlib.suppress(SyntaxProblem):
        assert all(each.end <= len(source) for each in walk(scan(source)))
