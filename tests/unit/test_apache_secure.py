"""What `secure` changes in an Apache configuration: from files to files, without any Apache."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certctl.model.webserver import FileChange, SecureRequest, ServedFiles
from certctl.rules.apache_copies import existing
from certctl.rules.apache_dump import parse
from certctl.rules.apache_obstacles import obstacles
from certctl.rules.apache_secure import Edits, ModuleFile, Program, is_ours, plan
from certctl.rules.apache_sites import Configuration, read
from certctl.rules.apache_syntax import blocks, scan, words
from certctl.rules.configurations import Refused
from certctl.rules.marked_sections import Insertion, TakenOut, edited, restored, tags

FILES = ServedFiles("/h/challenges", "/h/a/fullchain.pem", "/h/a/privkey.pem", "/h/tls", "/h/none")
PROGRAM = Program(
    (2, 4, 57),
    {"headers": (ModuleFile("/a/mods-enabled/headers.load", b"../x", link=True),)},
)
MAIN = b"Listen 80\nListen 443\nInclude conf.d/*.conf\n"
SITE = (
    b"<VirtualHost *:80>\n    ServerName a.example\n    ServerAlias b.example\n    X y\n"
    b"</VirtualHost>\n"
)
FIRST = ("conf.d/a.conf", SITE)


def dump(hosts: str, *files: str, modules: str = "rewrite ssl authz_core") -> str:
    included = "".join(f"    (3) /a/{each}\n" for each in files)
    loaded = "".join(f" {each}_module (shared)\n" for each in modules.split())
    return (
        f"Included configuration files:\n  (*) /a/main\n{included}"
        f"VirtualHost configuration:\n{hosts}"
        f'ServerRoot: "/a"\nPidFile: "/run/a.pid"\nDefine: DUMP_VHOSTS\n'
        f"Loaded Modules:\n{loaded}"
    )


def configuration(
    hosts: str,
    *files: tuple[str, bytes],
    main: bytes = MAIN,
    modules: str = "rewrite ssl authz_core",
) -> Configuration:
    every = {"/a/main": main, **{f"/a/{name}": data for name, data in files}}
    text = dump(hosts, *(name for name, _ in files), modules=modules)

    def without(data: bytes) -> bytes:
        return restored(restored(data, "a.example"), "*")

    return read(
        parse(text), every.__getitem__, without, lambda path: is_ours(path, "a.example", last=True)
    )


def request(*names: str, **more: object) -> SecureRequest:
    wanted = {"tag": names[0], "names": names, "redirect": frozenset(names), **more}
    return SecureRequest(**wanted)  # type: ignore[arg-type]  # as the test writes it


ONE = "*:80                   a.example (/a/conf.d/a.conf:1)\n"


def change(edits: Edits, ending: str) -> FileChange:
    return next(each for each in edits.changes.files if each.path.endswith(ending))


def test_what_apache_says_is_read() -> None:
    found = parse(
        dump(
            "127.0.0.1:80           two.example (/a/x (1).conf:6)\n"
            "*:80                   is a NameVirtualHost\n"
            "         default server One.example (/a/x.conf:1)\n"
            "         port 80 namevhost One.example (/a/x.conf:1)\n"
            "                 alias www.one.example\n"
            "                 wild alias *.wild.example\n"
            "         port 80 namevhost m.example (macro 'v' (defined on line 2 of"
            ' "/a/x") used on line 7 of "/a/x":1)\n'
            "[::1]:*                six.example (/a/x.conf:9)\n",
            "x.conf",
        )
    )

    assert [
        (each.address, each.port, each.line, each.names, each.patterns) for each in found.hosts
    ] == [
        ("127.0.0.1", 80, 6, ("two.example",), ()),
        ("*", 80, 1, ("one.example", "www.one.example"), ("*.wild.example",)),
        ("*", 80, 1, ("m.example",), ()),
        ("[::1]", 0, 9, ("six.example",), ()),
    ]
    assert [(each.path, each.parent, each.line) for each in found.files] == [
        ("/a/main", "", 0),
        ("/a/x.conf", "/a/main", 3),
    ]
    assert found.modules == {"rewrite", "ssl", "authz_core"}


def test_lines_that_a_backslash_joins_are_one_also_in_a_comment() -> None:
    lines = scan(
        b"# a \\\n<VirtualHost x>\n<VirtualHost \\\r\n  *:80>\r\n"
        b" X \"a b\" 'c d' e\\\n f\n</virtualhost>"
    )

    assert [(each.number, each.name) for each in lines] == [
        (2, b""),
        (4, b"<virtualhost"),
        (6, b"x"),
        (7, b"</virtualhost"),
    ]
    assert lines[1].arguments == (b"*:80",)
    assert lines[2].arguments == (b"a b", b"c d", b"e", b"f")
    assert len(blocks(lines)) == 1


def test_words_have_no_quotes() -> None:
    assert words(rb'"a \"b\"" c "" d') == (b'a "b"', b"c", b"", b"d")


@given(st.lists(st.sampled_from([b"A b\n", b"# c\r\n", b"D \\\n", b"  e\n", b"\n"]), min_size=1))
def test_marked_sections_are_undone_byte_for_byte(parts: list[bytes]) -> None:
    source = b"".join(parts)
    starts = [each.start for each in scan(source)]
    last = scan(source)[-1]

    changed = edited(
        source, "t", [Insertion(starts[0], (b"  x", b"  y"))], [TakenOut(last.start, last.end)]
    )

    assert restored(changed, "t") == source
    assert restored(changed, "other") == changed
    assert tags(changed) == {"t"}


def test_a_section_whose_end_is_gone_loses_its_first_line_only() -> None:
    changed = edited(b"A\n", "t", [Insertion(0, (b"x",))])

    assert restored(changed.replace(b"#certctl end t\n", b""), "t") == b"x\nA\n"


def test_the_copy_has_only_certified_names_and_what_is_undone_is_the_original() -> None:
    found = configuration(ONE, FIRST)

    edits = plan(found, request("a.example"), PROGRAM, FILES)

    copy = change(edits, "/zz-certctl-site-a.example.conf")
    assert (copy.source, copy.first) == (None, None)
    assert b"ServerName a.example\n" in copy.final
    assert b"b.example" not in copy.final
    assert b"    X y\n" in copy.final
    block = change(edits, "a.conf")
    assert block.first is not None
    assert (b"R=301" in block.first, b"R=301" in block.final) == (False, True)
    assert restored(block.final, "a.example") == SITE
    assert [each.path for each in edits.changes.files][-1] == block.path


def test_what_names_the_protocol_of_visitors_differs_in_the_copy() -> None:
    inner = (
        b"    RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}\n"
        b"    RequestHeader set X-Forwarded-Proto http env=y\n"
        b"    WSGIDaemonProcess one \\\n        threads=2\n"
    )
    found = configuration(ONE, ("conf.d/a.conf", SITE.replace(b"    X y\n", inner)))

    copy = change(plan(found, request("a.example"), PROGRAM, FILES), "site-a.example.conf").final

    assert b'    RequestHeader set X-Forwarded-Proto "https" env=y\n' in copy
    assert b"\n    #certctl# WSGIDaemonProcess one \\ #certctl a.example\n" in copy
    assert b"\n    RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}\n" in copy


def test_a_copy_that_was_edited_is_not_written_again_from_its_original() -> None:
    found = configuration(ONE, FIRST)
    first = change(plan(found, request("a.example"), PROGRAM, FILES), "site-a.example.conf")
    by_hand = first.final.replace(b"X y", b"X z")
    there = Program((2, 4, 57), PROGRAM.modules, there={first.path: by_hand})

    again = change(
        plan(found, request("a.example", hsts=True), there, FILES), "site-a.example.conf"
    )

    assert (b"    X z\n" in again.final, b"Strict-Transport" in again.final) == (True, True)
    assert existing(again.final, "a.example").edited is True
    assert existing(first.final, "a.example").edited is False


DEFAULT = "         default server {0} ({1}:1)\n         port 443 namevhost {0} ({1}:1)\n"


@pytest.mark.parametrize(
    ("where", "refused"), [("conf.d/z.conf", False), ("conf.d/zzz.conf", False), ("end.conf", True)]
)
def test_a_default_of_port_443_stays_it(where: str, refused: bool) -> None:
    own = b"<VirtualHost *:443>\nServerName z.example\nSSLEngine on\n</VirtualHost>\n"
    hosts = f"{ONE}*:443                  z.example (/a/{where}:1)\n"
    main = MAIN + b"Include end.conf\n"
    found = configuration(hosts, FIRST, (where, own), main=main)
    if refused:  # it is read later than conf.d
        files = tuple(
            each if each.path != "/a/end.conf" else type(each)(each.path, each.parent, 4)
            for each in found.dump.files
        )
        found = type(found)(
            type(found.dump)(
                files, found.dump.hosts, found.dump.modules, found.dump.defines, "/a", "/run/a.pid"
            ),
            found.files, found.hosts, found.strange, found.includes, found.listed,
        )  # fmt: skip
        with pytest.raises(Refused, match="answers for unknown names at port 443"):
            plan(found, request("a.example"), PROGRAM, FILES)
        return

    edits = plan(found, request("a.example"), PROGRAM, FILES)

    assert not any("default" in each.path for each in edits.changes.files)


@pytest.mark.parametrize(
    ("main", "listens"),
    [
        (b"Listen 80\n", ["443"]),
        (b"Listen 127.0.0.1:80\nListen [::1]:80\n", ["127.0.0.1:443", "[::1]:443"]),
        (b"Listen 80\n<IfModule ssl_module>\nListen 443\n</IfModule>\n", []),
        (b"Listen 80\n<IfModule !mod_ssl.c>\nListen 443\n</IfModule>\n", ["443"]),
        (b"Listen 80\n<IfDefine TLS>\nListen 443\n</IfDefine>\n", ["443"]),
        (b"Listen 80\nListen *:443 https\n", []),
    ],
)
def test_apache_listens_where_it_does_not_yet(main: bytes, listens: list[str]) -> None:
    found = configuration(ONE, FIRST, main=main + b"Include conf.d/*.conf\n")

    default = change(plan(found, request("a.example"), PROGRAM, FILES), "default.conf").final

    added = [
        each.split()[1].decode() for each in default.splitlines() if each.startswith(b"Listen")
    ]
    assert added == listens


@pytest.mark.parametrize(
    ("line", "redirected"),
    [
        (b"RequestHeader set X-Forwarded-Proto http", True),
        (b"RemoteIPHeader X-Forwarded-For", False),
        (b"SetEnvIf X-Forwarded-Proto https HTTPS=on", False),
        (b"RewriteEngine On\nRewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [END]", None),
    ],
)
def test_nothing_is_redirected_behind_a_proxy(line: bytes, redirected: bool | None) -> None:
    found = configuration(ONE, ("conf.d/a.conf", SITE.replace(b"X y", line)))
    if redirected is None:
        with pytest.raises(Refused, match="redirects every request to HTTPS"):
            plan(found, request("a.example"), PROGRAM, FILES)
        return

    final = change(plan(found, request("a.example"), PROGRAM, FILES), "a.conf").final

    assert (b"R=301" in final) is redirected


@pytest.mark.parametrize(
    ("condition", "refused"),
    [
        (b"RewriteCond %{HTTPS} off", False),
        (b"RewriteCond %{SERVER_PORT} !=443 [NC]", False),
        (b"RewriteCond %{request_scheme} =http\n    # a comment", False),
        (b"RewriteCond %{SERVER_NAME} =a.example", True),
        (b"RewriteCond %{HTTP:X-Forwarded-Proto} !https", True),
        (b"RewriteCond %{HTTPS} off\n    RewriteRule ^/x /y", True),
        (b"# none", True),
    ],
)
def test_a_redirect_to_https_of_what_did_not_come_by_tls_leaves_something_to_serve(
    condition: bytes, refused: bool
) -> None:
    rule = b"RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301,L]"
    inner = b"RewriteEngine On\n    " + condition + b"\n    " + rule
    found = configuration(ONE, ("conf.d/a.conf", SITE.replace(b"X y", inner)))

    if refused:
        with pytest.raises(Refused, match="redirects every request to HTTPS"):
            plan(found, request("a.example"), PROGRAM, FILES)
    else:
        edits = plan(found, request("a.example", redirect=frozenset({"a.example"})), PROGRAM, FILES)
        assert b'RewriteCond "%{HTTP_HOST}' not in change(edits, "a.conf").final


def test_what_answers_or_refuses_before_the_lines_is_named() -> None:
    found = configuration(ONE, FIRST)
    source = change(plan(found, request("a.example"), PROGRAM, FILES), "a.conf").final
    above = source.replace(b"*:80>\n", b"*:80>\n    RewriteRule ^ - [F]\n", 1)
    below = source.replace(
        b"</VirtualHost>",
        b"RewriteEngine off\n<Location />\nRequire ip ::1\n</Location>\n</VirtualHost>",
    )

    assert obstacles({"/x": source}, "a.example") == []
    assert obstacles({"/x": above}, "a.example") == ["/x:2 (RewriteRule)"]
    assert [each.partition(" ")[2] for each in obstacles({"/x": below}, "a.example") or ()] == [
        "(RewriteEngine Off)",
        "(require)",
    ]
    assert obstacles({"/x": SITE}, "a.example") is None


def test_a_module_that_is_not_installed_is_named() -> None:
    found = configuration(ONE, FIRST, modules="rewrite authz_core")

    with pytest.raises(Refused, match="Apache does not load mod_ssl, which is needed"):
        plan(found, request("a.example"), PROGRAM, FILES)


def test_two_certificates_have_their_own_lines_in_one_virtual_host() -> None:
    first = change(plan(configuration(ONE, FIRST), request("a.example"), PROGRAM, FILES), "a.conf")
    found = configuration(ONE, ("conf.d/a.conf", first.final))
    other = read(
        found.dump,
        {"/a/main": MAIN, "/a/conf.d/a.conf": first.final}.__getitem__,
        lambda data: restored(data, "b.example"),
        lambda path: is_ours(path, "b.example", last=False),
    )

    edits = plan(other, request("b.example"), PROGRAM, FILES)

    second = change(edits, "a.conf").final
    assert second.count(b"R=301") == 2
    assert b"RewriteRule" not in change(edits, "site-b.example.conf").final
    assert restored(restored(second, "a.example"), "b.example") == SITE


def test_a_certificate_for_a_pattern_too_is_not_replaced() -> None:
    own = b"<VirtualHost *:443>\nServerName x.example\nServerAlias *.example\nSSLEngine on\n"
    hosts = f"{ONE}*:443                  x.example (/a/conf.d/b.conf:1)\n"
    found = configuration(hosts, FIRST, ("conf.d/b.conf", own + b"</VirtualHost>\n"))

    with pytest.raises(Refused, match=r"has a certificate for \*.example too"):
        plan(found, request("a.example", "x.example", "b.example"), PROGRAM, FILES)


@pytest.mark.parametrize("port", [b"\xb2", b"9" * 5000])
def test_a_listen_whose_port_is_no_number_is_no_port(port: bytes) -> None:
    hosts = "*:80 a.example (/a/conf.d/a.conf:1)\n"
    found = configuration(hosts, FIRST, main=MAIN + b"Listen *:" + port + b"\n")

    assert {each.port for each in found.listens()} == {0, 80, 443}
