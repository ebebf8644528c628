"""What does it cost to bring bytes from one ISP to another?"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec
from msgspec import Meta

from p2sp.locality.alto import LocalityError, VersionTag, read_document, read_rows

MEDIA_TYPE: Final = "application/alto-costmap+json"
MOST_COSTS: Final = 1_000_000
MOST_PIDS: Final = 100_000
COST_WITHIN: Final = 0.0
COST_BETWEEN: Final = 1.0

_Cost = Annotated[float, Meta(ge=0)]


class _CostType(msgspec.Struct, frozen=True):
    mode: Literal["numerical", "ordinal"] = msgspec.field(name="cost-mode")
    metric: Annotated[str, Meta(min_length=1, max_length=32)] = msgspec.field(name="cost-metric")


class _Meta(msgspec.Struct, frozen=True):
    cost_type: _CostType = msgspec.field(name="cost-type")
    vtags: Annotated[list[VersionTag], Meta(max_length=16)] = msgspec.field(name="dependent-vtags", default=[])


class _Document(msgspec.Struct, frozen=True):
    meta: _Meta
    cost_map: dict[str, Any] = msgspec.field(name="cost-map")


@attrs.frozen
class CostMap:
    """An operator's costs between ISPs: an ALTO cost map (RFC 7285 section 11.2.3); without unit, 0 or more.

    What the map leaves out costs 0 within an ISP and 1 between two; what concerns an unknown ISP costs as much
    as the dearest there is.
    """

    costs: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict, repr=False)
    vtags: tuple[VersionTag, ...] = ()
    dearest: float = attrs.field(init=False)

    @dearest.default
    def _find_dearest(self) -> float:
        return max([COST_BETWEEN, *(cost for row in self.costs.values() for cost in row.values())])

    @classmethod
    def decode(cls, data: bytes) -> "CostMap":
        """Read a map from its JSON; raises LocalityError naming the PID and the cost that cannot be used."""
        document = read_document(data, _Document)
        rows = read_rows(document.cost_map, dict[str, _Cost], MOST_PIDS)
        if sum(len(row) for row in rows.values()) > MOST_COSTS:
            raise LocalityError(f"has more than {MOST_COSTS} costs")
        return cls(rows, tuple(document.meta.vtags))

    def cost(self, src: str | None, dst: str | None) -> float:
        """The cost from ISP `src` to ISP `dst`, either of which may be unknown."""
        if src is None or dst is None:
            return self.dearest
        default = COST_WITHIN if src == dst else COST_BETWEEN
        return self.costs.get(src, {}).get(dst, default)
