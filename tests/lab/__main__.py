"""`python -m tests.lab DIRECTORY`: a Pebble to try certctl against by hand, until input ends.

Writes its files into DIRECTORY, prints what a shell needs to know as assignments, `ready` last, and
stops when its standard input is closed (Ctrl-D) or it is terminated.
"""

import shlex
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.lab.pebble import ChallengeTestServer, PebbleServer


def main(directory: Path) -> None:
    """Run the servers in `directory` until standard input ends."""
    signal.signal(signal.SIGTERM, _leave)
    with (
        ChallengeTestServer(directory=_made(directory / "dns")) as names,
        PebbleServer(directory=_made(directory / "pebble"), dns_server=names.dns_address) as pebble,
    ):
        root = directory / "issuing-root.pem"
        root.write_bytes(pebble.root())
        facts = {
            "PEBBLE_DIRECTORY": pebble.directory_url,
            "PEBBLE_CA_BUNDLE": pebble.ca_bundle,
            "PEBBLE_ISSUING_ROOT": root,
            "PEBBLE_HTTP_PORT": pebble.http_port,
            "PEBBLE_TLS_PORT": pebble.tls_port,
        }
        for name, value in facts.items():
            print(f"{name}={shlex.quote(str(value))}")
        print("# ready", flush=True)
        sys.stdin.read()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _leave(_number: int, _frame: FrameType | None) -> None:
    # SystemExit unwinds the context managers, which stop the servers.
    raise SystemExit(0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
