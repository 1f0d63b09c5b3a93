"""A report of a real run: a page that a strict parser reads, that needs nothing from elsewhere, and that says what verify says."""

import os
import re
import unittest
import xml.etree.ElementTree as ET

import cordon
from cordon import AUDIT, COORDINATOR, ok, run

X = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
BY = '</td><script>alert("Dr. Ada & Sons")</script>\u202eecaleva'


def words(element):
    """Its text, without the signs that stand for a colour."""
    parts = [element.text or ""]
    for child in element:
        parts += ["" if child.get("class") == "sign" else words(child), child.tail or ""]
    return " ".join("".join(parts).split())


class Report(cordon.Test):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        hub = cordon.Consortium(cls.root)
        plan = hub.add_study(cordon.study("tiny", hospitals="alder, birch", rounds=2, quorum=2))
        hub.server.start()
        for name, folder in cls.phantoms(2, 12).items():
            node = hub.join(name, folder)
            node.server.start()
            node.command("plan", "approve", plan, "--by", BY, "--wait", 30)
        ok(COORDINATOR, "status", "--study", "tiny", "--watch", "--dir", hub.directory)
        for node in hub.nodes.values():
            node.wait_status(lambda s: s["plans"][0]["last_round"] == 2, what="the last receipt")
        hub.stop()
        cls.hub = os.path.join(cls.root, "hub.jsonl")
        hub.command("ledger", "export", "-o", cls.hub)
        cls.nodes = []
        for name, node in hub.nodes.items():
            cls.nodes.append(os.path.join(cls.root, f"{name}.jsonl"))
            node.export(cls.nodes[-1])

    def report(self, *args, code=0):
        path = os.path.join(self.root, "report.html")
        ok(AUDIT, "report", *args, "-o", path, code=code)
        with open(path, encoding="utf-8") as f:
            page = f.read()
        return page, ET.fromstring(page)

    def test_the_page_stands_alone(self):
        page, html = self.report(*self.nodes, "--coordinator", self.hub)
        self.assertTrue(page.startswith("<!DOCTYPE html>"))
        self.assertEqual(html.get("lang"), "en")
        for word in ("<script", "<link", "<iframe", "<img", "url(", "@import", "javascript:"):
            self.assertNotIn(word, page)
        self.assertEqual(set(re.findall(r'"(https?:[^"]*)"', page)), {X[1:-1], SVG[1:-1]})
        for element in html.iter():
            for key in element.keys():
                self.assertFalse(key.startswith("on") or key in ("src", "style"), key)
            if element.get("href"):
                self.assertTrue(element.get("href").startswith("#"))

    def test_a_page_can_be_heard(self):
        _, html = self.report(*self.nodes, "--coordinator", self.hub)
        ids = [e.get("id") for e in html.iter() if e.get("id")]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(len(list(html.iter(X + "h1"))), 1)
        levels = [int(e.tag[-1]) for e in html.iter() if re.fullmatch(re.escape(X) + "h[1-6]", e.tag)]
        self.assertTrue(all(b <= a + 1 for a, b in zip(levels, levels[1:])))
        for link in html.iter(X + "a"):
            self.assertIn(link.get("href")[1:], ids)
        for table in html.iter(X + "table"):
            self.assertIsNotNone(table.find(X + "caption"))
            heads = table.findall(f"{X}thead/{X}tr/{X}th")
            self.assertTrue(heads and all(h.get("scope") == "col" for h in heads))
            for row in table.findall(f"{X}tbody/{X}tr"):
                self.assertEqual(len(row), len(heads))
                self.assertEqual(row[0].get("scope"), "row")
        pictures = list(html.iter(SVG + "svg"))
        self.assertEqual(len(pictures), 2)
        for svg in pictures:
            self.assertEqual(svg.get("role"), "img")
            self.assertTrue(words(svg.find(SVG + "title")) and words(svg.find(SVG + "desc")))
            for name in svg.get("aria-labelledby").split():
                self.assertIn(name, ids)

    def test_what_people_typed_stays_words(self):
        page, html = self.report(self.nodes[0])
        cells = [words(c) for c in html.iter(X + "td")]
        self.assertIn(BY.replace("\u202e", "[U+202E]"), cells)
        self.assertNotIn("\u202e", page)

    def test_text_and_page_say_the_same(self):
        _, html = self.report(*self.nodes, "--coordinator", self.hub)
        text = " ".join(ok(AUDIT, "report", *self.nodes, self.hub, "--text").out.split())
        n = 0
        for tag in ("h1", "h2", "h3", "p", "caption"):
            for element in html.iter(X + tag):
                self.assertIn(words(element), text)
                n += 1
        self.assertGreater(n, 40)
        for cell in html.iter(X + "td"):
            for word in words(cell).split():
                if "U+202E" not in word and len(word) < 30 and "/" not in word:  # long words are cut in narrow columns
                    self.assertIn(word.strip('"')[:8], text)

    def test_the_numbers_are_those_of_verify(self):
        said = ok(AUDIT, "verify", self.nodes[0], "--json").json()
        _, html = self.report(self.nodes[0], "--coordinator", self.hub)
        verdict = next(e for e in html.iter(X + "p") if "verdict" in e.get("class", ""))
        epsilon = float(re.search(r"epsilon ([0-9.]+)", words(verdict)).group(1))
        self.assertLessEqual(said["epsilon"], epsilon + 1e-6)
        self.assertLess(epsilon - said["epsilon"], 0.0011)
        self.assertIn("VERIFIED", words(verdict))
        self.assertIn("good", verdict.get("class"))
        rows = {words(r[0]): [words(c) for c in r[1:]] for r in html.iter(X + "tr") if len(r) == 5}
        self.assertEqual(rows["alder"], ["2", "2", "2", "Complete."])

    def test_the_same_files_give_the_same_page(self):
        first, _ = self.report(*self.nodes, "--coordinator", self.hub)
        again, _ = self.report(*reversed(self.nodes), self.hub)
        self.assertEqual(first, again)

    def test_a_changed_ledger_says_so_first(self):
        with open(self.nodes[0], encoding="ascii") as f:
            lines = f.readlines()
        changed = os.path.join(self.root, "changed.jsonl")
        for name, kept in (("cut", lines[:-5] + lines[-1:]), ("unsealed", lines[:-1]), ("swapped", lines[1:2] + lines[:1] + lines[2:])):
            with self.subTest(name), open(changed, "w", encoding="ascii") as f:
                f.writelines(kept)
                f.flush()
                _, html = self.report(changed, "--coordinator", self.hub, "--key", self.nodes[0] + ".pub", code=1)
                self.assertTrue(words(html.find(f"{X}head/{X}title")).startswith("NOT VERIFIED."))
                self.assertTrue(words(next(html.iter(X + "h1"))).startswith("NOT VERIFIED."))
        self.assertEqual(run(AUDIT, "report", os.devnull, "-o", changed).code, 2)


if __name__ == "__main__":
    cordon.main()
