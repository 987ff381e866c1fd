"use strict";
// The gallery: all tasks as columns in memory, searched and filtered in one pass, shown a page at a time.
(() => {
  const { load, make, count, words, plural, taskUrl, inline, meter } = window.gymforge;
  const PAGE = 24;
  const FEW = 8;
  const FACETS = [
    ["repo", "Repository"],
    ["language", "Language"],
    ["strategy", "Kind of bug"],
    ["domain", "Domain"],
    ["stage", "Stage"],
    ["style", "Issue style"],
    ["split", "Split"],
  ];
  const ORDERS = {
    id: null,
    hard: (a, b) => tasks.score[b] - tasks.score[a] || a - b,
    easy: (a, b) => tasks.score[a] - tasks.score[b] || a - b,
    failing: (a, b) => tasks.failing[b] - tasks.failing[a] || a - b,
    large: (a, b) => tasks.lines[b] - tasks.lines[a] || a - b,
  };
  const byId = (id) => document.getElementById(id);
  const home = byId("gallery");
  const total = Number(home.dataset.tasks);
  const query = byId("query");
  const order = byId("order");

  const tasks = { length: 0, id: [], title: [], text: [], place: [], score: [], lines: [], failing: [], sought: [], codes: {} };
  const facets = new Map();
  for (const [name, label] of FACETS) {
    facets.set(name, { name, label, values: [], numbers: new Map(), chosen: new Set(), counts: [], boxes: new Map() });
    tasks.codes[name] = [];
  }
  const state = { low: 0, high: 1, page: 1, wanted: 1 };
  let found = [];
  let orders = {};
  let lastQuery = "";
  let lastHits = null;

  // Reading the index

  function code(facet, value) {
    let number = facet.numbers.get(value);
    if (number === undefined) {
      number = facet.values.push(value) - 1;
      facet.numbers.set(value, number);
    }
    return number;
  }

  function add(part) {
    const size = part.id.length;
    for (let i = 0; i < size; i += 1) {
      tasks.id.push(part.id[i]);
      tasks.title.push(part.title[i]);
      tasks.text.push(part.text[i]);
      tasks.place.push(part.place[i]);
      tasks.score.push(part.score[i]);
      tasks.lines.push(part.lines[i]);
      tasks.failing.push(part.failing[i]);
      tasks.sought.push(`${part.id[i]}\n${part.repo[i]}\n${part.place[i]}\n${part.text[i]}`.toLowerCase());
      for (const [name, facet] of facets) {
        const values = name === "domain" ? part.domains[i] : [part[name][i]];
        tasks.codes[name].push(values.filter(Boolean).map((value) => code(facet, value)));
      }
    }
    tasks.length += size;
    lastHits = null;
    orders = {};
  }

  // Finding

  function terms(text) {
    return text.toLowerCase().split(/\s+/).filter(Boolean);
  }

  /** Numbers of the tasks that hold every word; a longer query looks only where the shorter one was found. */
  function search(text) {
    const wanted = terms(text);
    if (lastHits && text === lastQuery) return lastHits;
    const pool = lastHits && lastQuery && text.startsWith(lastQuery) ? lastHits : null;
    const hits = [];
    const size = pool ? pool.length : tasks.length;
    for (let at = 0; at < size; at += 1) {
      const i = pool ? pool[at] : at;
      const sought = tasks.sought[i];
      if (wanted.every((word) => sought.includes(word))) hits.push(i);
    }
    lastQuery = text;
    lastHits = hits;
    return hits;
  }

  /** Search, filter and count: a facet's numbers are of the tasks that all other filters leave. */
  function find() {
    const all = [...facets.values()];
    for (const facet of all) facet.counts = new Uint32Array(facet.values.length);
    const chosen = new Uint8Array(tasks.length);
    const tally = (facet, i) => {
      for (const number of tasks.codes[facet.name][i]) facet.counts[number] += 1;
    };
    for (const i of search(query.value.trim())) {
      if (tasks.score[i] < state.low || tasks.score[i] > state.high) continue;
      let misses = 0;
      let missed = null;
      for (const facet of all) {
        if (facet.chosen.size && !tasks.codes[facet.name][i].some((one) => facet.chosen.has(facet.values[one]))) {
          misses += 1;
          missed = facet;
          if (misses > 1) break;
        }
      }
      if (misses === 0) {
        chosen[i] = 1;
        for (const facet of all) tally(facet, i);
      } else if (misses === 1) tally(missed, i);
    }
    found = [];
    const rank = ranked(order.value);
    for (let at = 0; at < tasks.length; at += 1) {
      const i = rank ? rank[at] : at;
      if (chosen[i]) found.push(i);
    }
  }

  function ranked(name) {
    if (!ORDERS[name]) return null;
    orders[name] ??= Uint32Array.from({ length: tasks.length }, (_, i) => i).sort(ORDERS[name]);
    return orders[name];
  }

  // Showing

  function card(i) {
    const strategy = facets.get("strategy").values[tasks.codes.strategy[i][0]];
    const repo = facets.get("repo").values[tasks.codes.repo[i][0]];
    const stage = facets.get("stage").values[tasks.codes.stage[i][0]];
    const rest = tasks.text[i].slice(tasks.text[i].indexOf("\n") + 1 || tasks.text[i].length).replace(/```\w*\n?/g, "").trim().replace(/^[-*] /, "").replace(/\n+[-*] /g, " · ");
    return make(
      "li",
      { class: "card task-card" },
      make("h3", {}, make("a", { href: taskUrl(tasks.id[i]) }, inline(tasks.title[i] || tasks.id[i]))),
      rest && make("p", { class: "snippet" }, inline(rest.slice(0, 260))),
      make("p", { class: "place" }, tasks.place[i].replace(" ", " · ")),
      make("p", { class: "id" }, tasks.id[i]),
      make(
        "ul",
        { class: "chips" },
        make("li", {}, repo),
        make("li", {}, words(strategy)),
        make("li", {}, words(stage)),
        make("li", { class: "bare" }, plural(tasks.failing[i], "failing test")),
        make("li", { class: "bare" }, plural(tasks.lines[i], "line")),
        make("li", { class: "bare" }, meter(tasks.score[i]), "complexity ", tasks.score[i].toFixed(2)),
      ),
    );
  }

  function show() {
    const last = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(state.page, last);
    const start = (state.page - 1) * PAGE;
    const complete = tasks.length === total;
    const told = found.length === tasks.length && complete ? plural(total, "task") : `${count(found.length)} of ${plural(total, "task")}`;
    byId("found").textContent = told;
    byId("status").textContent = complete ? `${told} found` : `Reading the index: ${count(tasks.length)} of ${plural(total, "task")}`;
    byId("clear").hidden = !isNarrowed();
    byId("results").replaceChildren(...found.slice(start, start + PAGE).map(card));
    if (!found.length && complete) byId("results").append(nothing());
    byId("results").start = start + 1;
    showPages(last);
    for (const facet of facets.values()) showCounts(facet);
  }

  function nothing() {
    const text = total ? "No task matches. Search for something else, or take a filter away." : "This dataset has no task yet.";
    return make("li", { class: "card empty" }, make("p", {}, text));
  }

  function showPages(last) {
    const pages = byId("pages");
    pages.hidden = last === 1;
    const button = (label, page, name) => {
      const one = make("button", { type: "button", class: "quiet", "aria-label": name, disabled: page < 1 || page > last || page === state.page }, label);
      one.addEventListener("click", () => turn(page));
      return one;
    };
    pages.replaceChildren(
      button("« First", 1, "First page"),
      button("‹ Previous", state.page - 1, "Previous page"),
      make("span", {}, `Page ${count(state.page)} of ${count(last)}`),
      button("Next ›", state.page + 1, "Next page"),
      button("Last »", last, "Last page"),
    );
  }

  function turn(page) {
    state.page = page;
    show();
    remember();
    byId("found").focus({ preventScroll: true });
    home.scrollIntoView();
  }

  // Filters

  function showFacets() {
    const sets = [complexityFilter()];
    for (const facet of facets.values()) {
      if (facet.values.length < 2 && !facet.chosen.size) continue;
      facet.boxes.clear();
      facet.list = make("ul", {});
      facet.ordered = [...facet.values.keys()].sort(
        (a, b) => facet.chosen.has(facet.values[b]) - facet.chosen.has(facet.values[a]) || facet.counts[b] - facet.counts[a] || (facet.values[a] < facet.values[b] ? -1 : 1),
      );
      sets.push(make("fieldset", {}, make("legend", {}, facet.label), facet.list));
      listValues(facet, 0, FEW);
      if (facet.ordered.length > FEW) {
        const more = make("button", { type: "button", class: "quiet" }, `Show all ${count(facet.ordered.length)}`);
        more.addEventListener("click", () => {
          listValues(facet, FEW, facet.ordered.length);
          showCounts(facet);
          more.remove();
          facet.boxes.get(facet.ordered[FEW]).box.focus();
        });
        sets.at(-1).append(more);
      }
    }
    byId("facets").replaceChildren(...sets);
  }

  function listValues(facet, from, to) {
    for (const number of facet.ordered.slice(from, to)) {
      const value = facet.values[number];
      const box = make("input", { type: "checkbox", checked: facet.chosen.has(value) });
      const told = make("span", { class: "number" });
      box.addEventListener("change", () => {
        if (box.checked) facet.chosen.add(value);
        else facet.chosen.delete(value);
        refresh();
      });
      facet.boxes.set(number, { box, told });
      facet.list.append(make("li", {}, make("label", {}, box, make("span", { class: "value" }, facet.name === "repo" ? value : words(value)), told)));
    }
  }

  function showCounts(facet) {
    for (const [number, { told }] of facet.boxes) {
      told.textContent = count(facet.counts[number] ?? 0);
      told.closest("li").classList.toggle("none", !facet.counts[number]);
    }
  }

  function complexityFilter() {
    const slider = (name, label) => {
      const input = make("input", { type: "range", id: name, min: 0, max: 1, step: 0.05, value: state[name] });
      const told = make("output", { for: name }, state[name].toFixed(2));
      input.addEventListener("input", () => {
        state[name] = Number(input.value);
        told.textContent = state[name].toFixed(2);
        refresh();
      });
      return make("div", { class: "slider" }, make("label", { for: name }, label), input, told);
    };
    return make("fieldset", {}, make("legend", {}, "Complexity"), slider("low", "from"), slider("high", "to"));
  }

  const isNarrowed = () =>
    Boolean(query.value.trim()) || state.low > 0 || state.high < 1 || [...facets.values()].some((one) => one.chosen.size);

  function clear() {
    query.value = "";
    Object.assign(state, { low: 0, high: 1, page: 1 });
    for (const facet of facets.values()) facet.chosen.clear();
    refresh();
    showFacets();
    for (const facet of facets.values()) showCounts(facet);
    query.focus();
  }

  // The address says what is shown, so that going back shows it again

  function remember() {
    const said = new URLSearchParams();
    if (query.value.trim()) said.set("q", query.value.trim());
    for (const facet of facets.values()) for (const value of facet.chosen) said.append(facet.name, value);
    if (state.low > 0) said.set("low", state.low);
    if (state.high < 1) said.set("high", state.high);
    if (order.value !== "id") said.set("order", order.value);
    if (state.page > 1) said.set("page", state.page);
    const text = said.toString();
    history.replaceState(null, "", text ? `?${text}` : location.pathname);
  }

  function recall() {
    const said = new URLSearchParams(location.search);
    const share = (name, otherwise) => {
      const number = Number.parseFloat(said.get(name));
      return number >= 0 && number <= 1 ? number : otherwise;
    };
    query.value = said.get("q") ?? "";
    for (const facet of facets.values()) facet.chosen = new Set(said.getAll(facet.name));
    Object.assign(state, { low: share("low", 0), high: share("high", 1), page: Math.max(1, Number.parseInt(said.get("page"), 10) || 1) });
    order.value = said.get("order") in ORDERS ? said.get("order") : "id";
  }

  let due = 0;
  let kept = 0;

  function rememberSoon() {
    clearTimeout(kept);
    kept = setTimeout(remember, 300); // browsers refuse an address that changes with every move of a slider
  }

  function refresh() {
    state.page = 1;
    state.wanted = 1;
    if (due) return;
    due = requestAnimationFrame(() => {
      due = 0;
      find();
      show();
      rememberSoon();
    });
  }

  async function start() {
    recall();
    byId("filters").open = matchMedia("(min-width: 60rem)").matches;
    state.wanted = state.page;
    const indexes = Number(home.dataset.indexes);
    const parts = Array.from({ length: indexes }, (_, number) => () => load(`index-${String(number).padStart(5, "0")}`));
    query.addEventListener("input", refresh);
    order.addEventListener("change", refresh);
    byId("clear").addEventListener("click", clear);
    byId("results").addEventListener("click", remember, true);
    for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
    let next = parts.length ? parts[0]() : null;
    for (let number = 0; number < parts.length; number += 1) {
      const part = await next;
      next = number + 1 < parts.length ? parts[number + 1]() : null;
      add(part);
      if (number === 0 || number === parts.length - 1) {
        find();
        if (number === parts.length - 1) {
          state.page = Math.max(state.page, state.wanted);
          showFacets();
        }
        show();
      } else byId("status").textContent = `Reading the index: ${count(tasks.length)} of ${plural(total, "task")}`;
    }
    if (!parts.length) show();
    home.dataset.ready = "true";
  }

  start().catch((error) => byId("results").replaceChildren(make("li", { class: "card empty" }, make("p", {}, error.message))));
})();
