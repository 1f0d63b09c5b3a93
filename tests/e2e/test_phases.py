"""A study whose plan has phases, frozen layers and a pretrained start, between real processes.

The layer `fixed` keeps its pretrained weights to the last bit; the phase `before` learns `middle`, the main part `head`. The
coordinator is stopped and killed between rounds. Each round is debited by the terms of its phase, and everybody who looks agrees.
"""

import json
import os
import struct

import cordon
from cordon import AUDIT, COORDINATOR, Ledger, ok

SPEC = "avgpool 4 as small\nlinear 6 as fixed\ntanh\nlinear 4 as middle\ntanh\nlinear classes as head\n"
SHAPES = {"fixed.weight": [6, 16], "fixed.bias": [6], "middle.weight": [4, 6], "middle.bias": [4]}
PHASE = """[phase before]
rounds = 2
learn = middle
clip_norm = 0.5
noise_multiplier = 6
optimiser = adam
learning_rate = 5e-2
"""


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": SHAPES[name], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    return {name: data[t["data_offsets"][0]:t["data_offsets"][1]] for name, t in header.items() if name != "__metadata__"}


class Phases(cordon.Test):
    def test_phases_frozen_layers_and_a_pretrained_start(self):
        images = self.phantoms(hospitals=2, patients=12)
        hub = cordon.Consortium(self.root)
        with open(os.path.join(self.root, "net.txt"), "w") as f:
            f.write(SPEC)
        tensors = {name: [(i % 7 - 3) / 8 for i in range(shape[0] * (shape + [1])[1])] for name, shape in SHAPES.items()}
        pretrained = os.path.join(self.root, "start.safetensors")
        write_safetensors(pretrained, tensors)
        text = cordon.study("phased", rounds=2, quorum=2, architecture="file:net.txt\npretrained = start.safetensors\nlearn = head",
                            more="noise_probe = 64\n" + PHASE)
        with open(os.path.join(self.root, "phased.ini"), "w") as f:
            f.write(text)
        said = hub.command("study", "add", os.path.join(self.root, "phased.ini")).out
        self.assertRegex(said, r"fixed\.weight|4 .*tensors|taken")
        self.assertIn("Phase before, rounds 1 to 2: 28 of 140 weights are learned (middle)", said)
        self.assertRegex(said, r"Phase before: .* By itself epsilon [\d.]+")
        os.remove(pretrained)  # the coordinator has it
        plan = hub.command("study", "list", "--json").json()[0]["plan_hash"]
        hub.command("study", "pause", "phased")
        hub.server.start()
        for name, folder in images.items():
            hub.join(name, folder).server.start()
            hub.nodes[name].command("plan", "approve", plan, "--by", "Dr. Ada Lovelace", "--wait", 30)
            hub.nodes[name].wait_status(lambda s: s["plans"][0]["joined"])
        shown = hub.nodes["alder"].command("plan", "show", plan).out
        self.assertRegex(shown, r"phase before +2 rounds, epsilon")
        self.assertIn("All hospitals together want about", shown)

        hub.command("study", "resume", "phased")
        hub.server.wait_line(r"round 1 of 4: aggregated")
        hub.server.kill()
        hub.server.start()
        ok(COORDINATOR, "status", "--study", "phased", "--watch", "--dir", hub.directory, seconds=60)
        for node in hub.nodes.values():
            node.wait_status(lambda s: s["plans"][0]["last_round"] == 4, what="the last receipt")
        status = hub.status("phased")
        hub.command("refold")
        model = os.path.join(self.root, "model.safetensors")
        hub.command("export", "--format", "safetensors", "-o", model)
        hub.stop()

        learned = read_safetensors(model)
        for name, values in tensors.items():
            same = learned[name] == struct.pack(f"<{len(values)}f", *values)
            self.assertEqual(same, name.startswith("fixed"), name)
        self.assertNotEqual(learned["head.weight"], bytes(len(learned["head.weight"])))
        self.the_ledgers_follow_the_phases(hub, status)

    def the_ledgers_follow_the_phases(self, hub, status):
        central = os.path.join(self.root, "hub.jsonl")
        hub.command("ledger", "export", "-o", central)
        for name, node in hub.nodes.items():
            path = os.path.join(self.root, name + ".jsonl")
            ledger = node.export(path)
            terms = ledger.of("APPROVE_PLAN")[0]["terms"]
            self.assertEqual([(t["rounds"], t["coordinates"]) for t in terms], [(2, 28 + 64), (2, 10 + 64)])
            self.assertEqual(Ledger(central).of("STUDY")[0]["terms"], terms)
            for e in ledger.of("RESERVE"):
                t = terms[0 if e["round"] <= 2 else 1]
                for key in ("coordinates", "noise_variance", "clip_units", "rate_u64", "steps"):
                    self.assertEqual(e[key], t[key])
            self.assertEqual(ledger.of("RESERVE")[0]["noise_multiplier"], "6")
            said = ok(AUDIT, "verify", path, "--coordinator", central, "--updates", os.path.join(hub.directory, "objects"), "--json").json()
            spent = node.command("budget", "--json").json()
            self.assertGreaterEqual(spent["epsilon_spent"], 0.999 * [h for h in status["studies"][0]["hospitals"] if h["name"] == name][0]["epsilon"])
            self.assertEqual(said["findings"], [])


if __name__ == "__main__":
    cordon.main()
