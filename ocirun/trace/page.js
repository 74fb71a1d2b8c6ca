"use strict";
// Draws the data of one or more traces. Everything that comes from a trace becomes text by
// textContent, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const SPEC = "https://github.com/opencontainers/runtime-spec/blob/main/";
const MARGIN = 170, ROW = 22, CALLS = 14, WAITS = 14, GAP = 74, TOP = 30;
const FAMILIES = [
  ["mount", "mounts", /^(mount|umount2|pivot_root|open_tree|move_mount|fs|mount_setattr)/],
  ["process", "processes, namespaces", /^(clone3|unshare|setns|execve|posix_spawn|wait|pidfd|kill|setsid|exit)/],
  ["security", "rights", /^(set(res)?[ug]id|setgroups|cap|prctl|seccomp|landlock|keyctl|prlimit|umask)/],
  ["file", "files", /./],
];
const byId = (id) => document.getElementById(id);
const chart = byId("chart");

function make(name, attributes = {}, text = "") {
  const node = document.createElement(name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text) node.textContent = text;
  return node;
}
function draw(name, attributes, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text) node.textContent = text;
  chart.append(node);
  return node;
}
function time(us) {
  const size = Math.abs(us);
  if (size >= 1e6) return (us / 1e6).toFixed(2) + " s";
  if (size >= 1000) return (us / 1000).toFixed(2) + " ms";
  return us.toFixed(size < 10 ? 1 : 0) + " µs";
}
const count = (number, noun, plural = noun + "s") => `${number} ${number === 1 ? noun : plural}`;
const color = (lane, pale = "") => `var(--${lane.color}${pale})`;

// Items as objects, with their lane; calls and inner steps by the item around them.
const items = [], lanes = data.lanes;
for (const lane of lanes) {
  lane.color = ["parent", "init", "stage"].includes(lane.role) ? lane.role : "child";
  lane.depth = 0;
  lane.items = lane.items.map(([kind, name, begin, duration, depth, inside, args]) => {
    const item = { kind, name, begin, duration, depth, inside, args, lane, inner: [] };
    if (kind === "step" || kind === "span") lane.depth = Math.max(lane.depth, depth + 1);
    items.push(item);
    return item;
  });
  for (const item of lane.items) {
    item.outer = lane.items[item.inside] || null;
    if (item.outer) item.outer.inner.push(item);
  }
}
const steps = items.filter((item) => item.kind === "step" || item.kind === "span");
const END = Math.max(1, ...items.map((item) => item.begin + item.duration));
let from = 0, to = END, chosen = null;

// The place of each lane: the messages of a parent face those of its children below.
let height = TOP;
lanes.forEach((lane, index) => {
  const first = index === 0 || lanes[index - 1].trace !== lane.trace;
  const last = index === lanes.length - 1 || lanes[index + 1].trace !== lane.trace;
  lane.top = height;
  lane.waits = first ? height + lane.depth * ROW + CALLS + 6 : height;
  lane.rows = first ? height : height + WAITS + 6;
  lane.calls = lane.rows + lane.depth * ROW + 2;
  lane.edge = first ? lane.waits + WAITS : lane.waits;
  height += lane.depth * ROW + CALLS + WAITS + 12 + (last ? 26 : GAP);
});

const width = () => Math.max(400, chart.clientWidth || 1200);
const x = (t) => MARGIN + ((t - from) / (to - from)) * (width() - MARGIN);
const at = (px) => from + ((px - MARGIN) / (width() - MARGIN)) * (to - from);

function paint() {
  chart.replaceChildren();
  chart.setAttribute("viewBox", `0 0 ${width()} ${height}`);
  chart.setAttribute("height", height);
  paintGrid();
  for (const arrow of data.arrows) paintArrow(arrow);
  paintNames();
  for (const lane of lanes) paintLane(lane);
  draw("rect", { x: 0, y: 0, width: MARGIN - 4, height, fill: "var(--card)" });
  for (const lane of lanes) paintTitle(lane);
  byId("range").textContent = `${time(Math.max(0, from))} to ${time(Math.min(END, to))} of ${time(END)}`;
}
function paintGrid() {
  const rough = (to - from) / Math.max(2, (width() - MARGIN) / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  for (let t = Math.max(0, Math.ceil(from / step) * step); t <= to; t += step) {
    draw("line", { x1: x(t), x2: x(t), y1: TOP - 8, y2: height, class: "grid" });
    if (x(t) > MARGIN + 22 && x(t) < width() - 28)
      draw("text", { x: x(t), y: 15, class: "tick", "text-anchor": "middle" }, time(t));
  }
  data.traces.forEach((trace, index) => {
    if (!index) return;
    const px = x(trace.offset), { top } = lanes.find((lane) => lane.trace === index);
    draw("line", { x1: px, x2: px, y1: TOP - 8, y2: height, class: "later" });
    const anchor = px > width() - 200 ? "end" : "start";
    draw("text", { x: px + (anchor === "end" ? -5 : 5), y: top - 8, class: "tick", "text-anchor": anchor },
      `${trace.gap} later`);
  });
}
function paintArrow(arrow) {
  const [sender, sent] = arrow.from, [receiver, received] = arrow.to;
  const y1 = lanes[sender].edge, y2 = lanes[receiver].edge;
  const x1 = x(sent), x2 = x(received);
  if (Math.max(x1, x2) < MARGIN || Math.min(x1, x2) > width()) { arrow.place = null; return; }
  const line = draw("path", { d: `M${x1},${y1} L${x2},${y2}`, class: "arrow" });
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const tip = (turn) => `${x2 - 8 * Math.cos(angle + turn)},${y2 - 8 * Math.sin(angle + turn)}`;
  draw("path", { d: `M${x2},${y2} L${tip(0.4)} L${tip(-0.4)} Z`, fill: "var(--message)" });
  line.addEventListener("click", () => choose(arrow.item));
  arrow.place = [(x1 + x2) / 2, (y1 + y2) / 2];
}
function paintNames() {
  // Names of arrows, on the level where there is room; what has none is there when zoomed in.
  const levels = [[], [], [], []];
  const shown = data.arrows.filter((arrow) => arrow.place).sort((a, b) => a.place[0] - b.place[0]);
  for (const arrow of shown) {
    const half = arrow.name.length * 3.5 + 4;
    let [px, y] = arrow.place;
    px = Math.max(px, MARGIN + half);
    const level = levels.findIndex((taken) => taken.every((end) => px - half > end));
    if (level < 0) continue;
    levels[level].push(px + half);
    y += (level - 1.5) * 14 + 4;
    draw("text", { x: px, y, class: "arrow-name", "text-anchor": "middle" }, arrow.name);
  }
}
function paintTitle(lane) {
  const y = lane.rows + 12;
  draw("rect", { x: 0, y: lane.top, width: 4, height: lane.depth * ROW + CALLS + WAITS + 6, fill: color(lane) });
  draw("text", { x: 14, y, class: "lane-name" }, lane.title);
  draw("text", { x: 14, y: y + 15, class: "lane-pid" }, `pid ${lane.pid}`);
  if (lane.inner && lane.inner !== lane.pid)
    draw("text", { x: 14, y: y + 29, class: "lane-pid" }, `pid ${lane.inner} in its namespace`);
  if (lane.depth > 1)
    draw("text", { x: 14, y: lane.calls + 11, class: "lane-pid" }, "system calls");
}
function paintLane(lane) {
  const edges = {};
  for (const item of lane.items) {
    const left = x(item.begin), right = x(item.begin + item.duration);
    if (right < MARGIN || left > width()) continue;
    const size = Math.max(1.5, Math.min(right, width() + 5) - Math.max(left, MARGIN - 5));
    const px = Math.max(left, MARGIN - 5);
    if (item.kind === "syscall") {
      // One of those that fall on the same pixel, the slowest comes later as its own when zoomed.
      if (item !== chosen && px + size < (edges.calls || 0) + 0.7) continue;
      edges.calls = px + size;
      paintItem(item, px, lane.calls, size, CALLS - 2, `var(--${family(item.name)})`, 1);
    } else if (item.kind === "message") {
      if (!item.name.startsWith("wait")) continue;
      paintItem(item, px, lane.waits + 2, size, WAITS - 4, "var(--message)", 0.28);
    } else {
      const y = lane.rows + item.depth * ROW;
      const fill = item.args.error ? "var(--bad-pale)" : color(lane, "-pale");
      paintItem(item, px, y, size, ROW - 3, fill, 1, item.args.error ? "var(--bad)" : color(lane));
      const room = Math.floor((size - 8) / 6.3);
      if (room >= 4) {
        const label = item.name.length > room ? item.name.slice(0, room - 1) + "…" : item.name;
        draw("text", { x: px + 5, y: y + 13.5 }, label);
      }
    }
  }
}
function paintItem(item, px, y, size, tall, fill, opacity, stroke = "none") {
  const node = draw("rect", { x: px, y, width: size, height: tall, rx: Math.min(3, size / 3), fill,
    "fill-opacity": opacity, stroke, "stroke-width": size > 4 ? 1 : 0.5, class: "item" });
  if (item === chosen) node.classList.add("chosen");
  const tip = document.createElementNS(SVG, "title");
  tip.textContent = `${item.args.call || item.name}\n${time(item.duration)}`;
  node.append(tip);
  node.addEventListener("click", () => { if (!moved) choose(item); });
  node.addEventListener("dblclick", () => zoomTo(item));
}
const family = (name) => FAMILIES.find(([, , pattern]) => pattern.test(name))[0];

function show(a, b) {
  const span = Math.min(Math.max(b - a, 5), END * 1.1);
  from = Math.max(-END * 0.05, Math.min(a, END * 1.05 - span));
  to = from + span;
  paint();
}
function zoom(factor, center = (from + to) / 2) {
  show(center - (center - from) * factor, center + (to - center) * factor);
}
function zoomTo(item) {
  const room = Math.max(item.duration * 0.15, 2);
  show(item.begin - room, item.begin + item.duration + room);
}
let moved = false, grip = null;
chart.addEventListener("wheel", (event) => {
  event.preventDefault();
  const px = event.clientX - chart.getBoundingClientRect().left;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    const step = ((event.deltaX || event.deltaY) / width()) * (to - from);
    show(from + step, to + step);
  } else zoom(event.deltaY > 0 ? 1.25 : 0.8, at(Math.max(px, MARGIN)));
}, { passive: false });
chart.addEventListener("pointerdown", (event) => {
  grip = { px: event.clientX, from, to };
  moved = false;
});
window.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const shift = event.clientX - grip.px;
  if (Math.abs(shift) < 4 && !moved) return;
  moved = true;
  chart.classList.add("moving");
  const step = (shift / (width() - MARGIN)) * (grip.to - grip.from);
  show(grip.from - step, grip.to - step);
});
window.addEventListener("pointerup", () => { grip = null; chart.classList.remove("moving"); });
window.addEventListener("resize", paint);
window.addEventListener("keydown", (event) => {
  if (event.target === byId("search")) return;
  const step = (to - from) / 8;
  const keys = {
    "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), 0: fit,
    ArrowLeft: () => show(from - step, to - step), ArrowRight: () => show(from + step, to + step),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
function fit() { show(-END * 0.01, END * 1.02); }
byId("zoom-in").addEventListener("click", () => zoom(0.6));
byId("zoom-out").addEventListener("click", () => zoom(1.6));
byId("fit").addEventListener("click", fit);

// The list: steps and sent messages in the order of their beginning.
const story = items.filter((item) => item.kind !== "syscall" &&
  (item.kind !== "message" || item.name.startsWith("send"))).sort((a, b) => a.begin - b.begin);
const slow = [...steps].sort((a, b) => b.duration - a.duration)[Math.min(steps.length - 1, 12)];
function list() {
  const wanted = byId("search").value.trim().toLowerCase();
  const matches = (item) => (item.name + " " + (item.args.call || "")).toLowerCase().includes(wanted);
  const rows = story.filter((item) => !wanted || matches(item) ||
    item.inner.some((inner) => inner.kind === "syscall" && matches(inner)));
  byId("steps").replaceChildren(...rows.map((item) => {
    const row = make("li", { tabindex: 0 });
    const dot = make("span", { class: "dot" + (item.kind === "message" ? " message" : "") });
    dot.style.background = color(item.lane);
    const what = make("span", { class: "what" }, item.name);
    what.style.paddingLeft = `${Math.min(item.depth, 8) * 14}px`;
    if (item.kind === "message") what.classList.add("message");
    if (item.args.error) what.classList.add("bad");
    const cost = make("span", { class: "cost" });
    cost.append(make(item.duration >= slow.duration ? "b" : "span", {}, time(item.duration)));
    row.append(make("span", { class: "at" }, time(item.begin)), dot, what, cost);
    if (item === chosen) row.classList.add("chosen");
    row.addEventListener("click", () => choose(item));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(item); });
    item.row = row;
    return row;
  }));
}
byId("search").addEventListener("input", list);

function choose(item) {
  if (chosen && chosen.row) chosen.row.classList.remove("chosen");
  chosen = item;
  if (item.row) {
    item.row.classList.add("chosen");
    const box = byId("steps").getBoundingClientRect(), own = item.row.getBoundingClientRect();
    if (own.top < box.top || own.bottom > box.bottom) byId("steps").scrollTop += own.top - box.top - 80;
  }
  history.replaceState(null, "", `#${lanes.indexOf(item.lane)}.${item.lane.items.indexOf(item)}`);
  if (item.begin + item.duration < from || item.begin > to) {
    const half = (to - from) / 2;
    show(item.begin - half, item.begin + half);
  } else paint();
  describe(item);
}
function describe(item) {
  const box = byId("details"), args = item.args, parts = [];
  const add = (name, attributes, text) => { const n = make(name, attributes, text); parts.push(n); return n; };
  add("h2", {}, item.name);
  add("p", { class: "where" }, `${item.lane.title}, pid ${item.lane.pid} · begins at ${time(item.begin)}` +
    ` · takes ${time(item.duration)}` + (item.outer ? ` · part of “${item.outer.name}”` : ""));
  if (args.error) add("p", { class: "error" }, args.error);
  const [section, sentence] = data.explain[args.function] || ["", ""];
  if (sentence) add("p", {}, sentence);
  if (args.message && data.messages[args.message]) add("p", {}, data.messages[args.message]);
  if (args.descriptors) add("p", {}, `${count(args.descriptors, "descriptor")} went with it.`);
  if (args.ended) add("p", {}, `It has no end of its own: ${args.ended}.`);
  if (section) {
    const line = add("p", {}, "Specification: ");
    line.append(make("a", { href: SPEC + section, rel: "noreferrer" }, section));
  }
  if (args.call) add("p", { class: "mono" }, args.call);
  if (args.file) { const line = add("p", {}, "File: "); line.append(make("code", {}, args.file)); }
  for (const name of ["hooks", "cgroups"]) if (args[name]) {
    add("h3", {}, name === "hooks" ? "Hooks" : "Cgroup directories");
    for (const path of args[name]) add("p", { class: "mono" }, path);
  }
  const inner = item.inner.filter((one) => one.kind === "step" || one.kind === "span");
  if (inner.length) {
    add("h3", {}, "Steps in it");
    parts.push(table(["", "µs"], inner.map((one) => [one, one.name, ""])));
  }
  const calls = item.inner.filter((one) => one.kind === "syscall");
  if (calls.length) {
    add("h3", {}, `${count(calls.length, "system call")}, ${time(calls.reduce((sum, one) => sum + one.duration, 0))}`);
    parts.push(table(["call", "µs"], calls.map((one) => [one, one.args.call, one.args.file])));
  }
  box.replaceChildren(...parts);
  box.scrollTop = 0;
}
function table(heads, rows) {
  const node = make("table"), head = make("tr");
  for (const text of heads) head.append(make("th", {}, text));
  node.append(head);
  for (const [item, text, small] of rows.slice(0, 2000)) {
    const row = make("tr", item.args.error ? { class: "bad" } : {});
    const call = make("td", { class: item.kind === "syscall" ? "call mono" : "call" }, text);
    if (item.args.error) call.append(make("small", {}, item.args.error));
    else if (small) call.append(make("small", {}, small));
    row.append(call, make("td", { class: "number" }, item.duration.toFixed(1)));
    row.addEventListener("click", () => { if (item.kind !== "syscall") choose(item); });
    node.append(row);
  }
  return node;
}
function overview() {
  const parts = [make("h2", {}, "What there is to see")];
  parts.push(make("p", {}, "Each lane is a process. Its upper rows are what it does, step by step; the row below " +
    "has its system calls. Arrows are the messages between the processes, pale green bars the time that one " +
    "waits for the other. Click a step for its explanation and its system calls."));
  for (const lane of lanes) {
    if (!Object.keys(lane.namespaces).length) continue;
    parts.push(make("h3", {}, `Namespaces of ${lane.title}, pid ${lane.pid}`));
    const node = make("table");
    for (const name of Object.keys(lane.namespaces).sort()) {
      const row = make("tr"), own = lane.new.includes(name);
      row.append(make("td", own ? { class: "new" } : {}, name),
        make("td", { class: "mono" }, lane.namespaces[name]),
        make("td", own ? { class: "new" } : {}, own ? "its own" : "the caller's"),
        make("td", {}, data.namespaces[name] || ""));
      node.append(row);
    }
    parts.push(node);
  }
  byId("details").replaceChildren(...parts);
}

byId("title").textContent = data.traces.map((trace) => trace.title).join(", then ");
byId("facts").textContent = [time(END), count(lanes.length, "process", "processes"),
  count(data.arrows.length, "message"), count(steps.length, "step"),
  count(items.filter((item) => item.kind === "syscall").length, "system call"),
  `recorded ${data.traces[0].date}`].join(" · ");
const problems = data.traces.flatMap((trace) => trace.problems);
if (problems.length) { byId("problem").textContent = problems.join("\n"); byId("problem").hidden = false; }
for (const [name, label] of FAMILIES) {
  const entry = make("span"), mark = make("i");
  mark.style.background = `var(--${name})`;
  entry.append(mark, label);
  byId("legend").append(entry);
}
for (const arrow of data.arrows) {
  arrow.item = lanes[arrow.from[0]].items.find((item) => item.kind === "message" &&
    item.name === `send ${arrow.name}` && Math.abs(item.begin - arrow.from[1]) < 1) || items[0];
}
list();
overview();
// First what this is about: how a container starts. The program may have run for hours.
const wait = steps.find((item) => item.args.function === "process.wait:wait_for");
if (wait && data.traces.length === 1 && wait.duration > END / 5) show(-wait.begin * 0.02, wait.begin * 1.15);
else fit();
const place = /^#(\d+)\.(\d+)$/.exec(location.hash);
const linked = place && lanes[place[1]] && lanes[place[1]].items[place[2]];
if (linked) { zoomTo(linked); choose(linked); }
