#!/usr/bin/env python3
"""
Reference values of epsilon, made without any of the methods of privacy/.

    pld_reference.py closed   > tests/data/pld_closed_forms.txt    needs python3-mpmath
    pld_reference.py composed > tests/data/pld_composed.txt        needs python3-numpy
    pld_reference.py curve    > tests/data/rdp_real_orders.txt     needs python3-mpmath; some minutes

closed: where epsilon has a closed form, in arithmetic of 50 digits: the hockey-stick divergence of the half line where the
loss exceeds epsilon, and bisection on that.

composed: schedules. No lattice and no convolution: with K(s) = sum of steps ln E_P exp(s L), L the loss of a step,

    delta(epsilon) = 1/(2 pi) * integral over w of exp(K(s) - s epsilon) / (s (s + 1)),   s = k + i w, any k > 0

on the line through the saddle point, K by quadrature at each s, bisection for epsilon; the larger of both directions. Good
to about 1e-9 relative. (At K's saddle point the integrand falls off fast; its phase is resolved in x and in w.)

curve: RDP of one step at orders that are no integers, by adaptive quadrature in 40 digits.
"""
import math
import random
import sys

try:
    import mpmath as mp
    mp.mp.dps = 50
except ImportError:
    mp = None
try:
    import numpy as np
except ImportError:
    np = None


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


def log_moments(segments, way, s):
    """K at each of the complex s (an array); the trapezoidal rule in x, fine enough for the phase"""
    total = np.zeros(s.shape, dtype=complex)
    for q, sigma, steps in segments:
        h = min(sigma, sigma * sigma) / 6
        h = min(h, 2 * sigma * sigma / (1e-9 + np.abs(s.imag).max()))
        x = np.arange(-13 * sigma, 1 + 13 * sigma + h, h)
        t = (2 * x - 1) / (2 * sigma * sigma)
        loss = np.log1p(-q) + np.log1p(q / (1 - q) * np.exp(np.minimum(t, 700))) if q < 1 else t
        log_p = -x * x / (2 * sigma * sigma) + math.log(h / (sigma * math.sqrt(2 * math.pi)))
        if way == "remove":
            log_p = log_p + loss
        else:
            loss = -loss
        weight = log_p + s.real.max() * loss
        keep = weight > weight.max() - 60
        log_p, loss = log_p[keep], loss[keep]
        rows = max(1, int(4e6 / len(loss)))
        for i in range(0, len(s), rows):
            part = s[i:i + rows]
            largest = (log_p + part.real.max() * loss).max()
            total[i:i + rows] += steps * (np.log(np.exp(log_p - largest + part[:, None] * loss).sum(1)) + largest)
    return total


def composed_one(segments, way, delta):
    def cumulant(k):
        return log_moments(segments, way, np.array([k + 0j]))[0].real

    def renyi(k):
        return (cumulant(k) - math.log(delta) - math.log1p(k)) / k + math.log(k / (1 + k))

    grid = [10 ** (e / 8) for e in range(-12, 33)]
    near = max(min(renyi(k) for k in grid), 1e-6)
    epsilon = near
    for _ in range(8):  # the line's place does not matter for the value, only for how fast the integrand falls
        low, high = 1e-3, 1e5
        for _ in range(40):
            k = math.sqrt(low * high)
            low, high = (k, high) if (cumulant(1.001 * k) - cumulant(0.999 * k)) / (0.002 * k) < epsilon else (low, k)
        k = math.sqrt(low * high)
        top = cumulant(k)
        variance = (cumulant(1.1 * k) - 2 * top + cumulant(0.9 * k)) / (0.1 * k) ** 2
        if not variance > 1e-12:
            raise ValueError("no saddle point")
        sd = math.sqrt(variance)
        largest = max((2 * (1 + 9 * s) - 1) / (2 * s * s) + math.log(q) for q, s, _ in segments)
        step = 2 * math.pi / max(24 * sd, 3 * largest + 20 * sd)
        w = 1 / sd
        while log_moments(segments, way, k + 1j * w * np.array([1, 1.07, 1.21, 1.39])).real.max() > top - 30:
            w *= 1.3
            points = max(30 * s * max(6 / min(s, s * s), w / (2 * s * s)) for _, s, _ in segments)
            if w / step * points > 1e8:
                raise ValueError("too many nodes")
        s = k + 1j * np.arange(0, w, step)
        values = np.exp(log_moments(segments, way, s) - top) / (s * (s + 1))

        def delta_at(e):
            if top - k * e > 700:  # far left of the answer
                return math.inf
            f = values * np.exp(-1j * s.imag * e)
            return math.exp(top - k * e) * step / (2 * math.pi) * (f[0].real + 2 * f[1:].real.sum())

        # further from the saddle point the integrand's terms cancel
        before, epsilon = epsilon, root_float(delta_at, delta, max(0.0, epsilon - 6 * sd), epsilon + 6 * sd)
        if abs(epsilon - before) < max(0.02 * epsilon, sd):
            return epsilon
    raise ValueError("the saddle point was not found")


def root_float(f, delta, low, high):
    if low == 0 and f(0.0) <= delta:
        return 0.0
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > delta else (low, middle)
    return high


def composed():
    random.seed(11)
    print("# delta epsilon sampling_rate noise_multiplier steps ...; made by scripts/gen/pld_reference.py")
    cases = [[(0.01, 1.0, 1000)], [(1e-6, 1.0, 1000000)], [(0.999, 0.3, 30)], [(0.5, 100.0, 1000000)]]

    def log_uniform(low, high):
        return float("%.4g" % 10 ** random.uniform(math.log10(low), math.log10(high)))

    while len(cases) < 36:
        n = random.choice((1, 1, 1, 2, 5))
        cases.append([(log_uniform(1e-4, 0.95), log_uniform(0.4, 20), int(log_uniform(100, 5e4 / n))) for _ in range(n)])
    for segments in cases:
        delta = random.choice((1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-5, 1e-3))
        try:
            epsilon = max(composed_one(segments, way, delta) for way in ("remove", "add"))
        except (ValueError, OverflowError) as e:
            print(segments, delta, e, file=sys.stderr)
            continue
        print(delta, "%.12g" % epsilon, *(v for segment in segments for v in segment), flush=True)


def curve():
    mp.mp.dps = 40
    random.seed(5)
    print("# sampling_rate noise_multiplier order rdp; made by scripts/gen/pld_reference.py")
    for _ in range(80):
        sigma = round(10 ** random.uniform(-0.52, 2), 6)
        q = random.choice([1, 0.999999, 0.5, None, None, None]) or 10 ** random.uniform(-6, -0.01)
        order = random.choice([1.01, 1.013, 1.1, None, None]) or round(1 + 10 ** random.uniform(-1.5, 3), 4)
        if sigma < 0.8 and order > 60:
            order = round(random.uniform(1.01, 40), 3)
        order += 0.5 if order == int(order) else 0
        s, a, p = mp.mpf(sigma), mp.mpf(order), mp.mpf(q)
        if q == 1:
            value = a / (2 * s * s)
        else:
            def excess(z):  # Y^a - 1 - a (Y - 1), whose mean is A - 1
                y = p * mp.expm1((2 * z - 1) / (2 * s * s))
                return mp.exp(-z * z / (2 * s * s)) / (s * mp.sqrt(2 * mp.pi)) * ((1 + y) ** a - 1 - a * y)
            low, high = -14 * s - 2, max(2, a) + 14 * s + 2
            n = min(int((high - low) / min(s, 3)) + 2, 3000)
            points = {low + (high - low) * i / n for i in range(n + 1)} | {mp.mpf(1) / 2 + s * s * mp.log(1 / p - 1)}
            value = mp.log1p(mp.quad(excess, sorted(x for x in points if low <= x <= high), maxdegree=6)) / (a - 1)
        print(repr(q), sigma, order, mp.nstr(value, 18), flush=True)


if __name__ == "__main__":
    {"closed": closed, "composed": composed, "curve": curve}[sys.argv[1]]()
