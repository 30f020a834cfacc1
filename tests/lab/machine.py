"""A machine of a test's own: its network, its processes, and the directories of its web servers.

Made of namespaces, so that servers have their usual ports and paths, and nothing outside is seen or
changed. Only root can make one.
"""

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.processes import ServerProcess, wait_until
from tests.lab.programs import program
from tests.support.command import Finished

HOME = Path("/srv/certctl")
ADDRESS = "192.0.2.10"
"""An address of the machine besides those of loopback."""

_CLONE_NEWNET = 0x40000000
_SECONDS = 60.0
_SETUP = """
set -e
mount --make-rprivate /
for directory in /run /var/log/nginx /var/lib/nginx /srv /etc/cron.d {more}; do
    mount -t tmpfs -o mode=755 tmpfs $directory
done
mount --bind {directory}/nginx /etc/nginx
mount --bind {directory}/hosts /etc/hosts
mkdir /srv/www /run/lock
if [ -d {directory}/apache2 ]; then mount --bind {directory}/apache2 /etc/apache2; fi
trap 'exit 0' TERM
sleep infinity &
touch {directory}/ready
wait
"""


def possible() -> bool:
    """Whether this process may make namespaces."""
    if os.geteuid() != 0 or sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], check=False)
    return tried.returncode == 0


@contextmanager
def network() -> Iterator[None]:
    """Give this thread, and what it starts, a network in which there is only loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    try:
        for words in ("link set lo up", f"address add {ADDRESS}/32 dev lo"):
            subprocess.run(["ip", *words.split()], check=True)
        yield
    finally:
        if libc.setns(before, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


@contextmanager
def mount_point(directory: Path) -> Iterator[None]:
    """Make a directory, which a machine's own will be mounted on, unless there is one.

    The last test that uses it removes it: the kernel unmounts a directory that is removed, from the
    machines of other tests too.
    """
    name = str(directory).strip("/").replace("/", "-")
    with (Path(tempfile.gettempdir()) / f"certctl-test-{name}-{os.getuid()}").open("a+") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with suppress(FileExistsError):
            directory.mkdir()
            users.write("made by a test")
            users.flush()
        try:
            yield
        finally:
            with suppress(OSError):  # another test is using it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                users.seek(0)
                if users.read():
                    users.truncate(0)
                    directory.rmdir()


@dataclass(frozen=True)
class Machine:
    """One machine. `nginx` is its /etc/nginx and `apache` its /etc/apache2, as seen from outside;
    `pid` its first process.
    """

    directory: Path
    pid: int

    @property
    def nginx(self) -> Path:
        return self.directory / "nginx"

    @property
    def apache(self) -> Path:
        return self.directory / "apache2"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What starts a command in it."""
        return ("nsenter", "--target", str(self.pid), "--mount", "--pid", "--")

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def certctl(self, *arguments: str) -> Finished:
        """Run a command of certctl to its end."""
        command = (sys.executable, "-m", "certctl", *arguments)
        return self.off_terminal(command, {**os.environ, "CERTCTL_HOME": str(HOME)})

    def off_terminal(
        self, command: Sequence[str], variables: Mapping[str, str], seconds: float = _SECONDS
    ) -> Finished:
        """Run a command off a terminal, as cron does, with no variables but these."""
        done = subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=variables,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def configure(self, files: Mapping[str, bytes]) -> None:
        """Write files below /etc/nginx; Debian's default site goes."""
        shutil.rmtree(self.nginx / "sites-enabled")
        (self.nginx / "sites-enabled").mkdir()
        for name, content in files.items():
            path = self.nginx / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def files(self) -> dict[str, bytes]:
        """Return every file below /etc/nginx."""
        return {
            str(path.relative_to(self.nginx)): path.read_bytes()
            for path in sorted(self.nginx.rglob("*"))
            if path.is_file()
        }

    def start_nginx(self) -> None:
        """Start it as a daemon, which keeps what it was given as standard error."""
        done = self.run("sh", "-c", "nginx >/run/nginx.said 2>&1 || cat /run/nginx.said")
        assert done.stdout == "", done.stdout

    def configure_apache(self, files: Mapping[str, bytes], modules: Sequence[str] = ()) -> None:
        """Write files below /etc/apache2, and enable those of `sites-available`, by links as Debian
        does; its default site goes.
        """
        enabled = self.apache / "sites-enabled"
        for path in enabled.iterdir():
            path.unlink()
        for name, content in files.items():
            path = self.apache / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if path.parent.name == "sites-available":
                (enabled / path.name).symlink_to(f"../sites-available/{path.name}")
        for name in modules:
            for path in (self.apache / "mods-available").glob(f"{name}.*"):
                link = self.apache / "mods-enabled" / path.name
                link.unlink(missing_ok=True)
                link.symlink_to(f"../mods-available/{path.name}")

    def apache_files(self) -> dict[str, bytes]:
        """Return every file below /etc/apache2, and the target of every link."""
        return {
            str(path.relative_to(self.apache)): os.fsencode(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            for path in sorted(self.apache.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    def start_apache(self, *command: str) -> None:
        """Start it as a daemon, which keeps what it was given as standard error."""
        words = " ".join(command or ("apache2ctl", "start"))
        done = self.run("sh", "-c", f"{words} >/run/apache.said 2>&1 || cat /run/apache.said")
        assert done.stdout == "", done.stdout

    def apache_children(self) -> set[int]:
        """Return the ids of Apache's processes that answer, as the machine counts them."""
        found = self.run("pgrep", "-u", "www-data", "-x", "apache2|httpd").stdout
        return set(map(int, found.split()))

    def workers(self) -> set[int]:
        """Return the ids of nginx's worker processes, as the machine counts them."""
        found = self.run("pgrep", "-f", "nginx: worker process$").stdout
        return set(map(int, found.split()))


@contextmanager
def machine(directory: Path, hosts: Sequence[str] = ()) -> Iterator[Machine]:
    """Make a machine with Debian's /etc/nginx, and its /etc/apache2 where there is one; `hosts`
    are lines of its /etc/hosts.
    """
    shutil.copytree("/etc/nginx", directory / "nginx", symlinks=True)
    with_apache = Path("/etc/apache2/apache2.conf").exists()
    if with_apache:
        shutil.copytree("/etc/apache2", directory / "apache2", symlinks=True)
    more = "/var/log/apache2" if with_apache else ""
    lines = ("127.0.0.1 localhost", "::1 localhost", *hosts)
    (directory / "hosts").write_text("".join(f"{line}\n" for line in lines))
    command = [
        *(program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", _SETUP.format(directory=directory, more=more)),
    ]
    ready = directory / "ready"
    with ServerProcess(command, directory=directory, ready=ready.exists) as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        wait_until(lambda: children.read_text().strip() != "", "the first process of the machine")
        yield Machine(directory, int(children.read_text().split()[0]))
