#!/usr/bin/python3
"""Safetensors files of a small PyTorch network and what it answers, for tests/train/test_pretrained.c.

    apt-get install python3-torch
    scripts/gen/pretrained_pytorch.py tests/data/train/pretrained

The files are written by the thirty lines below, from the description of the format; neither the safetensors package nor
our own writer has a part in them. logits.txt: the name of a file, then the logits of the network that is in it, in
double precision, for the image  value(i) = ((i * 2654435761 mod 2^32) >> 8) / 2^24 - 1/2  of 1x12x12.

    plain-f32, -f16, -bf16, -f64   the network that test_pretrained.c spells, in each type
    colour                         as torchvision has it: three channels, batch normalisation with its statistics, other
                                   classes, all names under "module."; its logits are of grey repeated in three channels,
                                   without normalisation's statistics (GroupNorm with the same scale and shift)
"""
import json
import os
import struct
import sys

import torch
import torch.nn as nn

TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


def raw(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().astype("<i2").tobytes()
    return tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes()


def write(path, tensors):
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        data = raw(tensor.contiguous())
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)


class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        self.bn1 = nn.GroupNorm(2, 4)
        self.layer1 = nn.Sequential(Block())
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        return self.fc(torch.tanh(self.layer1[0].conv(x)).mean((2, 3)))


def image():
    i = torch.arange(144, dtype=torch.int64)
    return (((i * 2654435761 % 2**32) >> 8).double() / 2**24 - 0.5).reshape(1, 1, 12, 12)


def main(out):
    torch.manual_seed(7)
    torch.set_grad_enabled(False)
    answers = []
    net = Net(1, 3).double()
    for p in net.parameters():
        p.copy_(torch.randn_like(p) * 0.5)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    for name, dtype in (("f64", torch.float64), ("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16)):
        stored = {key: value.to(dtype) for key, value in state.items()}
        write(os.path.join(out, f"plain-{name}.safetensors"), stored)
        net.load_state_dict({key: value.double() for key, value in stored.items()})
        answers.append((f"plain-{name}", net(image())))
    net = Net(3, 5).double()
    for p in net.parameters():
        p.copy_((torch.randn_like(p) * 0.5).float())
    state = {"module." + key: value.float() for key, value in net.state_dict().items()}
    state["module.bn1.running_mean"] = torch.randn(4)
    state["module.bn1.running_var"] = torch.rand(4)
    state["module.bn1.num_batches_tracked"] = torch.tensor(12)
    write(os.path.join(out, "colour.safetensors"), state)
    net.fc = nn.Identity()
    answers.append(("colour", net(image().expand(1, 3, 12, 12))))
    with open(os.path.join(out, "logits.txt"), "w") as f:
        for name, values in answers:
            f.write(name + " " + " ".join(f"{v:.9g}" for v in values.flatten().tolist()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
