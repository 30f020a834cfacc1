"""Which other client renews a certificate, by the path at which a web server reads it."""

from __future__ import annotations

_BY_NAME = ("acme.sh", "dehydrated", "lego")


def renewal_note(path: str) -> str | None:
    """Return what to do with the other client that renews the certificate at `path`, which the
    server will not use any more; None if nothing says that a client renews it.
    """
    if "/letsencrypt/live/" in path:
        return (
            f"certbot renews {path}; the server no longer uses it, so remove it there:"
            f" certbot delete --cert-name {path.rstrip('/').split('/')[-2]}"
        )
    directories = {each.removeprefix(".") for each in path.split("/")[:-1]}
    client = next((each for each in _BY_NAME if each in directories), None)
    if client is None:
        return None
    return f"{client} may renew {path}, which the server no longer uses; remove it there"
