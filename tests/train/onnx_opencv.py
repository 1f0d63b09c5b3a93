#!/usr/bin/python3
"""ONNX files of ours in other people's programs: onnx's checker and OpenCV's DNN module give our answers to 1e-4.

usage: onnx_opencv.py WRITE_ONNX        (the program built from tests/train/write_onnx.c). Exit 77: no onnx or no OpenCV.
"""
import os
import subprocess
import sys
import tempfile

try:
    import cv2
    import numpy as np
    import onnx
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


def check(path, images, labels):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["cordon"] == "1" and facts["labels"] == labels and facts["classes"].startswith("class0,class1")
    assert facts["input"] == "x".join(map(str, images.shape[1:])) and "percentile" in facts["preprocessing"]
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
