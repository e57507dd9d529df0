"use strict";
(() => {
  const root = document.documentElement;
  window.addEventListener("error", (event) => root.setAttribute("data-error", event.message));
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const state = new URLSearchParams(location.hash.slice(1));

  const remember = (key, value) => {
    if (value) state.set(key, value); else state.delete(key);
    for (const other of [...state.keys()]) if (!state.get(other)) state.delete(other);
    history.replaceState(null, "", "#" + state);
  };
  const element = (name, attributes = {}, text = "") => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };
  const drawn = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const number = (value, digits = 3) => (value === null ? "\u2013" : value.toFixed(digits));
  const signed = (value) => {
    if (value === null) return "\u2013";
    const text = Math.abs(value).toFixed(3);
    return Number(text) === 0 ? text : (value < 0 ? "\u2212" : "+") + text;
  };

  // Light and dark.
  const button = byId("theme");
  const isDark = () => (root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches);
  const showTheme = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  if (["light", "dark"].includes(state.get("theme"))) root.dataset.theme = state.get("theme");
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();

  // With or without rules: one choice for the ladder and the matrix.
  const sideSelects = [...document.querySelectorAll("select.side")];
  const sideKeys = sideSelects.length ? [...sideSelects[0].options].map((o) => o.value) : ["all"];
  let side = Math.max(0, sideKeys.indexOf(state.get("side")));
  const onSide = [];
  for (const select of sideSelects) {
    select.value = sideKeys[side];
    select.addEventListener("change", () => {
      side = sideKeys.indexOf(select.value);
      for (const other of sideSelects) other.value = select.value;
      remember("side", select.value);
      for (const show of onSide) show();
    });
  }

  // The ladder's panels.
  const tabs = [...document.querySelectorAll(".tabs button")];
  const panels = [...document.querySelectorAll(".panel")];
  const scope = byId("scope");
  const showPanel = () => {
    const metric = tabs.find((tab) => tab.getAttribute("aria-pressed") === "true").dataset.metric;
    let shown = false;
    for (const panel of panels) {
      panel.hidden = panel.dataset.metric !== metric || panel.dataset.scope !== scope.value
        || panel.dataset.side !== sideKeys[side];
      shown = shown || !panel.hidden;
    }
    byId("no-panel").hidden = shown;
  };
  const chooseMetric = (metric) => {
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.metric === metric));
    showPanel();
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      chooseMetric(tab.dataset.metric);
      remember("metric", tab.dataset.metric);
    });
  }
  scope.addEventListener("change", () => { showPanel(); remember("scope", scope.value); });
  onSide.push(showPanel);
  if ([...scope.options].some((option) => option.value === state.get("scope"))) {
    scope.value = state.get("scope");
  }
  const first = tabs.some((tab) => tab.dataset.metric === state.get("metric"));
  chooseMetric(first ? state.get("metric") : tabs[0].dataset.metric);

  // The table of tags: only the rows in sight exist.
  const fName = "F" + data.beta;
  const columns = [
    { key: "tag", title: "tag", text: true },
    { key: "category", title: "category", text: true, more: true },
    { key: "positives", title: "n", hint: "positives in the test set", digits: 0 },
    { key: "threshold", title: "thr.", hint: "threshold", more: true },
    { key: "precision", title: "P", hint: "precision", more: true },
    { key: "recall", title: "R", hint: "recall", more: true },
    { key: "f", title: fName },
    { key: "ap", title: "AP", hint: "average precision", more: true },
    { key: "rival_f", title: "rival", hint: fName + " of the rival", more: true },
    { key: "delta", title: "lead", hint: fName + " minus the rival's" },
    { key: "verdict", title: "", hint: "verdict of the test" },
  ];
  const rowHeight = 30;
  const body = byId("body");
  const spacer = byId("spacer");
  const search = byId("search");
  const category = byId("category");
  const verdict = byId("verdict");
  const lower = data.tag.map((tag) => tag.toLowerCase());
  let order = [];
  let selected = -1;
  let sortKey = columns.some((column) => column.key === state.get("sort")) ? state.get("sort") : "positives";
  let descending = state.has("dir") ? state.get("dir") !== "asc" : true;

  for (const name of [...new Set(data.category)].sort()) {
    category.append(element("option", { value: name }, name));
  }
  const heads = columns.map((column) => {
    const cell = element("div", { role: "columnheader" });
    if (column.text) cell.classList.add("text");
    if (column.more) cell.classList.add("more");
    const sorter = element("button", { type: "button" }, column.title || "\u00b1");
    sorter.title = "Sort by " + (column.hint || column.title);
    sorter.setAttribute("aria-label", sorter.title);
    sorter.addEventListener("click", () => {
      descending = sortKey === column.key ? !descending : !column.text;
      sortKey = column.key;
      remember("sort", sortKey);
      remember("dir", descending ? "desc" : "asc");
      refresh();
    });
    cell.append(sorter);
    byId("head").append(cell);
    return cell;
  });

  const compare = (a, b) => {
    const x = data[sortKey][a];
    const y = data[sortKey][b];
    if (x === y) return a - b;
    if (x === null) return 1;
    if (y === null) return -1;
    return (x < y ? -1 : 1) * (descending ? -1 : 1);
  };
  const refresh = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    order = [];
    for (let tag = 0; tag < lower.length; tag += 1) {
      if (category.value && data.category[tag] !== category.value) continue;
      if (verdict.value && data.verdict[tag] !== Number(verdict.value)) continue;
      if (words.every((word) => lower[tag].includes(word))) order.push(tag);
    }
    order.sort(compare);
    columns.forEach((column, at) => {
      const sorted = column.key === sortKey ? (descending ? "descending" : "ascending") : "none";
      heads[at].setAttribute("aria-sort", sorted);
    });
    byId("found").textContent = order.length.toLocaleString("en") + " of "
      + lower.length.toLocaleString("en") + " tags";
    byId("table").setAttribute("aria-rowcount", order.length + 1);
    spacer.style.height = order.length * rowHeight + "px";
    body.scrollTop = 0;
    render();
  };
  const row = (at) => {
    const tag = order[at];
    const made = element("div", { class: "grid-row", role: "row", "aria-rowindex": at + 2 });
    made.setAttribute("aria-selected", String(tag === selected));
    made.style.top = at * rowHeight + "px";
    for (const column of columns) {
      const value = data[column.key][tag];
      let text = column.text ? value : number(value, column.digits ?? 3);
      if (column.key === "delta") text = signed(value);
      if (column.key === "verdict") text = value > 0 ? "\u25b2" : value < 0 ? "\u25bc" : "";
      const cell = element("div", { role: "cell" }, text);
      if (column.text) { cell.classList.add("text"); cell.title = value; }
      if (column.more) cell.classList.add("more");
      if (column.key === "verdict" && value) {
        cell.classList.add(value > 0 ? "better" : "worse");
        cell.setAttribute("aria-label", value > 0 ? "decided better" : "decided worse");
      }
      made.append(cell);
    }
    made.addEventListener("click", () => select(tag));
    return made;
  };
  const render = () => {
    const from = Math.max(0, Math.floor(body.scrollTop / rowHeight) - 5);
    const to = Math.min(order.length, Math.ceil((body.scrollTop + body.clientHeight) / rowHeight) + 5);
    const made = [];
    for (let at = from; at < to; at += 1) made.push(row(at));
    body.replaceChildren(spacer, ...made);
  };
  let waiting = false;
  body.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; render(); });
  });
  new ResizeObserver(() => render()).observe(body);
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15 }[event.key];
    const edge = { Home: 0, End: order.length - 1 }[event.key];
    if ((step === undefined && edge === undefined) || !order.length) return;
    event.preventDefault();
    const at = edge ?? Math.min(order.length - 1, Math.max(0, order.indexOf(selected) + step));
    const top = at * rowHeight;
    if (top < body.scrollTop) body.scrollTop = top;
    const over = top + rowHeight - body.clientHeight;
    if (over > body.scrollTop) body.scrollTop = over;
    select(order[at]);
  });
  search.addEventListener("input", () => { refresh(); remember("q", search.value.trim()); });
  category.addEventListener("change", () => { refresh(); remember("cat", category.value); });
  verdict.addEventListener("change", () => { refresh(); remember("verdict", verdict.value); });

  // One tag: precision-recall with iso-F lines, and F against the threshold.
  const unpacked = data.curves.map(({ indptr, points }) => {
    const raw = atob(points);
    const size = raw.length / 6;
    const column = (which) => Float32Array.from({ length: size }, (_, at) => {
      const place = 2 * (which * size + at);
      return (raw.charCodeAt(place) + 256 * raw.charCodeAt(place + 1)) / 65535;
    });
    return { indptr, recall: column(0), precision: column(1), proba: column(2) };
  });
  const squared = data.beta * data.beta;
  const fOf = (p, r) => (p + r > 0 ? (1 + squared) * p * r / (squared * p + r) : 0);
  const box = { width: 340, height: 230, left: 34, right: 8, top: 22, bottom: 34 };
  const place = (share, up) => (up
    ? box.top + (1 - share) * (box.height - box.top - box.bottom)
    : box.left + share * (box.width - box.left - box.right));
  const path = (points) => (points.length
    ? "M" + points.map(([x, y]) => place(x).toFixed(1) + " " + place(y, true).toFixed(1)).join("L") : "");
  const frame = (label, xTitle, yTitle, xTicks) => {
    const svg = drawn("svg", { viewBox: "0 0 " + box.width + " " + box.height, role: "img", "aria-label": label });
    for (const tick of [0, 0.5, 1]) {
      svg.append(drawn("path", { class: "grid", d: path([[0, tick], [1, tick]]) }));
      svg.append(drawn("text", { x: box.left - 5, y: place(tick, true), dy: ".32em", "text-anchor": "end" }, String(tick)));
    }
    for (const [at, text] of xTicks) {
      svg.append(drawn("text", { x: place(at), y: box.height - box.bottom + 14, "text-anchor": "middle" }, text));
    }
    svg.append(drawn("text", { x: box.width - box.right, y: box.height - 3, "text-anchor": "end" }, xTitle));
    svg.append(drawn("text", { x: 0, y: 10 }, yTitle));
    svg.append(drawn("path", { class: "axis", d: path([[0, 1], [0, 0], [1, 0]]) }));
    return svg;
  };
  const pointsOf = (which, tag, make) => {
    const curve = unpacked[which];
    const points = [];
    for (let at = curve.indptr[tag]; at < curve.indptr[tag + 1]; at += 1) {
      points.push(make(curve.recall[at], curve.precision[at], curve.proba[at]));
    }
    return points;
  };
  const ring = (svg, x, y) => {
    if (x === null || y === null) return;
    svg.append(drawn("circle", { class: "ring", cx: place(x), cy: place(y, true), r: 5 }));
  };
  const curvePicture = (tag) => {
    const ticks = [[0, "0"], [0.5, "0.5"], [1, "1"]];
    const svg = frame("Precision and recall of " + data.tag[tag], "Recall", "Precision", ticks);
    for (const f of [0.2, 0.4, 0.6, 0.8]) {
      const line = [];
      for (let r = 0.02; r <= 1.0001; r += 0.02) {
        const p = f * r / ((1 + squared) * r - squared * f);
        if (p > 0 && p <= 1) line.push([r, p]);
      }
      svg.append(drawn("path", { class: "iso", d: path(line) }));
      const [x, y] = line[line.length - 1];
      svg.append(drawn("text", { x: place(x) - 3, y: place(y, true) - 4, "text-anchor": "end" }, fName + " " + f));
    }
    for (const which of [1, 0]) {
      const line = pointsOf(which, tag, (r, p) => [r, p]);
      if (line.length) line.unshift([0, line[0][1]]);
      svg.append(drawn("path", { class: "line " + (which ? "rival" : "ours"), d: path(line) }));
    }
    ring(svg, data.recall[tag], data.precision[tag]);
    return svg;
  };
  const logit = (p) => Math.log(p / (1 - p));
  const reach = logit(0.999);
  const logitShare = (p) => (logit(Math.min(0.999, Math.max(0.001, p))) + reach) / (2 * reach);
  const sweepPicture = (tag) => {
    const ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99].map((p) => [logitShare(p), String(p)]);
    const svg = frame(fName + " of " + data.tag[tag] + " at every threshold", "Threshold", fName, ticks);
    for (const which of [1, 0]) {
      const line = pointsOf(which, tag, (r, p, proba) => [logitShare(proba), fOf(p, r)]);
      svg.append(drawn("path", { class: "line " + (which ? "rival" : "ours"), d: path(line) }));
    }
    const cut = data.threshold[tag];
    if (cut !== null) {
      svg.append(drawn("path", { class: "cut", d: path([[logitShare(cut), 0], [logitShare(cut), 1]]) }));
      ring(svg, logitShare(cut), data.f[tag]);
    }
    return svg;
  };
  const select = (tag, keep = true) => {
    selected = tag;
    byId("detail-title").textContent = data.tag[tag];
    const facts = [
      data.positives[tag] + " positives, " + data.decided[tag] + " decided, " + data.right[tag] + " right.",
      fName + " " + number(data.f[tag]) + ", rival " + number(data.rival_f[tag]) + ".",
      "Lead " + signed(data.delta[tag]) + " (" + signed(data.low[tag]) + " to " + signed(data.high[tag]) + ").",
    ];
    byId("detail-facts").textContent = facts.join(" ");
    byId("detail-curve").replaceChildren(curvePicture(tag));
    byId("detail-sweep").replaceChildren(sweepPicture(tag));
    if (keep) remember("tag", data.tag[tag]);
    render();
  };
  search.value = state.get("q") || "";
  for (const [control, key] of [[category, "cat"], [verdict, "verdict"]]) {
    if ([...control.options].some((option) => option.value === state.get(key))) control.value = state.get(key);
  }
  refresh();
  const wanted = data.tag.indexOf(state.get("tag"));
  if (data.tag.length) select(wanted >= 0 ? wanted : (order[0] ?? 0), wanted >= 0);

  // Mix-ups inside a group.
  const group = byId("group");
  const showConfusion = () => {
    const { names, counts } = data.confusions[Number(group.value)];
    const table = element("table", { class: "matrix" });
    const head = element("tr");
    head.append(element("td", { class: "corner" }));
    for (const name of names) {
      const cell = element("th", { scope: "col" });
      cell.append(element("span", {}, name));
      head.append(cell);
    }
    const top = element("thead");
    top.append(head);
    const rows = element("tbody");
    counts.forEach((line, at) => {
      const total = line.reduce((sum, value) => sum + value, 0);
      if (!total) return;
      const made = element("tr");
      made.append(element("th", { scope: "row" }, names[at] + " (" + total.toLocaleString("en") + ")"));
      line.forEach((value, column) => {
        const cell = element("td", {}, value ? String(value) : "");
        const share = Math.round(45 * Math.sqrt(value / total));
        const hue = at === column ? "var(--ours)" : "var(--rival)";
        if (value) cell.style.background = "color-mix(in srgb, " + hue + " " + share + "%, transparent)";
        made.append(cell);
      });
      rows.append(made);
    });
    table.append(top, rows);
    byId("confusion-table").replaceChildren(table);
  };
  if (group) {
    group.addEventListener("change", showConfusion);
    showConfusion();
  }

  // Every two rungs of one side: a matrix, and where that does not fit, one row of it as a list.
  const pairScore = byId("pair-score");
  const pairRow = byId("pair-row");
  const verdictOf = (low, high) => (low > 0 ? "better" : high !== null && high < 0 ? "worse" : "even");
  const differences = () => {
    const cells = data.rungs.map(() => new Array(data.rungs.length).fill(null));
    const mirror = (x) => (x === null ? null : -x);
    for (const [a, b, value, low, high] of data.pairs[pairScore.value]) {
      cells[a][b] = [value, low, high];
      cells[b][a] = [value, high, low].map(mirror);
    }
    return cells;
  };
  const showPairs = () => {
    const chosen = data.sides[side];
    const cells = differences();
    const table = element("table", { class: "matrix pairs" });
    const head = element("tr");
    head.append(element("td", { class: "corner" }));
    chosen.forEach((rung, at) => {
      head.append(element("th", { scope: "col", title: data.rungs[rung] }, String(at + 1)));
    });
    const top = element("thead");
    top.append(head);
    const rows = element("tbody");
    chosen.forEach((rung, at) => {
      const made = element("tr");
      made.append(element("th", { scope: "row" }, at + 1 + " " + data.rungs[rung]));
      for (const other of chosen) {
        const found = cells[rung][other];
        if (!found) { made.append(element("td", { class: "self" })); continue; }
        const [value, low, high] = found;
        const cell = element("td", { class: verdictOf(low, high) }, signed(value));
        cell.title = data.rungs[rung] + " minus " + data.rungs[other] + ": " + signed(value)
          + " (" + signed(low) + " to " + signed(high) + ")";
        made.append(cell);
      }
      rows.append(made);
    });
    table.append(top, rows);
    byId("pair-table").replaceChildren(table);
    listPairs(cells, chosen);
  };
  const listPairs = (cells, chosen) => {
    if (!chosen.includes(Number(pairRow.value)) || !pairRow.value) {
      pairRow.replaceChildren(...chosen.map((rung) => {
        return element("option", { value: String(rung) }, data.rungs[rung]);
      }));
      pairRow.value = String(chosen[chosen.length - 1]);
    }
    const mine = Number(pairRow.value);
    const lines = chosen.filter((rung) => rung !== mine).map((rung) => {
      const [value, low, high] = cells[mine][rung];
      const line = element("li", {});
      line.append(element("span", {}, "minus " + data.rungs[rung]));
      line.append(element("b", { class: "chip " + verdictOf(low, high) }, signed(value)));
      line.append(element("small", {}, signed(low) + " to " + signed(high)));
      return line;
    });
    const list = element("ul", { class: "pair-lines" });
    list.append(...lines);
    byId("pair-list").replaceChildren(list);
  };
  if (pairScore) {
    if (data.pairs[state.get("pairs")]) pairScore.value = state.get("pairs");
    pairScore.addEventListener("change", () => { showPairs(); remember("pairs", pairScore.value); });
    pairRow.addEventListener("change", showPairs);
    onSide.push(showPairs);
    showPairs();
  }

  // Before and after calibration; the rules that changed little.
  const calibration = byId("calibration");
  if (calibration) {
    const pictures = [...document.querySelectorAll(".calibration")];
    calibration.addEventListener("change", () => {
      pictures.forEach((picture, at) => { picture.hidden = at !== Number(calibration.value); });
    });
  }
  const allRules = byId("all-rules");
  if (allRules) {
    document.querySelectorAll(".more-rules").forEach((line) => { line.hidden = true; });
    allRules.addEventListener("click", () => {
      document.querySelectorAll(".more-rules").forEach((line) => { line.hidden = false; });
      allRules.hidden = true;
    });
  }
  root.setAttribute("data-ready", "true");
})();
