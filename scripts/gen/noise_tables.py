#!/usr/bin/python3
"""Masses of the noise sampler's tables and values of exp, by mpmath with 130 digits, for tests/privacy/test_noise_table.c.

    pip install mpmath
    scripts/gen/noise_tables.py > tests/data/noise_tables.txt

privacy/noise_table.c says what the entries are. Here every weight is an exponential of its own, without recurrences.

    table S2 WIDTH_BITS ENTRIES DISTANCE SHA256    SHA256 of the masses in units of 2^-128, each as 32 hex digits and a
                                                   newline; DISTANCE: sum of |mass - probability| in the same units,
                                                   over all entries there could be, rounded up
    mass E HEX                                     some of them
    exp NUM DEN HEX                                floor(2^256 exp(-NUM/DEN)), 64 hex digits
"""
import hashlib
import math

import mpmath as mp

mp.mp.dps = 130
TABLES = [1, 2, 3, 6, 100, 65537, 2**18 - 1, 2**18, 10**6, 6809103992, 2**32, 2**40 + 12345, 2**56 - 1, 2**56]
EXPONENTIALS = [(1, 2), (3, 2), (1, 1), (2, 1), (1, 3), (1, 2**57), (10**9 + 7, 2**57), (12345678901, 123456789012),
                (2**40, 2**57 - 2), (7, 139)]


def table(s2):
    s = math.isqrt(s2)
    k = max(0, s.bit_length() - 1 - 8)
    w = 2**k
    weights = [mp.mpf(1)]
    e = 1
    while True:
        m = (e - 1) * w + 1
        weights.append(2 * w * mp.exp(-mp.mpf(m * m) / (2 * s2)))
        if weights[-1] < mp.mpf(10)**-75:
            break
        e += 1
    total = mp.fsum(weights)
    exact = [2**128 * x / total for x in weights]
    masses = []
    for x in exact:
        p = int(mp.floor(x + mp.mpf(1) / 2))
        if p == 0:
            break
        masses.append(p)
    masses[1] += 2**128 - sum(masses)
    distance = mp.fsum(abs(p - x) for p, x in zip(masses, exact)) + mp.fsum(exact[len(masses):])
    lines = "".join(f"{p:032x}\n" for p in masses)
    n = len(masses)
    print(f"table {s2} {k} {n} {int(mp.ceil(distance))} {hashlib.sha256(lines.encode()).hexdigest()}")
    for i in sorted({0, 1, 2, 3, n // 4, n // 2, n - 2, n - 1}):
        print(f"mass {i} {masses[i]:032x}")


for s2 in TABLES:
    table(s2)
for num, den in EXPONENTIALS:
    print(f"exp {num} {den} {int(mp.floor(2**256 * mp.exp(-mp.mpf(num) / den))):064x}")
