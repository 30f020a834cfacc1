"""Acts as the owner of files that root does not trust: what the owner cannot read or write, and
where the owner's links lead, is then no concern of root.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def acting_as(user: int | None) -> Iterator[None]:
    """Access files with the permissions of `user` alone, if this process is root; otherwise, and
    for None, as it is. The real user stays root, so that `user` can neither stop nor trace it.

    Concerns the whole process: no other thread must open files meanwhile.
    """
    if user is None or user == 0 or os.geteuid() != 0:
        yield
        return
    own_groups, own_group = os.getgroups(), os.getegid()
    group = group_of(user)
    os.setgroups([group])
    try:
        os.setegid(group)
        os.seteuid(user)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(own_groups)


def group_of(user: int) -> int:
    """Return the main group of a user; for one that this machine does not know, its number."""
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user
