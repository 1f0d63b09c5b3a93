#!/usr/bin/env python3
"""Renyi differential privacy of one Poisson-subsampled Gaussian step at integer orders, to 25 digits.

    RDP(a) = ln A / (a - 1),   A = sum_k binom(a,k) (1-q)^(a-k) q^k exp((k^2-k) / (2 sigma^2))

summed as it stands, in decimal arithmetic of 120 digits, so that nothing here resembles the C code's logarithms.
Writes tests/data/rdp_integer_orders.txt: q sigma order rdp. The standard library is all it needs.
"""
import math
import os
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, setcontext

setcontext(Context(prec=120, Emax=MAX_EMAX, Emin=MIN_EMIN))

QS = ["0.0000001", "0.00001", "0.001", "0.02", "0.3", "0.9", "1"]
SIGMAS = ["0.05", "0.3", "0.7", "1.25", "6", "100", "10000"]
ORDERS = [2, 3, 8, 31, 63, 256, 1024]


def rdp(q, sigma, order):
    total = Decimal(0)
    for k in range(order + 1):
        if q == 1 and k < order:
            continue
        weight = math.comb(order, k) * (1 - q) ** (order - k) * q**k if q < 1 else Decimal(1)
        total += weight * (Decimal(k * k - k) / (2 * sigma * sigma)).exp()
    return total.ln() / (order - 1)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "..", "..", "tests", "data", "rdp_integer_orders.txt")
    with open(path, "w") as out:
        out.write("# q sigma order rdp; made by scripts/gen/rdp_reference.py\n")
        for q in QS:
            for sigma in SIGMAS:
                for order in ORDERS:
                    out.write(f"{q} {sigma} {order} {rdp(Decimal(q), Decimal(sigma), order):.25e}\n")


if __name__ == "__main__":
    main()
