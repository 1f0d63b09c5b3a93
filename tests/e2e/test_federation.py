"""Three hospitals and a coordinator on loopback, and everything that goes wrong in a year, in six rounds.

    1  the coordinator is killed in the middle of the round, after it acknowledged two updates
    2  a node is killed while it trains: its debit burns, the round is taken again under a new one
    3  a node is killed after its RELEASE: the same bytes are sent
    4  a node sleeps past the deadline: the round ends with the quorum, its update is refused and burns
    5  a hospital lowers its epsilon below what is spent: its node says no, writes it down and leaves
    6  the others finish

In the end the coordinator's models are what its contributions give, and the ledgers agree with one another.
"""

import os
import re
import signal

import cordon
from cordon import AUDIT, COORDINATOR, NODE, Ledger, ok, run

ROUNDS = 6
DEADLINE_S = 8 * cordon.SLOW
STEPS = 40 if cordon.SMALL else int(os.environ.get("CORDON_STEPS", 60))
SPENT = re.compile(r"\d+\.\d+")


class Federation(cordon.Test):
    def test_a_study_survives_kills_sleep_and_a_lowered_budget(self):
        images = self.phantoms(hospitals=3, patients=24)
        self.assertEqual(list(images), ["alder", "birch", "cedar"])
        self.hub = cordon.Consortium(self.root)
        self.plan = self.hub.add_study(
            cordon.study("main", hospitals="alder, birch, cedar", rounds=ROUNDS, quorum=2, deadline_s=DEADLINE_S,
                         slot_ms=2500,  # a released update waits so long: time to be caught at it
                         architecture="cnn-tiny", shape="1x28x28", local_steps=STEPS, epsilon=6,
                         more="augmentations = 6\nmirror = yes"))  # costs no budget: time to be caught training
        greedy = self.hub.add_study(cordon.study("greedy", hospitals="alder", rounds=10, epsilon=20), "greedy.ini")
        self.hub.command("study", "pause", "main")  # no round before everybody is here
        self.hub.server.start()
        for name, folder in images.items():
            node = self.hub.join(name, folder)
            node.server.start()
        alder, birch, cedar = self.hub.nodes.values()

        self.nothing_runs_twice(alder)
        self.a_study_over_the_budget_is_refused_up_front(alder, greedy)
        for node in (alder, birch, cedar):
            said = node.command("plan", "approve", self.plan, "--by", "Dr. Ada Lovelace", "--wait", 30)
            self.assertIn("approved by Dr. Ada Lovelace", said.out)
            node.wait_status(lambda s: of_study(s, "main")["joined"], what="having joined")
        self.hub.command("study", "resume", "main")

        self.the_coordinator_dies_in_a_round(alder, birch, cedar)
        self.a_node_dies_while_it_trains(alder)
        self.a_node_dies_after_its_release(birch)
        self.a_node_is_late(cedar)
        self.a_budget_is_lowered(cedar)
        self.commands_on_live_folders_answer(alder)
        self.aggregated(6)
        ok(COORDINATOR, "status", "--study", "main", "--watch", "--dir", self.hub.directory, seconds=60)
        for node in (alder, birch):
            node.wait_status(lambda s: of_study(s, "main")["last_round"] == ROUNDS, what="the last receipt")
        self.hub.stop()  # SIGTERM ends each with 0
        self.what_is_left_agrees()

    # ---- what goes wrong -------------------------------------------------------------------------------------------

    def nothing_runs_twice(self, node):
        for name, directory in ((NODE, node.directory), (COORDINATOR, self.hub.directory)):
            again = run(name, "run", "--dir", directory)
            self.assertEqual(again.code, 3, again)
            self.assertEqual(again.err.count("\n"), 1, again)
            self.assertTrue(again.err.startswith(name + ": "), again)

    def a_study_over_the_budget_is_refused_up_front(self, node, greedy):
        said = node.command("plan", "approve", greedy, "--by", "Dr. Ada Lovelace", "--wait", 30, code=1)
        self.assertEqual(said.err.count("\n"), 1, said)
        self.assertRegex(said.err, r"\b8\b")  # the cap
        self.assertGreaterEqual(len(SPENT.findall(said.err)), 1, said)
        self.assertEqual([p["approved"] for p in node.status()["plans"]], [False, False])

    def opened(self, number):
        return self.hub.server.wait_line(rf"study main: round {number}: .*round opened", 60)

    def aggregated(self, number):
        at = self.hub.server.wait_line(rf"study main: round {number} of {ROUNDS}: aggregated", 60)
        return self.hub.server.lines[at]

    def the_coordinator_dies_in_a_round(self, alder, birch, cedar):
        self.opened(1)
        cedar.server.signal(signal.SIGSTOP)
        for node in (alder, birch):  # its receipt: RECEIVED is on disk over there
            node.wait_status(lambda s: of_study(s, "main")["last_round"] == 1, what="a receipt")
        self.assertNotIn("aggregated", self.hub.server.text())
        self.hub.server.kill()
        self.hub.server.start()
        cedar.server.signal(signal.SIGCONT)
        self.assertRegex(self.aggregated(1), r"contributions=3\b")

    def a_node_dies_while_it_trains(self, node):
        self.opened(2)
        node.wait_status(lambda s: s["phase"] == "training" and s["round"] == 2, what="training")
        node.server.kill()
        node.server.start()
        node.server.wait_line(r"reason=crash .*round=2")
        self.assertRegex(self.aggregated(2), r"contributions=3\b")

    def a_node_dies_after_its_release(self, node):
        self.opened(3)
        node.wait_status(lambda s: s["phase"] in ("released", "cosigned") and s["round"] == 3, what="a release")
        node.server.kill()
        node.server.start()
        self.assertRegex(self.aggregated(3), r"contributions=3\b")

    def a_node_is_late(self, node):
        self.opened(4)
        node.wait_status(lambda s: s["phase"] in ("released", "cosigned") and s["round"] == 4, what="a release")
        node.server.signal(signal.SIGSTOP)
        self.assertRegex(self.aggregated(4), r"contributions=2\b.*missing=cedar")
        node.server.signal(signal.SIGCONT)
        node.server.wait_line(r"stale.round")
        node.server.wait_line(r"reason=round-closed .*round=4")

    def a_budget_is_lowered(self, node):
        node.server.stop()
        cordon.edit_ini(os.path.join(node.directory, "policy.ini"), epsilon="4")
        node.server.start()
        node.server.wait_line(r"reason=over-budget")
        self.assertRegex(self.aggregated(5), r"contributions=[23]\b")
        node.wait_status(lambda s: not of_study(s, "main")["joined"], what="having left")

    def commands_on_live_folders_answer(self, node):
        self.assertEqual(node.status()["hospital"], "alder")
        self.assertTrue(node.status()["running"])
        budget = node.command("budget", "--json").json()
        self.assertEqual(budget["epsilon_cap"], 8)
        self.assertGreater(budget["epsilon_spent"], 0)
        self.assertIn("spent", node.command("budget", "--study", "main").out)
        plans = node.command("plan", "list", "--json").json()
        self.assertEqual({p["study"] for p in plans}, {"main", "greedy"})
        self.assertIn(self.plan, node.command("plan", "list").out)
        self.assertIn("epsilon", node.command("plan", "show", "main").out)
        self.assertTrue(node.command("data", "list", "--json").json())
        path = os.path.join(self.root, "live.jsonl")
        node.export(path)
        ok(AUDIT, "verify", path)
        path = os.path.join(self.root, "live-hub.jsonl")
        self.hub.command("ledger", "export", "-o", path)
        ok(AUDIT, "verify", path)
        self.assertIn("main", str(self.hub.status()))
        # while the study runs, a model is what the rounds so far gave
        self.hub.command("refold", "--study", "main")

    # ---- what is left ----------------------------------------------------------------------------------------------

    def what_is_left_agrees(self):
        path = os.path.join(self.root, "hub.jsonl")
        self.hub.command("refold", "--study", "main")
        self.hub.command("export", "--study", "main", "--format", "safetensors", "-o", os.path.join(self.root, "m.safetensors"))
        self.an_exported_model_is_used(os.path.join(self.root, "m.safetensors"))
        self.hub.command("ledger", "export", "-o", path)
        ok(AUDIT, "verify", path)
        hub = Ledger(path)
        ledgers = {n: node.export(os.path.join(self.root, n + ".jsonl")) for n, node in self.hub.nodes.items()}
        for ledger in ledgers.values():
            self.assertIn("verified", ok(AUDIT, "verify", ledger.path, "--coordinator", path).out)

        self.assertEqual([e["round"] for e in hub.of("PUBLISH", study="main")], list(range(1, ROUNDS + 1)))
        self.at_most_one_update_for_a_debit(hub, ledgers)
        self.each_receipt_is_in_one_aggregate(hub, ledgers)
        self.each_fault_left_its_entries(ledgers)

    def an_exported_model_is_used(self, model):
        node = next(iter(self.hub.nodes.values()))
        judged = node.command("evaluate", "--model", model, "--split", "train", "--json").json()
        self.assertEqual(judged["model"]["study"], "main")
        self.assertGreater(judged["images"], 0)
        self.assertEqual(sum(sum(row) for row in judged["confusion"]), judged["images"])
        wrong = node.command("evaluate", "--model", os.path.join(node.directory, "node.ini"), code=2)
        self.assertIn("safetensors", wrong.err)

    def at_most_one_update_for_a_debit(self, hub, ledgers):
        updates = {}
        for ledger in [hub, *ledgers.values()]:
            for e in ledger.entries:
                if e["kind"] in ("RELEASE", "ACK", "RECEIVED"):
                    updates.setdefault(e["debit"], set()).add(e["update_hash"])
        self.assertTrue(updates)
        self.assertEqual([d for d, hashes in updates.items() if len(hashes) != 1], [])
        hashes = [h for s in updates.values() for h in s]
        self.assertEqual(len(hashes), len(set(hashes)))

    def each_receipt_is_in_one_aggregate(self, hub, ledgers):
        acked = 0
        for name, ledger in ledgers.items():
            for ack in ledger.of("ACK"):
                received = hub.of("RECEIVED", member=name, debit=ack["debit"], update_hash=ack["update_hash"])
                self.assertEqual([e["round"] for e in received], [ack["round"]])
                inside = [e["round"] for e in hub.of("AGGREGATE", study="main")
                          for m in e["members"] if ack["update_hash"] in m.values() and name in m.values()]
                self.assertEqual(inside, [ack["round"]])
                acked += 1
        self.assertEqual(acked, sum(len(e["members"]) for e in hub.of("AGGREGATE", study="main")))
        self.assertGreaterEqual(acked, 2 * ROUNDS)

    def each_fault_left_its_entries(self, ledgers):
        alder, birch, cedar = ledgers.values()
        crash = alder.of("BURN", round=2)
        self.assertEqual([e["reason"] for e in crash], ["crash"])
        debits = [e["debit"] for e in alder.of("RESERVE", round=2)]
        self.assertEqual(len(set(debits)), 2)
        self.assertEqual(debits[0], crash[0]["debit"])
        self.assertEqual([e["debit"] for e in alder.of("ACK", round=2)], debits[1:])
        self.assertEqual(alder.of("RELEASE", debit=debits[0]), [])

        self.assertEqual(birch.of("BURN"), [])
        release, ack = birch.of("RELEASE", round=3), birch.of("ACK", round=3)
        self.assertEqual([(e["debit"], e["update_hash"]) for e in release], [(e["debit"], e["update_hash"]) for e in ack])
        self.assertEqual([e["round"] for e in birch.of("ACK")], list(range(1, ROUNDS + 1)))

        self.assertEqual([e["reason"] for e in cedar.of("BURN", round=4)], ["round-closed"])
        self.assertEqual(cedar.of("ACK", round=4), [])
        self.assertEqual(len(cedar.of("RELEASE", round=4)), 1)
        self.assertEqual([e["reason"] for e in cedar.of("REFUSE")], ["over-budget"])
        self.assertEqual([e["epsilon"] for e in cedar.of("POLICY")], ["8", "4"])
        refused_at = cedar.of("REFUSE")[0]["seq"]
        self.assertEqual([e for e in cedar.of("RESERVE") if e["seq"] > refused_at], [])


def of_study(status, name):
    return next(p for p in status["plans"] if p["study"] == name)


if __name__ == "__main__":
    cordon.main()
