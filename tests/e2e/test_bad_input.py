"""Every kind of bad input that a user can give: one clear line, the right exit code, never a crash.

A row is: a name, a command line, the exit code, what its one line on stderr says (behind "program: "). Words in braces are
files and folders made below. Rows that need a coordinator or another consortium are methods of their own.
"""

import base64
import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import socket
import subprocess
import unittest

import cordon
from cordon import AUDIT, COORDINATOR, NODE, SIM, edit_ini, ok, run

C, N, A, S = COORDINATOR, NODE, AUDIT, SIM
HASH = "0123456789abcdef" * 4
LONG = "x" * 5000
BINARY = bytes(range(256)) * 8

# What is done to a good study, by regular expression, and what is said of it.
STUDIES = [
    ("unknown key", r"^count", "cuont", r":\d+: \[rounds\] cuont: .*no such key.*count"),
    ("unknown section", r"^\[input\]", "[inputs]", r":\d+: \[inputs\]: .*no such section.*\[input\]"),
    ("doubled key", r"^(count.*)", r"\1\n\1", r":\d+: \[rounds\] count: stands a second time"),
    ("overlong key", r"^count", LONG, r":\d+: .*5\d\d\d bytes, expected at most"),
    ("overlong value", r"^name = .*", "name = " + "n" * 80, r":\d+: \[study\] name: .*1 to 63 bytes"),
    ("overlong line", r"^count.*", "count = 1" + " " * 5000, r":\d+: .*bytes, expected at most"),
    ("key without a value", r"^count.*", "count =", r":\d+: \[rounds\] count: "),
    ("key that is no pair", r"^count.*", "count", r":\d+: "),
    ("missing key", r"^count.*\n", "", r"\[rounds\] count: is missing"),
    ("key before any section", r"^\[study\]\n", "", r":\d+: name: stands before"),
    ("number out of range", r"^count.*", "count = 0", r":\d+: \[rounds\] count: is '0', expected .* from 1 to"),
    ("number that is none", r"^count.*", "count = many", r":\d+: \[rounds\] count: is 'many', expected a whole number"),
    ("huge number", r"^count.*", "count = 99999999999999999999", r":\d+: \[rounds\] count: is '9+', expected a whole number"),
    ("epsilon below zero", r"^epsilon.*", "epsilon = -1", r":\d+: \[privacy\] epsilon: is '-1', expected"),
    ("epsilon that is no number", r"^epsilon.*", "epsilon = nan", r":\d+: \[privacy\] epsilon: is 'nan', expected"),
    ("delta zero", r"^delta.*", "delta = 0", r"delta 0.*out of range"),
    ("sampling rate above one", r"^sampling_rate.*", "sampling_rate = 1.5", r":\d+: \[privacy\] sampling_rate: is '1.5', expected"),
    ("control character", r"^name = .*", "name = a\x01b", r":\d+: "),
    ("alexnet", r"^architecture.*", "architecture = alexnet", r"architecture: alexnet is not supported"),
    ("unknown architecture", r"^architecture.*", "architecture = cnn-smal", r"architecture: cnn-smal is not supported.*cnn-small"),
    ("layers from nowhere", r"^architecture.*", "architecture = file:nowhere", r"architecture: .*nowhere.*No such file"),
    ("pretrained from nowhere", r"^\[rounds\]", "pretrained = nowhere\n[rounds]", r"pretrained: .*nowhere.*o such file"),
    ("phase without a name", r"^\[local\]", "[phase]\nrounds = 1\n[local]", r":\d+: expected \[phase NAME\]"),
    ("unknown choice", r"^\[local\]", "[server]\noptimiser = lion\n[local]", r":\d+: \[server\] optimiser: .*sgd"),
    ("labels = both", r"^classes", "labels = both\nclasses", r"labels: is .both., expected one of single"),
    ("one class", r"^classes.*", "classes = normal", r"classes: expected 2 to 32"),
    ("another strategy", r"^quorum", "strategy = scaffold\nquorum", r"strategy: scaffold is not supported"),
    ("quorum above hospitals", r"^hospitals.*", "hospitals = alder", r"quorum: is larger than the number of hospitals"),
    ("shape", r"^shape.*", "shape = 64x64", r"shape: expected CxHxW"),
]


class BadInput(cordon.Test):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        at = cls.at
        phantoms = cls.phantoms(hospitals=1, patients=6)["alder"]
        cls.hub = cordon.Consortium(cls.root)
        cls.study = cordon.study("tiny", quorum=2)
        cls.plan = cls.hub.add_study(cls.study)
        cls.node = cordon.Node(cls.root, "alder")
        cls.added = cls.node.command("data", "add", phantoms)
        ok(NODE, "init", "--dir", at("other"), "--name", "birch")
        for folder in ("empty", "approving", "unreadable", "mixed", "lonely", "text", "cut", "label", "bare"):
            os.mkdir(at(folder))
        with open(os.path.join(phantoms, "IMG0001.dcm"), "rb") as f:
            film = f.read()
        for path, bytes_ in {"garbage": BINARY, "nothing": b"", "text/scan.dcm": b"this is no image\n", "cut/cut.dcm": film[:900],
                             "mixed/good.dcm": film, "mixed/cut.dcm": film[:-2000], "bare/film.dcm": film, "label/film.dcm": film,
                             "mixed/labels.csv": b"file,label\ngood.dcm,0\ncut.dcm,1\n",
                             "cut/labels.csv": b"file,label\ncut.dcm,1\n", "text/labels.csv": b"file,label\nscan.dcm,1\n",
                             "lonely.csv": b"file,label\nfilm.dcm,0\ngone.dcm,1\n",
                             "columns.csv": b"picture,sort\nfilm.dcm,0\n", "binary.csv": BINARY,
                             "invitation": b"cordon1:AAAA\n"}.items():
            with open(at(path), "wb") as f:
                f.write(bytes_)
        cls.ledger = at("alder.jsonl")
        cls.node.export(cls.ledger)
        ok(NODE, "ledger", "export", "--dir", at("other"), "-o", at("birch.jsonl"))
        cls.names = {"dir": cls.node.directory, "other": at("other"), "hub": cls.hub.directory, "root": cls.root, "ledger": cls.ledger,
                     "plan": cls.plan}

    @classmethod
    def at(cls, name):
        return os.path.join(cls.root, name)

    def one_line(self, result, program, code, pattern):
        """Exactly one line on stderr, of this program, that says so."""
        self.assertEqual(result.code, code, result)
        self.assertEqual(result.err.count("\n"), 1, result)
        self.assertTrue(result.err.endswith("\n"), result)
        self.assertRegex(result.err, rf"\A{program}: .*{pattern}", result)

    def rows(self, table):
        for what, program, line, code, pattern in table:
            with self.subTest(what):
                words = [w.format(**self.names) for w in line.split("|")]
                self.one_line(run(program, *words), program, code, pattern)

    # ---- command lines ---------------------------------------------------------------------------------------------

    def test_command_lines(self):
        table = []
        for p in (C, N, A, S):
            table += [("unknown command", p, "frobnicate", 2, "frobnicate: .*no such command"),
                      ("unknown option of none", p, "--frobnicate", 2, "--frobnicate"),
                      ("no command", p, "", 2, "")]
        table += [
            ("half a command", N, "data", 2, "data: needs one of: add"),
            ("unknown option", N, "status|--dri|{dir}", 2, "--dri: .*no such option.*--dir"),
            ("option without value", N, "status|--dir", 2, "--dir: needs a value"),
            ("option twice", N, "status|--dir|{dir}|--dir|{dir}", 2, "--dir: stands twice"),
            ("missing option", N, "init|--dir|{root}/new", 2, "--name HOSPITAL: is missing"),
            ("missing option", C, "init|--dir|{root}/new|--name|c", 2, "--host HOST: is missing"),
            ("missing option", N, "plan|approve|{plan}|--dir|{dir}", 2, "--by NAME: is missing"),
            ("missing option", S, "phantom|--hospitals|2|--patients|2", 2, "--out DIR: is missing"),
            ("missing option", A, "epsilon|--steps|3", 2, "is missing"),
            ("missing word", A, "verify", 2, "LEDGER.jsonl\\.\\.\\.: 0 given"),
            ("one word too many", N, "plan|list|b", 2, "'b': one argument too many"),
            ("number out of range", S, "phantom|--out|{root}/p|--hospitals|0|--patients|2", 2, "--hospitals: is '0', expected"),
            ("number that is none", N, "plan|approve|{plan}|--by|X|--wait|soon|--dir|{dir}", 2, "--wait: is 'soon', expected"),
            ("port out of range", C, "init|--dir|{root}/new|--name|c|--host|h|--port|70000", 2, "--port: is '70000', expected"),
            ("bad name", N, "init|--dir|{root}/new|--name|St. Mary's", 2, "not a name"),
            ("overlong name", N, "init|--dir|{root}/new|--name|" + "n" * 64, 2, "not a name"),
            ("bad name", C, "invite|a b|--dir|{hub}", 2, "not a name"),
            ("bad host", C, "init|--dir|{root}/new|--name|c|--host|not a host", 2, "host"),
            ("overlong path", N, "status|--dir|" + "/x" * 3000, 2, "--dir: is too long"),
            ("overlong path", C, "status|--dir|" + "/x" * 3000, 2, "--dir: too long"),
        ]
        self.rows(table)
        self.assertFalse(os.path.exists(self.at("new")))

    def test_folders(self):
        self.rows([
            ("a node twice", N, "init|--dir|{dir}|--name|alder", 1, "holds a node already"),
            ("a coordinator twice", C, "init|--dir|{hub}|--name|c|--host|h", 1, "holds a coordinator already"),
            ("no folder", N, "run|--dir|{root}/gone", 2, "gone: holds no node"),
            ("no folder", N, "status|--dir|{root}/gone", 2, "gone: holds no node"),
            ("no folder", C, "run|--dir|{root}/gone", 2, "gone: holds no coordinator"),
            ("no folder", C, "status|--dir|{root}/gone", 2, "gone: holds no coordinator"),
            ("empty folder", N, "run|--dir|{root}/empty", 2, "empty: holds no node"),
            ("empty folder", N, "data|list|--dir|{root}/empty", 2, "empty: holds no node"),
            ("empty folder", C, "study|list|--dir|{root}/empty", 2, "empty: holds no coordinator"),
            ("a coordinator's", N, "status|--dir|{hub}", 2, "holds no node"),
            ("a node's", C, "status|--dir|{dir}", 2, "holds no coordinator"),
            ("a file", N, "status|--dir|{root}/garbage", 2, "holds no node"),
            ("a folder under a file", N, "init|--dir|{root}/garbage/x|--name|a", 2, "garbage: exists and is not a folder"),
            ("not enrolled", N, "run|--dir|{dir}", 1, "not enrolled: ask the consortium"),
        ])

    # ---- images and labels -----------------------------------------------------------------------------------------

    def test_images_and_labels(self):
        self.assertEqual(self.added.err, "")
        self.rows([
            ("missing file", N, "data|add|{root}/gone.dcm|--dir|{dir}", 2, "gone.dcm: no such file or folder"),
            ("not an image", N, "data|add|{root}/text/scan.dcm|--dir|{dir}", 2, "scan.dcm: refused: .*no image format"),
            ("binary garbage", N, "data|add|{root}/garbage|--dir|{dir}", 2, "garbage: refused: "),
            ("empty file", N, "data|add|{root}/nothing|--dir|{dir}", 2, "nothing: refused: "),
            ("truncated DICOM", N, "data|add|{root}/cut|--dir|{dir}", 2, "cut.dcm: refused: .*truncated"),
            ("truncated pixels, the rest is in", N, "data|add|{root}/mixed|--dir|{other}", 1, "cut.dcm: refused: .*truncated"),
            ("image without label", N, "data|add|{root}/bare/film.dcm|--dir|{other}", 1, "film.dcm: refused: no label: give --labels"),
            ("label without image", N, "data|add|{root}/label|--labels|{root}/lonely.csv|--dir|{other}", 1,
             "lonely.csv:3: no image answers this row"),
            ("missing labels", N, "data|add|{root}/label|--labels|{root}/gone.csv|--dir|{other}", 2, "gone.csv: cannot open"),
            ("labels without their columns", N, "data|add|{root}/label|--labels|{root}/columns.csv|--dir|{other}", 2, "columns.csv"),
            ("binary labels", N, "data|add|{root}/label|--labels|{root}/binary.csv|--dir|{other}", 2, "binary.csv"),
            ("empty folder", N, "data|add|{root}/empty|--dir|{dir}", 2, "no files there"),
            ("another data set", N, "data|add|{root}/mixed|--dataset|ct|--dir|{dir}", 1, "data set ct: has no policy: write \\[data ct\\] into policy.ini"),
            ("patient who is not here", N, "data|remove|--patient|nobody|--dir|{dir}", 2, "no such patient"),
        ])

    # ---- settings and studies --------------------------------------------------------------------------------------

    def test_studies(self):
        path = self.at("bad.ini")
        for what, old, new, pattern in STUDIES:
            with self.subTest(what):
                text, n = re.subn(old, lambda m: m.expand(new) if "\\" in new else new, self.study, count=1, flags=re.M)
                self.assertEqual(n, 1)
                with open(path, "w") as f:
                    f.write(text)
                self.one_line(run(C, "study", "add", path, "--dir", self.hub.directory), C, 2, rf"bad\.ini.*{pattern}")
        self.rows([
            ("missing study", C, "study|add|{root}/gone.ini|--dir|{hub}", 2, "gone.ini: cannot open"),
            ("study that is no text", C, "study|add|{root}/garbage|--dir|{hub}", 2, "garbage: is not a text"),
            ("empty study", C, "study|add|{root}/nothing|--dir|{hub}", 2, "nothing: .*is missing"),
            ("study that is a folder", C, "study|add|{root}/empty|--dir|{hub}", 2, "empty: is not a file"),
            ("study that is here already", C, "study|add|{root}/study.ini|--dir|{hub}", 1, "study tiny: is here already"),
            ("unknown study", C, "study|show|nope|--dir|{hub}", 2, "nope: no such study"),
            ("unknown study", C, "study|pause|nope|--dir|{hub}", 2, "nope"),
            ("unknown study", C, "status|--study|nope|--dir|{hub}", 2, "nope: no such study"),
            ("unknown study", C, "refold|--study|nope|--dir|{hub}", 2, "nope: no such study"),
            ("unknown hospital", C, "revoke|nobody|--dir|{hub}", 2, "nobody: no such hospital"),
            ("format", C, "export|--format|gif|-o|{root}/m|--dir|{hub}", 2, "--format gif: "),
            ("export into no folder", C, "export|--format|safetensors|-o|{root}/gone/m|--dir|{hub}", 2, "gone/m"),
            ("study of the simulator", S, "federate|--study|{root}/gone.ini|--data|{root}", 2, "gone.ini"),
            ("data of the simulator", S, "federate|--study|{root}/study.ini|--data|{root}/gone", 2, "gone/manifest.csv"),
        ])

    def test_settings(self):
        """policy.ini, node.ini and coordinator.ini: each key unknown, doubled, overlong or out of range."""
        files = {
            "policy.ini": (N, self.node.directory, ["data", "add", self.at("mixed")], "epsilon", "8"),
            "node.ini": (N, self.node.directory, ["status"], "threads", "0"),
            "coordinator.ini": (C, self.hub.directory, ["status"], "port", str(self.hub.port)),
        }
        for name, (program, folder, command, key, value) in files.items():
            path = os.path.join(folder, name)
            with open(path) as f:
                good = f.read()
            line = f"{key} = {value}\n"
            self.assertIn("\n" + line, good)
            for what, bad, pattern in [
                ("unknown key", line + "epsiloon = 1\n", r":\d+: .*epsiloon: .*no such key"),
                ("unknown section", line + "[dataset ct]\n", r":\d+: \[dataset ct\]: .*no such section"),
                ("doubled key", line + line, rf":\d+: .*{key}: stands a second time"),
                ("overlong key", line + LONG + " = 1\n", r":\d+: .*bytes, expected at most"),
                ("overlong line", f"{key} = {value}{' ' * 5000}\n", r":\d+: .*bytes, expected at most"),
                ("out of range", f"{key} = 100000\n", rf":\d+: .*{key}: is '100000', expected"),
                ("no number", f"{key} = much\n", rf":\d+: .*{key}: is 'much', expected"),
                ("no value", f"{key} =\n", rf":\d+: .*{key}: "),
                ("zero byte", f"{key} = {value}\0\n", ""),
            ]:
                with self.subTest(f"{name}: {what}"):
                    with open(path, "w") as f:
                        f.write(good.replace(line, bad))
                    self.one_line(run(program, *command, "--dir", folder), program, 2, rf"{re.escape(name)}.*{pattern}")
            with self.subTest(f"{name}: missing"):
                os.remove(path)
                self.one_line(run(program, *command, "--dir", folder), program, 2, "" if name == "policy.ini" else "holds no")
            with open(path, "w") as f:
                f.write(good)
            ok(program, "status", "--dir", folder)

    # ---- evidence --------------------------------------------------------------------------------------------------

    def test_ledgers(self):
        with open(self.at("ledger.json"), "w") as f:
            f.write('[{"sampling_rate": 0.1}]')
        ok(A, "verify", self.ledger)
        result = run(A, "verify", self.ledger, "--key", self.at("birch.jsonl.pub"))
        self.assertEqual(result.code, 1, result)  # a finding is the answer, on stdout
        self.assertRegex(result.out, "key|signature")
        self.assertEqual(result.err, "", result)
        self.rows([
            ("missing ledger", A, "verify|{root}/gone.jsonl", 2, "gone.jsonl: cannot open"),
            ("not a ledger", A, "verify|{root}/garbage", 2, "garbage: not a ledger"),
            ("empty file", A, "verify|{root}/nothing", 2, "nothing: "),
            ("a study", A, "verify|{root}/study.ini", 2, "study.ini: not a ledger"),
            ("a folder", A, "verify|{root}/empty", 2, "empty: is not a file"),
            ("missing key", A, "verify|{ledger}|--key|{root}/gone.pub", 2, "gone.pub: cannot open"),
            ("not a key", A, "verify|{ledger}|--key|{root}/garbage", 2, "garbage: not a public key"),
            ("another node's ledger as the coordinator's", A, "verify|{ledger}|--coordinator|{root}/birch.jsonl", 2,
             "birch.jsonl: is the ledger of a node"),
            ("rate out of range", A, "epsilon|--sampling-rate|2|--noise-multiplier|1|--steps|1|--delta|1e-5", 2,
             "--sampling-rate: is '2', expected"),
            ("delta out of range", A, "epsilon|--sampling-rate|0.1|--noise-multiplier|1|--steps|1|--delta|0", 2, "--delta"),
            ("segments that are none", A, "epsilon|--segments|{root}/garbage|--delta|1e-5", 2, "garbage: "),
            ("half a segment", A, "epsilon|--segments|{root}/ledger.json|--delta|1e-5", 2, "ledger.json: "),
            ("export into no folder", N, "ledger|export|-o|{root}/gone/x|--dir|{dir}", 2, "gone/x"),
        ])

    # ---- approving -------------------------------------------------------------------------------------------------

    def test_approving(self):
        hub = cordon.Consortium(self.at("approving"), name="approving")
        plan = hub.add_study(cordon.study("tiny", quorum=1, more="[server]\nmomentum = 0"))
        hub.server.start()
        self.addCleanup(hub.stop)
        node = hub.nodes["cedar"] = cordon.Node(hub.root, "cedar")
        node.enrol(hub.invitation("cedar"))
        node.server.start()
        node.server.wait_line("study=tiny arrived")
        approve = [NODE, "plan", "approve", plan, "--by", "Dr. Ada Lovelace", "--dir", node.directory]

        def refused(what, words, code, pattern):
            with self.subTest(what):
                self.one_line(run(*words), NODE, code, pattern)

        refused("no declared patients", approve, 1, "declared_patients is not typed yet")
        edit_ini(os.path.join(node.directory, "policy.ini"), declared_patients=50)
        refused("wrong hash", [*approve[:3], HASH, *approve[4:]], 2, "is not here: .*plan list")
        refused("wrong hash, waiting", [*approve[:3], HASH, *approve[4:], "--wait", 1], 2, "is not here: .*plan list")
        refused("half a hash", [*approve[:3], plan[:6], *approve[4:]], 2, "type at least 8 digits")
        refused("a name for a hash", [*approve[:3], "tiny", *approve[4:]], 2, "type at least 8 digits")
        refused("nobody", [*approve[:5], " ", *approve[6:]], 2, "--by: must be a person's name")
        refused("another data set", [*approve, "--dataset", "ct"], 1, "data set ct: has no policy")
        refused("unknown study", [NODE, "leave", "nope", "--dir", node.directory], 2, "study nope")
        edit_ini(os.path.join(node.directory, "policy.ini"), min_noise_multiplier=100)
        refused("outside the policy", approve, 1, r"outside the policy: noise_multiplier is [\d.]+, the policy wants at least 100")
        edit_ini(os.path.join(node.directory, "policy.ini"), min_noise_multiplier="0.3", epsilon="0.9", renyi_order=20)
        refused("over the budget", approve, 1, r"over the budget: .*epsilon to [\d.]+, the policy allows 0.9")
        refused("enrolling a node that runs", [NODE, "enrol", "--invitation", "x", "--dir", node.directory], 3, "the node runs: stop it")

    # ---- enrolment and certificates --------------------------------------------------------------------------------

    def test_enrolment(self):
        folder = self.at("enrolment")
        os.mkdir(folder)
        hub = cordon.Consortium(folder, name="one")
        hub.server.start()
        self.addCleanup(hub.stop)

        def enrol(name, invitation, *more):
            directory = os.path.join(folder, "node-" + name)
            node_name = name.split("-")[0]
            if not os.path.isdir(directory):
                ok(NODE, "init", "--dir", directory, "--name", node_name)
            return run(NODE, "enrol", "--invitation", invitation, *more, "--dir", directory)

        def refused(what, result, code, pattern):
            with self.subTest(what):
                self.one_line(result, NODE, code, pattern)

        good = hub.invitation("alder")
        refused("damaged invitation", enrol("alder", good[:200] + "A" + good[201:]), 2, "invitation: damaged")
        refused("half an invitation", enrol("alder", good[: len(good) // 2]), 2, "invitation: damaged")
        refused("no invitation", enrol("alder", self.at("garbage")), 2, "invitation")
        refused("missing file", enrol("alder", self.at("gone")), 2, "gone: cannot open")
        refused("an invitation from a file, damaged", enrol("alder", self.at("invitation")), 2, "invitation: damaged")
        refused("closed stdin", enrol("alder", "-"), 2, "invitation: not an invitation")
        refused("wrong fingerprint", enrol("alder", good, "--fingerprint", HASH), 1, "fingerprint: .*not the one given")
        refused("half a fingerprint", enrol("alder", good, "--fingerprint", hub.fingerprint[:32]), 1, "fingerprint: .*not the one given")
        refused("another hospital's invitation", enrol("birch", good), 1, "invitation: is for alder, this node is birch")
        self.assertEqual(enrol("alder", good, "--fingerprint", hub.fingerprint).code, 0)

        refused("used invitation", enrol("alder-two", good), 1, "used|taken|refused|not accepted")
        with self.subTest("second node with the same name"):
            self.one_line(run(C, "invite", "alder", "--dir", hub.directory), C, 1, "alder: .*(enrolled|taken)")
        late = hub.invitation("cedar")
        early = hub.invitation("dogwood")  # two invitations for one name: the first to enrol has it
        second = hub.invitation("dogwood")
        self.assertEqual(enrol("dogwood", early).code, 0)
        refused("second node with the same name", enrol("dogwood-two", second), 1, "taken|enrolled|refused|not accepted")
        refused("expired invitation", enrol("cedar", expired(late)), 1, "expired")

        with self.subTest("port in use"):
            other = os.path.join(folder, "second")
            ok(C, "init", "--dir", other, "--name", "two", "--host", "127.0.0.1", "--port", hub.port)
            result = run(C, "run", "--dir", other)
            self.one_line(result, C, 3, rf"{hub.port}.*(in use|taken)")
        self.nobody_there(folder)
        self.wrong_certificates(folder, hub)

    def nobody_there(self, folder):
        with self.subTest("nobody answers at the port"):
            hub = cordon.Consortium(os.path.join(folder, "second"), name="silent")
            node = cordon.Node(hub.root, "elm")
            result = run(NODE, "enrol", "--invitation", hub.invitation("elm"), "--dir", node.directory)
            self.one_line(result, NODE, 3, "connection refused")

    def wrong_certificates(self, folder, hub):
        """What a node says, and goes on trying, when the TLS of one side is not the other's."""
        alder = os.path.join(folder, "node-alder")
        foreign = cordon.Consortium(os.path.join(folder, "node-cedar"), name="foreign")
        foreign.server.start()
        self.addCleanup(foreign.server.stop)
        for name in ("ca.crt", "tls.crt", "tls.key"):
            shutil.copy(os.path.join(alder, name), os.path.join(folder, name))
        ok(NODE, "init", "--dir", os.path.join(folder, "fir"), "--name", "alder")
        ok(NODE, "enrol", "--invitation", foreign.invitation("alder"), "--dir", os.path.join(folder, "fir"))
        fir = os.path.join(folder, "fir")

        def said(what, files, pattern):
            for name, source in files.items():
                shutil.copy(source, os.path.join(alder, name))
            server = cordon.Server(NODE, alder, os.path.join(folder, what + ".ready")).start()
            with self.subTest(what):
                line = server.lines[server.wait_line(" (warn|error) ")]
                self.assertRegex(line, pattern)
            server.stop()
            for name in files:
                shutil.copy(os.path.join(folder, name), os.path.join(alder, name))

        said("coordinator-of-another-CA", {"ca.crt": os.path.join(fir, "ca.crt")}, "certificate is not of this consortium")
        said("node-of-another-CA", {n: os.path.join(fir, n) for n in ("tls.crt", "tls.key")}, "our certificate was not accepted")
        with self.subTest("a key that is another certificate's"):
            shutil.copy(os.path.join(fir, "tls.key"), os.path.join(alder, "tls.key"))
            self.one_line(run(NODE, "run", "--dir", alder), NODE, 2, "key|certificate")
            shutil.copy(os.path.join(folder, "tls.key"), os.path.join(alder, "tls.key"))

        with self.subTest("server certificate for another host"):
            named = cordon.Consortium(os.path.join(folder, "node-dogwood"), host="coordinator.example", name="named")
            invitation = named.invitation("gum")
            edit_ini(os.path.join(named.directory, "coordinator.ini"), host="127.0.0.1")
            ok(C, "status", "--dir", named.directory)
            invitation = named.invitation("gum")
            named.server.start()
            gum = cordon.Node(named.root, "gum")
            result = run(NODE, "enrol", "--invitation", invitation, "--dir", gum.directory)
            named.server.stop()
            self.one_line(result, NODE, 3, "certificate is not for this host")

    # ---- the machine -----------------------------------------------------------------------------------------------

    def test_closed_and_full_standard_files(self):
        with self.subTest("closed stdin"):
            result = run(NODE, "status", "--dir", self.node.directory, preexec_fn=lambda: os.close(0))
            self.assertEqual((result.code, result.err), (0, ""), result)
        for program, words in ((NODE, ["status", "--json", "--dir", self.node.directory]), (AUDIT, ["verify", self.ledger]),
                               (C, ["status", "--dir", self.hub.directory])):
            with self.subTest("full stdout"), open("/dev/full", "w") as full:
                done = subprocess.run([cordon.program(program), *words], stdin=subprocess.DEVNULL, stdout=full,
                                      stderr=subprocess.PIPE, text=True)
                self.one_line(cordon.Result(words, done.returncode, "", done.stderr), program, 3, "output: cannot be written")
        with self.subTest("closed stdout"):
            done = subprocess.run([cordon.program(NODE), "status", "--dir", self.node.directory], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1))
            self.one_line(cordon.Result([], done.returncode, "", done.stderr), NODE, 3, "output: cannot be written")
            ok(NODE, "ledger", "export", "-o", self.at("after.jsonl"), "--dir", self.node.directory)  # nothing was written into it
            ok(AUDIT, "verify", self.at("after.jsonl"))

    def test_a_full_disk_loses_nothing(self):
        disk, mounted = self.at("disk"), False
        os.mkdir(disk)
        if os.geteuid() == 0:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True)
            mounted = done.returncode == 0
        if mounted:
            self.addCleanup(subprocess.run, ["umount", disk], check=True)
            limits = {}
        else:  # the next best: files may not grow
            limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))}
        directory = os.path.join(disk, "node")
        made = run(NODE, "init", "--dir", directory, "--name", "alder", **limits)
        self.assertEqual(made.code, 0, made)
        images = next(iter(self.phantoms(1, 12).values()))
        result = run(NODE, "data", "add", images, "--dir", directory, **limits)
        if not mounted and result.code == 0:
            self.skipTest("no disk that can be filled: not root, and the limit was not reached")
        self.assertEqual(result.code, 3, result)
        self.one_line(result, NODE, 3, "(disk|space|[Ff]ull|large)")
        if mounted:
            result = run(NODE, "ledger", "export", "-o", os.path.join(disk, "out.jsonl"), "--dir", directory)
            self.assertIn(result.code, (0, 3), result)
            subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        ok(NODE, "data", "add", images, "--dir", directory)  # what was taken is here, the rest comes now
        ok(NODE, "data", "list", "--dir", directory)
        ok(NODE, "ledger", "export", "-o", self.at("full.jsonl"), "--dir", directory)
        ok(AUDIT, "verify", self.at("full.jsonl"))

    def test_a_folder_that_may_not_be_read(self):
        user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chmod(self.root, 0o755)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        # copies, for the build may lie in a folder that nobody may enter
        copies = {name: shutil.copy(cordon.program(name), self.at(name)) for name in (C, A, NODE)}
        shutil.copytree(self.hub.directory, self.at("unreadable/hub"))
        for path in ("unreadable/hub", "unreadable/images"):
            os.makedirs(self.at(path), exist_ok=True)
            os.chmod(self.at(path), 0)
        os.chmod(self.at("unreadable"), 0o755)
        self.addCleanup(os.chmod, self.at("unreadable/hub"), 0o700)
        self.addCleanup(os.chmod, self.at("unreadable/images"), 0o700)
        hub = run(copies[C], "status", "--dir", self.at("unreadable/hub"), **user)
        self.one_line(hub, C, 3, "unreadable/hub.*([Pp]ermission)")
        ledger = self.at("secret.jsonl")
        shutil.copy(self.ledger, ledger)
        os.chmod(ledger, 0)
        self.one_line(run(copies[A], "verify", ledger, **user), A, 3, "secret.jsonl.*Permission denied")
        new = run(copies[NODE], "init", "--dir", self.at("unreadable/new"), "--name", "alder", **user)
        if user:
            self.one_line(new, NODE, 3, "unreadable/new.*Permission denied")

    def test_a_server_that_speaks_no_TLS(self):
        hub = cordon.Consortium(self.at("lonely"), name="lonely")
        with socket.create_server(("127.0.0.1", hub.port)) as listener:
            listener.settimeout(60)
            node = cordon.Node(hub.root, "alder")
            child = subprocess.Popen([cordon.program(NODE), "enrol", "--invitation", hub.invitation("alder"), "--dir", node.directory],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            cordon._started.append(child)
            listener.accept()[0].close()  # the node only looks whether somebody is there
            with listener.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                _, err = child.communicate(timeout=60 * cordon.SLOW)
        self.one_line(cordon.Result([], child.returncode, "", err), NODE, 3, "TLS")


def expired(invitation):
    """The same invitation with an end that lies in the past: nobody has to wait for it."""
    packed = base64.b64decode(invitation.split(":", 1)[1])
    members = json.loads(packed[:-8])
    members["expires"] = 1000000000
    body = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return "cordon1:" + base64.b64encode(body + hashlib.sha256(body).digest()[:8]).decode()


if __name__ == "__main__":
    cordon.main()
