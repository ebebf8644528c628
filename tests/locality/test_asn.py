"""Are addresses located by autonomous systems, those of one ISP as one, and the unknown nowhere?"""

from pathlib import Path

import pytest

from p2sp.locality.alto import LocalityError
from p2sp.locality.asn import AsnTable, number_in, read_groups
from p2sp.ops.config import ConfigError
from p2sp.tracker.asn_file import AsnFile
from tests.locality.mmdb import make_mmdb


def test_a_file_and_a_table_of_groups(tmp_path: Path) -> None:
    (tmp_path / "asn.mmdb").write_bytes(make_mmdb({"192.0.2.0/24": 64500, "198.51.100.0/25": 64501, "10.0.0.0/8": 7}))
    file = AsnFile(tmp_path / "asn.mmdb")
    table = AsnTable(file.find, read_groups({"AS64500": "campus", "64501": "campus"}))
    assert table.isp_of("192.0.2.9") == table.isp_of("198.51.100.1") == "campus"
    assert table.isp_of("10.1.2.3") == "AS7"
    for nowhere in ("198.51.100.200", "203.0.113.1", "2001:db8::1", "nonsense", ""):
        assert table.isp_of(nowhere) is None
    file.close()


@pytest.mark.parametrize("content", [b"", b"no database", make_mmdb({"10.0.0.0/8": 7})[:-40]])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "asn.mmdb").write_bytes(content)
    with pytest.raises(ConfigError, match=r"asn\.mmdb"):
        AsnFile(tmp_path / "asn.mmdb")
    with pytest.raises(ConfigError, match=r"missing\.mmdb: No such file"):
        AsnFile(tmp_path / "missing.mmdb")


@pytest.mark.parametrize("rows", [{"campus": "AS1"}, {"AS0": "a"}, {"AS99999999999": "a"}, {"AS1": "two words"}])
def test_a_row_that_is_wrong_is_named(rows: dict[str, str]) -> None:
    with pytest.raises(LocalityError, match=next(iter(rows))):
        read_groups(rows)


@pytest.mark.parametrize("record", [None, "text", {}, {"autonomous_system_number": "7"}])
def test_records_of_other_files_say_nothing(record: object) -> None:
    assert number_in(record) is None
