#!/usr/bin/env python3
"""Scattering features of made-up images, in double precision and by Fourier transforms: tests/data/train/scattering.txt

Needs numpy. Independent of train/scattering.c: complex filters, one large mirrored plane, no symmetry is used.
A line: J L H W mirror groups scalewise kind stride values..., every stride-th of the raw transform or of the features.
"""
import numpy as np


def image(h, w):
    i = np.arange(h * w, dtype=np.uint64)
    noise = ((i * 2654435761 + 40503) % 2**32 >> 8) / 2.0**24
    y, x = np.mgrid[0:h, 0:w]
    wave = 0.5 + 0.3 * np.sin(0.7 * x + 0.2 * y) * np.cos(0.05 * y * y / h)
    return (0.6 * wave + 0.4 * noise.reshape(h, w)).astype(np.float32).astype(np.float64)


def grid(r):
    return np.mgrid[-r : r + 1, -r : r + 1].astype(np.float64)


def morlet(scale, L, t):
    sigma, slant, a = 0.8 * 2.0**scale, 4.0 / L, np.pi * (L // 2 - 1 - t) / L
    y, x = grid(int(np.ceil(3 * sigma / slant)))
    along, across = y * np.cos(a) + x * np.sin(a), x * np.cos(a) - y * np.sin(a)
    bell = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2)) * slant / (2 * np.pi * sigma**2)
    wave = bell * np.exp(0.75j * np.pi / 2**scale * along)
    return wave - bell * wave.sum() / bell.sum()


def gaussian(sigma):
    y, x = grid(max(1, int(np.ceil(4 * sigma))))
    g = np.exp(-(y * y + x * x) / (2 * sigma * sigma))
    return g / g.sum()


def fold(n, r):
    at = np.abs(np.arange(-r, n + r)) % (2 * (n - 1))
    return np.minimum(at, 2 * (n - 1) - at)


def correlate(x, k, step):
    r, (h, w) = k.shape[0] // 2, x.shape
    wide = x[np.ix_(fold(h, r), fold(w, r))]
    full = np.fft.ifft2(np.fft.fft2(wide) * np.fft.fft2(k[::-1, ::-1], wide.shape))
    return full[2 * r : 2 * r + h : step, 2 * r : 2 * r + w : step]


def scatter(x, J, L):
    low = lambda u, j: correlate(u, gaussian(0.8 * 2.0 ** (J - 1 - j)), 2 ** (J - j)).real
    band = lambda u, j, k, t: np.abs(correlate(u, morlet(k - j, L, t), 2 ** (k - j)))
    first, second = [], []
    for j in range(J):
        us = [band(x, 0, j, t) for t in range(L)]
        first += [low(u, j) for u in us]
        for k in range(j + 1, J):
            second += [low(band(u, j, k, v), k) for u in us for v in range(L)]
    return np.array([low(x, 0)] + first + second)


def normal(s, groups):
    g = s.reshape(groups, -1)
    return ((g - g.mean(1, keepdims=True)) / np.sqrt(g.var(1, keepdims=True) + 1e-5)).ravel()


def logged(x, J, L, scalewise):
    s = scatter(x, J, L)
    s[1:] = np.log(s[1:] + 0.01)
    if not scalewise:
        return normal(s, len(s))
    ends = np.cumsum([1] + [L] * J + [L * L] * (J * (J - 1) // 2))
    return np.concatenate([(g - g.mean()).ravel() for g in np.split(s, ends[:-1])])


def features(x, J, L, mirror, groups, scalewise):
    if groups:
        f = normal(scatter(x, J, L), groups)
    else:
        x = (x - x.mean()) / (x.std(ddof=1) + 0.05)
        f = logged(x, J, L, scalewise) + (logged(x[:, ::-1], J, L, scalewise) if mirror else 0)
    return f / np.sqrt((f * f).sum())


for J, L, h, w, mirror, groups, scalewise, stride in (
    (2, 4, 24, 37, 0, 0, 0, 31), (3, 8, 32, 33, 1, 0, 0, 53), (1, 2, 16, 16, 1, 0, 0, 7), (2, 8, 28, 28, 0, 27, 0, 61),
    (4, 6, 32, 40, 0, 0, 0, 41), (2, 12, 19, 16, 1, 0, 0, 67), (1, 16, 16, 17, 0, 0, 0, 23), (3, 4, 32, 21, 1, 0, 1, 29),
    (1, 8, 16, 18, 0, 0, 1, 19)):
    for kind in ("raw", "features"):
        x = image(h, w)
        v = scatter(x, J, L).ravel() if kind == "raw" else features(x, J, L, mirror, groups, scalewise)
        print(J, L, h, w, mirror, groups, scalewise, kind, stride, *("%.9g" % a for a in v[::stride]))
