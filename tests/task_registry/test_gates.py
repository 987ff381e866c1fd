"""Gates of a release: what stays out, and why."""

import json
import random
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.errors import InvalidInput, MissingExtra
from task_registry.gates import GATES, Facts, Finding, GateSettings, gate, not_asked, rules_of
from task_registry.gates.contamination import check as contamination
from task_registry.gates.duplicates import check as duplicates
from task_registry.gates.licences import check as licences
from task_registry.gates.licences import is_allowed
from task_registry.gates.personal_data import check as personal_data
from task_registry.gates.secrets import check as secrets

PATCH = """\
diff --git a/{path} b/{path}
--- a/{path}
+++ b/{path}
@@ -{line},4 +{line},4 @@ def total(values):
     found = 0
     for value in values:
-        found += value * {old}
+        found -= value * {old}
     return found
"""
SETTINGS = GateSettings()


def facts(number: int, **changes: Any) -> Facts:
    patch = PATCH.format(path="s.py", line=number, old=f"factor_{number}")
    fields = {
        "instance_id": f"acme__maps.01234567.op__{number:010x}",
        "repo": "acme/maps",
        "base_commit": "01234567",
        "license_spdx": "MIT",
        "strategy": "op",
        "entity": "total",
        "bug_patch": patch,
        "problem_statement": f"`total([{number}])` gives {-number}; I expected {number}.",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Facts(**(fields | changes))


def test_every_gate_of_the_table_lets_plain_tasks_pass() -> None:
    tasks = [facts(number) for number in range(20)]
    for name in GATES:
        assert gate(name)(tasks, SETTINGS) == {}


def test_a_file_that_another_repository_has_tasks_in_is_known() -> None:
    def task(number: int, repo: str, **more: Any) -> Facts:
        name = f"{repo.replace('/', '__')}.01234567.op__{number:010x}"
        return facts(number, instance_id=name, repo=repo, **({"path": "a/s.py"} | more))

    tasks = [
        task(1, "acme/maps", roots=("r1", "r2"), source_hash="h1"),
        task(2, "acme/maps", roots=("r1", "r2"), source_hash="h2", base_commit="another"),
        task(3, "bcme/maps", roots=("r1",), source_hash="h3"),  # a fork, the file changed since
        task(4, "bcme/maps", roots=("r1",), source_hash="h4", path="new.py"),
        task(5, "ccme/other", roots=("r3",), source_hash="h2", path="vendored/s.py"),
        task(6, "ccme/other", roots=("r3",), source_hash="h6"),  # of the same path, and that is all
        task(7, "dcme/merged", roots=("r2", "r3"), source_hash="h1", path="b.py"),
        task(8, "ecme/cut", source_hash="h8"),
        task(9, "fcme/old"),
        task(10, "gcme/maps", roots=("r1",), source_hash="h1"),
    ]
    found = duplicates(tasks[::-1], SETTINGS)
    assert {int(name[-10:], 16): (one.reason, one.detail) for name, one in found.items()} == {
        3: ("fork", "a/s.py, as in acme__maps.01234567.op__0000000001"),
        5: ("copied_file", "vendored/s.py, as in acme__maps.01234567.op__0000000002"),
        7: ("copied_file", "b.py, as in acme__maps.01234567.op__0000000001"),
        10: ("fork", "a/s.py, as in acme__maps.01234567.op__0000000001"),
    }


LICENCES = {
    "MIT": "",
    "Apache-2.0": "",
    "MIT OR GPL-3.0-only": "",
    "MIT AND Apache-2.0": "",
    "(MIT AND BSD-3-Clause) OR GPL-2.0-only": "",
    "Apache-2.0 WITH LLVM-exception": "",
    "MIT AND GPL-3.0-only": "not_allowed",
    "GPL-3.0-or-later": "not_allowed",
    "GPL-2.0-only WITH Classpath-exception-2.0": "not_allowed",
    "LicenseRef-mine": "not_allowed",
    "MIT OR": "not_allowed",
    "no expression at all": "not_allowed",
    "NOASSERTION": "unknown",
    "NONE": "unknown",
    "": "unknown",
}


@pytest.mark.parametrize("expression", LICENCES)
def test_only_allowed_licences_pass(expression: str) -> None:
    task = facts(1, license_spdx=expression)
    found = licences([task], SETTINGS)
    assert (found[task.instance_id].reason if found else "") == LICENCES[expression]


def test_a_user_says_which_licences_are_allowed() -> None:
    allowed = GateSettings(licences=("GPL-3.0-only", "NOASSERTION"))
    tasks = [facts(1, license_spdx="GPL-3.0-only"), facts(2, license_spdx="NOASSERTION"), facts(3)]
    assert [*licences(tasks, allowed)] == [tasks[2].instance_id]
    assert is_allowed("X-mine", frozenset({"X-mine"}))


def reasons(*tasks: Facts, settings: GateSettings = SETTINGS) -> dict[int, str]:
    found = duplicates(tasks, settings)
    return {int(name.rpartition("__")[2], 16): finding.reason for name, finding in found.items()}


def test_of_equal_bugs_the_first_is_kept() -> None:
    elsewhere = PATCH.format(path="other/place.py", line=700, old="factor_1").replace("         found", "     found")
    assert reasons(facts(1), facts(2, bug_patch=facts(1).bug_patch), facts(3)) == {2: "same_bug"}
    assert reasons(facts(1), facts(2, bug_patch=elsewhere)) == {2: "same_bug"}
    assert reasons(facts(1), facts(2, bug_patch=elsewhere, repo="fork/maps")) == {2: "copied_bug"}


def test_of_equal_texts_the_first_is_kept() -> None:
    text = facts(1).problem_statement
    assert reasons(facts(1), facts(2, problem_statement=f" {text}\n\n")) == {2: "same_text"}


@pytest.mark.parametrize("style", ["nothing", "bug_kind"])
def test_texts_that_are_to_say_little_may_be_equal(style: str) -> None:
    text = " ".join(f"word{number}" for number in range(200))
    tasks = [facts(number + 1, problem_statement=text + end) for number, end in enumerate(("", "", " more"))]
    assert reasons(*(task._replace(issue_style=style) for task in tasks)) == {}
    assert reasons(*(task._replace(issue_style="files") for task in tasks)) == {2: "same_text", 3: "near_text"}


def test_what_is_nearly_the_same_is_found_at_the_similarity_that_is_asked_for() -> None:
    words = [f"word{number}" for number in range(200)]
    text, near = " ".join(words), " ".join(["other", *words[1:]])
    tasks = facts(1, problem_statement=text), facts(2, problem_statement=near), facts(3)
    assert reasons(*tasks) == {2: "near_text"}
    assert reasons(*tasks, settings=GateSettings(near=0.999)) == {}
    assert reasons(*tasks, settings=GateSettings(near=1.5)) == {}
    lines = "".join(f"+line {number}\n" for number in range(200))
    tasks = facts(1, bug_patch=lines), facts(2, bug_patch=lines + "+more\n"), facts(3)
    assert reasons(*tasks) == {2: "near_bug"}


def test_different_bugs_in_one_line_are_no_duplicates() -> None:
    other = facts(1).bug_patch.replace("found -= value", "found *= value")
    assert reasons(facts(1), facts(2, bug_patch=other)) == {}


def test_the_order_of_tasks_changes_nothing() -> None:
    tasks = [facts(number % 7 + 1)._replace(instance_id=facts(number).instance_id) for number in range(30)]
    expected = duplicates(tasks, SETTINGS)
    assert len(expected) == 23
    for seed in range(5):
        random.Random(seed).shuffle(tasks)
        assert duplicates(tasks, SETTINGS) == expected


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("license_expression", "licence"),
        ("datasketch", "duplicate"),
        ("detect_secrets.settings", "secret"),
        ("phonenumbers", "personal_data"),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'gymforge\[release\]'"):
        gate(name)([facts(1, license_spdx="MIT OR ISC")], SETTINGS)


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """A list as SWE-bench's is, of one row."""
    words = " ".join(f"word{number}" for number in range(60))
    row = {
        "instance_id": "acme__maps.01234567.op__00000000aa",
        "repo": "Famous/Repo",
        "base_commit": "f" * 40,
        "problem_statement": words,
        "patch": "diff",
    }
    (tmp_path / "swe-bench.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path / "swe-bench.jsonl"


def test_what_a_benchmark_has_stays_out(benchmark: Path) -> None:
    words = [f"Word{number}" for number in range(60)]
    tasks = [
        facts(0xAA),
        facts(2, repo="famous/repo"),
        facts(3, base_commit="f" * 40),
        facts(4, problem_statement="It says: " + ", ".join(words[10:50])),
        facts(5, problem_statement=" ".join(words[::2]) + " and more that is not in it at all"),
        facts(6),
        # One is a benchmark's to the word, the other hides it in a mean.
        facts(7, problem_statement=" ".join(words), bug_patch=" ".join(f"own{number}" for number in range(600))),
        facts(8, bug_patch=" ".join(words), problem_statement=" ".join(f"own{number}" for number in range(600))),
    ]
    found = contamination(tasks, GateSettings(benchmarks=(str(benchmark),)))
    assert {int(name[-2:], 16): finding.reason for name, finding in found.items()} == {
        0xAA: "instance",
        2: "repository",
        3: "commit",
        4: "overlap",
        7: "overlap",
        8: "overlap",
    }
    assert all("swe-bench" in finding.detail for finding in found.values())
    assert contamination(tasks, SETTINGS) == {}


WORDS = " ".join(f"word{number}" for number in range(60))
ROWS = {
    "SWE-bench": {"instance_id": "a", "problem_statement": WORDS},
    "SWE-bench's fixes": {"instance_id": "a", "patch": WORDS},
    "SWE-bench's tests": {"instance_id": "a", "test_patch": WORDS},
    "LiveCodeBench": {"question_title": "x", "question_content": WORDS, "starter_code": ""},
    "HumanEval": {"task_id": "HumanEval/0", "prompt": WORDS, "canonical_solution": "", "entry_point": "f"},
    "HumanEval's solutions": {"task_id": "HumanEval/0", "prompt": "", "canonical_solution": WORDS},
    "MBPP": {"task_id": 1, "text": WORDS, "code": ""},
    "MBPP's solutions": {"task_id": 1, "text": "", "code": WORDS},
}


@pytest.mark.parametrize("name", ROWS)
def test_benchmarks_are_known_by_their_own_columns(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.jsonl").write_text(json.dumps(ROWS[name]) + "\n")
    settings = GateSettings(benchmarks=(str(tmp_path / "list.jsonl"),))
    assert [one.reason for one in contamination([facts(1, problem_statement=WORDS)], settings).values()] == ["overlap"]
    assert contamination([facts(1)], settings) == {}


def test_a_folder_of_files_is_a_benchmark(tmp_path: Path) -> None:
    """As Exercism's exercises are, of which Aider's polyglot benchmark is made."""
    exercise = tmp_path / "polyglot" / "python" / "exercises" / "practice" / "affine-cipher"
    for name, text in (("affine_cipher.py", "pass"), (".docs/instructions.md", WORDS), (".meta/example.py", "code")):
        (exercise / name).parent.mkdir(parents=True, exist_ok=True)
        (exercise / name).write_text(text)
    (exercise / "icon.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "polyglot" / ".git").mkdir()
    (tmp_path / "polyglot" / ".git" / "index").write_bytes(b"1")
    settings = GateSettings(benchmarks=(str(tmp_path / "polyglot"),))
    (finding,) = contamination([facts(1, problem_statement=WORDS), facts(2)], settings).values()
    assert finding == Finding("overlap", "100% of its runs of 13 words are in polyglot")
    before = rules_of(settings).benchmarks
    assert before[0].name == "polyglot"
    (tmp_path / "polyglot" / ".git" / "index").write_bytes(b"2")
    assert rules_of(settings).benchmarks == before
    (exercise / "affine_cipher.py").write_text("raise")
    assert rules_of(settings).benchmarks != before
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no file with text"):
        contamination([facts(1)], GateSettings(benchmarks=(str(tmp_path / "empty"),)))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".ndjson"])
def test_lists_are_read_in_the_forms_that_benchmarks_come_in(benchmark: Path, tmp_path: Path, suffix: str) -> None:
    frame, path = pl.read_ndjson(benchmark), tmp_path / f"list{suffix}"
    write = {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".json": frame.write_json}
    write.get(suffix, frame.write_ndjson)(path)
    found = contamination([facts(0xAA)], GateSettings(benchmarks=(str(path),)))
    assert [one.reason for one in found.values()] == ["instance"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.txt", "x", "its name must end with"),
        ("list.jsonl", "{", "cannot be read as a benchmark's list"),
        ("list.parquet", "no", "cannot be read as a benchmark's list"),
        ("list.csv", "a,b\n1,2\n", "has none of the columns"),
        ("not-there.csv", None, "cannot be read as a benchmark's list"),
    ],
)
def test_a_list_that_is_none_is_one_clear_error(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=says):
        contamination([facts(1)], GateSettings(benchmarks=(str(tmp_path / name),)))


SECRETS = {
    "AKIA" + "IOSFODNN7EXAMPLE": "AWS Access Key",
    "ghp_" + "a1B2" * 9: "GitHub Token",
    "-----BEGIN RSA " + "PRIVATE KEY-----": "Private Key",
    "https://me:" + "hunter2@build.corp.net/": "Basic Auth Credentials",
    "http://user:pass@example.com and https://me:" + "hunter2@build.corp.net/": "Basic Auth Credentials",
    **{
        f"https://me:hunter2@{host}": "Basic Auth Credentials"
        for host in (
            "example.com.corp.net/",
            "test{env}.corp.net",
            "localhost$X.corp.net",
            "localhost\\.corp\\.net",
            "localhost,db.corp.net/x",
            "example.com@real.corp.net/",
            "example.com/?next=https://you:hunter3@real.corp.net/",
            "test:5432/db",
        )
    },
}


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_stay_out_and_are_not_told(secret: str) -> None:
    for task in (facts(1, problem_statement=f"It says\n{secret}."), facts(1, bug_patch=f"+KEY = {secret!r}\n")):
        (finding,) = secrets([task], SETTINGS).values()
        assert finding.reason == "secret"
        assert finding.detail == SECRETS[secret]


def test_hashes_and_words_are_no_secrets() -> None:
    texts = (
        "0123456789abcdef" * 4,
        "password = 'hunter2'",
        "a token of 20 characters",
        "key: YWJjZGVmZ2hpamtsbW5vcA==",
        "test_url[http://user:pass@example.com] and test_url[http://user.name:pass.word@example]",
        "redis://:secret@localhost:6379/0, ftp://a:bcdef@127.0.0.1/ and http://a:bcdef@[::1]:80/",
    )
    assert secrets([facts(number, problem_statement=text) for number, text in enumerate(texts)], SETTINGS) == {}


PERSONAL = {
    "Write to <erika.mustermann@web.de>.": "email",
    "# Author: Jan Novak (jan@uni-praha.cz)": "email",
    "<a href='mailto:erika.mustermann@web.de'>": "email",
    "Author:jan@uni-praha.cz": "email",
    "call +49 30 901820": "phone",
    "tel:+31641044153": "phone",
    "IBAN DE02 1203 0000 0000 2020 51": "iban",
    "account = 'FR7630006000011234567890189'": "iban",
    "paid with 4539 1488 0343 6467": "card",
    "AMEX = '371449635398456'": "card",
    "jan@uni-praha.cz or +420 224 491 111": "email, phone",
}


@pytest.mark.parametrize("text", PERSONAL)
def test_personal_data_stays_out_wherever_it_stands_and_is_not_told(text: str) -> None:
    for task in (
        facts(1, problem_statement=f"It says:\n{text}\n"),
        facts(1, bug_patch=f"@@ -1 +1 @@\n-x\n+{text}\n"),
        facts(1, other_text=text),
    ):
        (finding,) = personal_data([task], SETTINGS).values()
        assert finding == (PERSONAL[text].split(",")[0], PERSONAL[text])


NOBODYS = (
    "git clone git@github.com:mahmoud/boltons.git",
    "user@example.com, jane@example.org, a@b.com, foo@bar.com, you@yourdomain.com, x@test.co.uk",
    "test_email_valid[a.little.lengthy.but.fine@a.iana-servers.net], test_email_valid[jos\\xe9@blah.com]",
    "noreply@github.com, 123+name@users.noreply.github.com, root@debian.org",
    "redis://cache:p4ssw0rd@cache.corp.net:6379/0 and https://x-token:abc123@git.corp.net/a.git",
    "https://user@host.org/path and ssh://deploy@build.corp.net:22/x",
    "class A:\n    @property\n    @functools.cache\n    def b(self): return self.x@other.T",
    "result = left@right.inverse  # a product",
    "version 4.0.2.1 of 2021-03-04 12:34:56, 10.0.0.1, 8.8.8.8",
    "x = 4111111111111111; y = '4242 4242 4242 4242'; z = 4539148803436468",
    "0.4539148803436467, 453914880343646712, 0x4539148803436467, id-4539148803436467",
    "IBAN GB82 WEST 1234 5698 7654 32 and DE02 1203 0000 0000 2020 52",
    "tel:+1-201-555-0123 and z +6073641856.9 or Decimal('+35236450.6')",
    "1 + 4930901820 and 030 901820 and (415) 263-1234",
    "sha256 0123456789abcdef0123456789abcdef, uuid 4539a488-0343-6467-8000-000000000000",
)


@pytest.mark.parametrize("text", NOBODYS)
def test_examples_and_code_are_no_personal_data(text: str) -> None:
    patch = "\n".join(f"+{line}" for line in text.splitlines())
    assert personal_data([facts(1, problem_statement=text, bug_patch=patch, other_text=text)], SETTINGS) == {}


def test_the_mark_of_an_added_line_makes_no_telephone_number_of_it() -> None:
    assert personal_data([facts(1, bug_patch="@@ -1 +1 @@\n-4930901821\n+4930901820\n")], SETTINGS) == {}


def test_personal_data_is_looked_for_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert personal_data([facts(1, problem_statement="erika.mustermann@web.de")], SETTINGS)


def test_tasks_of_commits_from_before_a_day_stay_out() -> None:
    days = [datetime(2025, 12, 31, 23, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    east = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    tasks = [facts(number, created_at=day) for number, day in enumerate([*days, east])]
    found = gate("contamination")(tasks, GateSettings(since=date(2026, 1, 1)))
    assert {name[-1]: finding for name, finding in found.items()} == {
        "0": Finding("date", "its commit is of 2025-12-31, before 2026-01-01"),
        "2": Finding("date", "its commit is of 2025-12-31, before 2026-01-01"),
    }
    lacking = not_asked(tasks, GateSettings(since=date(2026, 1, 1)))["contamination"]
    assert lacking == "no benchmark's list was named; only the dates of commits were looked at"
