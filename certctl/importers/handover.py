"""Changes the files of another client, so that it stops renewing a certificate and programs read
certctl's files at the paths that they know; and changes them back.

Each step may be repeated: a record with all of them is saved before the first one. Every change is
one rename, so that a path that programs read always leads to a whole file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from certctl.importers.tree import LIMIT
from certctl.model.certificate import Material
from certctl.model.errors import StoreError
from certctl.model.importing import ImportRecord, StopRenewal, TakenPath
from certctl.model.text import printable
from certctl.rules import keys
from certctl.system.effective_user import acting_as
from certctl.system.file_errors import as_store_error
from certctl.system.files import (
    ensure_directory,
    fsync_directory,
    remove_file,
    rename,
    replace_contents,
    temporary_for,
    temporary_name,
    write_atomic,
)
from certctl.system.reading import read_regular

MARK = "#imported "
"""What a line begins with that certctl has commented out."""

_KINDS = ("cert", "chain", "fullchain", "privkey")
_VERSION = re.compile(r"(?:cert|chain|fullchain|privkey)([0-9]{1,9})\.pem")


def taken_paths(record: ImportRecord, copied: frozenset[str]) -> tuple[TakenPath, ...]:
    """Return the paths of a certificate as they are now; those that certctl copies to are left out.

    Raises `StoreError` if one cannot be read.
    """
    named = {kind: getattr(record.files, kind) for kind in _KINDS}
    paths = []
    for kind, path in named.items():
        with acting_as(record.acting(path)):
            if path is not None and path not in copied and os.path.lexists(path):
                paths.append(_taken(path, kind))
    # The key last: a server that reloads in between finds a certificate that belongs to it.
    return tuple(paths)


def _taken(path: str, kind: str) -> TakenPath:
    place = Path(path)
    with as_store_error("read", path):
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            target, content = os.fspath(place.readlink()), None
            with suppress(FileNotFoundError):
                status = place.stat()
        else:
            target, content = None, read_regular(place, LIMIT)
    return TakenPath(
        path, kind, target, content, status.st_mode & 0o777, status.st_uid, status.st_gid
    )


def is_stopped(stop: StopRenewal) -> bool:
    """Return whether the client does not renew the certificate any more."""
    if stop.aside is not None:
        return Path(stop.aside).exists() and not Path(stop.path).exists()
    return _find(stop, _lines(stop)) is None


def is_renewing(stop: StopRenewal) -> bool:
    """Return whether the client renews the certificate; not if what makes it do so is gone."""
    if stop.aside is not None:
        return Path(stop.path).exists()
    try:
        return not is_stopped(stop)
    except StoreError:
        return False


def stop_client(record: ImportRecord) -> None:
    """Keep the client from renewing the certificate. Raises `StoreError`."""
    if record.stop is not None:
        with acting_as(record.acting(record.stop.path)):
            _stop(record.stop)


def _stop(stop: StopRenewal) -> None:
    if is_stopped(stop):
        return
    if stop.aside is not None:
        rename(Path(stop.path), Path(stop.aside))
        return
    lines = _lines(stop)
    place = _find(stop, lines)
    if place is not None:
        lines[place] = f"{MARK}{lines[place]}"
        _write(stop, lines)


def start_client(record: ImportRecord) -> None:
    """Let the client renew the certificate again. Raises `StoreError`."""
    if record.stop is not None:
        with acting_as(record.acting(record.stop.path)):
            _start(record.stop)


def _start(stop: StopRenewal) -> None:
    if stop.aside is not None:
        if not Path(stop.path).exists() and Path(stop.aside).exists():
            rename(Path(stop.aside), Path(stop.path))
        return
    lines = _lines(stop)
    for place, line in enumerate(lines):
        if line.startswith(MARK) and _contains(line.removeprefix(MARK), stop):
            lines[place] = line.removeprefix(MARK)
            _write(stop, lines)
            return


def link_paths(record: ImportRecord, live: Path) -> None:
    """Make each path a link to certctl's live file, by one rename each. Raises `StoreError`."""
    for each in record.paths:
        with acting_as(record.acting(each.path)):
            _link(Path(each.path), str(live / f"{each.kind}.pem"))


def not_linked(record: ImportRecord, live: Path) -> list[str]:
    """Return the paths that are not links to certctl's live files any more."""
    wrong = []
    for each in record.paths:
        try:
            found = os.fspath(Path(each.path).readlink())
        except OSError:
            found = ""
        if found != str(live / f"{each.kind}.pem"):
            wrong.append(each.path)
    return wrong


def restore_paths(record: ImportRecord, *, but: Collection[str] = ()) -> None:
    """Make each path what it was before, but those. Raises `StoreError`."""
    for each in record.paths:
        if each.path in but:
            continue
        with acting_as(record.acting(each.path)):
            if each.target is not None:
                _link(Path(each.path), each.target)
            elif each.content is not None:
                _file(each, Path(each.path), each.content)


def next_version(record: ImportRecord, now: int) -> str:
    """Return the number under which the newest version goes back to the client."""
    if record.client != "certbot":
        return str(now)
    numbers = [0]
    if record.archive is not None:
        with as_store_error("list", record.archive), suppress(FileNotFoundError):
            names = os.listdir(record.archive)  # noqa: PTH208 - only names are needed
            numbers += [int(each[1]) for each in map(_VERSION.fullmatch, names) if each]
    return str(max(numbers) + 1)


def give_back(record: ImportRecord, material: Material) -> None:
    """Write the newest version where the client keeps its own, then let each path lead to it.

    Raises `StoreError`.
    """
    for each in record.paths:
        content = _content(material, each.kind)
        if content is not None:
            with acting_as(record.acting(each.path)):
                _write_back(record, each, content)


def _write_back(record: ImportRecord, taken: TakenPath, content: bytes) -> None:
    if taken.target is None or record.given_back is None:
        _file(taken, Path(taken.path), content)
        return
    directory = Path(taken.path).parent / Path(taken.target).parent
    separator = "" if record.client == "certbot" else "-"
    name = f"{taken.kind}{separator}{record.given_back}.pem"
    _file(taken, directory / name, content)
    _link(Path(taken.path), os.path.join(Path(taken.target).parent, name))  # noqa: PTH118 - stays relative


def _content(material: Material, kind: str) -> bytes | None:
    match kind:
        case "privkey":
            return material.privkey
        case "fullchain":
            return material.fullchain
        case "chain":
            return material.chain
    return material.cert


def _file(taken: TakenPath, path: Path, content: bytes) -> None:
    write_atomic(path, content, taken.mode, taken.group if taken.group != os.getegid() else None)
    if taken.owner != os.geteuid():
        with as_store_error("set the owner of", path):
            os.chown(path, taken.owner, -1, follow_symlinks=False)


def _link(path: Path, target: str) -> None:
    """Replace whatever is at `path` by a link, by one rename. Raises `StoreError`."""
    with as_store_error("create the link", path):
        with suppress(OSError):
            if os.fspath(path.readlink()) == target:
                return
        temporary = path.with_name(temporary_name(path.name))
        temporary.symlink_to(target)
        try:
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    fsync_directory(path.parent)


def give_account_back(record: ImportRecord, key: bytes, url: str) -> str | None:
    """Write the account's current key where certbot looks for it, and name it in each of certbot's
    configurations that names the old one. Returns the new directory; None for other clients.

    Raises `StoreError`.
    """
    if record.client != "certbot" or record.account_key_file is None:
        return None
    with acting_as(record.acting(record.account_key_file)):
        return _new_account(record, record.account_key_file, key, url)


def _new_account(record: ImportRecord, key_file: str, key: bytes, url: str) -> str:
    old = Path(key_file).parent
    # certbot's name for an account; it protects nothing
    name = hashlib.md5(keys.public_pem(key), usedforsecurity=False).hexdigest()
    new = old.with_name(name)
    ensure_directory(new)
    for file in ("meta.json", "regr.json"):
        with as_store_error("read", old / file), suppress(FileNotFoundError):
            write_atomic(new / file, read_regular(old / file, LIMIT))
    write_atomic(new / "regr.json", json.dumps({"body": {}, "uri": url}).encode(), 0o644)
    write_atomic(new / "private_key.json", json.dumps(keys.to_jwk(key)).encode(), 0o400)
    renewal = Path(record.home) / "renewal"
    for conf in [*renewal.glob("*.conf"), *renewal.glob("*.conf.imported")]:
        _name_account(conf, old.name, name)
    return str(new)


def _name_account(conf: Path, old: str, new: str) -> None:
    with as_store_error("read", conf):
        text, status = read_regular(conf, LIMIT), conf.stat()
    pattern = rb"(?m)^(\s*account\s*=\s*)" + re.escape(old.encode()) + rb"(\s*)$"
    changed = re.sub(pattern, rb"\g<1>" + new.encode() + rb"\g<2>", text)
    if changed != text:
        write_atomic(conf, changed, status.st_mode & 0o777, status.st_gid)


def remove_temporary_files(record: ImportRecord) -> None:
    """Remove the temporary files that a killed run left beside every file of the client that is
    changed when a certificate is taken over or given back. Raises `StoreError`.

    The client's lock must be held, so that nobody else is changing them.
    """
    for directory, name in _written(record):
        with acting_as(record.acting(f"{directory}/")), as_store_error("list", directory):
            try:
                entries = os.listdir(directory)  # noqa: PTH208 - only names are needed
            except FileNotFoundError:
                continue
            for entry in entries:
                final = temporary_for(entry)
                if final is not None and name.fullmatch(final):
                    remove_file(directory / entry)


def _written(record: ImportRecord) -> Iterator[tuple[Path, re.Pattern[str]]]:
    """Yield the directories in which files of the client are written, with their names there."""
    for each in record.paths:
        place = Path(each.path)
        yield place.parent, _named(place)
        if each.target is not None:
            yield place.parent / Path(each.target).parent, re.compile(rf"{each.kind}-?[0-9]+\.pem")
    if record.stop is not None:
        place = Path(os.path.realpath(record.stop.path))
        yield place.parent, _named(place)
    if record.lock is not None:
        yield Path(record.lock).parent, _named(Path(record.lock))
    if record.client == "certbot" and record.account_key_file is not None:
        yield Path(record.home) / "renewal", re.compile(r".*\.conf(?:\.imported)?")
        with suppress(OSError):
            for account in Path(record.account_key_file).parents[1].iterdir():
                if account.is_dir():
                    yield account, re.compile(r"(?:meta|regr|private_key)\.json")


def _named(path: Path) -> re.Pattern[str]:
    return re.compile(re.escape(path.name[:200]))


def _lines(stop: StopRenewal) -> list[str]:
    with as_store_error("read", stop.path):
        return read_regular(Path(stop.path), LIMIT).decode("utf-8", "surrogateescape").split("\n")


def _write(stop: StopRenewal, lines: list[str]) -> None:
    # with its owner: cron skips the crontab of a user that belongs to somebody else
    replace_contents(Path(stop.path), "\n".join(lines).encode("utf-8", "surrogateescape"))


def _find(stop: StopRenewal, lines: list[str]) -> int | None:
    for place, line in enumerate(lines):
        if not line.lstrip().startswith("#") and _contains(line, stop):
            return place
    return None


def _contains(line: str, stop: StopRenewal) -> bool:
    return (
        f" {stop.line} " in f" {' '.join(line.partition(' #')[0].lower().split())} "
        if (stop.line is not None and stop.path.endswith("domains.txt"))
        # as the line was read: its spaces and tabs count as one space
        else stop.line is not None and printable(stop.line, LIMIT) in printable(line, LIMIT)
    )


def hook_links(home: Path, hooks: list[tuple[str, str]]) -> dict[Path, str]:
    """Return the links in certctl's hook directories for a client's executables, by path."""
    return {
        home / "hooks" / f"{event}.d" / f"certbot-{Path(path).name}": path for event, path in hooks
    }


def take_hooks(links: dict[Path, str]) -> None:
    """Create the links to a client's hooks. Raises `StoreError`."""
    for link, target in links.items():
        with as_store_error("create the directory", link.parent):
            link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link(link, target)


def leave_hooks(home: Path, client_home: str) -> None:
    """Remove the links to hooks in a client's home. Raises `StoreError`."""
    for event in ("pre", "deploy", "post"):
        directory = home / "hooks" / f"{event}.d"
        if not directory.is_dir():
            continue
        for link in list(directory.iterdir()):
            if link.is_symlink() and os.fspath(link.readlink()).startswith(f"{client_home}/"):
                remove_file(link)
