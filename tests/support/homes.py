"""Homes with certificates in them, as an issuance and a deploy leave them, but without a CA.

Keys and certificates are real ones; they are written through the store, by the steps of an
issuance and in its order.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certctl.engine.rows import row_to_save
from certctl.model.certificate import AriState, IssuedCertificate, Material, RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.identifiers import Identifier, IdentifierType
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.rules.integrity import CERTIFICATE_FILES, KEY_FILES
from certctl.rules.renewal import request_of
from certctl.rules.renewal_windows import next_action
from certctl.rules.settings import Settings
from certctl.rules.spec import resolve
from certctl.rules.x509 import facts
from certctl.store.home.documents import encode
from certctl.store.home.idle import Idle, files_signature, signature
from certctl.store.home.layout import Layout
from certctl.store.home.saved_rows import SavedRows
from certctl.store.records import ListRow
from tests.lab.clock import SteerableClock
from tests.support.local_store import LocalStore
from tests.support.nouns import CA, LIFETIME

P256 = ec.SECP256R1()


def add_certificate(
    home: Path,
    name: str,
    *,
    age: timedelta = timedelta(days=1),
    deployed: bool = True,
    renewal_state: RenewalState | None = None,
    chosen: Mapping[str, Value] | None = None,
    rsa_key: bool = False,
    names: Sequence[str] = (),
    lifetime: timedelta = LIFETIME,
    deployment: Deployment | None = None,
) -> Version:
    """Put a certificate of 90 days, issued `age` ago, into a home; return its version. It is for
    its own name, or for `names`; `deployment` is the state of its deployment if it is not done.
    """
    now = datetime.now(UTC)
    identifiers = tuple(Identifier(IdentifierType.DNS, each) for each in names or (name,))
    spec = resolve(name, identifiers, {"ca": CA, **(chosen or {})}, Settings())
    start = (now - age).replace(microsecond=0)
    version, material = issued(spec, start, lifetime, rsa_key=rsa_key)
    store = LocalStore(home, Settings(), SteerableClock(now))
    with store.lock(name, timeout=0):
        store.save_spec(spec)
        saved = store.save_version(spec, version, material)
        if deployed:
            done = deployment or Deployment(saved.number, saved.number, now)
            store.save_deployment(name, done)
        asked = RenewalState(ari=(AriState(saved.facts.ari_id, ask_at=saved.facts.not_after),))
        status = replace(store.status(name), renewal_state=renewal_state or asked)
        spec = store.spec(name)
        at = next_action(spec, status, now)
        row = row_to_save(spec, status, now)
        store.save_renewal_state(name, status.renewal_state, next_action_at=at, row=row)
    return saved


def add_copies(home: Path, count: int, *, first: int = 0) -> None:
    """Put certificates `copy0.example` and so on into a home, quickly, by copying one of them with
    its key: nothing is synced, for who only looks at many.
    """
    model = "copy0.example"
    if not (home / "archive" / model).exists():
        add_certificate(home, model)
    renewal = json.loads((home / "renewal" / f"{model}.json").read_text())
    row = renewal.pop("row", None)
    layout, now = Layout(home), datetime.now(UTC)
    idle, rows = Idle(layout, Settings()), SavedRows(layout, Settings())
    for number in range(max(first, 1), count):
        name = f"copy{number}.example"

        def copied(path: str, name: str = name) -> Path:
            text = (home / path.format(model)).read_text()
            target = home / path.format(name)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_text(text.replace(model, name))
            return target

        for filename in ("issued.json", *CERTIFICATE_FILES, *KEY_FILES):
            copied(f"archive/{{}}/1/{filename}")
        (home / "live" / name).symlink_to(f"../archive/{name}/1")
        copied("deployed/{}.json")
        spec = copied("certificates/{}.toml")
        files = files_signature(home / "archive" / name / "1")
        facts = idle.snapshot(name, signature(spec.stat()), files)
        document = encode({**renewal, "seen": facts})
        if row is not None:
            values = json.loads(json.dumps(row["row"]).replace(model, name))
            made = ListRow(values, datetime.fromisoformat(row["until"]))
            document = rows.appended(document, name, made, facts, now)
        (home / "renewal" / f"{name}.json").write_bytes(document)


def issued(
    spec: CertificateSpec,
    start: datetime,
    lifetime: timedelta = LIFETIME,
    *,
    rsa_key: bool = False,
) -> tuple[Version, Material]:
    """Return a certificate for a spec, with its key and the root that signed it."""
    root_key = ec.generate_private_key(P256)
    key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(P256)
    root_name = _name("A Test Root")
    end = start + lifetime
    root = (
        _builder(root_name, root_name, root_key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    names = x509.SubjectAlternativeName([x509.DNSName(each.value) for each in spec.identifiers])
    leaf = (
        _builder(_name("leaf"), root_name, key, start, end)
        .add_extension(issuer, critical=False)
        .add_extension(names, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    cert, chain = (each.public_bytes(serialization.Encoding.PEM) for each in (leaf, root))
    privkey = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    version = Version(
        spec.name, 0, (IssuedCertificate(facts(cert), request_of(spec)),), issued=start
    )
    return version, Material(cert, chain, privkey)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
