"""How is a decision told to people, in words and numbers?"""

from p2sp.manager.demand import Demand


def hot(demand: Demand, target_speed: float, half_life: float) -> str:
    """Why a resource is wanted near; `target_speed` in bytes a second, `half_life` in seconds."""
    clients = f"{demand.clients} client{'' if demand.clients == 1 else 's'}"
    against = f"{in_rate(demand.speed)} against {in_rate(target_speed)}"
    if demand.slow:
        against += f", a fifth at {in_rate(demand.slow)} or less"
    return "; ".join(
        (
            f"hot: {in_bytes(demand.volume)} by {clients}, half-life {in_time(half_life)}",
            f"{'slow' if demand.speed < target_speed else 'fast enough'}: {against}",
            f"{demand.imported:.0%} from outside the ISP",
        )
    )


def in_bytes(count: float) -> str:
    """Such as "96 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def in_rate(speed: float) -> str:
    """Such as "8.0 MB/s"."""
    for unit in ("B/s", "kB/s"):
        if speed < 1000:
            return f"{speed:.0f} {unit}"
        speed /= 1000
    return f"{speed:.1f} MB/s"


def in_time(seconds: float) -> str:
    """Such as "2 h" or "90 s"."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0 and seconds // length > 1:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
