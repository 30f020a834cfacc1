"""HTTP-01 (RFC 8555 §8.3) with files in the document root of a running web server.

The user specifies the directory for each name; this solver sends no requests to the web server.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from certctl.challenges import webroot_directory
from certctl.challenges.http01 import DIRECTORIES, check_task, checked_token, placement
from certctl.challenges.shared_answers import Holders
from certctl.challenges.system import SolverSystem
from certctl.challenges.webroot_directory import Directory, OutsideWebroot
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, ConfigurationError
from certctl.model.identifiers import Identifier
from certctl.model.names import parse_identifier
from certctl.model.ports import Solver
from certctl.model.spec import ChallengeSpec
from certctl.model.validation import Placement, Task
from certctl.rules.options import Option
from certctl.rules.spec import split_webroot

NAME = "webroot"
OPTIONS: tuple[Option, ...] = ()
"""No options of its own: the settings named `challenge.*` are in `certctl.rules.options`."""

_CODE = "challenge.http.webroot"


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:  # noqa: ARG001 - never waits
    """Return a solver for the spec's webroots. Raises `ConfigurationError` if there are none."""
    if challenge.directory is not None and not challenge.webroots:
        return WebrootSolver(challenge.directory, {}, ())
    return WebrootSolver(*parse_webroots(challenge.webroots))


def parse_webroots(texts: Sequence[str]) -> tuple[str | None, Mapping[str, str]]:
    """Return the default directory, and the directories of individual names by identifier.

    `DIR` is the default, `NAME=DIR` applies to one name; an equals sign after a slash is part of
    the directory. Raises `ConfigurationError` if there is no webroot, or if there are two defaults
    or two directories for one name.
    """
    default: str | None = None
    by_name: dict[str, str] = {}
    for text in texts:
        name, path = split_webroot(text)
        if name is None:
            if default not in (None, text):
                raise _two_directories("all other names", str(default), text)
            default = text
            continue
        identifier = parse_identifier(name).value
        if by_name.get(identifier, path) != path:
            raise _two_directories(identifier, by_name[identifier], path)
        by_name[identifier] = path
    if default is None and not by_name:
        raise ConfigurationError("no webroot is set", hint="Set it with --webroot DIR.")
    return default, by_name


class WebrootSolver:
    """Answers HTTP-01 challenges with files below each name's directory, or the default one.

    `below` is the path of the files in such a directory; empty if they are in the directory itself.
    """

    def __init__(
        self,
        default: str | None,
        by_name: Mapping[str, str],
        below: Sequence[str] = DIRECTORIES,
    ) -> None:
        self._below = below
        self._default = default
        self._by_name = by_name
        self._mutex = threading.Lock()
        self._holders = Holders()
        self._created: dict[tuple[str, tuple[str, ...]], int] = {}

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def check(self, identifiers: Sequence[Identifier]) -> None:
        """Raise `ChallengeError` if a name's webroot does not exist, or a link leads out of it."""
        for each in identifiers:
            with _translated_errors(root := self._root(each)):
                webroot_directory.find_directory(root, self._below)

    def plan(self, task: Task) -> Placement:
        """Return the file's location, and how many of its parent directories must be created.

        Raises `ChallengeError` if the webroot does not exist, or a symbolic link leads out of it.
        """
        check_task(task)
        with _translated_errors(root := self._root(task.identifier)):
            directory = webroot_directory.find_directory(root, self._below)
        return placement(
            NAME,
            task,
            root=directory.root,
            folder="/".join(directory.parts),
            missing=str(directory.missing),
        )

    def present(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                directory, token = _directory(each), checked_token(each.data["token"])
                self._holders.hold((directory.root, directory.parts, token), each.certificate)
                self._note_created(directory)
                with _translated_errors(directory.root):
                    content = each.data["key_authorization"].encode("ascii")
                    webroot_directory.write(directory, token, content)

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: the web server serves the file as soon as it exists."""

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: certctl cannot observe requests to the web server."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                directory, token = _directory(each), checked_token(each.data["token"])
                if not self._holders.release(
                    (directory.root, directory.parts, token), each.certificate
                ):
                    continue
                with _translated_errors(directory.root):
                    webroot_directory.remove(directory, token)
                    webroot_directory.remove_created(self._with_created(directory))

    def close(self) -> None:
        """Do nothing: no resources are held."""

    def _root(self, identifier: Identifier) -> str:
        root = self._by_name.get(identifier.value, self._default)
        if root is None:
            raise ChallengeError(
                f"{identifier}: no webroot is set for this name",
                hint=f"Add --webroot {identifier}=DIR, or --webroot DIR for all other names.",
                code=_CODE,
            )
        return root

    # A second order finds the directories that the first one created, and may be the last one to
    # use them: then it removes them.
    def _note_created(self, directory: Directory) -> None:
        key = (directory.root, directory.parts)
        self._created[key] = max(directory.missing, self._created.get(key, 0))

    def _with_created(self, directory: Directory) -> Directory:
        created = self._created.get((directory.root, directory.parts), 0)
        return Directory(directory.root, directory.parts, max(directory.missing, created))


def _directory(placement: Placement) -> Directory:
    data = placement.data
    return Directory(
        data["root"],
        tuple(each for each in data["folder"].split("/") if each),
        int(data["missing"]),
    )


@contextlib.contextmanager
def _translated_errors(root: str) -> Iterator[None]:
    """Translate errors of file operations below a webroot to `ChallengeError`."""
    try:
        yield
    except OutsideWebroot as error:
        raise ChallengeError(
            f"{error}: certctl does not follow symbolic links out of a webroot that other users"
            " created",
            hint="Set --webroot to the directory that the link points into, or have root create the"
            " link.",
            code=_CODE,
        ) from error
    except FileNotFoundError as error:
        raise ChallengeError(
            f"the webroot {root} does not exist"
            if not Path(root).exists()
            else f"cannot write below the webroot {root}: {error.strerror}",
            hint="Set --webroot to the document root from which the web server serves the name.",
            code=_CODE,
        ) from error
    except OSError as error:
        raise ChallengeError(
            f"cannot use the webroot {root}: {error.strerror or error}",
            hint="It must be a directory that certctl can write to, without symbolic links in the"
            f" path to {'/'.join(DIRECTORIES)}.",
            code=_CODE,
        ) from error


def _two_directories(scope: str, first: str, second: str) -> ConfigurationError:
    return ConfigurationError(
        f"two webroots are set for {scope}: {first} and {second}",
        hint="Set one directory for all names, and NAME=DIR for each exception.",
    )
