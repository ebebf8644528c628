"""How soon could the last client be done at the very best, if bytes were a fluid?

The bound for one swarm, `T = max(F/u_s, F/d_min, N F / (u_s + sum u_i))` (Kumar and Ross, "Peer-assisted file
distribution: the minimum distribution time", 2006), extended to links between ISPs: for every set of ISPs, what its
clients have to get comes from uplinks and super nodes inside, and through its transit links from outside, where origin
and the other ISPs cannot send more than they have. Header bytes are not counted in: TCP and TLS take 5 % by themselves.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

from benchmarks.isp_lab.plan import Host, Isp, Plan


def fluid_bound(plan: Plan, size: int, *, warm: bool = False, finishing: Collection[str] | None = None) -> float:
    """Seconds in which a file of `size` bytes can reach every client at best.

    `warm`: each ISP's super node holds it from the beginning. `finishing` are the names of the hosts that want it to
    the end (all, unless given): who leaves midway gives what it can and asks for nothing, which can only be too kind.
    """
    bits = size * 8.0
    wanting = [host for host in plan.hosts if finishing is None or host.name in finishing]
    if not wanting:
        return 0.0
    bounds = [bits / min(host.down for host in wanting)]
    if not warm:
        bounds.append(bits / plan.origin)
    inhabited = [isp for isp in plan.isps if any(host.isp == isp.number for host in wanting)]
    for inside in _sets(inhabited):
        demand = bits * sum(host.isp in {isp.number for isp in inside} for host in wanting)
        outside = [isp for isp in plan.isps if isp not in inside]
        bounds.append(demand / (_supply(inside, warm) + _import(plan, inside, outside, warm)))
        if not warm:
            bounds.extend(bits / isp.transit for isp in inside)
    return max(bounds)


def plain_bound(plan: Plan, size: int, clients: Sequence[Host] | None = None) -> float:
    """The same where nobody but the origin gives anything."""
    clients = plan.hosts if clients is None else clients
    bits = size * 8.0
    per_isp = [sum(host.isp == isp.number for host in clients) * bits / isp.transit for isp in plan.isps]
    return max(bits / min(host.down for host in clients), len(clients) * bits / plan.origin, *per_isp)


def _supply(isps: Iterable[Isp], warm: bool) -> float:
    return sum(sum(host.up for host in isp.hosts) + (isp.edge if warm else 0.0) for isp in isps)


def _import(plan: Plan, inside: Iterable[Isp], outside: Iterable[Isp], warm: bool) -> float:
    """Bits a second that can come in from origin and other ISPs."""
    abroad = plan.origin + sum(min(isp.transit, _supply([isp], warm)) for isp in outside)
    return min(sum(isp.transit for isp in inside), abroad)


def _sets(isps: Sequence[Isp]) -> Iterable[tuple[Isp, ...]]:
    """Every set of ISPs where they are few; each alone and all where they are many: a lower bound."""
    if len(isps) > 8:
        yield from ((isp,) for isp in isps)
        yield tuple(isps)
        return
    for count in range(1, len(isps) + 1):
        yield from combinations(isps, count)
