#!/usr/bin/python3
"""Reference values of train/measures.h, train/intervals.h and train/report.h: tests/data/train/metrics_values.txt.

    apt-get install python3-sklearn          # Debian 12: 1.2.1
    scripts/gen/metrics_sklearn.py > tests/data/train/metrics_values.txt

Curves, rates, losses and averages are scikit-learn's. DeLong's and Obuchowski's variances are computed here from the m x n
matrix of psi, with no midranks; the bins of equal size by their definition. Probabilities are multiples of 1/4096, so that a
float holds them exactly.

    case NAME IMAGES CLASSES multi|single
    image LABEL PATIENT P...              label: the class, or the bit set
    value PATH NUMBER                     PATH: class/measure, macro/..., micro/..., overall/...
    roc CLASS FPR TPR THRESHOLD           in the order of the curve; the first point, (0, 0), has no threshold of its own
    compare PATH NUMBER                   class 1 of this case against that of the case before, same images
"""
import warnings

import numpy as np
from scipy.stats import norm
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

warnings.filterwarnings("ignore")
BINS, SPECIFICITY, SENSITIVITY = 15, 0.9, 0.9


def shares(rng, n, C, label, strength):
    """Rows of C multiples of 1/4096, none of them 0 or 1, that sum to 1; the label's own is larger on average."""
    z = rng.normal(size=(n, C))
    z[np.arange(n), label] += strength
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    k = np.maximum(1, np.floor(p * 4096)).astype(int)
    k[np.arange(n), k.argmax(1)] += 4096 - k.sum(1)
    return k / 4096


def clustered(psi, patient_x, patient_y):
    """S10, S01, S11 of Obuchowski 1997 put together; psi (m, n) of one model, or the difference of two."""
    m, n = psi.shape
    theta = psi.mean()
    v10, v01 = psi.mean(1), psi.mean(0)
    everybody = sorted(set(patient_x) | set(patient_y))
    a = np.array([sum(v10[patient_x == c] - theta) for c in everybody])
    b = np.array([sum(v01[patient_y == c] - theta) for c in everybody])
    I10, I01, I = len(set(patient_x)), len(set(patient_y)), len(everybody)
    S10 = I10 / ((I10 - 1) * m) * (a * a).sum()
    S01 = I01 / ((I01 - 1) * n) * (b * b).sum()
    S11 = I / (I - 1) * (a * b).sum()
    return S10 / m + S01 / n + 2 * S11 / (m * n)


def delong1988(psi):
    """The paper's own, images independent: var(V10)/m + var(V01)/n."""
    return psi.mean(1).var(ddof=1) / psi.shape[0] + psi.mean(0).var(ddof=1) / psi.shape[1]


def psi_of(y, p):
    x, z = p[y == 1][:, None], p[y == 0][None, :]
    return (x > z) + 0.5 * (x == z)


def ece(y, p):
    prob_true, prob_pred = calibration_curve(y, p, n_bins=BINS, strategy="uniform")
    count = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], p), minlength=BINS)
    return (np.abs(prob_true - prob_pred) * count[count > 0]).sum() / len(y)


def adaptive(y, p):
    bins = [[] for _ in range(BINS)]
    for i in range(len(p)):
        above = sum(1 for q in p if q > p[i])
        bins[BINS * above // len(p)].append(p[i] - y[i])
    return sum(abs(sum(b)) for b in bins) / len(p)


def question(y, p, says):
    """Every measure of one yes-or-no question."""
    fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False)
    tn, fp, fn, tp = sk.confusion_matrix(y, says, labels=[0, 1]).ravel()
    return {
        "auroc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "sensitivity_at_specificity": tpr[1 - fpr >= SPECIFICITY - 1e-9].max(),
        "specificity_at_sensitivity": (1 - fpr[tpr >= SENSITIVITY - 1e-9]).max(),
        "sensitivity": sk.recall_score(y, says),
        "specificity": sk.recall_score(y, says, pos_label=0),
        "precision": sk.precision_score(y, says),
        "f1": sk.f1_score(y, says),
        "balanced_accuracy": sk.balanced_accuracy_score(y, says),
        "accuracy": sk.accuracy_score(y, says),
        "calibration_error": ece(y, p),
        "adaptive_calibration_error": adaptive(y, p),
        "brier": sk.brier_score_loss(y, p),
        "log_loss": sk.log_loss(y, p),
        "tp": tp, "fp": fp, "fn": fn, "tn": tn,
    }


def value(path, number):
    print(f"value {path} {number:.17g}")


def emit(name, label, patient, p, multi, curve=False):
    n, C = p.shape
    print(f"case {name} {n} {C} {'multi' if multi else 'single'}")
    for i in range(n):
        print("image", label[i], patient[i], *(f"{v:.17g}" for v in p[i]))
    Y = np.array([[label[i] >> c & 1 if multi else int(label[i] == c) for c in range(C)] for i in range(n)])
    said = (p >= 0.5).astype(int) if multi else np.eye(C, dtype=int)[p.argmax(1)]
    for c in range(C):
        for key, v in question(Y[:, c], p[:, c], said[:, c]).items():
            value(f"{c}/{key}", v)
        psi = psi_of(Y[:, c], p[:, c])
        variance = clustered(psi, patient[Y[:, c] == 1], patient[Y[:, c] == 0])
        if len(set(patient)) == n:
            assert abs(variance - delong1988(psi)) < 1e-15
        value(f"{c}/delong_variance", variance)
        half = norm.ppf(0.975) * np.sqrt(variance)
        value(f"{c}/delong_low", max(0, psi.mean() - half))
        value(f"{c}/delong_high", min(1, psi.mean() + half))
    value("micro/auroc", sk.roc_auc_score(Y.ravel(), p.ravel()))
    value("micro/average_precision", sk.average_precision_score(Y, p, average="micro"))
    value("macro/average_precision", sk.average_precision_score(Y, p, average="macro"))
    value("micro/f1", sk.f1_score(Y, said, average="micro"))
    value("macro/f1", sk.f1_score(Y, said, average="macro"))
    if multi:
        value("macro/auroc", sk.roc_auc_score(Y, p, average="macro"))
        value("overall/auroc", sk.roc_auc_score(Y, p, average="macro"))
        value("overall/accuracy", sk.accuracy_score(Y, said))
        value("overall/log_loss", sk.log_loss(Y.ravel(), p.ravel()))
        value("overall/brier", sk.brier_score_loss(Y.ravel(), p.ravel()))
        value("overall/calibration_error", ece(Y.ravel(), p.ravel()))
    else:
        best = p.argmax(1)
        two = sk.roc_auc_score(label, p[:, 1]) if C == 2 else sk.roc_auc_score(label, p, multi_class="ovr")
        value("overall/auroc", two)
        value("overall/accuracy", sk.accuracy_score(label, best))
        value("overall/balanced_accuracy", sk.balanced_accuracy_score(label, best))
        value("overall/log_loss", sk.log_loss(label, p))
        value("overall/brier", ((p - Y) ** 2).sum(1).mean())
        value("overall/calibration_error", ece((best == label).astype(int), p.max(1)))
        value("overall/adaptive_calibration_error", adaptive((best == label).astype(int), p.max(1)))
        for a, row in enumerate(sk.confusion_matrix(label, best)):
            for b, count in enumerate(row):
                value(f"confusion/{a}/{b}", count)
    if curve:
        fpr, tpr, threshold = sk.roc_curve(Y[:, 1], p[:, 1], drop_intermediate=False)
        for f, t, h in zip(fpr, tpr, threshold):
            print(f"roc 1 {f:.17g} {t:.17g} {h:.17g}")
    return Y


def compare(label, patient, p, q):
    y = (label == 1).astype(int)
    psi = psi_of(y, q[:, 1]) - psi_of(y, p[:, 1])
    variance = clustered(psi, patient[y == 1], patient[y == 0])
    z = psi.mean() / np.sqrt(variance)
    for path, v in (("difference", psi.mean()), ("variance", variance), ("z", z), ("p", 2 * norm.sf(abs(z)))):
        print(f"compare {path} {v:.17g}")


def main():
    rng = np.random.default_rng(20240607)
    label = rng.integers(0, 2, 60)
    p = shares(rng, 60, 2, label, 0.8)
    coarse = np.round(p[:, 1] * 8) / 8  # ties, also across the classes
    emit("ties", label, np.arange(60), np.stack([1 - coarse, coarse], 1).clip(1 / 16, 15 / 16), False, curve=True)

    patient = rng.permutation(np.repeat(np.arange(30), 4))[:110]
    patient = np.unique(patient, return_inverse=True)[1]
    mostly = rng.integers(0, 2, 30)  # a few patients have images of both classes
    label = np.where(rng.random(110) < 0.15, 1 - mostly[patient], mostly[patient])
    p = shares(rng, 110, 2, label, 1.0)
    emit("patients", label, patient, p, False)
    q = shares(rng, 110, 2, label, 1.6)
    emit("better", label, patient, q, False)
    compare(label, patient, p, q)

    label = rng.choice(4, 90, p=[0.5, 0.25, 0.15, 0.1])
    emit("four", label, np.arange(90), shares(rng, 90, 4, label, 1.2), False)

    Y = (rng.random((80, 3)) < [0.5, 0.3, 0.2]).astype(int)
    z = rng.normal(size=(80, 3)) + 1.5 * Y - 1
    p = np.clip(np.round(4096 / (1 + np.exp(-z))), 1, 4095) / 4096
    emit("findings", Y @ [1, 2, 4], rng.integers(0, 40, 80), p, True)


main()
