"""Where Apache has to listen for TLS, besides where it does."""

from __future__ import annotations

from certctl.rules.apache_sites import HTTP, HTTPS, Configuration
from certctl.rules.configurations import Refused

_EVERY = {"*", "[::]", "0.0.0.0"}  # noqa: S104 - reads what is written


def missing_listens(configuration: Configuration, more_modules: frozenset[str]) -> tuple[str, ...]:
    """Return the arguments of the `Listen` lines to add: addresses as at port 80, once the modules
    are loaded. Two sockets of which one is for all addresses do not go together, which Apache finds
    out only when it has reloaded, and ends. Raises `Refused`.
    """
    found = configuration.listens(more_modules)
    for each in found:
        if not each.certain and each.port == HTTPS:
            raise Refused(
                f"{each.where} has Apache listen on port 443 under a condition that certctl does"
                " not know"
            )
    plain = {each.address for each in found if each.port == HTTP}
    addresses = [each.address for each in found if each.port == HTTPS]
    there = set(addresses)
    if len(addresses) > len(there) or ("*" in there and len(there) > 1):
        places = ", ".join(each.where for each in found if each.port == HTTPS)
        raise Refused(
            "with mod_ssl, Apache would listen twice on port 443 of an address, and end"
            f" ({places})",
            "Remove one of these lines, and run the command again. Otherwise add the lines by"
            " hand:",
        )
    if "*" in there or (not plain and there):
        return ()
    wanted = {"*"} if "*" in plain or not plain else plain
    missing = sorted(each for each in wanted - there if not _covered(each, there))
    for address in missing:
        clash = sorted(other for other in there if address in _EVERY or other in _EVERY)
        if clash and {address, *clash} != {"[::]", "0.0.0.0"}:  # noqa: S104
            raise Refused(
                f"Apache listens on port 443 at {', '.join(clash)} only, while it does on port 80"
                f" at {address}",
                "Write the same addresses in the Listen lines of both ports, and run the command"
                " again. Otherwise add the lines by hand:",
            )
    return tuple(str(HTTPS) if each == "*" else f"{each}:{HTTPS}" for each in missing)


def _covered(address: str, there: set[str]) -> bool:
    """Whether a socket for all addresses takes what comes to one of them."""
    if address in _EVERY:
        return False
    return ("[::]" if address.startswith("[") else "0.0.0.0") in there  # noqa: S104
