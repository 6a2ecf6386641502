// The search: a dialog over every page. It opens with / or Ctrl+K, and reads its index when it is first opened.
(() => {
  const up = document.querySelector('meta[name="smalldocs:offset"]').content;
  const weight = { Lesson: 1.3, Guide: 1.3, API: 1.1, Command: 1.1, Book: 0.7 };
  const fields = ["section", "title", "words", "text"];
  const shown = 12;

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  // A script works where a page is opened as a file; fetch does not
  const load = (file) => new Promise((resolve, reject) => {
    const script = make("script", { src: up + file });
    script.onload = resolve;
    script.onerror = () => reject(new Error(file));
    document.head.append(script);
  });

  // read_image → read, image; ImageCleaner → imagecleaner, image, cleaner
  const tokenize = (text) => text.split(/[\s\p{P}=+<>|]+/u).flatMap((word) => {
    const parts = word.split(/(?<=[a-z])(?=[A-Z])/);
    return parts.length > 1 ? [word, ...parts] : [word];
  }).filter(Boolean);

  let entries = [], index, ready;
  const prepare = () => {
    ready ??= Promise.all([load("site_libs/minisearch.js"), load("search-index.js")]).then(() => {
      entries = globalThis.SITE_SEARCH.map(([kind, href, title, section, text, words], id) => ({ id, kind, href, title, section, text, words }));
      index = new globalThis.MiniSearch({ fields, tokenize, searchOptions: {
        boost: { section: 5, title: 4, words: 4 }, prefix: (term) => term.length > 1, fuzzy: (term) => (term.length > 4 ? 0.2 : false),
        weights: { prefix: 0.5, fuzzy: 0.2 }, boostDocument: (id) => weight[entries[id].kind] * (entries[id].section && entries[id].kind !== "API" ? 1 : 1.5),
      } });
      index.addAll(entries);
    });
    return ready;
  };

  // Exact names first, then exact titles, then whatever fits best
  const plain = (name) => name.toLowerCase().replace(/^\d+\.\s*/, "");
  const tier = (entry, query) => {
    const name = plain(entry.section || entry.title);
    const named = entry.kind === "API" || entry.kind === "Command";
    if (name === query) return named ? 0 : 1;
    if (named && entry.section && name.endsWith(`.${query}`)) return 1;
    return 2;
  };
  const rank = (text) => {
    const query = plain(text.trim()).replace(/\(\)?$/, "").replace(/^fastcnn[ .](?=\w)/, "");
    if (!query) return [];
    let found = index.search(query, { combineWith: "AND" });
    if (!found.length) found = index.search(query, { combineWith: "OR" });
    const hits = found.map(({ id, terms }) => ({ entry: entries[id], terms, tier: tier(entries[id], query) }));
    return hits.sort((a, b) => a.tier - b.tier).slice(0, shown); // the sort is stable: within a tier by score
  };

  // The first place where a term stands, the terms marked
  const snippet = (text, terms) => {
    const pattern = new RegExp(`(${terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
    const at = Math.max(0, text.search(pattern));
    const start = at < 70 ? 0 : text.indexOf(" ", at - 60) + 1;
    const piece = text.slice(start, start + 170);
    const parts = piece.split(pattern).map((part, n) => (n % 2 ? make("mark", {}, part) : part));
    return [start ? "… " : "", ...parts, start + 170 < text.length ? " …" : ""];
  };

  const input = make("input", { type: "search", placeholder: "Search names, lessons, words", "aria-label": "Search", autocomplete: "off",
    spellcheck: "false", role: "combobox", "aria-expanded": "false", "aria-controls": "search-hits", "aria-autocomplete": "list" });
  const list = make("div", { id: "search-hits", role: "listbox", "aria-label": "Results" });
  const said = make("p", { class: "search-said", role: "status" });
  const close = make("button", { type: "button", "aria-label": "Esc: close the search" }, "Esc");
  const dialog = make("dialog", { id: "search-dialog", "aria-label": "Search" }, make("div", { class: "search-head" }, input, close), said, list);
  document.body.append(dialog);

  const shut = () => { input.blur(); dialog.close(); }; // else the next / would still seem to be typed into it
  let active = 0;
  const hits = () => [...list.children];
  const choose = (n) => {
    const all = hits();
    active = (n + all.length) % all.length;
    all.forEach((hit, i) => { hit.setAttribute("aria-selected", i === active); });
    input.setAttribute("aria-activedescendant", all[active].id);
    all[active].scrollIntoView({ block: "nearest" });
  };

  const hint = matchMedia("(hover: none)").matches ? "Names come first." : "Names come first. ↑ ↓ choose, Enter opens, Esc closes.";
  const show = async () => {
    try { await prepare(); } catch (error) { said.textContent = `The search could not load ${error.message}.`; return; }
    const found = rank(input.value);
    list.replaceChildren(...found.map(({ entry, terms }, n) => {
      const name = make("span", { class: entry.kind === "API" && entry.section ? "hit-name hit-code" : "hit-name" }, entry.section || entry.title);
      const where = entry.section ? [make("span", { class: "hit-page" }, entry.title)] : [];
      const head = make("span", { class: "hit-head" }, name, make("span", { class: "hit-kind" }, entry.kind));
      return make("a", { class: "hit", id: `hit-${n}`, role: "option", tabindex: "-1", "aria-selected": "false", href: up + entry.href }, head, ...where,
        make("span", { class: "hit-text" }, ...snippet(entry.text, terms)));
    }));
    list.dataset.query = input.value;
    input.setAttribute("aria-expanded", found.length > 0);
    said.textContent = found.length || !input.value.trim() ? hint : "Nothing found. Try another word, or fewer.";
    if (found.length) choose(0);
    else input.removeAttribute("aria-activedescendant");
  };

  const open = () => {
    if (dialog.open) return;
    dialog.showModal();
    input.select();
    show();
  };
  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && hits().length) { event.preventDefault(); choose(active + step); }
    if (event.key === "Enter" && hits().length) { event.preventDefault(); hits()[active].click(); }
    if (event.key === "Escape") { event.preventDefault(); shut(); } // else the first Esc would only empty the box
  });
  close.addEventListener("click", shut);
  list.addEventListener("click", shut); // a result may lie on this page
  dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });

  const button = document.getElementById("open-search");
  button.setAttribute("role", "button");
  button.append(make("span", { class: "search-word" }, "Search"));
  button.addEventListener("click", (event) => { event.preventDefault(); open(); });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName) || document.activeElement.isContentEditable;
    const slash = event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (slash || (event.key === "k" && (event.ctrlKey || event.metaKey))) { event.preventDefault(); open(); }
  });
})();
