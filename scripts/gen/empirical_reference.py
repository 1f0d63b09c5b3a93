#!/usr/bin/env python3
"""Lower bounds on epsilon from what an attack got right, to some 20 digits: sums as they stand, in decimal arithmetic of 60
digits, binomial coefficients as products, so that nothing here resembles the C code's saddle points and logarithms.

    one_run   m r v epsilon delta p            p-value of Theorem 5.2 of Steinke, Nasr, Jagielski 2023
    bound     m r v delta confidence epsilon   the largest epsilon with p < 1 - confidence
    low       k n risk p                       P[Bin(n, p) >= k] = risk (Clopper, Pearson 1934)
    worlds    n1 k1 n0 k0 delta confidence epsilon   from k1 of n1 runs with the canary and k0 of n0 without it

Writes tests/data/empirical.txt. The standard library is all it needs; it takes some twenty seconds.
"""
import functools
import os
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, setcontext

setcontext(Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN))

P_VALUES = [ # m r v epsilon delta
    (10, 10, 10, "0", "0"), (10, 10, 0, "1", "0.001"), (10, 7, 1, "0.3", "0.01"), (1000, 1000, 501, "0.01", "0.00001"),
    (1000, 100, 95, "2.5", "0.00001"), (1000, 100, 95, "2.5", "0.001"), (50000, 1500, 1300, "1.99", "0.00001"),
    (50000, 1500, 1300, "1.5", "0.00001"), (50000, 1000, 900, "2.13", "0.00001"), (50000, 1000, 1000, "6", "0.000001"),
    (50000, 1000, 1000, "0", "0.00001"), (50000, 2000, 1900, "0.5", "0.0001"), (1000000, 20000, 19000, "2.9", "0.000001"),
    (1000000, 100000, 73400, "1", "0.0000001"), (1000000, 100000, 100000, "0", "0.00001"),
    (1000000, 1000000, 731500, "1", "0.000000001"), (1000000, 1000000, 501000, "0", "0.00001"),
]
BOUNDS = [ # m r v delta confidence
    (10, 10, 10, "0", "0.95"), (1000, 1000, 600, "0.00001", "0.99"), (1000, 20, 20, "0.00001", "0.999999"),
    (50000, 1500, 1200, "0.00001", "0.95"), (50000, 1500, 1400, "0.00001", "0.95"), (50000, 1000, 940, "0.00001", "0.95"),
    (50000, 1000, 1000, "0.00001", "0.95"), (50000, 1500, 750, "0.00001", "0.95"), (50000, 1000, 940, "0.0001", "0.999999999"),
    (5000, 5000, 3300, "0.000001", "0.95"),
]
LIMITS = [ # k n risk
    (1, 1, "0.05"), (1, 10, "0.025"), (10, 10, "0.025"), (5, 10, "0.5"), (3, 1000, "0.000001"), (997, 1000, "0.000001"),
    (500, 1000, "0.00000025"), (135, 100000, "0.00000025"), (2340, 100000, "0.00000025"), (1, 1000000, "0.000000001"),
    (400000, 1000000, "0.00000025"), (999999, 1000000, "0.01"),
]
WORLDS = [ # n1 k1 n0 k0 delta confidence
    (20000, 470, 20000, 27, "0.00001", "0.999999"), (20000, 27, 20000, 470, "0.00001", "0.999999"),
    (5000, 4990, 4000, 3000, "0", "0.95"), (1000, 500, 1000, 480, "0", "0.95"), (300, 300, 200, 0, "0.01", "0.9"),
]


@functools.lru_cache(maxsize=None)
def choose(n, k):
    product = Decimal(1)
    for i in range(1, min(k, n - k) + 1):
        product = product * (n + 1 - i) / i
    return product


def terms_down(r, v, p):
    """P[Bin = v], P[Bin = v-1], ..."""
    term = choose(r, v) * p**v * (1 - p) ** (r - v)
    odds = (1 - p) / p
    for k in range(v, -1, -1):
        yield term
        if k:
            term = term * k / (r - k + 1) * odds


def tail(k, n, p):
    """P[Bin(n, p) >= k], every term."""
    term = choose(n, k) * p**k * (1 - p) ** (n - k)
    total, odds = term, p / (1 - p)
    for j in range(k, n):
        term = term * (n - j) / (j + 1) * odds
        total += term
        if term < total * Decimal("1e-45") and j > n * p:
            break
    return total


def p_value(m, r, v, epsilon, delta):
    p = 1 / (1 + (-epsilon).exp())
    below, best = Decimal(0), Decimal(0)
    if delta > 0:
        for i, term in enumerate(terms_down(r, v, p)):
            if i > 0:
                below += term
                best = max(best, below / i)
    return min(Decimal(1), tail(v, r, p) + 2 * m * delta * best)


def bisect(is_below, low, high, digits):
    while high - low > high * Decimal(10) ** -digits:
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


def bound(m, r, v, delta, confidence):
    def refuted(epsilon):
        return p_value(m, r, v, epsilon, delta) < 1 - confidence

    if not refuted(Decimal(0)):
        return Decimal(0)
    return bisect(refuted, Decimal(0), Decimal(16), 14)


def low(k, n, risk):
    return bisect(lambda p: tail(k, n, p) < risk, Decimal(0), Decimal(1), 14) if k else Decimal(0)


def worlds(n1, k1, n0, k0, delta, confidence):
    """P <= e^epsilon Q + delta for the event and its contrary, from either world to the other."""
    risk, most = (1 - confidence) / 4, Decimal(0)
    for k, j in ((k1, k0), (n1 - k1, n0 - k0)): # the event, its contrary
        for p, q in ((low(k, n1, risk), 1 - low(n0 - j, n0, risk)), (low(j, n0, risk), 1 - low(n1 - k, n1, risk))):
            if p - delta > q:
                most = max(most, ((p - delta) / q).ln())
    return most


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "data", "empirical.txt")
    with open(path, "w") as out:
        out.write("# made by scripts/gen/empirical_reference.py, which says what the columns are\n")
        for m, r, v, epsilon, delta in P_VALUES:
            out.write(f"one_run {m} {r} {v} {epsilon} {delta} {p_value(m, r, v, Decimal(epsilon), Decimal(delta)):.20e}\n")
        for m, r, v, delta, confidence in BOUNDS:
            out.write(f"bound {m} {r} {v} {delta} {confidence} {bound(m, r, v, Decimal(delta), Decimal(confidence)):.15f}\n")
        for k, n, risk in LIMITS:
            out.write(f"low {k} {n} {risk} {low(k, n, Decimal(risk)):.15e}\n")
        for *counts, delta, confidence in WORLDS:
            epsilon = worlds(*counts, Decimal(delta), Decimal(confidence))
            out.write(f"worlds {' '.join(map(str, counts))} {delta} {confidence} {epsilon:.12f}\n")


if __name__ == "__main__":
    main()
