"""What happens to a node's folder in a life longer than a study: an old copy is put back, a copy runs twice.

A hospital's node is stopped and its folder copied; it goes on for some rounds; the copy is put back. It has to be refused,
stay refused over restarts, say what to do, and after `restore` go on with a ledger that no audit objects to and whose
epsilon is not below what was spent. The same with two copies that run at once.
"""

import os
import shutil
import time

import cordon
from cordon import AUDIT, NODE, ok, run

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
        self.assertRegex(said.out, r"charged: [1-6] debit\(s\) that were received, 0 that may have been lost")
        restored = self.budget()
        self.assertGreaterEqual(restored["renyi_spent"], truth["renyi_spent"] * (1 - 1e-12))
        self.assertLessEqual(restored["renyi_spent"], truth["renyi_spent"] * (1 + 1e-12))

        node.server.start()
        self.wait_round(ROUNDS)
        node.server.stop()
        ledger, said = self.verified()
        self.assertIn("restored 1 time(s)", said.out)
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


if __name__ == "__main__":
    cordon.main()
