"""A report in headless Chromium, opened from the disk: found, filtered, read, by keyboard as well, and safe."""

import json
import re
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from extractors.diff import make_patch
from flows.card import card_facts
from flows.report import make_report
from schemas.manifest import ShardManifest
from schemas.tasks import TaskInstance
from storage.content import seal
from storage.layout import DatasetLayout
from storage.report.facts import ReportFacts, ReportTask
from storage.report.site import write_report

pytestmark = [pytest.mark.slow, pytest.mark.browser]

MakeTask = Callable[..., TaskInstance]
FillDataset = Callable[..., Path]
PAGES = ("index.html", "tasks.html", "task.html")
BEFORE = b'def mean(values):\n    """Of all."""\n    total = sum(values)\n    return total / (len(values) - 1)\n'
AFTER = BEFORE.replace(b"(len(values) - 1)", b"len(values)")
HOSTILE = (
    "</script><script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 2">',
    "'; window.pwned = 3; //",
    "${window.pwned = 4} `</code><svg onload=window.pwned=5>` {{ 7 * 7 }} {% raw %}",
    "[link](javascript:window.pwned=6) ![i](https://example.org/x.png)",
    "\u2028window.pwned = 7\u2029",
    "safe \u202egnihton\u202c hidden\u200b\u2066 tag\U000e0041",
    "<!-- <base href=https://example.org/> --> <meta http-equiv=refresh content=0;url=https://example.org>",
    "x" * 30_000,
    "\x1b[31mred",
)


class Tab:
    """A page, and all that its browser was asked for or complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, site: Path, name: str = "tasks.html", query: str = "") -> Any:
        self.page.goto(f"{(site / name).as_uri()}{f'?{query}' if query else ''}")
        if name != "index.html":
            self.page.wait_for_selector("[data-ready]")
        return self.page

    def assert_kept_to(self, site: Path) -> None:
        """Nothing but the report's own files was asked for, and nothing went wrong."""
        assert self.complaints == []
        assert self.requests
        assert [one for one in self.requests if not unquote(one).startswith(f"file://{site}/")] == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        yield browser
        browser.close()


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Tab]]:
    contexts = []

    def open_one(**options: Any) -> Tab:
        contexts.append(chromium.new_context(**options))
        contexts[-1].set_default_timeout(30_000)
        return Tab(contexts[-1].new_page())

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def tab(open_tab: Callable[..., Tab]) -> Tab:
    return open_tab(viewport={"width": 1280, "height": 900})


def several(make_task: MakeTask) -> list[TaskInstance]:
    """Sixty tasks of three repositories; number 17 alone speaks of pelicans."""
    patch = make_patch("src/stats.py", BEFORE, AFTER)
    found = []
    for number in range(60):
        repo, commit = f"acme/r{number % 3}", f"{number % 3:08x}" * 5
        strategy = ("op_change", "remove_cond", "flip_operators", "op_swap")[number % 4]
        plain = make_task(number).model_dump()
        found.append(
            make_task(
                number,
                repo=repo,
                base_commit=commit,
                strategy=strategy,
                instance_id=f"{repo.replace('/', '__')}.{commit[:8]}.{strategy}__{number:010x}",
                patch=patch,
                problem_statement=f"`mean` number {number} is wrong{' for pelicans' if number == 17 else ''}\n\n- one\n- two",
                complexity=plain["complexity"] | {"score": number / 59, "call_distance": number % 5},
                PASS_TO_PASS=tuple(f"tests/test_s.py::test_{n:03}" for n in range(100) if n != number),
            )
        )
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, make_task: MakeTask, fill_dataset: FillDataset) -> Path:
    folder = fill_dataset(tmp_path_factory.mktemp("data") / "several", several(make_task))
    make_report(folder)
    return folder / "report"


def hostile_task(make_task: MakeTask) -> TaskInstance:
    """Every text that a repository or a strategy can choose is an attack."""
    said = "\n\n".join(HOSTILE)
    names = tuple(sorted(f"t.py::{text}" for text in HOSTILE))
    plain = make_task(1).model_dump(mode="json")
    code = "".join(f"x = '{text}'\n" for text in HOSTILE)
    return seal(
        make_task(
            1,
            repo='acme/<img src=x onerror="window.pwned=8">',
            instance_id="acme__x.01234567.<script>window.pwned=9<.script>&id=\"'__1",
            problem_statement=f"{HOSTILE[0]}\n\n{said}\n\n```\n{said}\n```",
            patch=make_patch('<b>"s\u202e.py', code.encode(), f"{code}{code}".encode()),
            strategy="<script>window.pwned=10</script>",
            issue_style=HOSTILE[1],
            license_spdx=HOSTILE[1],
            FAIL_TO_PASS=names,
            PASS_TO_PASS=tuple(f"{name}!" for name in names),
            test_command=HOSTILE,
            image_name=HOSTILE[1],
            version=HOSTILE[0],
            domain=[{"label": HOSTILE[1], "score": 0.5, "evidence": HOSTILE}],
            plan={
                "goal": said,
                "steps": [
                    {"kind": "repair", "description": said, "files": HOSTILE, "symbols": HOSTILE, "tests": HOSTILE}
                ],
            },
            edit_targets=[
                plain["edit_targets"][0]
                | {"path": HOSTILE[1], "symbol": HOSTILE[0], "search": code, "replace": said, "node_kind": HOSTILE[0]}
            ],
            provenance=plain["provenance"]
            | {
                "url": "javascript:window.pwned=11",
                "entity": HOSTILE[0],
                "dependencies": HOSTILE,
                "generator": HOSTILE[1],
            },
        )
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, make_task: MakeTask, fill_dataset: FillDataset) -> Path:
    folder = tmp_path_factory.mktemp("data") / "<img src=x onerror=window.pwned=12>"
    make_report(fill_dataset(folder, [hostile_task(make_task), *several(make_task)[:3]]))
    return folder / "report"


def results(page: Any) -> list[str]:
    return page.locator("#results h3").all_inner_texts()


def told(page: Any) -> str:
    return str(page.locator("#found").inner_text())


def wait_until_told(page: Any, text: str) -> None:
    page.locator("#found", has_text=re.compile(f"^{text}$")).wait_for()


# Finding


def test_search_finds_words_of_the_issue_the_id_and_the_place(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    assert told(page) == "60 tasks"
    page.fill("#query", "PELICANS wrong")
    wait_until_told(page, "1 of 60 tasks")
    assert results(page) == ["mean number 17 is wrong for pelicans"]
    page.fill("#query", "no such words")
    page.get_by_text("No task matches").wait_for()
    page.fill("#query", "acme__r1 s.py")
    wait_until_told(page, "20 of 60 tasks")
    page.get_by_role("button", name="Clear search and filters").click()
    wait_until_told(page, "60 tasks")
    tab.assert_kept_to(site)


def test_filters_narrow_together_and_say_how_many_each_leaves(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    page.get_by_label("acme/r1").check()
    page.get_by_label("op change").check()
    wait_until_told(page, "5 of 60 tasks")
    page.get_by_label("remove cond").check()
    wait_until_told(page, "10 of 60 tasks")
    assert page.locator("label", has_text="acme/r2").inner_text().split()[-1] == "10"
    assert page.locator("label", has_text="op swap").inner_text().split()[-1] == "5"
    page.get_by_label("from").fill("0.5")
    wait_until_told(page, "4 of 60 tasks")
    scores = page.locator("#results .bare", has_text="complexity").all_inner_texts()
    assert all(float(one.split()[-1]) >= 0.5 for one in scores)


def test_the_address_holds_search_and_filters_and_plots_lead_to_them(tab: Tab, site: Path) -> None:
    page = tab.open(site, query="q=number&repo=acme%2Fr2&order=hard&low=0.2")
    assert told(page) == "16 of 60 tasks"
    assert page.get_by_label("acme/r2").is_checked()
    assert results(page)[0] == "mean number 59 is wrong"
    page.locator("#results a").first.click()
    page.wait_for_selector("#issue")
    page.go_back()
    page.wait_for_selector("[data-ready]")
    assert told(page) == "16 of 60 tasks"
    tab.open(site, "index.html").get_by_role("link", name="flip operators").click()
    page.wait_for_selector("[data-ready]")
    assert told(page) == "15 of 60 tasks"
    tab.assert_kept_to(site)


def test_pages_of_results_show_every_task_once(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    seen = results(page)
    while page.get_by_role("button", name="Next page").is_enabled():
        page.get_by_role("button", name="Next page").click()
        seen += results(page)
    assert len(seen) == len(set(seen)) == 60
    assert "page=3" in page.url


# A task


def test_a_task_has_its_issue_plan_edits_diff_tests_and_provenance(tab: Tab, site: Path, make_task: MakeTask) -> None:
    task = next(one for one in several(make_task) if "pelicans" in one.problem_statement)
    page = tab.open(site, "task.html", f"id={task.instance_id}")
    assert page.get_by_role("heading", level=1).inner_text() == "mean number 17 is wrong for pelicans"
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert headings == ["Issue", "Plan", "Edit targets", "Fix", "Tests", "Complexity and domain", "Provenance"]
    assert page.locator("#issue + .prose li").all_inner_texts() == ["one", "two"]
    assert page.locator(".step h3").all_inner_texts() == ["Verify"]
    assert page.locator(".search code").inner_text().strip() == "17"
    table = page.get_by_role("table", name="src/stats.py")
    assert table.get_by_role("columnheader").all_inner_texts()[:4] == ["Line", "With the bug", "Line", "Fixed"]
    cells = page.locator("tr.both td").all_inner_texts()
    assert cells == ["4", "    return total / (len(values) - 1)", "4", "    return total / len(values)"]
    assert page.locator("tr.both .k-k").all_inner_texts() == ["return", "return"]
    assert page.locator("tr.both del mark").count() >= 1
    assert page.locator("#tests ~ ul code").first.inner_text() == task.FAIL_TO_PASS[0]
    for text in (task.base_commit, "https://example.org/acme/tinystats", "swesmith==0.0.9", "3.11.7"):
        assert text in page.locator("section", has=page.locator("#provenance")).inner_text()
    tab.assert_kept_to(site)


def test_tests_that_pass_are_read_when_they_are_asked_for(tab: Tab, site: Path, make_task: MakeTask) -> None:
    task = several(make_task)[4]
    page = tab.open(site, "task.html", f"id={task.instance_id}")
    assert not any("suite-" in url for url in tab.requests)
    page.get_by_text("99 tests that pass with the bug and without").click()
    page.get_by_text("79 more").click()
    names = page.locator("details[open] .names code").all_inner_texts()
    assert names == list(task.PASS_TO_PASS)


def test_neighbours_lead_through_all_tasks(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    page.locator("#results a").first.click()
    seen = []
    for _ in range(60):
        page.wait_for_selector("#task[data-ready]")
        seen.append(page.locator(".task-head .id").inner_text())
        following = page.get_by_role("link", name="Next")
        if not following.count():
            break
        page.goto(following.evaluate("one => one.href"))
    assert len(set(seen)) == 60


@pytest.mark.parametrize("query", ["", "id=acme__r0.nothing", "id=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E"])
def test_an_id_that_is_not_there_is_told(tab: Tab, site: Path, query: str) -> None:
    page = tab.open(site, "task.html", query)
    assert page.get_by_role("heading", level=1).inner_text() == "No such task"
    assert page.evaluate("window.pwned") is None


def test_a_part_that_was_not_copied_is_told(tab: Tab, site: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "half")
    (tmp_path / "half" / "data" / "index-00000.js").unlink()
    tab.page.goto((tmp_path / "half" / "tasks.html").as_uri())
    tab.page.get_by_text("Was the report copied whole?").wait_for()


# By keyboard, for everybody


def test_everything_works_by_keyboard(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("pelicans")
    wait_until_told(page, "1 of 60 tasks")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#results') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#task[data-ready]")
    assert "pelicans" in page.title()


def test_turning_a_page_by_keyboard_goes_to_its_beginning(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    page.get_by_role("button", name="Next page").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "found"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#results li:first-child') !== null")


@pytest.mark.parametrize("name", PAGES)
def test_the_focus_can_be_seen_wherever_it_goes(tab: Tab, site: Path, make_task: MakeTask, name: str) -> None:
    page = tab.open(site, name, f"id={several(make_task)[0].instance_id}" if name == "task.html" else "")
    stops = 0
    for _ in range(80):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => {
              const one = document.activeElement, around = one.closest(".task-card") ?? one;
              const style = getComputedStyle(around);
              return one === document.body ? null : [one.outerHTML.slice(0, 90), style.outlineStyle, parseFloat(style.outlineWidth)];
            }"""
        )
        if seen is None:
            break
        stops += 1
        assert seen[1] == "solid", seen
        assert seen[2] >= 2, seen
    assert stops >= 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(
    open_tab: Callable[..., Tab], site: Path, hostile: Path, make_task: MakeTask, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab = open_tab(color_scheme=scheme, viewport={"width": width, "height": 900})
    first = several(make_task)[0].instance_id
    for folder, name, query in (
        (site, "index.html", ""),
        (site, "tasks.html", "q=mean&repo=acme%2Fr1"),
        (site, "tasks.html", "q=nothing+at+all"),
        (site, "task.html", f"id={first}"),
        (site, "task.html", "id=none"),
        (hostile, "index.html", ""),
    ):
        page = tab.open(folder, name, query)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        page.wait_for_timeout(300)
        found = Axe().run(page, options={"preload": False}).response
        assert found["passes"], "axe looked at something"
        said = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]
        assert said == [], (name, query)


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_no_page_is_wider_than_its_window(
    open_tab: Callable[..., Tab], site: Path, hostile: Path, make_task: MakeTask, width: int
) -> None:
    tab = open_tab(viewport={"width": width, "height": 800})
    ids = {site: several(make_task)[0].instance_id, hostile: hostile_task(make_task).instance_id}
    for folder, instance_id in ids.items():
        for name in PAGES:
            page = tab.page
            tab.open(folder, name)
            if name == "task.html":
                page.goto(
                    f"{(folder / name).as_uri()}?{page.evaluate('id => new URLSearchParams({ id }).toString()', instance_id)}"
                )
                page.wait_for_selector("#issue")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (folder.parent.name, name)


def test_the_overview_needs_no_script_and_the_others_say_that_they_do(open_tab: Callable[..., Tab], site: Path) -> None:
    page = open_tab(java_script_enabled=False).page
    page.goto((site / "index.html").as_uri())
    assert page.get_by_role("heading", level=1).inner_text().split() == ["60", "validated", "tasks"]
    assert page.get_by_role("table", name="Strategies").get_by_role("row").count() == 5
    for name in PAGES[1:]:
        page.goto((site / name).as_uri())
        assert "JavaScript" in page.locator("main").inner_text()


def test_nothing_moves_for_those_who_want_that(open_tab: Callable[..., Tab], site: Path) -> None:
    def seconds(preference: str) -> float:
        page = open_tab(reduced_motion=preference).open(site)
        return float(page.evaluate("parseFloat(getComputedStyle(document.querySelector('.card')).transitionDuration)"))

    assert seconds("no-preference") > 0
    assert seconds("reduce") == 0


# Safe


def test_hostile_text_is_shown_as_text(tab: Tab, hostile: Path, make_task: MakeTask) -> None:
    task = hostile_task(make_task)
    page = tab.open(hostile, "index.html")
    shown = [page.locator("main").inner_text()]
    assert page.locator("img").count() == 1
    page = tab.open(hostile)
    shown.append(page.locator("main").inner_text())
    page.get_by_role("link", name="window.pwned = 1").first.click()
    page.wait_for_selector("#issue")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.get_by_text("t.py::'; window.pwned = 3; //!").wait_for()
    shown.append(page.locator("main").inner_text())
    assert page.locator(".task-head .id").inner_text() == task.instance_id
    for text in HOSTILE[:3]:
        assert all(text in one for one in shown[2:]), text
    assert all("<script>window.pwned" in one for one in shown)
    assert "U+202E" in shown[2]
    assert "U+2028" in shown[2]
    assert "U+E0041" in shown[2]
    assert not any("\u202e" in one or "\u2028" in one for one in shown)
    assert page.locator("main a[href^='javascript']").count() == 0
    assert page.locator("main script, main img, main iframe, main base, main meta, main svg[onload]").count() == 0
    assert page.evaluate("window.pwned") is None
    tab.assert_kept_to(hostile)


def test_the_browser_would_refuse_what_slipped_through(tab: Tab, site: Path) -> None:
    page = tab.open(site)
    assert (
        page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x'; return ''; } catch (error) { return error.name; } }"
        )
        == "TypeError"
    )
    page.evaluate(
        "() => { const one = document.createElement('img'); one.src = 'https://example.invalid/x'; document.body.append(one); }"
    )
    page.evaluate(
        "() => { const one = document.createElement('p'); one.setAttribute('style', 'color: red'); document.body.append(one); }"
    )
    page.wait_for_timeout(300)
    refused = " ".join(tab.complaints)
    assert "img-src" in refused
    assert "style-src" in refused
    with pytest.raises(AssertionError):
        tab.assert_kept_to(site)


def test_pages_hold_no_script_and_no_style_of_their_own(site: Path) -> None:
    for name in PAGES:
        text = (site / name).read_text()
        assert not re.search(r"<style|<[^>]* (style|on\w+)=", text)
        assert text.count("<script") == text.count("<script defer src=")


# Many


def test_fifty_thousand_tasks_are_searched_at_once(
    tmp_path: Path, make_task: MakeTask, tab: Tab, fill_dataset: FillDataset
) -> None:
    total = 50_000
    like = several(make_task)
    facts = card_facts(DatasetLayout(fill_dataset(tmp_path / "d", like[:1])), name="many")
    facts = ReportFacts(counts=facts.model_copy(update={"tasks": {"train": total}}), lost={}, tried={}, times=None)

    def tasks() -> Iterator[ReportTask]:
        for number in range(total):
            one = like[number % len(like)]
            text = f"{one.problem_statement} {number * 7919 % total} " + " ".join(
                f"word{number * n % 997}" for n in range(60)
            )
            changed = {
                "instance_id": f"{one.instance_id}{number:06}",
                "problem_statement": text,
                "repo": f"acme/r{number // 500}",
                "PASS_TO_PASS": (),
                "edit_targets": (),
            }
            yield ReportTask(one.model_copy(update=changed), "syntax", "")

    manifest = ShardManifest(gymforge_version="0", ingestions=())
    assert write_report(tmp_path / "site", manifest, facts, tasks()).tasks == total
    page = tab.open(tmp_path / "site")
    assert told(page) == "50,000 tasks"
    typed = page.evaluate(
        """async () => {
          const field = document.getElementById("query"), found = [];
          for (const text of ["p", "pe", "pel", "pelicans", "word99 word500", "", "r7", "12345", "nothing"]) {
            const began = performance.now();
            field.value = text;
            field.dispatchEvent(new Event("input"));
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            found.push([text, performance.now() - began, document.getElementById("found").textContent]);
          }
          return found;
        }"""
    )
    said = {text: shown for text, _, shown in typed}
    assert said["pelicans"] == "834 of 50,000 tasks"
    assert said["nothing"] == "0 of 50,000 tasks"
    took_ms = [milliseconds for _, milliseconds, _ in typed]
    assert statistics.median(took_ms) < 150, json.dumps(typed)
    assert page.locator("#results > li").count() <= 24
    tab.assert_kept_to(tmp_path / "site")
