"""Does the table at the demonstration's end say who got what from where, and whether it is right?"""

import json
from pathlib import Path

from p2sp.cli.demo_account import Part, told


def a_part(folder: Path, name: str, digest: str, server: int) -> Part:
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps(
            {
                "seconds": 6.04,
                "sha256": digest,
                "bytes_by_kind": {"server": server, "supernode": 2_000_000, "peer": 1_000_000},
                "sources": [
                    {"kind": "server", "label": "http://127.0.0.1:1/", "bytes": server},
                    {"kind": "supernode", "label": "supernode 127.1.0.3:2", "bytes": 2_000_000},
                    {"kind": "peer", "label": "peer 127.2.0.5:3", "bytes": 1_000_000},
                ],
            }
        )
    )
    return Part.read(path, name, "north", "127.1.")


def test_the_table(tmp_path: Path) -> None:
    parts = [a_part(tmp_path, "client 1", "good", 1_000_000), a_part(tmp_path, "client 2", "bad", 0)]
    heads, first, second = told(parts, "good")
    assert " ".join(heads.split()) == "client ISP seconds server super node peers from outside the ISP sha-256"
    assert first.split("  ")[0] == "client 1"
    assert "50 %" in first
    assert first.endswith("ok")
    assert "33 %" in second
    assert second.endswith("WRONG")
    assert heads.index("sha-256") == first.index("ok") == second.index("WRONG")
