"""Real films with planted identities go through a whole node; none of the planted texts is anywhere afterwards.

The films are read from CORDON_DATA/dicom_phi. What is scanned: every file of the node's and of the coordinator's folder
(databases, objects, keys, settings), both logs, what every command printed, exported ledgers and the model. Each text is
looked for as its own bytes, as UTF-16LE, and as hex of both.
"""

import json
import os
import shutil
import sys
import unittest

import cordon
from cordon import AUDIT, COORDINATOR, ok

DATA = os.path.join(os.environ.get("CORDON_DATA") or os.path.join(os.environ.get("CORDON_SOURCE", "."), "../shared/data"), "dicom_phi")
SHORTEST = 5  # bytes: shorter texts stand in any megabyte of random bytes by chance


def needles(phi):
    found = {}
    for text in phi:
        raw = bytes.fromhex(text["bytes_hex"])
        for form in (raw, text["text"].encode("utf-8"), text["text"].encode("utf-16-le")):
            for bytes_ in (form, form.hex().encode(), form.hex().upper().encode()):
                if len(bytes_) >= SHORTEST:
                    found[bytes_] = (text["where"], text["kind"])
    return found


def places(found, bytes_):
    return [where for needle, where in found.items() if needle in bytes_]


@unittest.skipUnless(os.path.isdir(DATA), f"{DATA}: no real films here")
class Phi(cordon.Test):
    def setUp(self):
        with open(os.path.join(DATA, "planted_phi.json")) as f:
            self.films = json.load(f)
        self.found = needles([text for film in self.films.values() for text in film["phi"]])

    def test_the_scan_finds_what_is_there(self):
        for name, film in self.films.items():
            if film["transfer_syntax"].startswith("Deflated"):
                continue
            with open(os.path.join(DATA, "files", name), "rb") as f:
                self.assertGreater(len(places(self.found, f.read())), 20, name)
            text = film["phi"][0]["text"]
            for bytes_ in (text.encode(), text.encode("utf-16-le"), text.encode().hex().encode()):
                self.assertTrue(places(self.found, b"...." + bytes_ + b"...."), name)

    def test_nothing_planted_stays_in_a_node_or_leaves_it(self):
        printed = []
        folder = os.path.join(self.root, "films")
        shutil.copytree(os.path.join(DATA, "files"), folder)
        with open(os.path.join(folder, "labels.csv"), "w") as f:
            f.write("file,label,split\n" + "".join(f"{n},{film['label']},train\n" for n, film in sorted(self.films.items())))
        hub = cordon.Consortium(self.root)
        plan = hub.add_study(cordon.study("films", rounds=2, quorum=1, architecture="cnn-tiny", shape="1x28x28"))
        hub.server.start()
        # one film says that text is burned into it: refused, with its reason, the others are in
        node = hub.join("alder", folder, code=1, min_cohort=1, declared=10)
        self.assertIn("13 taken", node.added.out)
        printed.append(node.added)
        # damaged copies of the films: what is said of them goes to a person's terminal alone, and says nothing of a patient
        damaged = os.path.join(self.root, "damaged")
        os.mkdir(damaged)
        for i, name in enumerate(sorted(self.films)):
            with open(os.path.join(DATA, "files", name), "rb") as f:
                bytes_ = f.read()
            with open(os.path.join(damaged, name), "wb") as f:
                f.write(bytes_[: len(bytes_) * (i + 1) // (len(self.films) + 1)])
        printed.append(cordon.run(cordon.NODE, "data", "add", "--dir", node.directory, damaged))
        self.assertIn(printed[-1].code, (1, 2), printed[-1])
        node.server.start()
        printed.append(node.command("plan", "approve", plan, "--by", "Dr. Ada Lovelace", "--wait", 30))
        printed.append(ok(COORDINATOR, "status", "--study", "films", "--watch", "--dir", hub.directory, seconds=60))
        node.wait_status(lambda s: s["plans"][0]["last_round"] == 2, what="the last receipt")
        for words in (["data", "check"], ["data", "check", "--json"], ["data", "list"], ["data", "list", "--json"], ["status", "--json"],
                      ["plan", "show", "films"], ["budget", "--json"]):
            printed.append(cordon.run(cordon.NODE, *words, "--dir", node.directory))
        hub.command("ledger", "export", "-o", os.path.join(self.root, "hub.jsonl"))
        hub.command("export", "--study", "films", "--format", "safetensors", "-o", os.path.join(self.root, "model.safetensors"))
        node.export(os.path.join(self.root, "alder.jsonl"))
        printed.append(ok(AUDIT, "verify", os.path.join(self.root, "alder.jsonl"), "--coordinator",
                          os.path.join(self.root, "hub.jsonl")))
        self.scan_files(hub, node)  # with everything open: journals and write-ahead logs too
        hub.stop()
        n = self.scan_files(hub, node)
        self.assertGreater(n, 30)
        for result in printed:
            self.assertEqual(places(self.found, str(result).encode()), [], result.args)
        for server in (hub.server, node.server):
            self.assertTrue(server.lines)
            self.assertEqual(places(self.found, server.text().encode()), [], server.directory)

    def scan_files(self, hub, node):
        n = 0
        for top in (hub.directory, node.directory):
            for folder, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(folder, name)
                    self.assertEqual(places(self.found, path.encode()), [], path)
                    if not os.path.isfile(path):
                        continue  # the control socket
                    with open(path, "rb") as f:
                        self.assertEqual(places(self.found, f.read()), [], path)
                    n += 1
        for name in ("hub.jsonl", "alder.jsonl", "model.safetensors"):
            with open(os.path.join(self.root, name), "rb") as f:
                self.assertEqual(places(self.found, f.read()), [], name)
        return n


if __name__ == "__main__":
    cordon.main()
