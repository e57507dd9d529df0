"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  window.addEventListener("error", (event) => root.setAttribute("data-error", event.message));
  window.addEventListener("unhandledrejection", (event) => root.setAttribute("data-error", String(event.reason)));

  // Everything that comes from outside is set as text, never as markup.
  const element = (name, attributes = {}, ...inside) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };
  const percent = (value) => (value === null || value === undefined ? "\u2013" : `${Math.round(100 * value)}%`);
  const proba = (value) => (value === null || value === undefined ? "\u2013" : value.toFixed(2));
  const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const kept = (store, name, make) => {
    try {
      let value = store.getItem(name);
      if (value === null) { value = make(); store.setItem(name, value); }
      return value;
    } catch { return make(); }
  };
  const keep = (store, name, value) => { try { store.setItem(name, value); } catch { /* private mode */ } };

  const status = byId("status");
  const say = (text, warn = false) => { status.textContent = text; status.classList.toggle("warn", warn); };

  // ---- asking the server
  const ask = async (path, parameters = {}) => {
    const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error || answer.statusText);
    return found;
  };
  const tell = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    const found = await answer.json();
    if (!answer.ok) { const error = new Error(found.error || answer.statusText); error.refused = answer.status < 500; throw error; }
    return found;
  };
  const trying = (work) => (...given) => work(...given).catch((error) => say(error.message, true));
  const picture = (key, size = "large") => `picture/${key}?size=${size}`;

  // ---- who, theme, view
  const client = kept(sessionStorage, "tagstack-client", random);
  const who = byId("who");
  const me = () => who.value.trim() || "somebody";
  who.addEventListener("change", () => keep(localStorage, "tagstack-who", me()));

  const theme = byId("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const showTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  const chosen = kept(localStorage, "tagstack-theme", () => "");
  if (chosen) root.dataset.theme = chosen;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep(localStorage, "tagstack-theme", root.dataset.theme);
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();

  const place = () => new URLSearchParams(location.hash.slice(1));
  const go = (changes) => {
    const now = place();
    for (const [key, value] of Object.entries(changes)) { if (value) now.set(key, value); else now.delete(key); }
    location.hash = String(now);
  };
  let view = "";

  // ---- answers on their way: kept until the server has them, also over a reload
  let outbox = [];
  try { outbox = JSON.parse(localStorage.getItem(`tagstack-outbox-${client}`) || "[]"); } catch { outbox = []; }
  let sending = null;
  const saveOutbox = () => keep(localStorage, `tagstack-outbox-${client}`, JSON.stringify(outbox));
  const flush = () => { sending = sending || send().finally(() => { sending = null; }); return sending; };
  const send = async () => {
    while (outbox.length) {
      const item = outbox[0];
      try {
        const { before } = await tell("api/answer", item);
        if (before) say(`${before.who} had said ${before.answer} to ${item.tag}; both are kept, yours counts.`, true);
      } catch (error) {
        if (!error.refused) {
          say(`${outbox.length} ${outbox.length > 1 ? "answers are" : "answer is"} not saved yet; trying again.`, true);
          await new Promise((done) => setTimeout(done, 1000));
          continue;
        }
        say(`Not kept: ${error.message}`, true);
      }
      outbox.shift();
      saveOutbox();
      root.setAttribute("data-saved", String(Number(root.getAttribute("data-saved") || 0) + 1));
    }
  };

  // ---- cards
  let ahead = []; // cards to come, the first is shown
  let past = []; // cards answered in this tab, oldest first: { card, answer, token }
  let back = 0; // how many steps into the past is shown
  let left = null;
  let loading = null;
  let state = {};
  let firstOrder = "wrong"; // as the page was opened: a first answer must not change it
  const times = [];
  const current = () => (back ? past[past.length - back] : ahead.length ? { card: ahead[0] } : null);

  const load = async () => {
    const now = place();
    const order = now.get("order") || firstOrder;
    const tag = now.get("tag") || "";
    const found = await ask("api/cards", { page: client, order, tag, n: 4 });
    state = found;
    const gone = new Set([...past.map((item) => item.card.id), ...outbox.map((item) => item.card)]);
    ahead = found.cards.filter((card) => !gone.has(card.id));
    left = found.left;
    for (const card of ahead) new Image().src = picture(card.image);
  };
  const refill = () => { loading = loading || load().finally(() => { loading = null; }); return loading; };
  const nextCards = trying(async (focus) => {
    await refill();
    showCard(focus);
    if (!ahead.length && state.ready < state.images && !state.fault) setTimeout(() => view === "cards" && nextCards(), 1500);
  });

  const line = (label, value, cut, extra = "") => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    if (value !== null) { const fill = element("i"); fill.style.width = `${100 * value}%`; bar.append(fill); }
    if (cut !== undefined && cut !== null) { const mark = element("u"); mark.style.left = `${100 * cut}%`; bar.append(mark); }
    return element("div", { class: `bar-line ${extra}` },
      element("dt", { title: label }, label), element("dd", {}, bar, element("span", { class: "value" }, proba(value))));
  };
  const stackLines = (said) => [
    line("Probability", said.proba, said.threshold, "main"),
    element("div", { class: "bar-line" }, element("dt", {}, "Threshold"), element("dd", {}, element("span"), element("span", { class: "value" }, said.threshold === null ? "never" : proba(said.threshold)))),
  ];
  const voteLines = (votes) => {
    const list = element("dl", { class: "facts" });
    for (const vote of votes) list.append(line(vote.name, vote.proba));
    return list;
  };

  const frame = (image, name, card) => {
    const stage = image.parentElement;
    stage.classList.remove("broken");
    name.textContent = card.name;
    name.title = card.name;
    if (image.dataset.key !== card.image) {
      image.dataset.key = card.image;
      image.alt = `Picture ${card.name}`;
      image.src = picture(card.image);
    }
  };
  for (const id of ["card-image", "picture-image"]) {
    byId(id).addEventListener("error", (event) => {
      event.target.parentElement.classList.add("broken");
      say("This picture cannot be shown.", true);
    });
  }

  const showCard = (focus = false) => {
    const item = current();
    byId("card").hidden = !item;
    byId("rest").hidden = Boolean(item);
    const ready = state.ready < state.images ? ` \u00b7 ${state.ready} of ${state.images} pictures prepared` : "";
    byId("left").textContent = left === null ? "" : `${left.toLocaleString("en")} left${ready}`;
    byId("undo").setAttribute("aria-disabled", String(!past.length && !outbox.length));
    if (!item) {
      byId("rest-title").textContent = state.fault ? "The pairs cannot be prepared" : state.ready < state.images ? "Preparing\u2026" : "Nothing is left in this order";
      byId("rest-text").textContent = state.fault || (state.ready < state.images ? `${state.ready} of ${state.images} pictures so far.` : "Choose another order, or another tag.");
      if (focus) byId("rest-title").focus({ preventScroll: true });
      return;
    }
    const { card, answer } = item;
    frame(byId("card-image"), byId("card-name"), card);
    byId("card-eyebrow").textContent = [card.category, card.shown.probe ? "probe" : "", card.shown.judging ? "frozen slice" : "", back ? `${back} back` : ""].filter(Boolean).join(" \u00b7 ");
    byId("question").textContent = `${card.tag}?`;
    byId("question").setAttribute("aria-label", `Does the picture show ${card.tag}?`);
    byId("card-state").textContent = card.has ? "It has this tag. Is it right?" : "It lacks this tag. Should it have it?";
    byId("facts").replaceChildren(...stackLines(card.shown));
    byId("votes").replaceChildren(voteLines(card.votes));
    byId("rule").textContent = card.rule;
    byId("alike").replaceChildren(...card.alike.map((one) => element("a", { class: one.has ? "with" : "without", href: `#${new URLSearchParams({ view: "picture", image: one.image })}`, "aria-label": `${one.name}, ${one.has ? "with" : "without"} ${card.tag}` },
      element("img", { src: picture(one.image, "small"), alt: "", width: "56", height: "56", loading: "lazy" }), element("span", { "aria-hidden": "true" }, one.has ? "with" : "without"))));
    for (const name of ["yes", "no", "skip"]) {
      byId(name).classList.toggle("given", answer === name);
      if (answer) byId(name).setAttribute("aria-pressed", String(answer === name)); else byId(name).removeAttribute("aria-pressed");
    }
    if (focus) say(`${card.tag}? ${card.has ? "tagged" : "not tagged"}, probability ${proba(card.shown.proba)}.`);
  };

  const pace = () => {
    const now = Date.now();
    times.push(now);
    while (times.length && now - times[0] > 60000) times.shift();
    byId("pace").textContent = `${past.length} answered here \u00b7 ${times.length} in the last minute`;
  };
  const answer = (said) => {
    const item = current();
    if (!item) return;
    const token = random();
    const { card } = item;
    outbox.push({ image: card.image, tag: card.tag, shown: card.shown, answer: said, who: me(), token, card: card.id });
    saveOutbox();
    flush();
    if (back) { item.answer = said; item.token = token; back -= 1; } else {
      past.push({ card, answer: said, token });
      if (past.length > 500) past.shift();
      ahead.shift();
      if (left) left -= 1;
    }
    pace();
    showCard(true);
    if (ahead.length < 3 && !back) nextCards(false);
  };
  const undo = trying(async () => {
    await flush();
    const item = past.length ? past[past.length - 1] : null;
    const { back: taken } = await tell("api/undo", { who: me(), action: item ? item.token : null });
    if (!taken.length) { say(item ? "That answer was taken back already." : "There is nothing of yours to take back."); }
    else say(`Taken back: ${taken.map((one) => `${one.answer} to ${one.tag}`).join(", ")}.`);
    if (item) { past.pop(); ahead.unshift(item.card); back = 0; if (left !== null) left += 1; if (times.length) times.pop(); }
    if (view === "cards") { if (!item) await nextCards(); showCard(); }
    if (view === "picture") await showPicture();
  });
  const step = (by) => { back = Math.min(past.length, Math.max(0, back + by)); showCard(true); };
  for (const name of ["yes", "no", "skip"]) byId(name).addEventListener("click", () => answer(name));
  byId("undo").addEventListener("click", () => undo());

  const order = byId("order");
  order.addEventListener("change", () => go({ order: order.value }));
  const only = byId("only");
  const offer = (input, list, path, pick) => input.addEventListener("input", trying(async () => {
    const text = input.value;
    if (!text) return;
    const found = await ask(path, { q: text, limit: 12 });
    if (input.value === text) list.replaceChildren(...pick(found).map((value) => element("option", { value })));
  }));
  offer(only, byId("only-tags"), "api/tags", (found) => found.tags.map((one) => one.tag));
  only.addEventListener("change", () => go({ tag: only.value.trim() }));

  // ---- picture
  let shown = null;
  const tagList = byId("tags");
  const names = new Map();
  const showPicture = async (key = place().get("image") || "") => {
    const found = await ask("api/image", { image: key });
    drawPicture(found);
  };
  const drawPicture = (found) => {
    const focused = tagList.contains(document.activeElement) ? document.activeElement.dataset.tag : null;
    const top = tagList.scrollTop;
    shown = found;
    frame(byId("picture-image"), byId("picture-name"), found);
    byId("position").textContent = `${found.position.toLocaleString("en")} of ${found.of.toLocaleString("en")}`;
    byId("previous").setAttribute("aria-disabled", String(!found.previous));
    byId("next").setAttribute("aria-disabled", String(!found.next));
    for (const next of [found.next, found.previous]) if (next) new Image().src = picture(next);
    const explain = byId("explain").checked;
    tagList.replaceChildren(...found.tags.map((row, at) => {
      const said = row.said ? `${row.said.who}: ${row.said.answer}` : "";
      const button = element("button", { type: "button", class: row.has ? "there" : "", "aria-pressed": String(row.has), tabindex: at ? "-1" : "0" },
        element("span", { class: "mark", "aria-hidden": "true" }, row.has ? "\u2713" : "+"),
        element("span", { class: "tag" }, row.tag, " ", element("span", { class: "category" }, row.category)),
        element("span", { class: "muted" }, proba(row.proba)));
      if (said) button.append(element("span", { class: "said" }, said));
      button.dataset.tag = row.tag;
      const item = element("li", {}, button);
      if (explain) {
        const why = element("div", { class: "why" }, element("dl", { class: "facts" }, ...stackLines(row)), voteLines(row.votes));
        if (row.rule) why.append(element("p", {}, row.rule));
        item.append(why);
      }
      return item;
    }));
    byId("tags-title").textContent = `${found.tags.filter((row) => row.has).length} tags`;
    tagList.scrollTop = top;
    if (focused !== null) focusTag([...tagList.querySelectorAll("button")].find((button) => button.dataset.tag === focused));
  };
  const focusTag = (button) => {
    if (!button) return;
    for (const other of tagList.querySelectorAll("button")) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  };
  const setTag = trying(async (tag, there) => {
    const found = await tell("api/image/answer", { image: shown.image, tag, answer: there ? "yes" : "no", who: me(), token: random() });
    drawPicture(found);
    const follow = found.follow.map((one) => `${one.because}: ${one.there ? "added" : "removed"}`);
    say([`${there ? "Added" : "Removed"} ${tag}`, ...follow].join(" \u00b7 "));
  });
  tagList.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) setTag(button.dataset.tag, button.getAttribute("aria-pressed") !== "true");
  });
  tagList.addEventListener("keydown", (event) => {
    const all = [...tagList.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
    if (event.key in moves) { event.preventDefault(); focusTag(all[Math.max(0, Math.min(all.length - 1, moves[event.key]))]); }
  });
  byId("explain").addEventListener("change", () => shown && drawPicture(shown));
  const turn = (key) => { if (key) go({ image: key }); };
  byId("previous").addEventListener("click", () => shown && turn(shown.previous));
  byId("next").addEventListener("click", () => shown && turn(shown.next));
  byId("picture-undo").addEventListener("click", () => undoHere());
  const undoHere = trying(async () => {
    await flush();
    const { back: taken } = await tell("api/undo", { who: me(), action: null });
    say(taken.length ? `Taken back: ${taken.map((one) => `${one.answer} to ${one.tag}`).join(", ")}.` : "There is nothing of yours to take back.");
    past = [];
    back = 0;
    await showPicture();
  });
  const find = byId("find");
  offer(find, byId("find-names"), "api/images", (found) => found.images.map((one) => { names.set(one.name, one.image); return one.name; }));
  find.addEventListener("change", () => { if (names.has(find.value)) { turn(names.get(find.value)); find.value = ""; } });

  // Completion from the vocabulary.
  const add = byId("add");
  const choices = byId("add-list");
  let at = -1;
  const close = () => { choices.hidden = true; add.setAttribute("aria-expanded", "false"); add.removeAttribute("aria-activedescendant"); at = -1; };
  const mark = (to) => {
    const all = [...choices.children];
    at = all.length ? (to + all.length) % all.length : -1;
    all.forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
    if (at >= 0) { add.setAttribute("aria-activedescendant", all[at].id); all[at].scrollIntoView({ block: "nearest" }); }
  };
  add.addEventListener("input", trying(async () => {
    const text = add.value;
    if (!text.trim()) { close(); return; }
    const { tags } = await ask("api/tags", { q: text });
    if (add.value !== text) return;
    choices.replaceChildren(...tags.map((one, number) => {
      const item = element("li", { role: "option", id: `choice-${number}`, "aria-selected": "false" }, one.tag, element("span", {}, one.category));
      item.dataset.tag = one.tag;
      return item;
    }));
    choices.hidden = !tags.length;
    add.setAttribute("aria-expanded", String(Boolean(tags.length)));
    if (tags.length) mark(0); else say(`No tag holds ${JSON.stringify(text)}.`);
  }));
  const choose = (tag) => { add.value = ""; close(); setTag(tag, true); };
  choices.addEventListener("mousedown", (event) => {
    const item = event.target.closest("li");
    if (item) { event.preventDefault(); choose(item.dataset.tag); }
  });
  add.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); mark(at + (event.key === "ArrowDown" ? 1 : -1)); }
    if (event.key === "Enter" && at >= 0) { event.preventDefault(); choose(choices.children[at].dataset.tag); }
    if (event.key === "Escape") { if (choices.hidden) add.blur(); close(); }
  });
  add.addEventListener("blur", close);

  // ---- board
  const columns = [
    ["tag", "Tag"], ["wrong", "Wrong"], ["missing", "Missing"], ["verified", "Verified"],
    ["near", "Near threshold"], ["certified", "Certified"], ["overturned", "Overturned"], ["looked", "Last looked at"],
  ];
  let sort = "worst";
  let rows = 0;
  const head = byId("board-head");
  for (const [name, title] of columns) {
    const cell = element("th", { scope: "col" });
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => { sort = sort === name ? "worst" : name; showBoard(); });
    cell.append(button);
    cell.dataset.sort = name;
    head.append(cell);
  }
  const ago = (at_s) => {
    if (!at_s) return "never";
    const days = Math.floor((Date.now() / 1000 - at_s) / 86400);
    return days ? `${days} d ago` : "today";
  };
  const boardRow = (row) => {
    const first = row.wrong >= row.missing ? "wrong" : "missing";
    // On a phone the first column is what is seen: the tag itself leads to its cards.
    const link = element("a", { href: `#${new URLSearchParams({ view: "cards", order: first, tag: row.tag })}`, "aria-label": `Review ${row.tag}` }, row.tag);
    const hot = row.wrong + row.missing > 5;
    const cell = (text, warm = false) => element("td", warm && hot ? { class: "hot" } : {}, text);
    return element("tr", {},
      element("th", { scope: "row" }, link, element("small", {}, row.category)),
      cell(row.wrong.toFixed(1), row.wrong >= row.missing), cell(row.missing.toFixed(1), row.missing > row.wrong),
      cell(row.has ? percent(row.verified) : "\u2013"), cell(row.pairs ? percent(row.near) : "\u2013"), cell(row.promise || "\u2013"),
      cell(row.decided ? percent(row.overturned) : "\u2013"), cell(ago(row.looked)));
  };
  const showBoard = trying(async (more = false) => {
    const found = await ask("api/board", { q: byId("board-search").value, sort, offset: more ? rows : 0, limit: 60 });
    const body = byId("board-rows");
    if (!more) { body.replaceChildren(); rows = 0; }
    body.append(...found.rows.map(boardRow));
    rows += found.rows.length;
    byId("board-more").hidden = rows >= found.found;
    byId("board-found").textContent = `${rows.toLocaleString("en")} of ${found.found.toLocaleString("en")} tags` + (found.ready < found.images ? ` \u00b7 from ${found.ready} of ${found.images} pictures so far` : "");
    for (const cell of head.children) {
      if (cell.dataset.sort === sort) cell.setAttribute("aria-sort", sort === "tag" || sort === "verified" || sort === "looked" ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
  });
  byId("board-more").addEventListener("click", () => showBoard(true));
  byId("board-search").addEventListener("input", () => showBoard());

  // ---- done
  const f1 = (judge) => {
    if (!judge.before || !judge.after) return "";
    const words = (one) => `${one.f1.toFixed(3)} (${one.low.toFixed(3)} to ${one.high.toFixed(3)})`;
    return ` F1 there: ${words(judge.before)} with what was shown (thresholds ${judge.versions.join(", ")}), ${words(judge.after)} with what is in use now (${state.thresholds}).`;
  };
  const showDone = async () => {
    await flush();
    const found = await ask("api/done");
    const tiles = [["Answers", found.answers], ["Changed", found.changed], ["Skipped", found.skipped], ["Pictures", found.pictures]];
    byId("tiles").replaceChildren(...tiles.map(([name, value]) => element("div", {}, element("dd", {}, value.toLocaleString("en")), element("dt", {}, name))));
    byId("done-lede").textContent = found.people.map((one) => `${one.who}: ${one.answers}`).join(", ");
    byId("judge").textContent = found.judge.asked
      ? `On the frozen slice the tags were right in ${percent(found.judge.right)} of ${found.judge.asked} random pairs (95% interval ${percent(found.judge.low)} to ${percent(found.judge.high)}).`
        + f1(found.judge)
      : "Nothing was asked on the frozen slice yet: choose the order \u201cRandom slice\u201d to learn how often the tags are right.";
    byId("no-change").hidden = found.latest.length > 0;
    byId("latest").replaceChildren(...found.latest.map((one) => {
      const sign = one.answer === "yes" ? "+" : "\u2212";
      const text = element("div", {}, element("b", { class: one.answer === "yes" ? "plus" : "minus" }, `${sign} ${one.tag}`), element("br"), element("span", { class: "muted" }, `${one.name} \u00b7 ${one.who}`));
      const image = one.image ? element("a", { href: `#${new URLSearchParams({ view: "picture", image: one.image })}`, "aria-label": `Open ${one.name}` }, element("img", { src: picture(one.image, "small"), alt: "", width: "56", height: "56", loading: "lazy" })) : element("span");
      return element("li", {}, image, text);
    }));
  };

  // ---- keys
  const help = byId("help");
  byId("help-open").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const item = current();
    const everywhere = {
      "?": () => help.showModal(),
      "/": () => (view === "picture" ? add : view === "board" ? byId("board-search") : only).focus(),
    };
    const here = {
      cards: {
        y: () => answer("yes"), n: () => answer("no"), s: () => answer("skip"), u: () => undo(),
        ArrowLeft: () => step(1), ArrowRight: () => step(-1),
        p: () => item && go({ view: "picture", image: item.card.image }),
      },
      picture: {
        u: () => undoHere(), e: () => byId("explain").click(), p: () => go({ view: "cards" }),
        ArrowLeft: () => shown && turn(shown.previous), ArrowRight: () => shown && turn(shown.next),
        ArrowDown: () => focusTag(tagList.querySelector("button")),
      },
    };
    const act = (here[view] || {})[key] || everywhere[key];
    if (!act || (event.repeat && "ynsu".includes(key))) return;
    if (event.defaultPrevented) return;
    event.preventDefault();
    act();
  });

  // ---- begin
  const route = trying(async () => {
    const now = place();
    const wanted = ["cards", "picture", "board", "done"].includes(now.get("view")) ? now.get("view") : "cards";
    const fresh = wanted !== view;
    view = wanted;
    root.removeAttribute("data-view");
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    for (const name of ["cards", "picture", "board", "done"]) byId(name).hidden = name !== view;
    if (fresh) say("");
    document.title = `${{ cards: "Cards", picture: "Picture", board: "Board", done: "Done" }[view]} - tagstack`;
    if (view === "cards") {
      order.value = now.get("order") || firstOrder;
      only.value = now.get("tag") || "";
      ahead = [];
      back = 0;
      await nextCards();
    }
    if (view === "picture") await showPicture();
    if (view === "board") await showBoard();
    if (view === "done") await showDone();
    if (wanted === view) root.setAttribute("data-view", view);
  });
  const begin = trying(async () => {
    state = await ask("api/state");
    firstOrder = state.first;
    order.replaceChildren(...state.orders.map((one) => element("option", { value: one.name }, one.title)));
    who.value = kept(localStorage, "tagstack-who", () => state.who || "");
    if (outbox.length) flush();
    addEventListener("hashchange", route);
    await route();
    root.setAttribute("data-ready", "true");
  });
  begin();
})();
