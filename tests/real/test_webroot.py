"""HTTP-01 through the directory of a web server that runs already: nginx, and a small one that sees
how the files look while the CA asks for them.
"""

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.lab.authority import AcmeServer
from tests.lab.http import answers
from tests.lab.pebble import PebbleServer
from tests.lab.processes import ServerProcess
from tests.lab.programs import program, require
from tests.real.driver import host, names


class Served(SimpleHTTPRequestHandler):
    """Serves a directory, and notes the modes of the file asked for and of the directories above
    it.
    """

    def __init__(self, *arguments: Any, modes: list[list[str]], **keywords: Any) -> None:
        self.modes = modes
        super().__init__(*arguments, **keywords)

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            way = [path, *path.parents[:2]]
            self.modes.append([stat.filemode(each.stat().st_mode) for each in way])
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(directory: Path, port: int) -> Iterator[list[list[str]]]:
    """Serve a directory; what it yields grows by the modes along each file that was asked for."""
    modes: list[list[str]] = []
    handler = partial(Served, directory=str(directory), modes=modes)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield modes
        finally:
            server.shutdown()
            thread.join()


def contents(directory: Path) -> list[str]:
    """Everything below a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@contextmanager
def nginx(directory: Path, port: int, sites: Sequence[tuple[str, Path]]) -> Iterator[ServerProcess]:
    """Run nginx with a server block for each name and its directory."""
    blocks = "".join(
        f"server {{ listen 127.0.0.1:{port}; server_name {name}; root {root}; }}\n"
        for name, root in sites
    )
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # pytest's directories are its user's alone
    config = directory / "nginx.conf"
    config.write_text(
        f"{user}daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{ }}\nhttp {{ access_log off;\n{temporary}{blocks}}}\n"
    )
    with ServerProcess(
        [
            program("nginx"),
            "-p",
            str(directory),
            "-e",
            str(directory / "error.log"),
            "-c",
            str(config),
        ],
        directory=directory,
        ready=lambda: answers(f"http://127.0.0.1:{port}/"),
    ) as server:
        yield server


def test_a_web_server_answers_for_its_directory_which_is_as_it_was_afterwards(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, root = host(tmp_path, authority), tmp_path / "www"
    root.mkdir()
    (root / "index.html").write_text("hello")

    with serving(root, authority.http_port):
        here.issue("webroot.example", "www.webroot.example", "--webroot", str(root))

    assert names(here.leaf("webroot.example")) == ["webroot.example", "www.webroot.example"]
    assert (contents(root), here.leftovers()) == (["index.html"], [])


def test_directories_that_were_there_stay(pebble: PebbleServer, tmp_path: Path) -> None:
    here, root = host(tmp_path, pebble), tmp_path / "www"
    (root / ".well-known").mkdir(parents=True)
    (root / ".well-known" / "security.txt").write_text("Contact: mailto:a@stay.example")

    with serving(root, pebble.http_port):
        here.issue("stay.example", "--webroot", str(root))

    assert contents(root) == [".well-known", ".well-known/security.txt"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_web_server_s_user_can_read_the_answer_and_nobody_can_change_it(
    pebble: PebbleServer, tmp_path: Path, umask: int
) -> None:
    here, root = host(tmp_path, pebble), tmp_path / "www"
    root.mkdir()

    with serving(root, pebble.http_port) as modes:
        here.issue("modes.example", "--webroot", str(root), umask=umask)

    # The file, acme-challenge, .well-known. Pebble looks from one perspective or more.
    assert modes
    assert set(map(tuple, modes)) == {("-rw-r--r--", "drwxr-xr-x", "drwxr-xr-x")}


def test_each_name_may_have_a_directory_of_its_own(authority: AcmeServer, tmp_path: Path) -> None:
    require("nginx")
    here = host(tmp_path, authority)
    roots = [tmp_path / "main", tmp_path / "shop", tmp_path / "blog"]
    sites = ["pairs.example", "shop.pairs.example", "blog.pairs.example"]
    for directory in (*roots, tmp_path / "nginx"):
        directory.mkdir()

    with nginx(tmp_path / "nginx", authority.http_port, list(zip(sites, roots, strict=True))):
        here.issue(
            *sites,
            *("--webroot", str(roots[0])),
            *("--webroot", f"shop.pairs.example={roots[1]}"),
            *("--webroot", f"blog.pairs.example={roots[2]}"),
        )
        renewed = here.certctl("renew", "--force", directory=Path("/"))

    assert (renewed.exit_status, renewed.stderr) == (0, "")
    assert names(here.leaf("pairs.example")) == sorted(sites)
    assert [contents(root) for root in roots] == [[], [], []]


def test_a_name_without_a_directory_is_named_before_the_ca_is_told_to_look(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl(
        *("issue", "one.lacking.example", "two.lacking.example"),
        *("--webroot", f"one.lacking.example={tmp_path}"),
    )

    assert finished.exit_status == 1
    assert "two.lacking.example: no webroot is set for this name" in finished.stderr
    assert "--webroot two.lacking.example=DIR" in finished.stderr
    assert contents(tmp_path / "home" / "live") == []


def test_the_wrong_directory_is_reported_in_the_ca_s_words(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here, served, given = host(tmp_path, authority), tmp_path / "www", tmp_path / "other"
    served.mkdir()
    given.mkdir()

    with serving(served, authority.http_port):
        finished = here.certctl("issue", "wrong-directory.example", "--webroot", str(given))

    assert finished.exit_status == 1
    assert "wrong-directory.example" in finished.stderr
    assert "404" in finished.stderr
    assert (contents(given), here.leftovers()) == ([], [])


def test_a_webroot_that_does_not_exist_is_an_error_that_names_it(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "absent.example", "--webroot", str(tmp_path / "absent"))

    assert finished.exit_status == 1
    assert f"the webroot {tmp_path}/absent does not exist" in finished.stderr


def test_a_link_of_another_user_that_leads_out_of_the_webroot_is_not_followed(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, root, outside = host(tmp_path, pebble), tmp_path / "www", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    link = root / ".well-known"
    link.symlink_to(outside)
    if os.geteuid() == 0:  # root may place such a link for its own use
        os.chown(link, 65534, -1, follow_symlinks=False)

    with serving(root, pebble.http_port) as modes:
        finished = here.certctl("issue", "link.example", "--webroot", str(root))

    assert finished.exit_status == 1
    assert "certctl does not follow symbolic links out of a webroot" in finished.stderr
    assert (modes, contents(outside)) == ([], [])


def test_webroot_and_dns_cannot_both_be_meant(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)

    finished = here.certctl("issue", "both.example", "--webroot", str(tmp_path), "--dns", "rfc2136")

    assert finished.exit_status == 2
    assert "--webroot and --dns cannot be combined" in finished.stderr
