"""How fast is every transfer, when the links it goes through are shared fairly?"""

from collections.abc import Collection, Sequence

ROUNDS = 3
"""Times that what some could not use is divided among the others."""


class Pipe:
    """A link in one direction, `rate` bytes a second; `carried` is what went through it."""

    __slots__ = ("carried", "left", "rate", "users")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.carried = 0.0
        self.left = 0.0
        self.users = 0


Route = Sequence[Pipe]


def fair_rates(routes: Sequence[Route]) -> list[float]:
    """Bytes a second of each transfer: equal shares of the narrowest link on its way, and of what others leave there.

    Near to max-min fairness, and never more than a link carries.
    """
    pipes = {pipe for route in routes for pipe in route}
    for pipe in pipes:
        pipe.left = pipe.rate
    rates = [0.0] * len(routes)
    open_ones: Collection[int] = range(len(routes))
    for _ in range(ROUNDS):
        for pipe in pipes:
            pipe.users = 0
        for at in open_ones:
            for pipe in routes[at]:
                pipe.users += 1
        for pipe in pipes:
            pipe.left = pipe.left / pipe.users if pipe.users else 0.0
        taken = [(at, min(pipe.left for pipe in routes[at])) for at in open_ones]
        for pipe in pipes:
            pipe.left *= pipe.users
        for at, more in taken:
            rates[at] += more
            for pipe in routes[at]:
                pipe.left -= more
        open_ones = [at for at in open_ones if all(pipe.left > 0.01 * pipe.rate for pipe in routes[at])]
        if not open_ones:
            break
    return rates
