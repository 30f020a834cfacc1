"""PowerDNS as the authoritative DNS of test zones that are changed over its HTTP API, not by
dynamic updates; in front of an SQLite file.
"""

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.bind import DnsServer
from tests.lab.ports import free_port
from tests.lab.processes import ServerProcess
from tests.lab.programs import program

SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


@dataclass(kw_only=True)
class PowerDnsServer(DnsServer):
    """The primary of `zones`, each with the further records of its value, by their names in the
    zone, as (type, content).
    """

    directory: Path
    zones: Mapping[str, Mapping[str, tuple[str, str]]]
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    api_key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def __post_init__(self) -> None:
        self._fill(self.directory / "zones.sqlite3")
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": self.directory / "zones.sqlite3",
            "local-address": self.host,
            "local-port": self.port,
            "api": "yes",
            "api-key": self.api_key,
            "webserver": "yes",
            "webserver-address": "127.0.0.1",
            "webserver-port": self.api_port,
            "webserver-allow-from": "127.0.0.0/8",
            "socket-dir": self.directory,
            # What was written a moment ago is answered at once.
            "cache-ttl": 0,
            "query-cache-ttl": 0,
            "negquery-cache-ttl": 0,
            "zone-cache-refresh-interval": 0,
        }
        file = self.directory / "pdns.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._server = ServerProcess(
            [
                program("pdns_server"),
                f"--config-dir={self.directory}",
                "--daemon=no",
                "--guardian=no",
                "--disable-syslog",
            ],
            directory=self.directory,
            ready=lambda: all(self.endpoint.serves(zone) for zone in self.zones),
        )

    @property
    def api(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.api_port}"

    def add(self, zone: str, name: str, kind: str, content: str) -> None:
        """Have one more record at `name`, as somebody else would who uses the same database."""
        with sqlite3.connect(self.directory / "zones.sqlite3") as database:
            _add(database, zone, name, kind, content)
        database.close()

    def remove(self, name: str, content: str) -> None:
        """Remove a record behind everybody's back."""
        with sqlite3.connect(self.directory / "zones.sqlite3") as database:
            database.execute("DELETE FROM records WHERE name = ? AND content = ?", (name, content))
        database.close()

    def _fill(self, file: Path) -> None:
        with sqlite3.connect(file) as database:
            database.executescript(SCHEMA.read_text(encoding="utf-8"))
            for zone, records in self.zones.items():
                database.execute("INSERT INTO domains (name, type) VALUES (?, 'NATIVE')", (zone,))
                soa = f"ns1.{zone} hostmaster.{zone} 1 3600 600 86400 1"
                _add(database, zone, zone, "SOA", soa)
                _add(database, zone, zone, "NS", f"ns1.{zone}")
                _add(database, zone, f"ns1.{zone}", "A", self.host)
                for name, (kind, content) in records.items():
                    _add(database, zone, f"{name}.{zone}", kind, content)
        database.close()


def _add(database: sqlite3.Connection, zone: str, name: str, kind: str, content: str) -> None:
    database.execute(
        "INSERT INTO records (domain_id, name, type, content, ttl, auth, disabled)"
        " SELECT id, ?, ?, ?, 1, 1, 0 FROM domains WHERE name = ?",
        (name, kind, content, zone),
    )
