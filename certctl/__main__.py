"""`python -m certctl` is the command `certctl`."""

from __future__ import annotations

import sys

from certctl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
