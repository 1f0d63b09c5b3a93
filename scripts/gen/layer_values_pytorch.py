#!/usr/bin/python3
"""Logits, loss and gradients of small networks by PyTorch in double precision, for tests/train/test_reference.c.

    apt-get install python3-torch
    scripts/gen/layer_values_pytorch.py > tests/data/train/layer_values.txt

Weights and images are made by the same formula here and in the test, so that the file holds results alone:
    value(i, salt) = (((i * 2654435761 + salt * 40503) mod 2^32) >> 8) / 2^24 - 1/2
weights: salt 1, times 0.7;  image: salt 2, times 3.
One case: its name, the spec with ";" for line ends, input and label, then numbers with their index.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

SHOWN = 60  # gradient values that are written, spread over the vector


def value(n, salt, scale):
    return torch.tensor([((((i * 2654435761 + salt * 40503) % 2**32) >> 8) / 2**24 - 0.5) * scale for i in range(n)],
                        dtype=torch.float64).to(torch.float32).to(torch.float64)


def pair(word):
    a, _, b = word.partition("x")
    return int(a), int(b or a)


def layer(words, shape, classes):
    """The PyTorch module of one line of a spec; shape is the input's (C, H, W)."""
    def after(name, default):
        return int(words[words.index(name) + 1]) if name in words else default
    kind, c = words[0], shape[0]
    if kind == "conv":
        return nn.Conv2d(c, int(words[2]), pair(words[1]), after("stride", 1), after("pad", 0), bias="nobias" not in words)
    if kind == "groupnorm":
        return nn.GroupNorm(int(words[1]), c)
    if kind == "relu":
        return nn.ReLU()
    if kind == "tanh":
        return nn.Tanh()
    if kind == "maxpool":
        return nn.MaxPool2d(pair(words[1]), after("stride", pair(words[1])[0]))
    if kind == "avgpool":
        return nn.AvgPool2d(pair(words[1]), after("stride", pair(words[1])[0]))
    if kind == "globalpool":
        return nn.AdaptiveAvgPool2d(1)
    if kind == "flatten":
        return nn.Flatten()
    if kind == "linear":
        n = 1
        for size in shape:
            n *= size
        out = classes if words[1] == "classes" else int(words[1])
        return nn.Sequential(nn.Flatten(), nn.Linear(n, out, bias="nobias" not in words))
    raise ValueError(kind)


def build(spec, shape, classes):
    layers, x = [], torch.zeros(1, *shape, dtype=torch.float64)
    for line in spec.split(";"):
        layers.append(layer(line.split(), x.shape[1:], classes).double())
        x = layers[-1](x)
    return nn.Sequential(*layers)


def case(name, spec, shape, classes, label):
    net = build(spec, shape, classes)
    parameters = list(net.parameters())
    n = sum(p.numel() for p in parameters)
    weights, at = value(n, 1, 0.7), 0
    for p in parameters:
        p.data = weights[at:at + p.numel()].reshape(p.shape).clone()
        at += p.numel()
    image = value(shape[0] * shape[1] * shape[2], 2, 3.0).reshape(1, *shape)
    logits = net(image).reshape(1, -1)
    loss = F.cross_entropy(logits, torch.tensor([label]))
    loss.backward()
    g = torch.cat([p.grad.reshape(-1) for p in parameters])
    print("case", name)
    print("spec", spec)
    print("input", *shape, classes, label)
    print("weights", n)
    print("logits", *("%.12g" % v for v in logits[0].tolist()))
    print("loss %.12g" % loss.item())
    print("norm %.12g" % g.norm().item())
    step = max(1, n // SHOWN)
    for i in range(0, n, step):
        print("g", i, "%.12g" % g[i].item())
    print("end")


CNN_SMALL = ("conv 3x3 32 pad 1 nobias;groupnorm 8;relu;conv 3x3 64 stride 2 pad 1 nobias;groupnorm 8;relu;"
             "conv 3x3 128 stride 2 pad 1 nobias;groupnorm 8;relu;conv 3x3 128 stride 2 pad 1 nobias;groupnorm 8;relu;"
             "globalpool;linear classes")

case("linear", "flatten;linear classes", (1, 3, 5), 3, 1)
case("linear without bias", "linear 7 nobias;tanh;linear classes", (2, 3, 3), 2, 0)
case("conv", "conv 3x3 4;tanh;linear classes", (1, 6, 5), 2, 1)
case("conv, odd in every way", "conv 3x2 5 stride 2 pad 1 nobias;tanh;conv 2x3 3 stride 3;linear classes", (3, 9, 11), 4, 3)
case("conv, kernel as large as the image", "conv 5x7 6;relu;linear classes", (2, 5, 7), 2, 0)
case("conv 1x1", "conv 3x3 6 pad 1;tanh;conv 1x1 4;tanh;conv 1x1 3 stride 2;linear classes", (1, 5, 6), 3, 2)
case("stride larger than the kernel", "conv 2x2 3 stride 5 pad 1;tanh;linear classes", (1, 13, 12), 2, 1)
case("groupnorm", "conv 3x3 6 pad 1;groupnorm 3;tanh;groupnorm 1;groupnorm 6;linear classes", (1, 5, 4), 2, 0)
case("groupnorm on the image", "groupnorm 1;conv 3x3 4;relu;linear classes", (1, 6, 6), 2, 1)
case("maxpool, overlapping", "conv 3x3 3 pad 1;maxpool 3 stride 2;tanh;maxpool 2 stride 1;linear classes", (1, 9, 8), 3, 0)
case("maxpool 3x2", "conv 3x3 3;maxpool 3x2 stride 2;relu;linear classes", (2, 9, 9), 2, 1)
case("avgpool", "conv 3x3 3;avgpool 2x3 stride 2;tanh;avgpool 2;linear classes", (1, 11, 12), 2, 0)
case("globalpool", "conv 3x3 5;relu;globalpool;linear classes", (1, 7, 6), 3, 1)
case("tanh network", "conv 8x8 16 stride 2 pad 3;tanh;maxpool 2;conv 4x4 32 stride 2;tanh;maxpool 2 stride 1;linear 32;tanh;"
     "linear classes", (1, 32, 32), 2, 1)
case("cnn-tiny", "groupnorm 1;conv 5x5 12 stride 2 pad 2;groupnorm 4;relu;conv 3x3 16 stride 2 pad 1;groupnorm 4;relu;"
     "conv 3x3 24 stride 2 pad 1;groupnorm 8;relu;linear classes", (1, 32, 32), 2, 0)
case("cnn-small", CNN_SMALL, (1, 16, 16), 4, 2)
