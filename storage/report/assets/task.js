"use strict";
// A task's page: finds the part of the data that holds the task, and shows it.
(() => {
  const { load, make, count, words, plural, taskUrl, inline, meter } = window.gymforge;
  const MANY = 20;
  const MOST_TESTS = 2000;
  const home = document.getElementById("task");
  const RUN = /(\^?)([a-z_])(\d+)/g;
  const STEPS = { reproduce: "Reproduce", localize: "Localize", repair: "Repair", verify: "Verify" };
  const MEASURES = {
    cyclomatic: "Cyclomatic complexity",
    cognitive: "Cognitive complexity",
    nesting: "Nesting",
    lines: "Lines of the functions",
    changed_lines: "Changed lines",
    files: "Files",
    functions: "Functions",
    call_distance: "Calls from test to change",
  };

  const partName = (number) => `tasks-${String(number).padStart(5, "0")}`;

  /** The task with an id, and its neighbours in the data. */
  async function find(id) {
    const parts = await load("parts");
    for (const [number, [first, last]] of parts.entries()) {
      if (id < first || id > last) continue;
      const tasks = await load(partName(number));
      const at = tasks.findIndex((task) => task.id === id);
      if (at < 0) continue;
      const before = at > 0 ? tasks[at - 1] : number > 0 ? (await load(partName(number - 1))).at(-1) : null;
      const after = at + 1 < tasks.length ? tasks[at + 1] : number + 1 < parts.length ? (await load(partName(number + 1)))[0] : null;
      return { task: tasks[at], before, after };
    }
    return null;
  }

  // Code

  function codeLine([text, runs]) {
    if (!runs) return [text];
    const parts = [];
    let at = 0;
    for (const [, differs, kind, size] of runs.matchAll(RUN)) {
      const piece = text.slice(at, at + Number(size));
      at += Number(size);
      const shown = kind === "_" ? piece : make("span", { class: `k-${kind}` }, piece);
      parts.push(differs ? make("mark", {}, shown) : shown);
    }
    return parts;
  }

  function block(lines, label) {
    const rows = lines.map((line) => make("code", {}, codeLine(line), "\n"));
    return make("pre", { class: "code", tabindex: 0, role: "region", "aria-label": label }, rows);
  }

  function side(number, line, kind) {
    const wrap = { old: "del", new: "ins", same: "span" }[kind];
    return [
      make("td", { class: `num ${kind}` }, number ?? ""),
      make("td", { class: line ? `line ${kind}` : "line blank" }, line && make(wrap, {}, codeLine(line))),
    ];
  }

  function diffRow([oldNumber, oldLine, newNumber, newLine]) {
    const same = newLine === null && oldNumber !== null && newNumber !== null;
    if (same) return make("tr", { class: "same" }, side(oldNumber, oldLine, "same"), side(newNumber, oldLine, "same"));
    const kind = oldLine && newLine ? "both" : oldLine ? "removed" : "added";
    return make("tr", { class: kind }, side(oldNumber, oldLine, "old"), side(newNumber, newLine, "new"));
  }

  function diffOf(file) {
    const hunk = (one) => [make("tr", { class: "hunk" }, make("th", { colspan: 4, scope: "colgroup" }, one.at || "…")), one.rows.map(diffRow)];
    return make(
      "div",
      { class: "diff" },
      make(
        "table",
        {},
        make("caption", {}, make("code", {}, file.path), make("span", { class: "faint" }, ` −${file.removed} +${file.added}`)),
        make("thead", {}, make("tr", {}, ["Line", "With the bug", "Line", "Fixed"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, file.hunks.map(hunk)),
      ),
    );
  }

  // Parts of the page

  const section = (name, title, ...children) =>
    make("section", { class: "card wide", "aria-labelledby": name }, make("h2", { id: name }, title), ...children);

  function prose(blocks) {
    return blocks.map((one) => {
      if (typeof one === "string") return one;
      const [kind, children] = one;
      if (kind === "pre") return make("pre", { class: "code", tabindex: 0, role: "region", "aria-label": "Code in the issue" }, make("code", {}, children));
      return make(kind, {}, prose(children));
    });
  }

  /** Names one below the other; of many, the first are shown and the rest unfold. */
  function names(list, total = list.length) {
    const items = (some) => make("ul", { class: "names" }, some.map((name) => make("li", {}, make("code", {}, name))));
    const missing = total - list.length;
    const rest = list.length > MANY && make("details", {}, make("summary", {}, `${count(total - MANY)} more`), items(list.slice(MANY)));
    return [items(list.slice(0, MANY)), rest, missing > 0 && make("p", { class: "faint" }, `and ${count(missing)} that are not kept in this report`)];
  }

  function step(one) {
    const symbols = one.symbols.length > 0 && make("p", { class: "tags" }, one.symbols.slice(0, MANY).map((name) => [make("code", {}, name), " "]));
    const tests = one.tests_count > 0 && make("details", {}, make("summary", {}, plural(one.tests_count, "test")), names(one.tests, one.tests_count));
    return make("li", { class: `step ${one.kind}` }, make("h3", {}, STEPS[one.kind] ?? one.kind), make("p", {}, inline(one.text)), symbols, tests);
  }

  function edit(one, at) {
    const lines = one.start === one.end ? `line ${one.start}` : `lines ${one.start} to ${one.end}`;
    const title = [make("b", {}, `${at + 1}. ${one.op}`), ` ${words(one.node)} in `, make("code", {}, one.path), `, ${lines}`, one.symbol && [", ", make("code", {}, one.symbol)]];
    return make(
      "li",
      {},
      make("p", {}, title),
      make(
        "div",
        { class: "pair" },
        make("div", { class: "search" }, make("h3", {}, "Search"), one.search.length ? block(one.search, `Edit ${at + 1}: search`) : make("p", { class: "faint" }, "a new file")),
        make("div", { class: "replace" }, make("h3", {}, "Replace"), one.replace.length ? block(one.replace, `Edit ${at + 1}: replace`) : make("p", { class: "faint" }, "nothing: these lines go")),
      ),
    );
  }

  function passing(task) {
    const details = make("details", {}, make("summary", {}, `${plural(task.passing_count, "test")} that pass with the bug and without`));
    details.addEventListener(
      "toggle",
      async () => {
        try {
          const suite = await load(`suite-${String(task.suite).padStart(5, "0")}`);
          const tests = task.passing.flatMap(([first, end]) => suite.slice(first, end)).sort();
          details.append(...names(tests.slice(0, MOST_TESTS), tests.length).filter(Boolean));
        } catch (error) {
          details.append(make("p", { class: "notice" }, error.message));
        }
      },
      { once: true },
    );
    return details;
  }

  function facts(title, rows) {
    const told = rows.filter(([, value]) => value !== "" && value !== null && value !== undefined);
    return make("div", {}, make("h3", {}, title), make("dl", { class: "facts" }, told.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))));
  }

  function provenance(task) {
    const of = task.facts;
    const isLink = /^https?:\/\//.test(of.url);
    const source = isLink ? make("a", { href: of.url, rel: "noopener noreferrer" }, of.url) : of.url;
    const code = (text) => text && make("code", {}, text);
    const packages = of.dependencies.length > 0 && make("details", {}, make("summary", {}, plural(of.dependencies.length, "package")), names(of.dependencies));
    return make(
      "div",
      { class: "fact-groups" },
      facts("Source", [["Repository", source], ["Commit", code(of.commit)], ["Version", of.version], ["Committed", of.committed_at], ["Licence", task.license]]),
      facts("Proof", [
        ["Sandbox", of.sandbox],
        ["Runs on the clean tree", of.baseline_runs],
        ["Runs with the bug", of.bugged_runs],
        ["Tests in quarantine", of.flaky],
        ["Judged by", of.fast_path ? "the tests that it can affect" : "whole suites"],
        ["Audited by whole suites", of.audited ? "yes" : "no"],
        ["Command", code(of.command)],
      ]),
      facts("How it was made", [
        ["Strategy", words(task.strategy)],
        ["Rewritten", code(of.entity)],
        ["Generator", of.generator],
        ["gymforge", of.gymforge],
        ["Seed", of.seed],
        ["Settings", code(of.config.slice(0, 16))],
        ["Row", code(of.hash.slice(0, 16))],
      ]),
      facts("Environment", [["Python", of.python], ["Image", code(of.image)], ["Releases of dependencies", words(of.mode)], ["Packages", packages || "none"]]),
    );
  }

  function head(task, before, after) {
    const link = (one, text, name) => (one ? make("a", { href: taskUrl(one.id), rel: name, class: "button quiet" }, text) : make("span", { class: "button quiet off" }, text));
    return make(
      "header",
      { class: "task-head" },
      make("nav", { class: "crumbs", "aria-label": "Neighbours" }, make("a", { href: "tasks.html" }, "All tasks"), make("span", {}, link(before, "‹ Previous", "prev"), " ", link(after, "Next ›", "next"))),
      make("h1", {}, inline(task.title || task.id)),
      make("p", { class: "id" }, task.id),
      make(
        "ul",
        { class: "chips" },
        [task.repo, task.language, words(task.strategy), words(task.stage), task.split && `split ${task.split}`, ...task.domains.map(([label]) => label)].filter(Boolean).map((text) => make("li", {}, text)),
        make("li", { class: "bare" }, meter(task.complexity.score), `complexity ${task.complexity.score.toFixed(2)}`),
      ),
    );
  }

  function measures(task) {
    const rows = Object.entries(MEASURES).map(([name, label]) => [label, task.complexity[name] ?? "no path"]);
    const labels = task.domains.map(([label, score, evidence]) => [label, `${score.toFixed(2)}: ${evidence.join(", ")}`]);
    return make("div", { class: "fact-groups" }, facts("Complexity", [["Score", task.complexity.score.toFixed(2)], ...rows]), labels.length > 0 && facts("Domain", labels));
  }

  function show({ task, before, after }) {
    document.title = `${task.title || task.id} · ${document.title.split(" · ").slice(1).join(" · ")}`;
    const diff = task.diff.length ? task.diff.map(diffOf) : make("pre", { class: "code", tabindex: 0, role: "region", "aria-label": "Diff" }, task.patch);
    home.replaceChildren(
      head(task, before, after),
      section("issue", "Issue", make("div", { class: "prose" }, prose(task.issue)), make("p", { class: "faint" }, `Style: ${words(task.style)}${task.reveals.length ? `, which may reveal ${task.reveals.map(words).join(", ")}` : ""}.`)),
      section("plan", "Plan", make("p", { class: "goal" }, inline(task.goal)), make("ol", { class: "steps" }, task.steps.map(step))),
      section("edits", "Edit targets", make("ol", { class: "edits" }, task.edits.map(edit))),
      section("diff", "Fix", diff),
      section("tests", "Tests", make("h3", {}, `${plural(task.failing_count, "test")} that ${task.failing_count === 1 ? "fails" : "fail"} with the bug`), names(task.failing, task.failing_count), make("h3", {}, "The rest of the suite"), passing(task)),
      section("tags", "Complexity and domain", measures(task)),
      section("provenance", "Provenance", provenance(task)),
    );
  }

  function tell(title, text) {
    home.replaceChildren(make("h1", {}, title), make("p", { class: "notice" }, text), make("p", {}, make("a", { class: "button", href: "tasks.html" }, "All tasks")));
  }

  async function start() {
    const id = new URLSearchParams(location.search).get("id");
    const found = id ? await find(id) : null;
    if (found) show(found);
    else tell("No such task", id ? `This report has no task ${id}.` : "The address names no task.");
    home.dataset.ready = "true";
  }

  start().catch((error) => tell("The task cannot be shown", error.message));
})();
