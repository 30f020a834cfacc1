"""The one place where certctl's version stands; the build and `--version` both read it."""

VERSION = "0.1.0"
