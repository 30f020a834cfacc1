"""Who else could have written a file: the rule by which certctl believes files and directories.

A file is believed if only root or the user who runs certctl can write it, and, for the home
directory, if the same is true for every directory on the path to it: anyone who can write to one of
them can put another file in its place.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.system.file_errors import as_store_error
from certctl.system.users import group_name

CODE = "configuration.permissions"

_MAX_LINKS = 40
_STICKY = stat.S_ISVTX
_ACL = "system.posix_acl_access"
_OVERFLOW_ID = 65534
"""The owner that Linux shows for files of users outside of the user namespace (container)."""


@dataclass(frozen=True)
class Step:
    """A file, directory or link on the way to a path; `last` is what the path itself leads to."""

    path: Path
    facts: os.stat_result
    last: bool


def steps(path: Path) -> Iterator[Step]:
    """Yield everything on an absolute path, from `/` down and through every link. Raises OSError:
    FileNotFoundError after what exists.
    """
    here = Path("/")
    rest = list(reversed(path.parts[1:]))
    yield Step(here, here.lstat(), last=not rest)
    links = 0
    while rest:
        step = rest.pop()
        here = here.parent if step == ".." else here / step
        facts = here.lstat()
        link = stat.S_ISLNK(facts.st_mode)
        yield Step(here, facts, last=not rest and not link)
        if link:
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = here.readlink()
            here = Path("/") if target.is_absolute() else here.parent
            rest.extend(part for part in reversed(target.parts) if part != "/")


def refuse(
    path: Path, facts: os.stat_result, *, sticky: bool = False, lenient: bool = False
) -> None:
    """Refuse what another user could have written. With `sticky`, a directory with that bit is
    accepted, since users cannot replace each other's files in it. With `lenient`, a group may write
    if certctl does not run as root.

    Raises `ConfigurationError` with the path and the command that corrects it.
    """
    user = os.geteuid()
    link = stat.S_ISLNK(facts.st_mode)
    foreign = facts.st_uid not in {0, user}
    # the mode of a link has no meaning; its directory is checked
    checked = not link and not (sticky and stat.S_ISDIR(facts.st_mode) and facts.st_mode & _STICKY)
    others = _other_writers(path, facts, lenient=lenient and user != 0) if checked else None
    if not foreign and others is None:
        return
    commands = []
    if foreign:
        owner = "root" if user == 0 else user_name(user)
        commands.append(f"chown {'-h ' if link else ''}{owner} {shlex.quote(str(path))}")
    if others is not None:
        commands.append(f"chmod go-w {shlex.quote(str(path))}")
    fault = (
        f"belongs to user id {facts.st_uid}" + _named(facts.st_uid)
        if foreign
        else f"can be written by {others}"
    )
    raise ConfigurationError(
        f"{path} {fault}, who could make certctl run any command",
        hint=" && ".join(commands),
        code=CODE,
    )


def refuse_path(path: Path) -> None:
    """Refuse a directory that another user could write to or replace. What does not exist is
    accepted. Raises `ConfigurationError`, OSError.
    """
    try:
        for step in steps(path):
            if not step.last and _is_outside_user(step.facts.st_uid):
                continue
            refuse(step.path, step.facts, sticky=not step.last)
    except FileNotFoundError:
        return


def check_trusted(path: Path) -> None:
    """Check that no other user could have written a file, before it is run or read.

    For root, all directories on the path to it are checked too, from `/` down and through every
    link: anyone who can write to one of them can replace the file. Directories with the sticky bit,
    such as /tmp, are accepted, since users cannot replace each other's files there. Raises
    `ConfigurationError` with the path and the command that fixes it, `StoreError` if the file
    cannot be examined.
    """
    with as_store_error("read the status of", path):
        if os.geteuid() != 0:
            refuse(path, path.stat(), sticky=True, lenient=True)
            return
        for step in steps(path.absolute()):
            refuse(step.path, step.facts, sticky=True)


def check_own(path: Path) -> None:
    """Check that no other user could have written a file or directory below the home directory,
    or what it is a link to. What does not exist is accepted.

    Raises `ConfigurationError` with the path and the command that corrects it, `StoreError` if it
    cannot be examined.
    """
    with as_store_error("read the status of", path):
        try:
            facts = path.lstat()
            refuse(path, facts)
            if stat.S_ISLNK(facts.st_mode):
                refuse(path, path.stat())
        except FileNotFoundError:
            return


def open_for_appending(path: Path) -> int:
    """Open or create a file of mode 0600 for appending, and return its descriptor. A link to it, or
    to a directory on the path, must belong to root or to the user who runs certctl: in a directory
    that others can write to, theirs could lead anywhere.

    A pipe is opened only if something reads it, and writing never waits. Raises
    `ConfigurationError`, OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    path = path.absolute()
    _refuse_foreign_links(path)
    descriptor = os.open(path, flags, 0o600)
    try:
        opened = os.fstat(descriptor)
        # again, since a link could have been there only while the file was opened
        found = _refuse_foreign_links(path)
        if stat.S_ISREG(opened.st_mode) and not (found and os.path.samestat(opened, found)):
            raise ConfigurationError(f"{path} was replaced while it was opened", code=CODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_foreign_links(path: Path) -> os.stat_result | None:
    """Return what a path leads to, None if that does not exist."""
    found = None
    try:
        for step in steps(path):
            found = step.facts if step.last else None
            if stat.S_ISLNK(step.facts.st_mode) and not _is_outside_user(step.facts.st_uid):
                refuse(step.path, step.facts)
    except FileNotFoundError:
        return None
    return found


def file_hint(path: Path, error: ConfigurationError) -> str:
    """Return what to do with a file of certctl's own that `refuse` refused. Giving it to root
    would make certctl believe what another user wrote.
    """
    return f"Remove it: rm {shlex.quote(str(path))}. If you know its contents: {error.hint}"


def user_name(user: int) -> str:
    """Return a user's name, or else the id."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _named(user: int) -> str:
    name = user_name(user)
    return f" ({name})" if name != str(user) else ""


def _other_writers(path: Path, facts: os.stat_result, *, lenient: bool) -> str | None:
    """Return who else can write to a file, None if nobody can."""
    if facts.st_mode & stat.S_IWOTH:
        return "other users"
    if not facts.st_mode & stat.S_IWGRP or lenient:
        return None
    if _has_acl(path):
        return "other users (see: getfacl)"
    if not is_own_group(facts.st_gid, os.geteuid()):
        return f"other users, in group {group_name(facts.st_gid)}"
    return None


def _has_acl(path: Path) -> bool:
    """Return whether a file has an access control list. Its mask is shown as the group's
    permissions, so without those nobody in the list can write.
    """
    if sys.platform != "linux":
        return False
    try:
        os.getxattr(path, _ACL, follow_symlinks=False)
    except OSError:
        return False
    return True


def is_own_group(group: int, user: int) -> bool:
    """Return whether a group has only this user: root's group, or the private group that many
    distributions give to each user, with a umask that lets it write.
    """
    if user == 0:
        return group == 0
    try:
        own, members = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return (
        (own.pw_gid, own.pw_name) == (group, members.gr_name)
        and set(members.gr_mem) <= {own.pw_name}
        and all(each.pw_uid == user for each in pwd.getpwall() if each.pw_gid == group)
    )


def _is_outside_user(owner: int) -> bool:
    """Return whether an owner is not a user of this container, but of the system around it, which
    can do anything to the container.
    """
    if owner != _OVERFLOW_ID or sys.platform != "linux":
        return False
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    ranges = [(int(first), int(count)) for first, _, count in (each.split() for each in lines)]
    return not any(first <= owner < first + count for first, count in ranges)
