"""What `secure` changes in an nginx configuration: from files to files, without any nginx."""

from collections.abc import Mapping

import pytest

from certctl.model.webserver import SecureRequest, ServedFiles
from certctl.rules.configurations import Refused
from certctl.rules.marked_lines import restored
from certctl.rules.nginx_lines import Program
from certctl.rules.nginx_obstacles import obstacles
from certctl.rules.nginx_secure import Edits, plan
from certctl.rules.nginx_sites import Configuration, Match, read, servers_of_dump

FILES = ServedFiles("/h/challenges", "/h/live/a/fullchain.pem", "/h/live/a/privkey.pem", "/h/tls")
MODULES = frozenset({"http_v2", "http_auth_request"})
OLD = Program((1, 18, 0), with_=MODULES)
USUAL = Program((1, 22, 1), with_=MODULES)
NEW = Program((1, 27, 2), with_=MODULES)
HTTP2 = "listen 443 ssl http2"


def configuration(servers: bytes, files: Mapping[str, bytes] | None = None) -> Configuration:
    every = {"/n/main": b"http {\n" + servers + b"}\n", **(files or {})}
    return read("/n/main", every.__getitem__, lambda pattern: (pattern,))


def _itself(pattern: str) -> tuple[str]:
    return (pattern,)


def block(*lines: str) -> bytes:
    return "".join(("server {\n", *(f"  {line}\n" for line in lines), "}\n")).encode()


def request(*names: str, **more: object) -> SecureRequest:
    wanted = {"tag": names[0], "names": names, "redirect": frozenset(names), **more}
    return SecureRequest(**wanted)  # type: ignore[arg-type]  # as the test writes it


def loaded(main: bytes) -> Configuration:
    """A configuration in which our lines are."""
    files = {"/n/main": main, "/h/tls": b""}
    return read("/n/main", files.__getitem__, lambda pattern: (pattern,))


SITE = block("listen 80;", "server_name a.example;")
DEFAULT = block("listen 80 default_server;")


def added(edits: Edits) -> list[str]:
    """The lines that are added to the changed file, without marks and indentation."""
    (change,) = edits.changes.files
    marked = [each.strip().partition(b" #certctl ") for each in change.final.splitlines()]
    return [text.decode() for text, mark, _ in marked if mark and not text.startswith(b"#")]


@pytest.mark.parametrize(
    ("program", "there", "absent"),
    [
        (OLD, ["listen 443 ssl http2 default_server;", "return 444;"], "http2 on;"),
        (
            USUAL,
            ["listen 443 ssl http2 default_server;", "ssl_reject_handshake on;"],
            "return 444;",
        ),
        (NEW, ["listen 443 ssl default_server;", "http2 on;"], "listen 443 ssl http2;"),
    ],
)
def test_lines_are_those_of_the_running_version(
    program: Program, there: list[str], absent: str
) -> None:
    found = configuration(DEFAULT + SITE)

    lines = added(plan(found, request("a.example"), program, FILES))

    assert [each for each in there if each not in lines] == []
    assert absent not in lines


def test_modules_that_were_left_out_are_not_used() -> None:
    program = Program((1, 22, 1), frozenset({"http_access", "http_auth_basic"}))
    found = configuration(SITE)

    lines = added(plan(found, request("a.example"), program, FILES))

    assert {"allow all;", "auth_basic off;", "auth_request off;"} & set(lines) == set()
    assert not any("http2" in line for line in lines)


@pytest.mark.parametrize(
    ("servers", "listens"),
    [
        (SITE, ["listen 443 ssl;"]),
        (block("listen [::]:80;", "server_name a.example;"), ["listen [::]:443 ssl;"]),
        (
            block("listen 192.0.2.1:80;", "server_name a.example;"),
            ["listen 192.0.2.1:443 ssl;"],
        ),
        # An address of its own would take visitors away from the block at all addresses.
        (
            block("listen 192.0.2.1:80;", "server_name a.example;")
            + block("listen 443 ssl;", "server_name b.example;"),
            ["listen 443 ssl;"],
        ),
        # A block at all addresses is not asked at one that has a block of its own.
        (
            SITE + block("listen 192.0.2.1:443 ssl;", "server_name b.example;"),
            ["listen 443 ssl;", "listen 192.0.2.1:443 ssl;"],
        ),
        # `[::]` takes IPv4 too where a block says so, here or there.
        (
            SITE + block("listen [::]:443 ssl ipv6only=off;", "server_name b.example;"),
            ["listen [::]:443 ssl;"],
        ),
        (
            block("listen [::]:80 ipv6only=off;", "server_name a.example;")
            + block("listen [::]:443 ssl;", "server_name b.example;"),
            ["listen [::]:443 ssl;", "listen 443 ssl;"],
        ),
        # nginx implies port 80 only where there is no `listen` at all.
        (block("server_name a.example;"), ["listen 80;", "listen 443 ssl;"]),
    ],
)
def test_tls_is_spoken_where_visitors_arrive(servers: bytes, listens: list[str]) -> None:
    found = configuration(servers)

    edits = plan(found, request("a.example"), USUAL, FILES)

    shown = [each for each in added(edits) if each.startswith("listen") and "default" not in each]
    assert shown == listens


def test_no_second_default_is_added_where_there_is_one() -> None:
    found = configuration(SITE + block("listen 443 ssl;", "server_name b.example;"))

    lines = added(plan(found, request("a.example"), USUAL, FILES))

    assert [each for each in lines if "default_server" in each] == [
        "listen 443 ssl default_server;"
    ]
    assert "server {" not in lines


@pytest.mark.parametrize("text", ["\n", "\r\n", " "])
def test_the_block_that_was_the_default_stays_it(text: str) -> None:
    other = block("listen 443 ssl;", "listen [::]:443 ssl;", "server_name b.example;")
    found = configuration((SITE + other).replace(b"\n", text.encode()))

    (change,) = plan(found, request("a.example"), USUAL, FILES).changes.files

    after = loaded(change.final).default(("*", 443))
    assert after is not None
    assert after.names == ("b.example",)
    assert b"listen 443 ssl default_server; #certctl *" in change.final
    assert change.first is not None
    assert b"listen 443 ssl" not in change.first.replace(b"  listen 443 ssl;", b"")
    assert restored(restored(change.final, "a.example"), "*") == found.files["/n/main"]


@pytest.mark.parametrize(
    "servers",
    [
        block("listen 443 ssl;", "server_name b.example;") + SITE,
        SITE + block("listen 443 ssl default_server;", "server_name b.example;"),
    ],
)
def test_a_default_that_stays_it_anyway_is_not_marked(servers: bytes) -> None:
    lines = added(plan(configuration(servers), request("a.example"), USUAL, FILES))

    assert [each for each in lines if "default_server" in each] == []


@pytest.mark.parametrize("listen", ["443", "192.0.2.1:443", "440-450"])
def test_a_port_that_a_block_outside_http_has_is_refused(listen: str) -> None:
    stream = f"stream {{\n  server {{ listen {listen}; proxy_pass x; }}\n}}\n".encode()
    found = read("/n/main", {"/n/main": b"http {\n" + SITE + b"}\n" + stream}.__getitem__, _itself)

    with pytest.raises(Refused, match=r"/n/main:8 listens on port 443, and does not speak HTTP"):
        plan(found, request("a.example"), USUAL, FILES)


def test_names_that_a_pattern_would_take_from_their_block_are_told() -> None:
    other = block("listen 80;", "server_name b.a.example;")
    tenants = SITE.replace(b"a.example", b".a.example")

    notes = plan(configuration(tenants + other), request("a.example"), USUAL, FILES).changes.notes

    assert [each for each in notes if each.startswith("https://b.a.example will be answered")] != []
    assert [each for each in notes if each.startswith("HTTPS is refused")] == []


def test_a_block_with_the_name_at_another_port_is_told() -> None:
    servers = DEFAULT + block("listen 8080;", "server_name a.example;")

    notes = plan(configuration(servers), request("a.example"), USUAL, FILES).changes.notes

    assert "/n/main:5 has a.example too, but not at port 80 (at 8080); it stays" in notes


def test_options_of_the_socket_are_repeated_once() -> None:
    servers = block("listen [::]:80 ipv6only=off;", "server_name a.example;")

    lines = added(plan(configuration(servers), request("a.example"), USUAL, FILES))

    assert [each for each in lines if "ipv6only" in each] == [
        "listen [::]:443 ssl http2 default_server ipv6only=off;"
    ]


@pytest.mark.parametrize(
    ("servers", "line"),
    [
        (DEFAULT + SITE, "if ($scheme = http) {"),
        (SITE, 'if ($certctl_request ~ "^http:(a\\.example)$") {'),
        (
            DEFAULT + block("listen 80;", "server_name a.example b.example;"),
            'if ($certctl_request ~ "^http:(a\\.example)$") {',
        ),
    ],
)
def test_only_the_certified_names_are_redirected(servers: bytes, line: str) -> None:
    lines = added(plan(configuration(servers), request("a.example"), USUAL, FILES))

    assert [each for each in lines if each.startswith("if")] == [line]


@pytest.mark.parametrize(
    "line",
    [
        "set_real_ip_from 192.0.2.0/24;",
        "proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;",
        "if ($scheme = http) { return 302 https://a.example$request_uri; }",
        "return 301 http://b.example/;",
    ],
)
def test_nothing_is_redirected_behind_a_proxy_or_a_redirect(line: str) -> None:
    servers = block("listen 80;", "server_name a.example;", line)

    lines = added(plan(configuration(servers), request("a.example"), USUAL, FILES))

    redirected = any("$request_uri" in each for each in lines)
    assert redirected is line.startswith("return")  # elsewhere: the visitor comes by HTTPS first


def test_hsts_repeats_the_headers_that_the_block_would_inherit_no_more() -> None:
    found = configuration(b"add_header X-One 1;\n" + SITE)

    edits = plan(found, request("a.example", hsts=True), USUAL, FILES)

    (change,) = edits.changes.files
    assert change.final.count(b"add_header X-One 1;") == 2
    assert b"add_header Strict-Transport-Security $certctl_hsts always;" in change.final


def test_a_block_keeps_its_own_settings_of_tls() -> None:
    servers = block("listen 80;", "server_name a.example;", "ssl_protocols TLSv1.3;")

    (change,) = plan(configuration(servers), request("a.example"), USUAL, FILES).changes.files

    inside = change.final.partition(b"default_server")[0]
    assert b"include /h/tls;" not in inside


def test_a_certificate_that_the_block_has_for_another_port_is_replaced() -> None:
    own = ("listen 80;", "listen 8443 ssl;", "ssl_certificate x;", "ssl_certificate_key y;")
    servers = block(*own, "server_name a.example;")

    (change,) = plan(configuration(servers), request("a.example"), USUAL, FILES).changes.files

    assert b"  #certctl# ssl_certificate x; #certctl a.example\n" in change.final
    assert b"  #certctl# ssl_certificate_key y; #certctl a.example\n" in change.final
    assert change.final.count(b" ssl_certificate /h/live/a/fullchain.pem;") == 1
    assert restored(restored(change.final, "a.example"), "*") == change.source


def test_a_certificate_for_more_names_is_not_replaced() -> None:
    servers = SITE + block(
        "listen 443 ssl;", "server_name a.example b.example;", "ssl_certificate x;"
    )

    with pytest.raises(Refused, match=r"has a certificate for b\.example too") as refused:
        plan(configuration(servers), request("a.example"), USUAL, FILES)

    assert refused.value.hint == (
        "Give all its names in one command: certctl secure a.example b.example"
    )


def test_a_certificate_from_an_included_file_goes_with_the_include() -> None:
    servers = SITE + block("listen 443 ssl;", "server_name a.example;", "include /n/snakeoil;")
    found = configuration(servers, {"/n/snakeoil": b"ssl_certificate x;\nssl_certificate_key y;\n"})

    (change,) = plan(found, request("a.example"), USUAL, FILES).changes.files

    assert b"  #certctl# include /n/snakeoil; #certctl a.example\n" in change.final


def test_an_included_file_with_more_in_it_is_refused() -> None:
    servers = SITE + block("listen 443 ssl;", "server_name a.example;", "include /n/more;")
    found = configuration(servers, {"/n/more": b"ssl_certificate x;\nroot /srv;\n"})

    with pytest.raises(Refused, match="has a line that would have to go, among others"):
        plan(found, request("a.example"), USUAL, FILES)


def test_lines_for_tls_stay_while_more_names_are_validated() -> None:
    servers = SITE + block("listen 80;", "server_name b.example;")

    edits = plan(
        configuration(servers),
        request("a.example", "b.example", served=("a.example",)),
        USUAL,
        FILES,
    )

    (change,) = edits.changes.files
    assert change.first is not None
    first, second = change.first.split(b"server_name a.example;")
    assert (b"listen 443 ssl;" in first, b"listen 443 ssl;" in second) == (True, False)


@pytest.mark.parametrize("text", [SITE, SITE.replace(b"\n", b"\r\n"), SITE.replace(b"\n", b" ")])
def test_every_step_is_undone_byte_for_byte(text: bytes) -> None:
    found = configuration(text)

    (change,) = plan(found, request("a.example", hsts=True), USUAL, FILES).changes.files

    assert change.first is not None
    for data in (change.first, change.final):
        assert restored(restored(data, "a.example"), "*") == found.files["/n/main"]


@pytest.mark.parametrize(
    ("names", "host", "found"),
    [
        (["a.example"], "a.example", Match.EXACT),
        ([".a.example"], "a.example", Match.EXACT),
        ([".a.example"], "x.a.example", Match.WILDCARD_AT_START),
        (["*.example"], "a.example", Match.WILDCARD_AT_START),
        (["a.*"], "a.example", Match.WILDCARD_AT_END),
        (["~^(?<sub>.+)\\.example$"], "a.example", Match.EXPRESSION),
        (["b.example"], "a.example", Match.DEFAULT),
        (["~("], "a.example", Match.DEFAULT),
    ],
)
def test_names_match_as_in_nginx(names: list[str], host: str, found: Match) -> None:
    servers = block("listen 80;", f"server_name {' '.join(names)};")

    answer = configuration(servers).answering(("*", 80), host)

    assert answer is not None
    assert answer[1] is found


def test_a_path_with_a_dollar_sign_is_refused() -> None:
    files = ServedFiles("/h$/challenges", FILES.fullchain, FILES.privkey, FILES.tls_settings)

    with pytest.raises(Refused, match="a dollar sign begins a variable"):
        plan(configuration(SITE), request("a.example"), USUAL, files)


@pytest.mark.parametrize(
    ("above", "found"),
    [
        ("return 301 https://b.example/;", ["/n/main:3 (return)"]),
        ("if ($host = b) { return 404; }", ["/n/main:3 (if)"]),
        ("rewrite ^ /x last;", ["/n/main:3 (rewrite)"]),
        ("set $x y;", []),
    ],
)
def test_what_answers_before_the_lines_is_named(above: str, found: list[str]) -> None:
    (change,) = plan(configuration(SITE), request("a.example"), USUAL, FILES).changes.files
    edited = change.final.replace(b"server {", f"server {{\n  {above}".encode(), 1)

    assert obstacles(loaded(edited), "a.example") == found


def test_an_exact_location_and_lines_that_are_gone_are_named() -> None:
    (change,) = plan(configuration(SITE), request("a.example"), USUAL, FILES).changes.files
    exact = b"  location = /.well-known/acme-challenge/x { }\n}\nserver { #certctl *"
    edited = change.final.replace(b"}\nserver { #certctl *", exact)

    assert obstacles(loaded(edited), "a.example") == ["/n/main:21 (location)"]
    assert obstacles(configuration(SITE), "a.example") is None


def test_a_dump_of_nginx_shows_every_address_also_in_one_line() -> None:
    dump = (
        b"# configuration file /n/main:\nhttp { include /n/a; }\n# configuration file /n/a:\n"
        b"server { listen 127.0.0.1:8443 ssl; listen 80; }\n# listen 1 ssl;\n"
        b"server { listen unix:/x ssl; }"
    )

    assert [[each.place for each in block if each.ssl] for block in servers_of_dump(dump)] == [
        [("127.0.0.1", 8443)],
        [("unix:/x", 0)],
    ]


def test_a_certificate_for_a_pattern_too_is_not_replaced() -> None:
    own = block("listen 443 ssl;", "server_name a.example *.example;")

    with pytest.raises(Refused, match=r"has a certificate for \*.example too"):
        plan(configuration(SITE + own), request("a.example"), USUAL, FILES)
