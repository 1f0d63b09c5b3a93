#!/usr/bin/python3
"""ONNX files of ours in other people's programs: onnx's checker and OpenCV's DNN module give our answers to 1e-4.

usage: onnx_opencv.py WRITE_ONNX        (the program built from tests/train/write_onnx.c). Exit 77: no onnx or no OpenCV.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import cv2
    import numpy as np
    import onnx
    import onnx.numpy_helper
except ImportError as e:
    print(f"skipped: {e}: apt-get install python3-onnx python3-opencv")
    sys.exit(77)

LIMIT = 1e-4


def read_case(folder, line):
    name, *numbers, labels = line.split()
    c, h, w, k, n = map(int, numbers)
    values = np.fromfile(os.path.join(folder, name + ".f32"), np.float32)
    cuts = [n * c * h * w, n * c * h * w + n * k]
    images, logits, probabilities = np.split(values, cuts)
    return name, images.reshape(n, c, h, w), logits.reshape(n, k), probabilities.reshape(n, k), labels


def read_safetensors(path):
    """The format as its authors describe it: tensors by name, and the metadata."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(n)), f.read()
    facts, tensors, at = header.pop("__metadata__"), {}, 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        assert begin == at and t["dtype"] == "F32", name
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(t["shape"])
        at = end
    assert at == len(data) and facts["format"] == "pt"
    return tensors, facts


def compare(path, model):
    """The same weights under the same names, bit for bit, in both files; but for what ONNX has in another form."""
    tensors, facts = read_safetensors(path)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if not t.name.startswith("/")}
    assert set(tensors) == set(constants), set(tensors) ^ set(constants)
    for name, t in tensors.items():
        if "standardised" not in facts["spec"]:
            assert np.array_equal(t.reshape(constants[name].shape).view(np.uint32), constants[name].view(np.uint32)), name
    props = {p.key: p.value for p in model.metadata_props}
    assert {k: v for k, v in facts.items() if k != "format"} == {k: v for k, v in props.items() if k != "preprocessing"}


def check(path, images, labels):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["cordon"] == "1" and facts["labels"] == labels and facts["classes"].startswith("class0,class1")
    assert facts["input"] == "x".join(map(str, images.shape[1:])) and "percentile" in facts["preprocessing"]
    compare(path.replace(".onnx", ".safetensors"), model)
    assert [v.name for v in model.graph.input] == ["image"]
    assert [v.name for v in model.graph.output] == ["logits", "probabilities"]


def difference(path, images, logits, probabilities):
    net = cv2.dnn.readNetFromONNX(path)
    worst = 0.0
    for batch in (slice(0, 1), slice(0, len(images))):
        net.setInput(images[batch], "image")
        for ours, theirs in zip((logits[batch], probabilities[batch]), net.forward(["logits", "probabilities"])):
            assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
            worst = max(worst, float(np.abs(ours - theirs).max()))
    return worst


def main(program):
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        lines = subprocess.run([program, folder], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        for line in lines:
            name, images, logits, probabilities, labels = read_case(folder, line)
            path = os.path.join(folder, name + ".onnx")
            try:
                check(path, images, labels)
                worst = difference(path, images, logits, probabilities)
            except (AssertionError, cv2.error, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
                print(f"{name}: {e}")
                failed += 1
                continue
            print(f"{name}: checker ok; OpenCV {cv2.__version__}: largest difference {worst:.1e}, logits up to {np.abs(logits).max():.2f}")
            failed += worst > LIMIT
    assert lines
    sys.exit(failed > 0)


main(*sys.argv[1:])
