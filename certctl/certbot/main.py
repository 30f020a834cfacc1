"""`certctl-certbot`: certbot's command line, done by certctl.

Parses, builds an invocation as `certctl` does, calls the subcommand, and prints. The exit status is
certbot's: 0, 1, or 2 for a command line that certbot would not have parsed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import TextIO, cast

from certctl.certbot.front import Front, home_paths
from certctl.certbot.live import LinksWhenSaved
from certctl.certbot.usage import help_lines, version_line
from certctl.cli.environment import Environment, of_this_process
from certctl.cli.implementation import implementation
from certctl.cli.invocation import Invocation
from certctl.engine.plugins import option_table
from certctl.model.errors import (
    CertctlError,
    Declined,
    Interrupted,
    UsageError,
    unexpected,
)
from certctl.model.values import Value
from certctl.output.document import Result
from certctl.rules.certbot_arguments import Arguments, asks_for_help, config_files, parse
from certctl.rules.certbot_flags import FLAGS, WARNED
from certctl.rules.certbot_options import checked, settings
from certctl.rules.paths import absolute_path, is_utf8, shown_bytes
from certctl.system.files import ensure_directory
from certctl.system.reading import read_trusted

_DEFAULT = "/etc/letsencrypt"
_FILE_LIMIT = 256 * 1024
_FAILED, _USAGE = 1, 2

_MODULES = MappingProxyType(
    {
        "servers": ("run", "install", "enhance", "rollback"),
        "issue": ("certonly", "reconfigure"),
        "renewal": ("renew",),
        "manage": ("certificates", "delete", "revoke", "plugins", "update_symlinks"),
        "accounts": ("register", "update_account", "show_account", "unregister"),
    }
)
"""The modules of this package with the subcommands that they do, which are loaded when called."""


def main() -> int:
    """Run the command line of this process, and return its exit status."""
    warnings.filterwarnings("ignore", module=r"(urllib3|requests)(\.|\Z)")
    return run(sys.argv[1:], of_this_process())


def run(arguments: Sequence[str], environment: Environment) -> int:
    """Run a command line in an environment, and return its exit status; raises nothing."""
    try:
        given = _parsed(arguments, environment)
    except CertctlError as error:
        Invocation(environment).output.error(error)
        return _USAGE
    except Exception as error:  # noqa: BLE001 - as below
        return _failed(unexpected(error), Invocation(environment))
    invocation = _invocation(given, environment)
    try:
        return _done(given, invocation)
    except BrokenPipeError:
        return _FAILED  # as `grep -q` leaves it
    except OSError as error:
        with suppress(OSError):
            environment.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        return _FAILED


def _done(given: Arguments, invocation: Invocation) -> int:
    try:
        result = _result(given, invocation)
    except Declined:
        invocation.output.error(UsageError("nothing was changed"))
        return _FAILED
    except CertctlError as error:
        return _failed(error, invocation)
    except KeyboardInterrupt:
        return _failed(Interrupted("stopped"), invocation)
    except Exception as error:  # noqa: BLE001 - the one handler at the top
        return _failed(unexpected(error), invocation)
    invocation.output.finish("certbot", result)
    return 0 if not result.errors and int(result.exit_status) == 0 else _FAILED


def _failed(error: CertctlError, invocation: Invocation) -> int:
    if invocation.debug:
        import traceback  # noqa: PLC0415 - slow to import, and only for a bug

        invocation.environment.stderr.write("".join(traceback.format_exception(error)))
    invocation.output.error(error)
    return _FAILED


def _result(given: Arguments, invocation: Invocation) -> Result:
    if given.has("version"):
        return Result({}, [version_line()])
    if given.subcommand == "help":
        return Result({}, help_lines(given.topic))
    module = next((each for each, does in _MODULES.items() if given.subcommand in does), None)
    if module is None:  # config_changes does nothing, as in certbot
        return Result()
    if given.text("csr") is not None and given.subcommand != "certonly":
        raise UsageError(
            f"--csr works with certonly only, not with {given.subcommand}", code="usage.certbot"
        )
    _warn(given, invocation)
    invocation.flags.update(_settings(given, invocation))
    directory = invocation.environment.directory
    config_dir = absolute_path(given.text("config_dir") or _DEFAULT, directory)
    links = LinksWhenSaved()
    invocation.sinks = (links,)
    subcommand = implementation(f"certctl.certbot.{module}:{given.subcommand}")
    result: Result = subcommand(Front(given, invocation, config_dir, links))
    return result


def _parsed(arguments: Sequence[str], environment: Environment) -> Arguments:
    """Return the parsed command line, with what certbot's files of defaults say.

    Raises `UsageError`, and `ConfigurationError` for a file that other users could have written.
    """
    for each in arguments:
        if not is_utf8(each):
            raise UsageError(f"the argument {shown_bytes(each)} is not valid UTF-8")
    if asks_for_help(arguments):
        return parse(arguments)
    files: list[tuple[str, str]] = []
    for path in home_paths(environment.variables):
        with suppress(FileNotFoundError):
            files.append((path, _text(Path(path))))
    for path in config_files(arguments):
        place = absolute_path(path, environment.directory)
        try:
            files.append((str(place), _text(place)))
        except FileNotFoundError:
            raise UsageError(f"--config {path}: there is no such file") from None
    return parse(arguments, files)


def _text(path: Path) -> str:
    data, _ = read_trusted(path, _FILE_LIMIT)
    return data.decode("utf-8", "replace")


def _invocation(given: Arguments, environment: Environment) -> Invocation:
    quiet = given.has("quiet")
    if quiet or given.has("non_interactive"):
        environment = replace(environment, stdin=StringIO())
    elif given.has("force_interactive"):
        environment = replace(environment, stdin=cast(TextIO, _Answers(environment.stdin)))
    verbose = given.values.get("verbose") or 0
    return Invocation(
        environment,
        command=f"certbot {given.subcommand}",
        home=given.text("home"),
        quiet=quiet,
        verbose=int(verbose),
        debug=given.has("debug"),
        yes=True,
    )


def _settings(given: Arguments, invocation: Invocation) -> dict[str, Value]:
    found = settings(given)
    environment = invocation.environment
    variables = environment.variables
    bundle = variables.get("CERTCTL_CA_BUNDLE") or variables.get("REQUESTS_CA_BUNDLE")
    if bundle:  # for renewals too, as in certbot
        found["ca_bundle"] = bundle
    logs = given.text("logs_dir")
    if logs is not None:
        directory = absolute_path(logs, environment.directory)
        ensure_directory(directory)
        found["log_file"] = str(directory / "letsencrypt.log")
    return checked(found, option_table())


def _warn(given: Arguments, invocation: Invocation) -> None:
    texts = {name: flag.text for flag in FLAGS for name in flag.names}
    for each in dict.fromkeys(given.flags):
        if each in WARNED:
            invocation.output.warning(f"{each} is ignored: {texts[each].partition(';')[0]}")
        if each == "--eab-hmac-key":
            invocation.output.warning(
                "other users of this machine can see --eab-hmac-key in the list of processes; set"
                " CERTCTL_EAB_HMAC_KEY_FILE instead"
            )


class _Answers:
    """Standard input that is asked although it is not a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._stream.readline()
