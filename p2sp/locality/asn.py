"""Which ISP does an address belong to by the number of its autonomous system?"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from p2sp.locality.alto import PID, LocalityError

_NUMBER: Final = re.compile(r"(?:AS)?(\d{1,10})", re.IGNORECASE)
_FIELD: Final = "autonomous_system_number"


@attrs.frozen
class AsnTable:
    """ISPs by autonomous system: `find` answers the number of an address' system, `groups` which numbers are one ISP.

    A number in no group is an ISP of its own, named `AS64500` and the like. An address of no system is in no ISP.
    """

    find: Callable[[str], int | None]
    groups: Mapping[int, str] = attrs.field(factory=dict)

    def isp_of(self, address: str) -> str | None:
        """The ISP of an address in text; None when nobody knows it."""
        number = self.find(address)
        return None if not number else self.groups.get(number) or f"AS{number}"


def read_groups(rows: Mapping[str, str]) -> dict[int, str]:
    """A table such as `AS64500 = "campus"`; raises LocalityError naming the row that is wrong."""
    groups: dict[int, str] = {}
    for name, isp in rows.items():
        match = _NUMBER.fullmatch(name)
        if match is None or not 0 < int(match[1]) < 2**32:
            raise LocalityError(f"{name[:32]!r} is not the number of an autonomous system such as AS64500")
        if PID.fullmatch(isp) is None:
            raise LocalityError(f"{name}: {isp[:80]!r} is not a PID: 1 to 64 of letters, digits and -:@_.")
        groups[int(match[1])] = isp
    return groups


def number_in(record: Any) -> int | None:
    """The number in a record of an MMDB file of autonomous systems; None when it has none."""
    number = record.get(_FIELD) if isinstance(record, dict) else None
    return number if isinstance(number, int) else None
