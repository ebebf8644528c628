"""What may an operator say that comes before any policy?"""

from collections.abc import Iterable
from enum import StrEnum

import attrs


class RuleKind(StrEnum):
    """Pin: hold it whatever its demand. Preheat: fetch it now, hold it for a while. Block: never hold it."""

    PIN = "pin"
    PREHEAT = "preheat"
    BLOCK = "block"


@attrs.frozen
class Rule:
    """An operator's word on one resource, in one ISP or (None) in all.

    `number` names it. `length` is the resource's bytes as far as known (0: not). It holds from `since` to `until`
    (seconds since 1970; None: until it is taken back). `by` is the node id of who said it, `note` the reason given.
    """

    number: int
    kind: RuleKind
    resource: str
    isp: str | None
    length: int
    since: float
    until: float | None
    by: str
    note: str

    def holds(self, isp: str, now: float) -> bool:
        """Whether it is in force in an ISP."""
        return self.isp in (None, isp) and (self.until is None or now < self.until)

    def reason(self) -> str:
        """Why something is where it is, in words."""
        words = {RuleKind.PIN: "pinned", RuleKind.PREHEAT: "preheated", RuleKind.BLOCK: "blocked"}
        return f"{words[self.kind]} by an operator (rule {self.number}{f': {self.note}' if self.note else ''})"


def in_force(rules: Iterable[Rule], isp: str, now: float) -> dict[str, Rule]:
    """By resource, the rule that counts in an ISP: a block before all others, then the oldest."""
    found: dict[str, Rule] = {}
    for rule in sorted(rules, key=lambda each: (each.kind is not RuleKind.BLOCK, each.number)):
        if rule.holds(isp, now):
            found.setdefault(rule.resource, rule)
    return found
