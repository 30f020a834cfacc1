"""A program: certctl under strace, which sees nothing of Python's start and of what is imported.

    python -m tests.crash.prepared STRACE-OPTION ... -- ARGUMENT ...

strace counts the calls of each thread by itself. With several threads, the number of a call would
mean one in which a file is written here, and one in which a module is imported there. So all that
certctl imports is imported first, and strace attaches to a child that only then begins.
"""

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import time

import certctl
from certctl.cli.main import main

FROM_ELSEWHERE = ("encodings.idna", "acme.client", "requests", "cryptography.x509", "tomlkit")
NOT_FOR_COMMANDS = ("certctl.__main__", "certctl.testing")


def run(options: list[str], arguments: list[str]) -> int:
    """Run the command to its end; return its exit status, as a shell has it after a signal."""
    import_all()
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(main(arguments))
    os.waitpid(child, os.WUNTRACED)
    with subprocess.Popen(["strace", "-f", "-qq", *options, "-p", str(child)]) as tracer:
        while not is_traced(child):
            assert tracer.poll() is None, "strace could not attach"
            time.sleep(0.001)
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def import_all() -> None:
    """Import all that commands import."""
    for name in (*FROM_ELSEWHERE, *_modules()):
        importlib.import_module(name)


def _modules() -> list[str]:
    found = pkgutil.walk_packages(certctl.__path__, "certctl.")
    return [each.name for each in found if each.name not in NOT_FOR_COMMANDS]


def is_traced(process: int) -> bool:
    """Return whether strace has attached to a process."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:  # noqa: PTH123
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in file)


if __name__ == "__main__":
    separator = sys.argv.index("--")
    sys.exit(run(sys.argv[1:separator], sys.argv[separator + 1 :]))
