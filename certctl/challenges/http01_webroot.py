"""HTTP-01 through the directory of a web server that runs already (RFC 8555 §8.3).

Which directory serves which name is for the user to say; this solver never asks the web server.
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
from certctl.errors import ChallengeError, ConfigurationError
from certctl.models import ChallengeSpec, ChallengeType, Identifier, Placement, Task
from certctl.names import parse_identifier
from certctl.options import Option
from certctl.ports import Solver
from certctl.spec import split_webroot

NAME = "webroot"
OPTIONS: tuple[Option, ...] = ()
"""None of its own: the settings named `challenge.*` stand in `certctl.options`."""

_CODE = "challenge.http.webroot"


def create(challenge: ChallengeSpec, system: SolverSystem) -> Solver:  # noqa: ARG001 - waits for nothing
    """Return a solver for the spec's webroots. Raises `ConfigurationError` where there is none."""
    return WebrootSolver(*parse_webroots(challenge.webroots))


def parse_webroots(texts: Sequence[str]) -> tuple[str | None, Mapping[str, str]]:
    """Return the default directory, and the directories of single names by identifier.

    `DIR` is the default, `NAME=DIR` is for one name; an equals sign after a slash belongs to the
    directory. Raises `ConfigurationError` for none, for two defaults, or two directories for one
    name.
    """
    default: str | None = None
    by_name: dict[str, str] = {}
    for text in texts:
        name, path = split_webroot(text)
        if name is None:
            if default not in (None, text):
                raise _two_directories("names without a directory of their own", str(default), text)
            default = text
            continue
        identifier = parse_identifier(name).value
        if by_name.get(identifier, path) != path:
            raise _two_directories(identifier, by_name[identifier], path)
        by_name[identifier] = path
    if default is None and not by_name:
        raise ConfigurationError("no webroot is given", hint="Give one with --webroot DIR.")
    return default, by_name


class WebrootSolver:
    """Answers HTTP-01 challenges by files below the directory of each name, or the default
    directory.
    """

    def __init__(self, default: str | None, by_name: Mapping[str, str]) -> None:
        self._default = default
        self._by_name = by_name
        self._mutex = threading.Lock()
        self._holders = Holders()
        self._made: dict[tuple[str, tuple[str, ...]], int] = {}

    @property
    def challenge_types(self) -> Sequence[str]:
        return (ChallengeType.HTTP_01,)

    def plan(self, task: Task) -> Placement:
        """Return where the file will be, and how many of its directories will be made for it.

        Raises `ChallengeError` where there is no such webroot, or a link leads out of it.
        """
        check_task(task)
        with _explained(root := self._root(task.identifier)):
            directory = webroot_directory.find_directory(root, DIRECTORIES)
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
                self._note_made(directory)
                with _explained(directory.root):
                    content = each.data["key_authorization"].encode("ascii")
                    webroot_directory.write(directory, token, content)

    def wait(self, placements: Sequence[Placement]) -> None:
        """Return at once: the web server reads what is there."""

    def wait_for_validation(self, placements: Sequence[Placement]) -> None:
        """Return at once: who asks the web server cannot be seen from here."""

    def cleanup(self, placements: Sequence[Placement]) -> None:
        with self._mutex:
            for each in placements:
                directory, token = _directory(each), checked_token(each.data["token"])
                if not self._holders.release(
                    (directory.root, directory.parts, token), each.certificate
                ):
                    continue
                with _explained(directory.root):
                    webroot_directory.remove(directory, token)
                    webroot_directory.remove_created(self._with_made(directory))

    def close(self) -> None:
        """Nothing is held open."""

    def _root(self, identifier: Identifier) -> str:
        root = self._by_name.get(identifier.value, self._default)
        if root is None:
            raise ChallengeError(
                f"{identifier}: no webroot is given for this name",
                hint=f"Add --webroot {identifier}=DIR, or --webroot DIR for all other names.",
                code=_CODE,
            )
        return root

    # The order that comes second finds directories which the first one made, and may be the one
    # that leaves last: then they are its to remove.
    def _note_made(self, directory: Directory) -> None:
        place = (directory.root, directory.parts)
        self._made[place] = max(directory.missing, self._made.get(place, 0))

    def _with_made(self, directory: Directory) -> Directory:
        made = self._made.get((directory.root, directory.parts), 0)
        return Directory(directory.root, directory.parts, max(directory.missing, made))


def _directory(placement: Placement) -> Directory:
    data = placement.data
    return Directory(data["root"], tuple(data["folder"].split("/")), int(data["missing"]))


@contextlib.contextmanager
def _explained(root: str) -> Iterator[None]:
    """Translate what can go wrong below a webroot."""
    try:
        yield
    except OutsideWebroot as error:
        raise ChallengeError(
            f"{error}: certctl does not follow links out of a webroot",
            hint="Give --webroot the directory that the link belongs to.",
            code=_CODE,
        ) from error
    except FileNotFoundError as error:
        raise ChallengeError(
            f"the webroot {root} does not exist"
            if not Path(root).exists()
            else f"cannot write below the webroot {root}: {error.strerror}",
            hint="Give --webroot the directory from which the web server serves the name.",
            code=_CODE,
        ) from error
    except OSError as error:
        raise ChallengeError(
            f"cannot use the webroot {root}: {error.strerror or error}",
            hint="It must be a directory that certctl may write to, with no link on the way to"
            f" {'/'.join(DIRECTORIES)}.",
            code=_CODE,
        ) from error


def _two_directories(who: str, first: str, second: str) -> ConfigurationError:
    return ConfigurationError(
        f"two webroots are given for {who}: {first} and {second}",
        hint="Give one directory for all names, and NAME=DIR for each exception.",
    )
