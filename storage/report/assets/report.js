"use strict";
// What both pages with scripts share: loading data, and making elements of text. No text ever becomes markup.
(() => {
  const waiting = new Map();
  // Scripts are the one thing that a page from a disk may load; only those of this report's data are.
  const allowed = /^data\/(parts|(index|tasks|suite)-\d{5,})\.js$/;
  const refuse = (url) => {
    if (!allowed.test(url)) throw new TypeError(`no data of this report: ${url}`);
    return url;
  };
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("gymforge-data", { createScriptURL: refuse })
    : { createScriptURL: refuse };

  async function unpack(packed) {
    const letters = atob(packed);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i += 1) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function receive(name, packed) {
    const request = waiting.get(name);
    if (request) unpack(packed).then(request.resolve, request.reject);
  }

  /** The content of `data/NAME.js`; each is loaded once. */
  function load(name) {
    const known = waiting.get(name);
    if (known) return known.promise;
    const request = {};
    request.promise = new Promise((resolve, reject) => {
      Object.assign(request, { resolve, reject });
    });
    waiting.set(name, request);
    const script = document.createElement("script");
    script.src = policy.createScriptURL(`data/${name}.js`);
    script.onload = () => script.remove();
    script.onerror = () => request.reject(new Error(`data/${name}.js cannot be read. Was the report copied whole?`));
    document.head.append(script);
    return request.promise;
  }

  // Characters that cannot be seen, or that turn the order of others round, are named; overview.py has the same list.
  const hidden =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/u;
  const hiddenOrNot = new RegExp(`(${hidden.source})`, "u");

  function nodes(text) {
    if (!hidden.test(text)) return [document.createTextNode(text)];
    return text.split(hiddenOrNot).map((part, at) => {
      if (at % 2 === 0) return document.createTextNode(part);
      const mark = document.createElement("span");
      mark.className = "ctl";
      mark.textContent = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      return mark;
    });
  }

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child instanceof Node) element.append(child);
      else if (child !== null && child !== undefined && child !== false) element.append(...nodes(String(child)));
    }
    return element;
  }

  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const count = (number) => number.toLocaleString("en-US");
  const words = (name) => name.replaceAll("_", " ");
  const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
  const taskUrl = (id) => `task.html?${new URLSearchParams({ id })}`;

  /** A text with `code` in it, as elements. */
  function inline(text) {
    return text.split(/(`[^`\n]+`)/).map((part, at) => (at % 2 ? make("code", {}, part.slice(1, -1)) : part));
  }

  /** A score from 0 to 1 as a small bar; the number stands beside it. */
  function meter(score) {
    return draw(
      "svg",
      { class: "meter", "aria-hidden": "true", focusable: "false" },
      draw("rect", { class: "track", width: "100%", height: "100%", rx: 2 }),
      draw("rect", { class: "fill", width: `${(100 * score).toFixed(1)}%`, height: "100%", rx: 2 }),
    );
  }

  window.gymforge = { load, receive, make, count, words, plural, taskUrl, inline, meter };
})();
