"""`certctl dev-ca install`: this machine trusts the development CA, until `uninstall`."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from certctl.devca.trust_stores import Machine, NssStore, Root, SystemStore, Trust, stores
from certctl.model.errors import CertctlError
from tests.lab.browser import Browser
from tests.lab.machine import possible
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program, require
from tests.support.command import certctl

PAGE = Path(__file__).parents[2] / "docs" / "dev-ca.md"

_BUNDLES = ("CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")
"""Variables by which programs take other roots than the system's."""

APPLICATION = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def page() -> dict[str, str]:
    return {"said": "hello over TLS"}
"""


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home directory of somebody who develops on this machine."""
    home = tmp_path / "user"
    home.mkdir()
    return home


@pytest.fixture
def root(tmp_path: Path) -> Root:
    shown = certctl("dev-ca", "root", "--json", home=tmp_path / "home").json()["data"]
    return Root(Path(shown["root"]), shown["pem"].encode())


def _nickname_listed(directory: Path) -> bool:
    done = subprocess.run(
        [program("certutil"), "-L", "-d", f"sql:{directory}"],
        capture_output=True,
        check=True,
        text=True,
    )
    return "certctl-dev-ca-" in done.stdout


_PRIVATE = """
set -e
mount --make-rprivate /
for directory in /etc/ssl /usr/local/share/ca-certificates; do
    mkdir -p {scratch}$directory
    cp -a $directory/. {scratch}$directory
    mount --bind {scratch}$directory $directory
done
"""


def _run(command: str, user: Path, scratch: Path) -> str:
    """Run a command line as this user, with a copy of the system's trust store."""
    setup = _PRIVATE.format(scratch=scratch) if os.geteuid() == 0 else ""
    done = subprocess.run(
        [*(("unshare", "--mount") if setup else ()), "sh", "-c", f"{setup}\n{command}"],
        env={
            **{name: os.environ[name] for name in os.environ if name not in _BUNDLES},
            "HOME": str(user),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CERTCTL_HOME": str(user / ".config" / "certctl"),
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_recipe_of_the_page_opens_in_a_browser(user: Path, tmp_path: Path) -> None:
    require("chromium", "certutil")
    (tmp_path / "application.py").write_text(APPLICATION, encoding="utf-8")
    (recipe,) = re.findall(r"```sh\n(certctl dev-ca install\n.*?)```", PAGE.read_text(), re.DOTALL)
    install, issue, serve = re.sub(r"\\\n", "", recipe).strip().splitlines()
    port = free_port()

    said = _run(install, user, tmp_path)
    _run(issue, user, tmp_path)
    server = ServerProcess(
        ["sh", "-c", f"exec {Path(sys.executable).parent}/{serve.replace('8443', str(port))}"],
        directory=tmp_path,
        ready=lambda: _accepts(port),
        environment={"HOME": str(user)},
    )
    with server:
        page = Browser(user).open(f"https://localhost:{port}/")

    assert "hello over TLS" in page.document, page.log
    assert f"  Chromium, in {user}/.pki/nssdb" in said.splitlines()


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(not possible(), reason="a mount namespace needs root on Linux")
def test_the_root_of_a_ca_that_was_deleted_is_found_and_removed(user: Path, tmp_path: Path) -> None:
    require("certutil")
    profile = user / ".mozilla/firefox/abc.default"
    profile.mkdir(parents=True)
    new = ["-N", "--empty-password", "-d", f"sql:{profile}"]
    subprocess.run([program("certutil"), *new], check=True)
    state = user / ".config/certctl/dev-ca"
    listed = f"{{ ls {_SYSTEM} | grep certctl-dev-ca; {_listing(profile)}; }} | sort | uniq -c"

    said = _run(
        f"""
        certctl dev-ca install
        rm -r {state}
        certctl dev-ca uninstall 2>&1 || echo "status $?"
        certctl dev-ca install 2>&1 | grep '^warning: the roots of other'
        certctl dev-ca uninstall 2>&1
        echo one is left; {listed}
        certctl dev-ca uninstall --all
        {listed}
        certctl dev-ca uninstall --all
        """,
        user,
        tmp_path,
    )

    (old,) = set(re.findall(r"others are trusted: (certctl-dev-ca-\w{8})\n", said))
    assert " hint: To remove all of them, run: certctl dev-ca uninstall --all\nstatus 1\n" in said
    assert f"warning: the roots of other development CAs are trusted here too: {old};" in said
    assert f"warning: the roots of other development CAs are still trusted: {old};" in said
    *_, last = said.partition("one is left\n")
    kept, _, after = last.partition(f"{old} is no longer trusted by:\n")
    assert re.sub(r" +", " ", kept).splitlines() == [f" 1 {old}", f" 1 {old}.crt"]
    *changed, none = after.splitlines()
    assert f"  the system, in {_SYSTEM}" in changed
    assert f"  Firefox, in {profile}" in changed
    assert none == "No root of a development CA is trusted here."


_SYSTEM = Path("/usr/local/share/ca-certificates")


def _listing(directory: Path) -> str:
    return f"certutil -L -d sql:{directory} | grep -o 'certctl-dev-ca-[0-9a-f]*'"


@pytest.mark.skipif(not possible(), reason="a mount namespace needs root on Linux")
def test_curl_trusts_the_system_store_until_uninstall(user: Path, tmp_path: Path) -> None:
    require("certutil", "curl", "openssl")
    _run("certctl issue localhost --ca dev", user, tmp_path)
    live, port = user / ".config/certctl/live/localhost", free_port()
    fetch = f"curl -sS --noproxy '*' -o /dev/null -w '%{{http_code}} ' https://localhost:{port}/"
    answers = f"{fetch} && echo answered || echo refused"
    server = ServerProcess(
        [
            *(program("openssl"), "s_server", "-www", "-quiet", "-port", str(port)),
            *("-cert", str(live / "fullchain.pem"), "-key", str(live / "privkey.pem")),
            *("-cert_chain", str(live / "chain.pem")),
        ],
        directory=tmp_path,
        ready=lambda: _accepts(port),
    )

    with server:
        said = _run(
            f"{answers}; certctl dev-ca install >&2; {answers}; certctl dev-ca install;"
            f"certctl dev-ca uninstall >&2; {answers}",
            user,
            tmp_path,
        )

    first, *again, last = said.splitlines()
    assert (first, last) == ("000 refused", "000 refused")
    assert again[0] == "200 answered"
    assert all(each.endswith("(as before)") for each in again[2:])


def test_firefox_has_a_database_in_each_profile(user: Path, root: Root) -> None:
    require("certutil")
    profiles = [
        user / ".mozilla/firefox/abc.default",
        user / "snap/firefox/common/.mozilla/firefox/x y.default",
    ]
    for each in profiles:
        each.mkdir(parents=True)
        new = ["-N", "--empty-password", "-d", f"sql:{each}"]
        subprocess.run([program("certutil"), *new], check=True)
    found = [
        each
        for each in stores(Machine(1000, user, dict(os.environ)))
        if isinstance(each, NssStore) and each.program == "Firefox"
    ]

    came = [(store.add(root), store.add(root)) for store in found]
    listed = [_nickname_listed(each) for each in profiles]
    went = [(store.remove([root.name]), store.remove([root.name])) for store in found]

    assert [each.directory for each in found] == profiles
    assert came == went == [(Trust.CHANGED, Trust.UNCHANGED)] * 2
    assert listed == [True, True]
    assert not any(map(_nickname_listed, profiles))


def test_a_user_who_is_not_root_is_told_the_commands(tmp_path: Path, root: Root) -> None:
    store = SystemStore(tmp_path, ("update-ca-certificates",), user_id=1000)
    path = tmp_path / f"{root.name}.crt"

    assert store.add(root) is Trust.NEEDS_ROOT
    assert store.adding(root) == f"sudo cp {root.path} {path} && sudo update-ca-certificates"
    assert not path.exists()
    path.touch()
    assert store.remove([root.name]) is Trust.NEEDS_ROOT
    assert store.removing([root.name]) == (f"sudo rm {path} && sudo update-ca-certificates --fresh")


def test_a_store_whose_command_fails_is_not_taken_for_done(tmp_path: Path, root: Root) -> None:
    store = SystemStore(tmp_path, ("false",), user_id=0)

    for _ in range(2):
        with pytest.raises(CertctlError, match="false failed"):
            store.add(root)


def test_a_database_with_a_password_is_an_error_of_that_store_only(
    user: Path, tmp_path: Path, root: Root
) -> None:
    require("certutil")
    profile = user / ".mozilla/firefox/abc.default"
    profile.mkdir(parents=True)
    (tmp_path / "password").write_text("secret\n")
    new = ["-N", "-f", str(tmp_path / "password"), "-d", f"sql:{profile}"]
    subprocess.run([program("certutil"), *new], check=True)

    with pytest.raises(CertctlError, match="certutil"):
        NssStore("Firefox", profile, os.environ["PATH"]).add(root)


def test_without_certutil_it_says_what_to_install(user: Path, root: Root) -> None:
    (user / ".pki/nssdb").mkdir(parents=True)
    (user / ".pki/nssdb/cert9.db").touch()

    with pytest.raises(CertctlError) as caught:
        NssStore("Chromium", user / ".pki/nssdb", "/nonexistent").add(root)

    assert "libnss3-tools" in (caught.value.hint or "")
