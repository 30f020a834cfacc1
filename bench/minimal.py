"""A client that does no more than a certificate with one name takes, as a process of its own: the
least time that any client written in Python can take.

    python bench/minimal.py DIRECTORY_URL CA_BUNDLE HTTP_PORT STATE NAME

It keeps its account in the directory STATE, checks nothing, saves nothing that is durable, and asks
the CA far more often than a client should.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.load import MinimalClient, answering, signing_request


def main() -> None:
    """Obtain one certificate."""
    directory_url, bundle, port, kept, name = sys.argv[1:]
    state = Path(kept)
    answers: dict[str, str] = {}
    key, account = _account(state)
    client = MinimalClient(directory_url, Path(bundle), answers, key, account)
    if account is None:
        state.mkdir(parents=True)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (state / "key.pem").write_bytes(pem)
        (state / "account").write_text(client.account or "")
    with answering(int(port), answers):
        client.issue(name, signing_request(name))


def _account(state: Path) -> tuple[ec.EllipticCurvePrivateKey, str | None]:
    if not (state / "account").exists():
        return ec.generate_private_key(ec.SECP256R1()), None
    key = load_pem_private_key((state / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key, (state / "account").read_text()


if __name__ == "__main__":
    main()
