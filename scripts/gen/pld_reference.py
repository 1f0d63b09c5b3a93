#!/usr/bin/env python3
"""
tests/data/pld_closed_forms.txt: epsilon where it has a closed form, in arithmetic of 50 digits (needs python3-mpmath).

Independent of privacy/gauss.c: the hockey-stick divergence is integrated from its definition, not from a formula for
epsilon, and the root is found by bisection on that.

    pld_reference.py closed > tests/data/pld_closed_forms.txt
"""
import sys
import mpmath as mp

mp.mp.dps = 50


def tail(x):
    return mp.erfc(x / mp.sqrt(2)) / 2


def delta_step(way, q, sigma, eps):
    """sup over events of P - e^eps Q for M = (1-q) N(0,s^2) + q N(1,s^2) against N(0,s^2): the event is a half line."""
    e = mp.exp(eps)
    if way == "remove":  # M / N0 > e^eps
        x = sigma ** 2 * mp.log((e - 1 + q) / q) + mp.mpf(1) / 2
        return (1 - q) * tail(x / sigma) + q * tail((x - 1) / sigma) - e * tail(x / sigma)
    arg = (1 / e - 1 + q) / q
    if arg <= 0:
        return mp.mpf(0)
    x = sigma ** 2 * mp.log(arg) + mp.mpf(1) / 2
    return tail(-x / sigma) - e * ((1 - q) * tail(-x / sigma) + q * tail((1 - x) / sigma))


def root(f, delta):
    if f(mp.mpf(0)) <= delta:
        return mp.mpf(0)
    low, high = mp.mpf(0), mp.mpf(1)
    while f(high) > delta:
        low, high = high, 2 * high
    for _ in range(150):
        middle = (low + high) / 2
        if f(middle) > delta:
            low = middle
        else:
            high = middle
    return high


def closed():
    print("# sampling_rate noise_multiplier steps delta epsilon; made by scripts/gen/pld_reference.py")
    for sigma in ("0.3", "0.7", "1", "4", "30", "100"):
        for steps in (1, 10, 1000, 1000000):
            for delta in ("1e-12", "1e-5", "0.01", "0.5", "0.999"):
                mu = mp.sqrt(steps) / mp.mpf(sigma)
                eps = root(lambda e: tail(e / mu - mu / 2) - mp.exp(e) * tail(e / mu + mu / 2), mp.mpf(delta))
                print("1", sigma, steps, delta, mp.nstr(eps, 20))
    for q in ("1e-6", "0.001", "0.05", "0.5", "0.9", "0.999999"):
        for sigma in ("0.3", "0.7", "1", "4", "30", "100"):
            for delta in ("1e-12", "1e-8", "1e-5", "0.01"):
                eps = max(root(lambda e: delta_step(way, mp.mpf(q), mp.mpf(sigma), e), mp.mpf(delta))
                          for way in ("remove", "add"))
                print(q, sigma, 1, delta, mp.nstr(eps, 20))


if __name__ == "__main__":
    {"closed": closed}[sys.argv[1]]()
