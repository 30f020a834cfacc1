"""Documents of format version 1, read as those of version 2.

Version 1 is read permanently: nobody should have to install an older certctl to upgrade. Each
function takes the object in a file and returns the object that version 2 has for it. They move what
is there and check nothing: whoever reads the result does.
"""

from __future__ import annotations

from typing import Any

Old = dict[str, Any]


def unchanged(old: Old) -> Old:
    """Return a document that is the same in both versions."""
    return old


def issued(old: Old) -> Old:
    """`archive/NAME/NUMBER/issued.json`: there was one certificate."""
    certificate = _kept(old, "order_url", "account_url", "has_key", "chain_sha256")
    certificate["facts"] = old.get("certificate")
    certificate["request"] = _request(old.get("request"))
    return {**_kept(old, "name", "number", "issued"), "certificates": [certificate]}


def renewal(old: Old) -> Old:
    """`renewal/NAME.json`: there were the attempts at any CA, and one window."""
    state = _kept(old, "paused_until", "revoked", "compromised_keys")
    attempts = _kept(old, "failures", "last_attempt", "last_error", "retry_at")
    if any(attempts.values()):
        state["attempts"] = [{"ca": None, **attempts}]
    # Queries were not recorded by certificate, only their result was.
    asked = {"ask_at": old.get("ask_ca_at"), "unanswered": old.get("unanswered", 0)}
    info = old.get("renewal_info")
    state["ari"] = [{"cert_id": None, **asked}] if any(asked.values()) else []
    if info is not None:
        cert_id = info.get("cert_id") if isinstance(info, dict) else None
        state["ari"].append({"cert_id": cert_id, "info": info, **asked})
    state["renewed_by_ari"] = old.get("renewed_on_advice")
    return {
        **_kept(old, "saved_at", "next_action_at", "last_version", "seen"),
        "renewal_state": state,
    }


def deployed(old: Old) -> Old:
    """`deployed/NAME.json`: this machine was the only destination."""
    return {"deployments": [_renamed(old, target="wanted")]}


def order(old: Old) -> Old:
    """`pending/NAME/order.json`: there was one order, with its key in `privkey.pem`."""
    return {
        "orders": [{**old, "request": _request(old.get("request")), "privkey": "privkey.pem"}],
    }


def ledger(old: Old) -> Old:
    """`accounts/CA/ID/ledger.json`."""
    asked = old.get("asked")
    entries = [
        _renamed(each, what="action") if isinstance(each, dict) else each
        for each in (asked if isinstance(asked, list) else [])
    ]
    return {"entries": entries}


def runs(old: Old) -> Old:
    """`run.json`."""
    return _renamed(old, told="last_alert")


def placements(old: Old) -> Old:
    """`journal/placements-NAME-RANDOM.json`."""
    return _renamed(old, cleanup="state")


def _request(old: Any) -> Any:
    # A profile that may have been required is no reason to issue a new certificate.
    return {"profile_required": True, **old} if isinstance(old, dict) else old


def _kept(old: Old, *keys: str) -> Old:
    return {each: old[each] for each in keys if each in old}


def _renamed(old: Old, **names: str) -> Old:
    return {names.get(key, key): value for key, value in old.items()}
