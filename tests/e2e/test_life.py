"""What happens to a node's folder in a life longer than a study: an old copy is put back, a copy runs twice.

A hospital's node is stopped and its folder copied; it goes on for some rounds; the copy is put back. It has to be refused,
stay refused over restarts, say what to do, and after `restore` go on with a ledger that no audit objects to and whose
epsilon is not below what was spent. The same with two copies that run at once.
"""

import json
import os
import shutil
import time

import cordon
from cordon import AUDIT, COORDINATOR, NODE, Ledger, ok, run

ROUNDS = 8


def of_study(status, name):
    return [p for p in status["plans"] if p["study"] == name][0]


class Life(cordon.Test):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.images = cls.phantoms(hospitals=1, patients=8)

    def setUp(self):
        images = self.images
        os.mkdir(os.path.join(self.root, self._testMethodName))
        self.hub = cordon.Consortium(os.path.join(self.root, self._testMethodName))
        self.plan = self.hub.add_study(cordon.study("main", rounds=ROUNDS, quorum=1, deadline_s=60, slot_ms=1000))
        self.hub.server.start()
        self.node = self.hub.join("alder", images["alder"], min_cohort=1)
        self.node.server.start()
        self.node.command("plan", "approve", self.plan, "--by", "Dr. Ada Lovelace", "--wait", 30)

    def wait_round(self, n, node=None):
        (node or self.node).wait_status(lambda s: of_study(s, "main")["last_round"] >= n, what=f"round {n}", seconds=60)

    def budget(self):
        return self.node.command("budget", "--json").json()

    def verified(self):
        node, hub = os.path.join(self.root, "node.jsonl"), os.path.join(self.root, "hub.jsonl")
        for path in (node, hub, node + ".pub", hub + ".pub"):
            if os.path.exists(path):
                os.remove(path)
        self.hub.command("ledger", "export", "-o", hub)
        ledger = self.node.export(node)
        said = ok(AUDIT, "verify", node, "--coordinator", hub)
        return ledger, said

    def test_an_old_copy_is_refused_until_it_was_restored(self):
        node, copy = self.node, self.node.directory + ".copy"
        self.wait_round(2)
        node.server.stop()
        shutil.copytree(node.directory, copy)
        node.server.start()
        self.wait_round(4)
        node.server.stop()
        truth = self.budget()
        seen, store = os.path.join(self.root, "seen.jsonl"), os.path.join(self.root, "heads")
        self.hub.command("ledger", "export", "-o", seen)
        ok(AUDIT, "witness", "init", store)
        ok(AUDIT, "witness", "add", store, seen, "--members")
        shutil.rmtree(node.directory)
        os.rename(copy, node.directory)

        mark = node.server.mark()
        node.server.start()
        node.server.wait_line(r"halted reason=ledger-behind-witness.*cordon-node restore", since=mark)
        status = node.status()
        self.assertEqual(status["phase"], "halted")
        self.assertIn("cordon-node restore", status["why"])
        refused = run(NODE, "restore", "--dir", node.directory)
        self.assertEqual(refused.code, 3, refused)
        self.assertIn("stop it first", refused.err)
        node.server.stop()

        self.hub.server.stop()  # a witness that is not there takes nothing back
        mark = node.server.mark()
        node.server.start()
        node.server.wait_line(r"halted reason=ledger-behind-witness", since=mark)
        node.server.stop()
        self.assertEqual(run(NODE, "restore", "--dir", node.directory).code, 3)
        self.hub.server.start()

        said = node.command("restore")
        self.assertRegex(said.out, r"charged: [1-6] debit\(s\) that were received, [01] that may have been lost")
        restored = self.budget()
        # what left: a round that was trained and not shown to anybody before the node stopped never did
        hub = os.path.join(self.root, "then.jsonl")
        self.hub.command("ledger", "export", "-o", hub)
        received = len(Ledger(hub).of("RECEIVED"))
        one = truth["renyi_spent"] / truth["studies"][0]["rounds_charged"]
        self.assertGreaterEqual(received, 4)
        self.assertGreaterEqual(restored["renyi_spent"], received * one * (1 - 1e-12))
        self.assertLessEqual(restored["renyi_spent"], (received + 1) * one * (1 + 1e-12))

        node.server.start()
        self.wait_round(ROUNDS)
        node.server.stop()
        ledger, said = self.verified()
        self.assertIn("restored 1 time(s)", said.out)
        # a witness saw heads of the lost lines: only what the coordinator accepted explains them
        paths = [os.path.join(self.root, name) for name in ("node.jsonl", "hub.jsonl")]
        self.assertIn("over other lines", ok(AUDIT, "witness", "check", store, paths[0], code=1).out)
        ok(AUDIT, "witness", "check", store, paths[0], "--coordinator", paths[1])
        ok(AUDIT, "verify", paths[0], "--coordinator", paths[1], "--witness", store)
        received = len(ledger.of("ACK")) + len(ledger.of("BURN", reason="restored"))
        self.assertGreaterEqual(received, ROUNDS)
        first = ledger.of("RESTORE", reason="restored")[0]
        self.assertEqual(first["missing"], len([e for e in ledger.of("BURN", reason="restored") if e["seq"] > first["seq"]]))
        self.assertGreater(len(ledger.of("RESTORE", reason="placeholder")), 0)
        report = ok(AUDIT, "report", os.path.join(self.root, "node.jsonl"), os.path.join(self.root, "hub.jsonl"), "--json").json()
        words = [block["text"] for block in report["blocks"]]
        self.assertEqual(words.count("RESTORE (red)"), 1)
        self.assertTrue([w for w in words if "lost with an old copy, and paid again" in w])
        self.hub.stop()

    def test_of_two_copies_one_is_refused(self):
        node, copy = self.node, self.node.directory + ".copy"
        self.wait_round(2)
        node.server.stop()
        shutil.copytree(node.directory, copy)
        clone = cordon.Server(NODE, copy, os.path.join(self.root, "clone.ready"))
        node.server.start()
        clone.start()
        until = cordon.deadline(60)
        while "halted reason=" not in node.server.text() + clone.text():  # whoever is late; each question takes the node's time
            self.assertLess(time.monotonic(), until, clone.text())
            node.status()
        halted, other = (clone, node.server) if "halted reason=" in clone.text() else (node.server, clone)
        self.assertRegex(halted.text(), r"halted reason=(ledger-behind-witness|equivocation)")
        halted.stop()
        if other is clone:
            node.directory = copy
        node.server = other
        self.wait_round(ROUNDS)
        node.server.stop()
        self.verified()
        self.hub.stop()

    def test_keys_are_exchanged_and_old_evidence_holds(self):
        """Three times each, in turn, once with both sides changed at the same time and once cut short after the entry."""
        node, hub = self.node, self.hub
        self.wait_round(1)
        node.server.stop()
        early = os.path.join(self.root, "early.jsonl")
        node.export(early)
        seen = set()

        def key(directory):
            with open(os.path.join(directory, "identity.key"), "rb") as f:
                return f.read()

        def rotate(party, directory, command):
            before = key(directory)
            refused = run(party, "key", "rotate", "--dir", directory)
            self.assertEqual(refused.code, 3, refused)  # it runs
            command.server.stop()
            ok(party, "key", "rotate", "--dir", directory, "--reason", "yearly")
            after = key(directory)
            self.assertNotEqual(before, after)
            self.assertNotIn(after, seen)
            seen.update((before, after))
            self.assertFalse(os.path.exists(os.path.join(directory, "identity.key.next")))

        node.server.start()
        for n in range(3):
            rotate(NODE, node.directory, node)
            if n == 2:  # nobody has told anybody of the other's new key
                rotate(COORDINATOR, hub.directory, hub)
                hub.server.start()
            node.server.start()
            self.wait_round(2 + 2 * n)
            if n < 2:
                rotate(COORDINATOR, hub.directory, hub)
                hub.server.start()
                self.wait_round(3 + 2 * n)
        node.server.stop()

        # killed after the entry was durable and before the file was exchanged: the ledger decides
        next_key = os.path.join(node.directory, "identity.key.next")
        shutil.copy(os.path.join(node.directory, "identity.key"), next_key)
        with open(os.path.join(node.directory, "identity.key"), "wb") as f:
            f.write(bytes(119))
        node.command("status")
        self.assertFalse(os.path.exists(next_key))
        # and before it: the successor that no entry names is thrown away
        with open(next_key, "wb") as f:
            f.write(b"not a key of this ledger")
        os.chmod(next_key, 0o600)
        node.command("status")
        self.assertFalse(os.path.exists(next_key))

        node.server.start()
        self.wait_round(ROUNDS)
        node.server.stop()
        ledger, _ = self.verified()
        self.assertEqual(len(ledger.of("KEY_ROTATE")), 3)
        ok(AUDIT, "verify", early)  # with the key of its time
        ok(AUDIT, "verify", os.path.join(self.root, "node.jsonl"), "--key", early + ".pub")  # follows the chain
        self.assertEqual(run(AUDIT, "verify", early, "--key", os.path.join(self.root, "hub.jsonl.pub")).code, 1)
        with open(os.path.join(self.root, "hub.jsonl")) as f:
            rosters = {m["hash"] for line in f if '"kind":"ROSTER"' in line for m in json.loads(line)["members"]}
        self.assertEqual(len(rosters), 4)  # the hospital's keys, one after the other

        refused = run(COORDINATOR, "ledger", "close", "--reason", "end", "--dir", hub.directory)
        self.assertEqual(refused.code, 3, refused)
        hub.server.stop()
        ok(COORDINATOR, "ledger", "close", "--reason", "end", "--dir", hub.directory)
        node.command("ledger", "close", "--reason", "end-of-study")
        ledger, _ = self.verified()
        self.assertEqual(ledger.kinds()[-1], "CLOSE")
        for party, directory in ((NODE, node.directory), (COORDINATOR, hub.directory)):
            self.assertEqual(run(party, "run", "--dir", directory).code, 1)

    def test_two_studies_on_two_data_sets_share_one_budget(self):
        node, hub = self.node, self.hub
        refused = run(NODE, "data", "add", "--dataset", "ct", self.images["alder"], "--dir", node.directory)
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("write [data ct] into policy.ini", refused.err)
        with open(os.path.join(node.directory, "policy.ini"), "a") as f:
            f.write("\n[data ct]\ndeclared_patients = 40\n[limits ct]\nmin_cohort = 1\n")
        head = hub.add_study(cordon.study("head", rounds=2, quorum=1, slot_ms=200, epsilon=3), "head.ini")
        node.command("data", "add", "--dataset", "ct", self.images["alder"])
        said = node.command("plan", "approve", head, "--by", "Dr. Ada Lovelace", "--dataset", "ct", "--wait", 30)
        self.assertRegex(said.out, r"for data set ct\nits 2 rounds bring epsilon from .*\nafter them \d+ more rounds like these would fit")
        node.wait_status(lambda s: of_study(s, "head")["last_round"] == 2, what="the end of head", seconds=60)
        self.wait_round(1)
        spent = self.budget()
        self.assertEqual({s["study"] for s in spent["studies"]}, {"main", "head"})
        self.assertGreater(spent["epsilon_spent"], max(s["epsilon"] for s in spent["studies"]) * 0.9)
        node.server.stop()
        ledger, _ = self.verified()
        self.assertEqual({(e["study"], e["declared_patients"]) for e in ledger.of("RESERVE")}, {("main", 50), ("head", 40)})
        hub.stop()

    def test_a_ledger_with_a_study_that_goes_on_is_not_closed(self):
        self.wait_round(1)
        self.node.server.stop()
        refused = run(NODE, "ledger", "close", "--reason", "end", "--dir", self.node.directory)
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("leave main", refused.err)
        self.hub.stop()


if __name__ == "__main__":
    cordon.main()
