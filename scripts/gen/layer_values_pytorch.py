#!/usr/bin/python3
"""Logits, loss and gradients of networks by PyTorch in double precision, for tests/train/test_reference.c.

    apt-get install python3-torch
    scripts/gen/layer_values_pytorch.py > tests/data/train/layer_values.txt

Weights and images are made by the same formula here and in the test, so that the file holds results alone:
    value(i, salt) = (((i * 2654435761 + salt * 40503) mod 2^32) >> 8) / 2^24 - 1/2
weights: salt 1, times 0.7;  image: salt 2, times 3. A weight of class c in the loss is 0.5 + c.

One case: its name; the spec with ";" for line ends, or an architecture, which is a module of its own here; input, classes
and label; the loss ("softmax", "binary", or "squares" and the layer) and whether classes are weighted; then logits, loss,
the gradient's norm, some values of it with their index ("g"), and for each tensor its name, size, sum, norm, first,
middle and last value ("t").
"""
import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F

SHOWN = 60  # gradient values that are written, spread over the vector


def value(n, salt, scale):
    i = numpy.arange(n, dtype=numpy.uint64)
    mixed = (i * numpy.uint64(2654435761) + numpy.uint64(salt * 40503)) & numpy.uint64(2**32 - 1)
    v = ((mixed >> numpy.uint64(8)).astype(numpy.float64) / 2**24 - 0.5) * scale
    return torch.tensor(v.astype(numpy.float32).astype(numpy.float64))


# --- a spec as a module --------------------------------------------------------------------------------------------


def pair(word):
    a, _, b = word.partition("x")
    return int(a), int(b or a)


class StandardisedConv(nn.Conv2d):
    """Each output's weights with mean 0 and length 1, as De et al. 2022."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / (w * w).sum((1, 2, 3), keepdim=True).clamp(min=1e-4).sqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding, 1, self.groups)


class Centre(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(*shape))

    def forward(self, x):
        return x - self.bias


class Unit(nn.Module):
    def forward(self, x):
        return x / x.flatten(1).norm(dim=1).clamp(min=1e-6).reshape(-1, *[1] * (x.dim() - 1))


class Add(nn.Module):
    def forward(self, x, other):
        return x + other


class Concat(nn.Module):
    def forward(self, x, other):
        return torch.cat((x, other), 1)


def layer(words, shape, classes):
    """The PyTorch module of one line of a spec; shape is the input's (C, H, W)."""
    def after(name, default):
        return int(words[words.index(name) + 1]) if name in words else default
    kind, c = words[0], shape[0]
    if kind == "conv":
        return (StandardisedConv if "standardised" in words else nn.Conv2d)(
            c, int(words[2]), pair(words[1]), after("stride", 1), after("pad", 0), groups=after("groups", 1),
            bias="nobias" not in words)
    if kind == "groupnorm":
        return nn.GroupNorm(int(words[1]), c)
    if kind in ("maxpool", "avgpool"):
        return (nn.MaxPool2d if kind == "maxpool" else nn.AvgPool2d)(
            pair(words[1]), after("stride", pair(words[1])[0]), after("pad", 0))
    if kind == "linear":
        n = 1
        for size in shape:
            n *= size
        out = classes if words[1] == "classes" else int(words[1])
        return nn.Sequential(nn.Flatten(), nn.Linear(n, out, bias="nobias" not in words))
    if kind == "dropout":
        return nn.Dropout(float(words[1]))
    if kind == "centre":
        return Centre(shape)
    return {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "globalpool": lambda: nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten, "unit": Unit, "add": Add, "concat": Concat}[kind]()


class Spec(nn.Module):
    def __init__(self, spec, shape, classes):
        super().__init__()
        self.lines, self.layers, self.names = [], nn.ModuleList(), []
        outputs = {"image": torch.zeros(1, *shape, dtype=torch.float64)}
        previous = "image"
        for i, line in enumerate(spec.split(";")):
            words, name, first, second = line.split(), str(i), previous, None
            while len(words) > 2 and words[-2] in ("as", "from"):
                if words[-2] == "as":
                    name = words[-1]
                else:
                    first = words[-1]
                words = words[:-2]
            if words[0] in ("add", "concat"):
                second = words[1]
            self.layers.append(layer(words, outputs[first].shape[1:], classes).double())
            self.lines.append((name, first, second))
            outputs[name] = self.run(self.layers[-1], outputs, first, second)
            previous = name

    @staticmethod
    def run(module, outputs, first, second):
        return module(outputs[first], outputs[second]) if second else module(outputs[first])

    def forward(self, x):
        outputs = {"image": x}
        for module, (name, first, second) in zip(self.layers, self.lines):
            outputs[name] = self.run(module, outputs, first, second)
        self.outputs = outputs
        return outputs[name]

    def tensors(self):
        for module, (name, _, _) in zip(self.layers, self.lines):
            for tensor, p in module.named_parameters():
                yield name + "." + tensor.split(".")[-1], p


# --- architectures -------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def tensors(self):
        return self.named_parameters()


class BasicBlock(nn.Module):
    """torchvision.models.resnet.BasicBlock with group for batch normalisation."""

    def __init__(self, c, out, stride, groups=32):
        super().__init__()
        self.conv1 = nn.Conv2d(c, out, 3, stride, 1, bias=False)
        self.bn1 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.GroupNorm(groups, out)
        self.downsample = None
        if stride != 1 or c != out:
            self.downsample = nn.Sequential(nn.Conv2d(c, out, 1, stride, bias=False), nn.GroupNorm(groups, out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(Net):
    """torchvision.models.resnet18 with GroupNorm(32)."""

    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.GroupNorm(32, 64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, c, out, stride, groups=16):
        super().__init__()
        self.bn1 = nn.GroupNorm(min(groups, c), c)
        self.conv1 = nn.Conv2d(c, out, 3, stride, 1, bias=False)
        self.bn2 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(c, out, 1, stride, bias=False) if stride != 1 or c != out else None

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + shortcut


class WideGroup(nn.Module):
    def __init__(self, c, out, stride):
        super().__init__()
        self.layer = nn.Sequential(WideBlock(c, out, stride), WideBlock(out, out, 1))

    def forward(self, x):
        return self.layer(x)


class WRN16_4(Net):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = WideGroup(16, 64, 1), WideGroup(64, 128, 2), WideGroup(128, 256, 2)
        self.bn1 = nn.GroupNorm(16, 256)
        self.fc = nn.Linear(256, classes)

    def forward(self, x):
        return self.fc(F.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x)))))).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, c, growth=12):
        super().__init__()
        self.norm1 = nn.GroupNorm(6, c)
        self.conv1 = nn.Conv2d(c, 4 * growth, 1, bias=False)
        self.norm2 = nn.GroupNorm(6, 4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        return torch.cat((x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))), 1)


class Transition(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.GroupNorm(6, c)
        self.conv = nn.Conv2d(c, c // 2, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(Net):
    """torchvision.models.DenseNet(12, (4, 4, 4), 24) with GroupNorm(6), and shorter names."""

    def __init__(self, channels, classes):
        super().__init__()
        c = 24
        self.conv0 = nn.Conv2d(channels, c, 7, 2, 3, bias=False)
        self.norm0 = nn.GroupNorm(6, c)
        for b in range(1, 4):
            block = nn.Sequential()
            for k in range(1, 5):
                block.add_module("%d" % k, DenseLayer(c))
                c += 12
            self.add_module("block%d" % b, block)
            if b < 3:
                self.add_module("transition%d" % b, Transition(c))
                c //= 2
        self.norm5 = nn.GroupNorm(6, c)
        self.classifier = nn.Linear(c, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm0(self.conv0(x))), 3, 2, 1)
        x = self.block3(self.transition2(self.block2(self.transition1(self.block1(x)))))
        return self.classifier(F.relu(self.norm5(x)).mean((2, 3)))


ARCHITECTURES = {"resnet18": ResNet18, "wrn16-4": WRN16_4, "densenet": DenseNet}

# --- cases ---------------------------------------------------------------------------------------------------------


def loss_of(net, logits, loss, weights, label, classes):
    kind, _, at = loss.partition(" ")
    v = torch.tensor([0.5 + c for c in range(classes)], dtype=torch.float64) if weights else None
    if kind == "softmax":
        return F.cross_entropy(logits, torch.tensor([label]), weight=v, reduction="sum")
    if kind == "binary":
        t = torch.tensor([[float(label >> c & 1) for c in range(classes)]], dtype=torch.float64)
        return F.binary_cross_entropy_with_logits(logits, t, weight=v)
    return 0.5 * (net.outputs[at] ** 2).sum()


def numbers(values):
    return " ".join("%.12g" % v for v in values)


n_cases = 0


def case(name, spec, shape, classes, label, loss="softmax", weights=False):
    global n_cases
    n_cases += 1
    net = ARCHITECTURES[spec](shape[0], classes).double() if spec in ARCHITECTURES else Spec(spec, shape, classes)
    tensors = list(net.tensors())
    n = sum(p.numel() for _, p in tensors)
    values, at = value(n, 1, 0.7), 0
    for _, p in tensors:
        p.data = values[at:at + p.numel()].reshape(p.shape).clone()
        at += p.numel()
    logits = net(value(shape[0] * shape[1] * shape[2], 2, 3.0).reshape(1, *shape)).reshape(1, -1)
    value_of_loss = loss_of(net, logits, loss, weights, label, classes)
    value_of_loss.backward()
    parts = [(name, (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)) for name, p in tensors]
    g = torch.cat([part for _, part in parts])
    print("case", name)
    print("architecture" if spec in ARCHITECTURES else "spec", spec)
    print("input", *shape, classes, label)
    print("minimise", int(weights), loss)
    print("weights", n)
    print("logits", numbers(logits[0].tolist()))
    print("loss %.12g" % value_of_loss.item())
    print("norm %.12g" % g.norm().item())
    for i in range(0, n, max(1, n // SHOWN)):
        print("g", i, "%.12g" % g[i].item())
    for tensor, part in parts:
        print("t", tensor, part.numel(), numbers([part.sum(), part.norm(), part[0], part[part.numel() // 2], part[-1]]))
    print("end")


CNN_SMALL = ("conv 3x3 32 pad 1 nobias;groupnorm 8;relu;conv 3x3 64 stride 2 pad 1 nobias;groupnorm 8;relu;"
             "conv 3x3 128 stride 2 pad 1 nobias;groupnorm 8;relu;conv 3x3 128 stride 2 pad 1 nobias;groupnorm 8;relu;"
             "globalpool;linear classes")
CNN_TANH = ("conv 8x8 16 stride 2 pad 3;tanh;maxpool 2;conv 4x4 32 stride 2;tanh;maxpool 2 stride 1;linear 32;tanh;"
            "linear classes")

case("linear", "flatten;linear classes", (1, 3, 5), 3, 1)
case("linear without bias", "linear 7 nobias;tanh;linear classes", (2, 3, 3), 2, 0)
case("conv", "conv 3x3 4;tanh;linear classes", (1, 6, 5), 2, 1)
case("conv, odd in every way", "conv 3x2 5 stride 2 pad 1 nobias;tanh;conv 2x3 3 stride 3;linear classes", (3, 9, 11), 4, 3)
case("conv, kernel as large as the image", "conv 5x7 6;relu;linear classes", (2, 5, 7), 2, 0)
case("conv 1x1", "conv 3x3 6 pad 1;tanh;conv 1x1 4;tanh;conv 1x1 3 stride 2;linear classes", (1, 5, 6), 3, 2)
case("conv, stride larger than the kernel", "conv 2x2 3 stride 5 pad 1;tanh;linear classes", (1, 13, 12), 2, 1)
case("conv, large kernel", "conv 3x3 3 pad 1;tanh;conv 15x11 4 stride 2 pad 7;linear classes", (2, 17, 13), 2, 1)
case("conv, a one-pixel image", "conv 3x3 5 pad 1;tanh;conv 1x1 20;groupnorm 4;tanh;linear classes", (3, 1, 1), 2, 1)
case("conv, 20 and 40 channels", "conv 3x3 20 pad 1;tanh;conv 3x3 40 stride 2 pad 1 nobias;tanh;conv 2x2 17;tanh;"
     "linear classes", (3, 7, 9), 3, 1)
case("groupnorm", "conv 3x3 6 pad 1;groupnorm 3;tanh;groupnorm 1;groupnorm 6;linear classes", (1, 5, 4), 2, 0)
case("groupnorm on the image", "groupnorm 1;conv 3x3 4;relu;linear classes", (1, 6, 6), 2, 1)
case("groupnorm, 24 channels", "conv 3x3 24;groupnorm 4;tanh;conv 1x1 18;groupnorm 6;linear classes", (1, 6, 6), 2, 1)
case("maxpool, overlapping", "conv 3x3 3 pad 1;maxpool 3 stride 2;tanh;maxpool 2 stride 1;linear classes", (1, 9, 8), 3, 0)
case("maxpool 3x2", "conv 3x3 3;maxpool 3x2 stride 2;relu;linear classes", (2, 9, 9), 2, 1)
case("avgpool", "conv 3x3 3;avgpool 2x3 stride 2;tanh;avgpool 2;linear classes", (1, 11, 12), 2, 0)
case("globalpool", "conv 3x3 5;relu;globalpool;linear classes", (1, 7, 6), 3, 1)
case("cnn-tanh", CNN_TANH, (1, 32, 32), 2, 1)
case("cnn-tiny", "groupnorm 1;conv 5x5 12 stride 2 pad 2;groupnorm 4;relu;conv 3x3 16 stride 2 pad 1;groupnorm 4;relu;"
     "conv 3x3 24 stride 2 pad 1;groupnorm 8;relu;linear classes", (1, 32, 32), 2, 0)
case("cnn-small", CNN_SMALL, (1, 16, 16), 4, 2)
case("softmax, weighted", "conv 3x3 4;tanh;linear classes", (1, 6, 5), 3, 2, weights=True)
case("binary", "conv 3x3 4;tanh;linear classes", (1, 6, 5), 5, 22, loss="binary")
case("binary, weighted", "conv 3x3 4;tanh;linear classes", (1, 6, 5), 5, 9, loss="binary", weights=True)

case("conv in two groups", "conv 3x3 6;tanh;conv 3x3 8 stride 2 pad 1 groups 2;tanh;linear classes", (1, 9, 8), 2, 1)
case("conv in three groups", "conv 3x3 60 pad 1;tanh;conv 3x2 33 pad 1 groups 3 nobias;tanh;linear classes", (2, 5, 4), 2, 1)
case("conv, depthwise", "conv 3x3 12;tanh;conv 3x3 12 pad 1 groups 12;tanh;conv 1x1 5;tanh;linear classes", (1, 8, 7), 2, 0)
case("conv, depthwise, twice as many", "conv 5x3 6 stride 2 pad 2 groups 3;tanh;linear classes", (3, 8, 7), 2, 0)
case("conv, standardised", "conv 3x3 4 standardised;tanh;conv 3x3 6 stride 2 pad 1 nobias standardised;tanh;linear classes",
     (2, 8, 9), 2, 1)
case("conv, standardised in groups", "conv 3x3 6;tanh;conv 3x3 8 groups 2 standardised;groupnorm 2;tanh;linear classes",
     (1, 9, 8), 3, 2)
case("silu", "conv 3x3 5;silu;conv 3x3 20;silu;linear classes", (1, 8, 7), 2, 1)
case("maxpool, padded", "conv 3x3 20 pad 1;maxpool 3 stride 2 pad 1;tanh;maxpool 2 stride 2 pad 1;linear classes", (1, 9, 8),
     3, 0)
case("avgpool, padded", "conv 3x3 20 pad 1;avgpool 3 stride 2 pad 1;tanh;avgpool 4x2 stride 1 pad 1;linear classes",
     (1, 9, 8), 3, 0)
case("dropout of nothing", "conv 3x3 3;dropout 0;tanh;linear classes", (1, 6, 5), 2, 1)
case("add", "conv 3x3 5 pad 1 as a;tanh;conv 3x3 5 pad 1;add a;tanh;linear classes as fc", (2, 5, 6), 2, 1)
case("add, with a way around", "conv 3x3 5 as a;tanh as b;conv 1x1 7 as c;conv 3x3 7 pad 1 from a;add c as d;tanh;conv 1x1 5;"
     "add b;add a;linear classes", (2, 5, 6), 2, 1)
case("add of one output to itself", "conv 3x3 5 as a;add a;tanh;linear classes", (1, 5, 6), 2, 1)
case("add of the image", "conv 3x3 3 pad 1;tanh;add image;conv 2x2 4;linear classes", (3, 5, 6), 2, 1)
case("concat", "conv 3x3 5 pad 1 as a;tanh;conv 3x3 4 pad 1;concat a as b;tanh;conv 3x3 6 pad 1;concat b;linear classes",
     (2, 5, 6), 2, 1)
case("concat of 20 and the image", "conv 3x3 20 pad 1 as a;tanh;concat image;groupnorm 1;concat a;conv 2x2 3;linear classes",
     (2, 5, 6), 2, 1)
case("centre and unit", "conv 3x3 20 stride 2 as a;centre as mean;unit;linear classes", (2, 7, 6), 3, 1)
case("squares", "conv 3x3 20 stride 2 as a;centre as mean;unit;linear classes", (2, 7, 6), 3, 1, loss="squares mean")
case("densenet", "densenet", (1, 37, 34), 3, 1)
case("resnet18", "resnet18", (1, 64, 64), 4, 2)
case("resnet18 of an odd colour image", "resnet18", (3, 47, 33), 2, 1, loss="binary")
case("wrn16-4", "wrn16-4", (3, 32, 32), 10, 7)
print("cases", n_cases)
