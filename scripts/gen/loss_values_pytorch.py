#!/usr/bin/python3
"""Losses and their slopes by PyTorch in double precision, for tests/train/test_loss.c.

    apt-get install python3-torch
    scripts/gen/loss_values_pytorch.py > tests/data/train/loss_values.txt

One line: kind, n, label (a class, or a set of classes), n logits, n class weights, the loss, n slopes.
"""
import torch
import torch.nn.functional as F

torch.manual_seed(1)


def line(kind, y, label, w):
    n = len(y)
    # what the engine sees: floats
    y = torch.tensor(y, dtype=torch.float32).double().requires_grad_()
    w = torch.tensor(w, dtype=torch.float32).double()
    if kind == "softmax":
        loss = F.cross_entropy(y[None], torch.tensor([label]), weight=w, reduction="sum")
    elif kind == "binary":
        t = torch.tensor([float(label >> c & 1) for c in range(n)], dtype=torch.float64)
        loss = F.binary_cross_entropy_with_logits(y, t, weight=w)
    else:
        loss = 0.5 * F.mse_loss(y, torch.zeros_like(y), reduction="sum")
    loss.backward()
    print(kind, n, label, *("%.9g" % v for v in y.tolist() + w.tolist()), "%.15g" % loss.item(),
          *("%.15g" % v for v in y.grad.tolist()))


for n, scale in ((2, 1), (3, 5), (7, 20), (32, 3)):
    for k in range(3):
        y = (torch.randn(n) * scale).tolist()
        w = [1.0] * n if k == 0 else (torch.rand(n) * 4).tolist()
        line("softmax", y, int(torch.randint(n, (1,))), w)
        line("binary", y, int(torch.randint(2**min(n, 30), (1,))), w)
        line("squares", y, 0, w)
line("softmax", [300.0, -300.0, 299.0], 1, [1, 1, 1])
line("binary", [300.0, -300.0, 299.0], 2, [1, 1, 1])
line("softmax", [0.0, 0.0], 0, [0.0, 1.0])
