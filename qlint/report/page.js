"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NODE = { w: 164, h: 40 }, FOLDED = { w: 164, h: 54 }, PAD = 18, TITLE = 24, MOST = 200, ENOUGH = 80, COLUMN = 70;
  const PLACES = ["integer", "absorbed", "float", "cpu", "rejected", "unknown"];
  const LEVELS = ["error", "warning", "info"];
  const state = { model: 0, backend: 0, tab: "findings", search: "", rule: "", off: new Set(), lit: "", open: new Set(), finding: null, node: null, view: { x: 0, y: 0, k: 1 } };
  let model, result, groups, parts, nodeGroup, readers, drawn;

  // -- elements: text is always a text node ---------------------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const SHAPES = new Set(["svg", "g", "rect", "path", "circle", "line", "text", "title"]);
  function el(tag, attributes, ...children) {
    const made = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? "" : value);
    }
    return fill(made, ...children);
  }
  function fill(element, ...children) {
    if (children.length) element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }
  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const number = (n) => n === null || n === undefined ? "∞" : Math.abs(n) >= 1e5 || (n !== 0 && Math.abs(n) < 1e-3) ? n.toExponential(2) : String(+n.toPrecision(4));
  const tick = (n) => n !== 0 && (Math.abs(n) < 0.01 || Math.abs(n) >= 1e4) ? n.toExponential(0) : String(+n.toPrecision(2));
  const big = (n) => n >= 1e9 ? `${(n / 1e9).toPrecision(3)} G` : n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : String(n);
  const tail = (text, most) => { const all = [...text]; return all.length <= most ? text : "…" + all.slice(all.length - most + 1).join(""); };
  const start = (text, most) => { const all = [...text]; return all.length <= most ? text : all.slice(0, most - 1).join("") + "…"; };

  // -- what is derived from the data, once for each model ----------------------------------------------------------
  function enter(index) {
    state.model = index; model = data.models[index]; groups = []; nodeGroup = []; state.finding = state.node = null;
    const walk = (group, parent) => {
      group.id = groups.length; group.parent = parent; groups.push(group); group.nodes = [];
      group.children.forEach((child, place) => {
        if (typeof child === "number") { nodeGroup[child] = group.id; group.nodes.push(child); }
        else { child.place = place; walk(child, group.id); group.nodes.push(...child.nodes); }
      });
      group.flow = new Map();
    };
    walk(model.tree, -1);
    state.open = first();
    readers = model.nodes.map(() => []);
    model.nodes.forEach((node, target) => node.in.forEach((feed) => { if (feed.from !== null) { readers[feed.from].push([target, feed]); flow(feed.from, target, feed.q.length > 0); } }));
    chooseBackend(Math.min(state.backend, model.results.length - 1));
  }
  // What is unfolded at first: as much as can be looked at.
  function first() {
    const open = new Set([0]);
    let shown = model.tree.children.length;
    for (const group of groups.slice(1)) if (open.has(group.parent) && shown + group.children.length <= ENOUGH) { open.add(group.id); shown += group.children.length - 1; }
    return open;
  }
  // [group, child] from the innermost group outwards
  function above(node) {
    const chain = [];
    let child = node;
    for (let id = nodeGroup[node]; id >= 0; id = groups[id].parent) {
      const group = groups[id];
      if (!group.index) group.index = new Map(group.children.map((one, place) => [typeof one === "number" ? one : `g${one.id}`, place]));
      chain.push([group, group.index.get(child)]);
      child = `g${id}`;
    }
    return chain;
  }
  function flow(source, target, quantized) {
    const from = new Map(above(source)), to = new Map(above(target));
    for (const group of new Set([...from.keys(), ...to.keys()])) {
      const a = from.has(group) ? from.get(group) : -1, b = to.has(group) ? to.get(group) : -2;
      if (a === b) continue;
      const key = `${a},${b}`, seen = group.flow.get(key) || [0, 0];
      group.flow.set(key, [seen[0] + 1, seen[1] + (quantized ? 1 : 0)]);
    }
  }
  function chooseBackend(index) {
    state.backend = index; result = model.results[index]; state.finding = null; state.off = new Set(["accepted"]); state.rule = "";
    result.marks = model.nodes.map(() => []);
    result.findings.forEach((finding, at) => finding.accepted || new Set(finding.sites.map((site) => site.node)).forEach((node) => { if (node !== null) result.marks[node].push(at); }));
  }
  const where = (node) => result.placed[node] ? result.placed[node][0] : "none";
  const worst = (nodes) => LEVELS.find((level) => nodes.some((node) => result.marks[node].some((at) => result.findings[at].severity === level)));
  // [placement, share] of the work: of the MACs where they are known, else of the operators
  function shares(nodes) {
    const placed = nodes.filter((node) => result.placed[node]);
    const known = placed.every((node) => model.nodes[node].macs !== null) && placed.some((node) => model.nodes[node].macs > 0);
    const sums = new Map(), weight = (node) => known ? model.nodes[node].macs : 1;
    let total = 0;
    placed.forEach((node) => { sums.set(where(node), (sums.get(where(node)) || 0) + weight(node)); total += weight(node); });
    return PLACES.filter((place) => sums.get(place)).map((place) => [place, sums.get(place) / total]);
  }
  const percent = (share) => share === 1 ? "100 %" : `${Math.min(99, Math.max(1, Math.round(100 * share)))} %`;
  const bar = (parts) => el("div", { class: "bar", title: parts.map(([place, share]) => `${place} ${percent(share)}`).join(", ") }, parts.map(([place, share]) => el("i", { class: place, style: `flex:${share}` })));

  // -- layout: every group was laid out by itself; what is unfolded pushes the others apart -------------------------
  function place(group) {
    const sizes = group.children.map((child) => typeof child === "number" ? { ...NODE } : state.open.has(child.id) ? place(child) : { ...FOLDED });
    const at = group.children.map((_, i) => [group.at[2 * i], group.at[2 * i + 1]]);
    const tall = new Map(), wide = new Map();
    at.forEach(([x, y], i) => {
      tall.set(y, Math.max(tall.get(y) || 0, sizes[i].h - FOLDED.h));
      if (sizes[i].w > NODE.w) wide.set(y, [...(wide.get(y) || []), [x, sizes[i].w - NODE.w]]);
    });
    const rows = [...tall].sort((a, b) => a[0] - b[0]);
    const height = (y) => FOLDED.h + (tall.get(y) || 0);
    const map = ([x, y]) => {
      let down = (tall.get(y) || 0) / 2, right = 0;
      for (const [row, extra] of rows) if (row < y) down += extra;
      for (const [column, extra] of wide.get(y) || []) if (column !== x) right += Math.sign(x - column) * extra / 2;
      return [x + right, y + down];
    };
    const wrap = columns(group, rows.map(([y]) => y), at, sizes, map, height);
    const put = (point) => { const [x, y] = map(point), [right, down] = wrap.shift(point[1]); return [x + right, y + down]; };
    const centers = at.map(put);
    const doors = new Map(Object.entries(group.doors).map(([door, point]) => [+door, put(point)]));
    const lines = group.edges.map(([a, b, ...bends]) => {
      const points = [];
      for (let i = 0; i < bends.length; i += 2) { const [x, y] = put([bends[i], bends[i + 1]]), half = height(bends[i + 1]) / 2; points.push([x, y - half], [x, y + half]); }
      const turn = a >= 0 && b >= 0 ? wrap.turn(at[a][1], at[b][1]) : null;
      if (turn !== null) return { a, b, points: [], up: false, turn };
      const up = a >= 0 && b >= 0 && centers[a][1] > centers[b][1];
      if (up) for (let i = 0; i < points.length; i += 2) [points[i], points[i + 1]] = [points[i + 1], points[i]];
      return { a, b, points, up };
    });
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    centers.forEach(([x, y], i) => { left = Math.min(left, x - sizes[i].w / 2); right = Math.max(right, x + sizes[i].w / 2); top = Math.min(top, y - sizes[i].h / 2); bottom = Math.max(bottom, y + sizes[i].h / 2); });
    for (const line of lines) for (const [x] of line.points) { left = Math.min(left, x); right = Math.max(right, x); }
    for (const [x] of doors.values()) { left = Math.min(left, x); right = Math.max(right, x); }
    if (left === Infinity) [left, top, right, bottom] = [0, 0, 0, 0];
    const dx = PAD - left, dy = PAD + TITLE - top;
    const w = Math.max(right - left + 2 * PAD, NODE.w), h = bottom - top + 2 * PAD + TITLE;
    const move = ([x, y]) => [x + dx, y + dy];
    const boxes = centers.map((center, i) => ({ child: group.children[i], x: move(center)[0] - sizes[i].w / 2, y: move(center)[1] - sizes[i].h / 2, ...sizes[i] }));
    const ends = (i, out) => {
      if (i < 0) return [move(doors.get(i))[0], i === -1 ? 0 : h];
      const box = boxes[i], inner = box.doors && box.doors.get(out ? -2 : -1);
      return [box.x + (inner === undefined ? box.w / 2 : inner), out ? box.y + box.h : box.y];
    };
    const paths = lines.map(({ a, b, points, up, turn }) => {
      const all = [ends(a, true), ...points.map(move), ends(b, false)];
      if (turn !== undefined) { // down, round the corner, and in again at the top
        const x = turn + dx, [[x0, y0], [x1, y1]] = all;
        return { a, b, up, d: `M${x0},${y0}C${x0},${y0 + 36} ${x},${y0 + 36} ${x},${y0}L${x},${y1}C${x},${y1 - 36} ${x1},${y1 - 36} ${x1},${y1}`, flow: group.flow.get(`${a},${b}`) || [1, 0] };
      }
      return { a, b, up, d: curve(all), flow: group.flow.get(`${a},${b}`) || [1, 0] };
    });
    return { group, w, h, boxes, paths, doors: new Map([...doors].map(([door, point]) => [door, move(point)[0]])) };
  }
  // A long and narrow graph goes on at the top of a further column, where a single edge leads from one layer to the next.
  function columns(group, rows, at, sizes, map, height) {
    const none = { shift: () => [0, 0], turn: () => null };
    const extents = new Map(rows.map((y) => [y, [Infinity, -Infinity]])), widen = (y, from, to) => { const one = extents.get(y); if (one) { one[0] = Math.min(one[0], from); one[1] = Math.max(one[1], to); } };
    at.forEach((point, i) => { const [x] = map(point); widen(point[1], x - sizes[i].w / 2, x + sizes[i].w / 2); });
    const layer = new Map(rows.map((y, i) => [y, i])), crossing = rows.map(() => 0), bent = rows.map(() => false);
    for (const [a, b, ...bends] of group.edges) {
      for (let i = 0; i < bends.length; i += 2) { const [x] = map([bends[i], bends[i + 1]]); widen(bends[i + 1], x, x); }
      const level = (end) => end === -1 ? -1 : end === -2 ? rows.length : layer.get(at[end][1]), [from, to] = [level(a), level(b)].sort((one, other) => one - other);
      for (let i = Math.max(from, 0); i < Math.min(to, rows.length - 1); i++) { crossing[i] += 1; bent[i] ||= bends.length > 0 || to - from > 1; }
    }
    const edge = (y, side) => map([0, y])[1] + side * height(y) / 2;
    const left = Math.min(...[...extents.values()].map(([from]) => from)), right = Math.max(...[...extents.values()].map(([, to]) => to));
    const all = rows.length ? edge(rows[rows.length - 1], 1) - edge(rows[0], -1) : 0, most = Math.floor(Math.sqrt(1.6 * all / (right - left + COLUMN)));
    if (rows.length < 12 || most < 2) return none;
    const parts = [[]];
    rows.forEach((y, i) => {
      const part = parts[parts.length - 1];
      part.push(y);
      if (i < rows.length - 1 && crossing[i] <= 1 && !bent[i] && parts.length < most && edge(y, 1) - edge(part[0], -1) >= 0.92 * all / most && edge(rows[rows.length - 1], 1) - edge(y, 1) > 0.35 * all / most) parts.push([]);
    });
    if (parts.length < 2) return none;
    const shifts = new Map(), starts = [], top = edge(rows[0], -1);
    let x = 0;
    for (const part of parts) {
      const from = Math.min(...part.map((y) => extents.get(y)[0])), to = Math.max(...part.map((y) => extents.get(y)[1]));
      part.forEach((y) => shifts.set(y, [x - from, top - edge(part[0], -1), starts.length]));
      starts.push(x - COLUMN / 2);
      x += to - from + COLUMN;
    }
    const nearest = (y) => shifts.get(y) || shifts.get(y < rows[0] ? rows[0] : rows[rows.length - 1]);
    return { shift: nearest, turn: (a, b) => nearest(a)[2] === nearest(b)[2] ? null : starts[nearest(b)[2]] };
  }
  function curve(points) {
    let d = `M${points[0].map(Math.round)}`;
    for (let i = 1; i < points.length; i++) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      const bend = Math.max(Math.abs(y1 - y0) / 2, y1 < y0 ? 40 : 0);
      d += x0 === x1 ? `L${Math.round(x1)},${Math.round(y1)}` : `C${Math.round(x0)},${Math.round(y0 + bend)} ${Math.round(x1)},${Math.round(y1 - bend)} ${Math.round(x1)},${Math.round(y1)}`;
    }
    return d;
  }

  // -- the graph ---------------------------------------------------------------------------------------------------
  const svg = el("svg", { role: "img", "aria-label": "the network", tabindex: 0 });
  const world = el("g", {});
  svg.append(world);
  const visible = new Map(); // node → box of itself, or of the folded group that holds it
  function draw() {
    visible.clear(); shapes.length = links.length = 0; world.replaceChildren();
    drawn = place(model.tree);
    paint(drawn, 0, 0);
    mark(); move();
  }
  // What is chosen, on the graph as it is drawn.
  const shapes = [], links = []; // [element, nodes], [element, children at its ends]
  function mark() {
    const lit = litNodes();
    world.setAttribute("class", lit.all ? "" : "quiet");
    for (const [shape, nodes] of shapes) shape.classList.toggle("lit", !lit.all && nodes.some((node) => lit.sites.has(node) || lit.drags.has(node)));
    for (const [link, ends] of links) link.classList.toggle("lit", state.node !== null && ends.includes(state.node));
    world.querySelectorAll(".ring").forEach((ring) => ring.remove());
    rings(lit);
  }
  function litNodes() {
    const lit = { sites: new Set(), drags: new Set(), all: true };
    if (state.finding !== null) { const finding = result.findings[state.finding]; finding.sites.forEach((site) => site.node !== null && lit.sites.add(site.node)); finding.drags.forEach((node) => lit.drags.add(node)); lit.all = lit.sites.size + lit.drags.size === 0; }
    else if (state.lit) { model.nodes.forEach((_, node) => where(node) === state.lit && lit.sites.add(node)); lit.all = false; }
    return lit;
  }
  function paint(placed, x, y) {
    const within = el("g", { transform: `translate(${x},${y})` });
    world.append(within);
    for (const box of placed.boxes) if (box.group) within.append(drawGroup(box));
    for (const path of placed.paths) {
      const ends = [path.a, path.b].map((i) => i >= 0 ? placed.group.children[i] : null);
      const [all, quantized] = path.flow;
      const link = el("path", { class: `link ${quantized === all ? "quantized" : quantized ? "some" : ""} ${path.up ? "back" : ""}`, d: path.d });
      links.push([link, ends]);
      within.append(link);
    }
    placed.boxes.forEach((box) => {
      if (typeof box.child === "number") { visible.set(box.child, { x: x + box.x, y: y + box.y, w: box.w, h: box.h }); within.append(kept(drawNode(box.child, box), [box.child])); }
      else if (box.group) paint(box, x + box.x, y + box.y);
      else { box.child.nodes.forEach((node) => visible.set(node, { x: x + box.x, y: y + box.y, w: box.w, h: box.h })); within.append(kept(drawFolded(box), box.child.nodes)); }
    });
  }
  function kept(shape, nodes) { shapes.push([shape, nodes]); return shape; }
  function badge(nodes, box) {
    const level = worst(nodes);
    if (!level) return [];
    const n = new Set(nodes.flatMap((node) => result.marks[node])).size;
    return [el("circle", { class: `badge ${level}`, cx: box.x + box.w - 3, cy: box.y + 2, r: 8 }), el("text", { x: box.x + box.w - 3, y: box.y + 5.5 }, n > 99 ? "99" : String(n))];
  }
  function drawNode(node, box) {
    const told = model.nodes[node], place = where(node), plain = told.kind === "input" || told.kind === "output";
    const named = told.name === told.kind ? "" : told.name;
    return el("g", { class: `node ${place} ${plain ? "edge" : ""} ${told.role && told.role !== "data" ? "faint" : ""}`, "data-node": node, onclick: () => choose(node) },
      el("title", {}, `${told.name}\n${told.kind}${result.placed[node] ? ` · ${place}` : ""}`),
      el("rect", { class: "box", x: box.x, y: box.y, width: box.w, height: box.h, rx: plain ? 14 : 6 }),
      plain ? null : el("rect", { class: "side", x: box.x, y: box.y, width: 5, height: box.h, rx: 2.5 }),
      el("text", { class: "kind", x: box.x + 13, y: box.y + 17 }, start(told.kind, place !== "integer" && place !== "none" ? 10 : 19)),
      el("text", { class: "name", x: box.x + 13, y: box.y + 31 }, tail(named, 23)),
      place === "integer" || place === "none" ? null : el("text", { class: "tag", x: box.x + box.w - 12, y: box.y + 16 }, place),
      badge([node], box));
  }
  function drawFolded(box) {
    const { child } = box;
    const made = el("g", { class: "folded", "data-group": child.id, onclick: () => unfold(child.id) },
      el("title", {}, `${child.name}\n${summary(child)}\nclick to unfold`),
      el("rect", { class: "box", x: box.x + 4, y: box.y + 4, width: box.w, height: box.h, rx: 7 }),
      el("rect", { class: "box", x: box.x, y: box.y, width: box.w, height: box.h, rx: 7 }),
      el("text", { x: box.x + 12, y: box.y + 19 }, start(child.name, 20)),
      el("text", { class: "count", x: box.x + 12, y: box.y + 33 }, start(`${count(working(child).length, "op")} · ${kinds(child)}`, 24)));
    let x = box.x + 12;
    for (const [place, share] of shares(child.nodes)) { const w = share * (box.w - 24); made.append(el("rect", { class: `share ${place}`, x, y: box.y + 41, width: Math.max(w, 1), height: 6 })); x += w; }
    made.append(...badge(child.nodes, box));
    return made;
  }
  function drawGroup(box) {
    const { child } = box;
    return el("g", { class: "group", "data-group": child.id },
      el("rect", { class: "box", x: box.x, y: box.y, width: box.w, height: box.h, rx: 9 }),
      el("rect", { class: "title", x: box.x, y: box.y, width: box.w, height: TITLE, rx: 7, onclick: () => fold(child.id) }, el("title", {}, "click to fold")),
      el("text", { x: box.x + 11, y: box.y + 17 }, `▾ ${start(child.name, Math.floor((box.doors.get(-1) > 110 ? box.doors.get(-1) - 20 : box.w - 20) / 7.4))}`));
  }
  const working = (group) => group.nodes.filter((node) => model.nodes[node].native !== undefined); // no inputs and outputs
  function kinds(group) {
    const counts = new Map();
    working(group).forEach((node) => counts.set(model.nodes[node].kind, (counts.get(model.nodes[node].kind) || 0) + 1));
    return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 2).map(([kind]) => kind).join(", ");
  }
  function summary(group) {
    const counts = PLACES.map((place) => [group.nodes.filter((node) => result.placed[node] && where(node) === place).length, place]);
    const work = shares(group.nodes).map(([place, share]) => `${place} ${percent(share)}`).join(", ");
    return [count(working(group).length, "op"), work && `work: ${work}`, ...counts.filter(([n]) => n).map(([n, place]) => `${n} ${place}`)].filter(Boolean).join(" · ");
  }
  function rings(lit) {
    const ring = (node, sort) => { const box = visible.get(node); if (box) world.append(el("rect", { class: `ring ${sort}`, x: box.x - 4, y: box.y - 4, width: box.w + 8, height: box.h + 8, rx: 9 })); };
    if (state.finding !== null) { lit.drags.forEach((node) => ring(node, "drag")); lit.sites.forEach((node) => ring(node, "")); }
    if (state.node !== null) ring(state.node, "self");
  }
  function unfold(id) { reveal(() => { for (let at = id; at >= 0; at = groups[at].parent) state.open.add(at); }, id); }
  function fold(id) { reveal(() => { state.open.delete(id); groups.forEach((group) => { for (let at = group.parent; at >= 0; at = groups[at].parent) if (at === id) state.open.delete(group.id); }); }, id); }
  // Keep the group where it was on the screen while everything around it moves.
  function reveal(change, id) {
    const before = visible.get(groups[id].nodes[0]), k = state.view.k;
    const corner = before && { x: before.x * k + state.view.x, y: before.y * k + state.view.y };
    change(); draw();
    const after = visible.get(groups[id].nodes[0]);
    if (corner && after) { state.view.x = corner.x - after.x * k; state.view.y = corner.y - after.y * k; move(); }
  }
  // Unfold what holds these nodes, as far as that leaves something to look at; the first one in any case.
  function show(nodes) {
    let shown = [...state.open].reduce((sum, id) => sum + groups[id].children.length, 0), anew = false;
    nodes.forEach((node, i) => {
      const closed = [];
      for (let at = nodeGroup[node]; at >= 0; at = groups[at].parent) if (!state.open.has(at)) closed.push(at);
      const more = closed.reduce((sum, id) => sum + groups[id].children.length, 0);
      if (closed.length && (i === 0 || shown + more <= 3 * ENOUGH)) { closed.forEach((id) => state.open.add(id)); shown += more; anew = true; }
    });
    if (anew) draw(); else mark();
  }
  function everything(open) {
    state.open = open ? new Set(groups.map((group) => group.id)) : first();
    draw(); fit();
  }

  // -- the view ----------------------------------------------------------------------------------------------------
  function move() { world.setAttribute("transform", `translate(${state.view.x},${state.view.y}) scale(${state.view.k})`); }
  function zoom(factor, x = svg.clientWidth / 2, y = svg.clientHeight / 2) {
    const view = state.view, k = Math.min(4, Math.max(0.02, view.k * factor));
    view.x = x - (x - view.x) * k / view.k; view.y = y - (y - view.y) * k / view.k; view.k = k;
    move();
  }
  // The whole graph if it can be read so, else its beginning.
  function fit(whole = false) {
    const w = svg.clientWidth, h = svg.clientHeight, wide = (w - 20) / drawn.w, tall = (h - 60) / drawn.h;
    const k = whole ? Math.max(Math.min(1.15, wide, tall), 0.06) : Math.min(1.15, Math.max(Math.min(wide, tall < 0.6 ? 0.8 : tall), 0.55));
    const first = visible.get(0);
    const x = drawn.w * k > w && first ? Math.max(w - drawn.w * k, Math.min(0, w / 2 - (first.x + first.w / 2) * k)) : (w - drawn.w * k) / 2;
    state.view = { k, x, y: drawn.h * k > h - 60 ? 4 - TITLE * k : (h - 40 - drawn.h * k) / 2 };
    move();
  }
  function hidden(node) {
    const box = visible.get(node), { x, y, k } = state.view;
    return !box || box.x * k + x < 0 || box.y * k + y < 0 || (box.x + box.w) * k + x > svg.clientWidth || (box.y + box.h) * k + y > svg.clientHeight;
  }
  function look(nodes) {
    const boxes = nodes.map((node) => visible.get(node)).filter(Boolean);
    if (!boxes.length) return;
    const w = svg.clientWidth, h = svg.clientHeight;
    let left = Math.min(...boxes.map((b) => b.x)), right = Math.max(...boxes.map((b) => b.x + b.w)), top = Math.min(...boxes.map((b) => b.y)), bottom = Math.max(...boxes.map((b) => b.y + b.h));
    const all = Math.min((w - 80) / (right - left), (h - 120) / (bottom - top));
    if (all < 0.45) { const [b] = boxes; [left, right, top, bottom] = [b.x, b.x + b.w, b.y, b.y + b.h]; } // too far apart to read: the first one
    const k = Math.max(0.45, Math.min(all < 0.45 ? 0.9 : all, Math.max(state.view.k, 0.75), 1.3));
    const within = (at, size, room) => size <= room ? at : Math.min(30, Math.max(room - 70 - size, at)); // no more of the empty page than needed
    state.view = { k, x: within(w / 2 - k * (left + right) / 2, drawn.w * k, w), y: within(h / 2 - k * (top + bottom) / 2, drawn.h * k, h) };
    move();
  }
  const pointers = new Map();
  let dragged = false;
  svg.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, [event.clientX, event.clientY]); dragged = false; });
  addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (!dragged && Math.hypot(dx, dy) < 4) return;
    dragged = true; svg.classList.add("dragging");
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1], bounds = svg.getBoundingClientRect();
      const far = Math.hypot(event.clientX - other[0], event.clientY - other[1]), was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      zoom(far / Math.max(was, 1), other[0] - bounds.left, other[1] - bounds.top);
    } else { state.view.x += dx; state.view.y += dy; move(); }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, (event) => { pointers.delete(event.pointerId); svg.classList.remove("dragging"); });
  svg.addEventListener("click", (event) => { if (dragged) { event.stopPropagation(); dragged = false; } else if (event.target === svg) clear(); }, true);
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const bounds = svg.getBoundingClientRect();
    if (event.shiftKey) { state.view.x -= event.deltaY; move(); }
    else zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - bounds.left, event.clientY - bounds.top);
  }, { passive: false });

  // -- choosing ----------------------------------------------------------------------------------------------------
  function choose(node, quietly = false) {
    state.node = node; state.finding = null;
    const first = result.marks[node].find((at) => passes(result.findings[at]));
    show([node]); list(); details();
    if (quietly || hidden(node)) look([node]);
    if (first !== undefined && state.tab === "findings") { const row = document.querySelector(`[data-finding="${first}"]`); if (row) row.scrollIntoView({ block: "nearest" }); }
  }
  function open(at) {
    state.finding = at; state.node = null;
    const finding = result.findings[at], nodes = [...new Set(finding.sites.map((site) => site.node))].filter((node) => node !== null);
    show(nodes.slice(0, MOST)); list(); details(); look(nodes);
    const row = document.querySelector(`[data-finding="${at}"]`);
    if (row) row.scrollIntoView({ block: "nearest" });
  }
  function clear() { if (state.finding === null && state.node === null && !state.lit) return; state.finding = state.node = null; state.lit = ""; list(); mark(); details(); legend(); }
  function walkTo(up) {
    if (state.node === null) return choose(model.nodes.findIndex((node) => node.kind === "input") >= 0 ? model.nodes.findIndex((node) => node.kind === "input") : 0, true);
    const next = up ? (model.nodes[state.node].in.find((feed) => feed.from !== null) || {}).from : (readers[state.node][0] || [])[0];
    if (next !== undefined) choose(next, true);
  }

  // -- the list: findings, quantizers, operators ---------------------------------------------------------------------
  const asked = (...texts) => { const words = state.search.toLowerCase().split(/\s+/).filter(Boolean), all = texts.join("\n").toLowerCase(); return words.every((word) => all.includes(word)); };
  const passes = (finding) => !state.off.has(finding.accepted ? "accepted" : finding.consequence) && (!state.rule || finding.rule === state.rule) &&
    asked(finding.rule, finding.code, finding.subject, finding.what, finding.meaning, finding.consequence, ...finding.sites.map((site) => `${site.op} ${site.tensor}`));
  const listed = el("div", { class: "scroll" });
  const filters = el("div", { class: "filters" });
  const tabs = el("div", { class: "tabs", role: "tablist" });
  const input = el("input", { type: "search", placeholder: "search findings, operators, tensors  ( / )", "aria-label": "search", oninput: () => { state.search = input.value; list(); } });
  function list() {
    const found = result.findings.map((finding, at) => [finding, at]).filter(([finding]) => passes(finding));
    fill(tabs, ...[["findings", `Findings ${result.findings.filter((finding) => !finding.accepted).length}`], ["quantizers", "Scales and ranges"]].map(([tab, label]) =>
      el("button", { role: "tab", "aria-selected": String(state.tab === tab), onclick: () => { state.tab = tab; list(); } }, label)));
    const sort = (finding) => finding.accepted ? "accepted" : finding.consequence;
    const consequences = [...new Set(result.findings.map(sort))], rules = [...new Set(result.findings.map((finding) => finding.rule))].sort();
    filters.hidden = state.tab !== "findings" || (result.findings.length < 2 && !result.findings.some((finding) => finding.accepted));
    fill(filters, 
      el("select", { "aria-label": "rule", onchange: (event) => { state.rule = event.target.value; list(); } }, el("option", { value: "" }, `all rules (${rules.length})`),
        rules.map((rule) => el("option", { value: rule, selected: state.rule === rule }, `${rule} (${result.findings.filter((finding) => finding.rule === rule).length})`))),
      ...consequences.map((consequence) => el("button", { class: `chip ${consequence === "accepted" ? "" : result.findings.find((finding) => sort(finding) === consequence).severity}`, "aria-pressed": String(!state.off.has(consequence)), title: "show or hide findings of this consequence",
        onclick: () => { state.off.has(consequence) ? state.off.delete(consequence) : state.off.add(consequence); list(); } }, `${consequence} ${result.findings.filter((finding) => sort(finding) === consequence).length}`)));
    const rows = state.tab === "findings" ? found.map(([finding, at]) => findingRow(finding, at)) : quantizers();
    if (state.tab === "findings" && !found.length) rows.push(el("div", { class: "empty" }, result.findings.length ? "No finding matches." : result.outcome === null ? "Nothing was found." : "No findings: everything that is known about this model on this backend is as it should be."));
    if (state.tab === "findings" && result.outcome === "refused") rows.unshift(el("div", { class: "empty refused" }, el("b", {}, "The backend refuses the model."), " The colours show what would run where if it loaded."));
    if (state.tab === "findings" && (result.reasons.length && !result.findings.some((finding) => finding.consequence === "refused"))) rows.unshift(el("div", { class: "empty" }, `It says: ${result.reasons.join("; ")}`));
    if (state.search) rows.push(...operators());
    if (state.tab === "findings" && model.notes.length && !state.search) rows.push(el("h2", {}, "what the reader says"), ...model.notes.slice(0, MOST).map((note) => el("div", { class: "row dim" }, el("span", { style: "white-space:normal" }, note))));
    const top = listed.scrollTop;
    fill(listed, rows); listed.scrollTop = top;
  }
  function findingRow(finding, at) {
    const current = state.finding === at || (state.node !== null && result.marks[state.node].includes(at));
    const row = el("button", { class: `finding ${finding.severity} ${finding.accepted ? "accepted" : ""}`, "data-finding": at, "aria-current": String(current), onclick: () => open(at) },
      el("div", { class: "head" }, el("b", {}, finding.rule), el("span", { class: "dim" }, finding.code), el("span", { class: "consequence" }, finding.consequence)),
      el("div", { class: "subject" }, finding.subject),
      el("div", { class: "what" }, finding.what), finding.accepted ? el("div", { class: "dim" }, finding.accepted) : null,
      el("div", { class: "more" }, finding.meaning ? el("p", {}, finding.meaning) : null, finding.notes.map((note) => el("p", { class: "dim" }, note)), finding.drags.length ? el("p", { class: "dim" }, `${count(finding.drags.length, "operator")} more affected (dashed)`) : null));
    if (!current || finding.sites.length < 2) return row;
    const sites = finding.sites.slice(0, MOST).map((site) => el("button", { class: "mono", onclick: () => site.node !== null && (show([site.node]), look([site.node])) }, site.port ? `${site.op} · ${site.port}` : site.op));
    return el("div", {}, row, el("div", { class: "sites" }, sites));
  }
  function operators() {
    const found = [];
    model.nodes.forEach((node, at) => { if (found.length <= MOST && asked(node.name, node.kind, node.native || "", ...(node.out || []).map((out) => out.tensor))) found.push(at); });
    return [el("h2", {}, `operators (${found.length > MOST ? `first ${MOST}` : found.length})`), ...found.slice(0, MOST).map(operatorRow)];
  }
  const operatorRow = (node) => el("button", { class: "row", title: model.nodes[node].name, onclick: () => choose(node, true) },
    el("span", { class: "mono" }, el("i", { class: `dot ${where(node)}` }), model.nodes[node].name), el("span", { class: "dim" }, model.nodes[node].kind));

  // -- quantizers --------------------------------------------------------------------------------------------------
  function grids() {
    const found = [], seen = new Set();
    model.nodes.forEach((node, at) => node.in.forEach((feed) => feed.q.forEach((q) => {
      const key = `${feed.tensor}\0${q}`;
      if (seen.has(key)) return;
      seen.add(key);
      found.push({ node: feed.from ?? at, reader: at, tensor: feed.tensor, weight: feed.constant, q: model.quantizers[q] });
    })));
    return found;
  }
  function quantizers() {
    const all = grids(), found = all.filter((one) => asked(one.tensor, one.q.storage, model.nodes[one.reader].name));
    if (!all.length) return [el("div", { class: "empty" }, "The model has no quantizers.")];
    const known = found.filter((one) => one.q.scale);
    return [
      el("h2", {}, "scale, in the order of the file (log)"), scalePlot(known), el("h2", {}, "range of activations (signed log)"), rangePlot(found.filter((one) => one.q.range && !one.weight)),
      el("div", { class: "row dim" }, el("span", {}, el("i", { class: "dot", style: "background:var(--accent)" }), "activation  ", el("i", { class: "dot", style: "background:var(--float)" }), "weight or other constant")),
      el("h2", {}, `quantizers (${found.length})`),
      ...found.slice(0, MOST).map((one) => el("button", { class: "row", title: `${one.tensor}\n${one.q.text}`, onclick: () => choose(one.reader, true) },
        el("span", { class: "mono" }, one.tensor), el("span", { class: "dim", style: "white-space:nowrap" }, `${one.q.storage} · ${one.q.scale ? number(one.q.scale[0]) + (one.q.count > 1 ? ` ×${one.q.count}` : "") : "not constant"}`))),
      found.length > MOST ? el("div", { class: "empty" }, `${found.length - MOST} more; search narrows them down.`) : null,
    ];
  }
  const WIDE = 346;
  function frame(h, low, high, label, y) {
    const plot = el("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${h}`, role: "img" });
    for (let i = 0; i <= 3; i++) { const value = low + (high - low) * i / 3; plot.append(el("line", { class: "axis", x1: 38, x2: WIDE, y1: y(value), y2: y(value) }), el("text", { x: 34, y: y(value) + 3, "text-anchor": "end" }, label(value))); }
    return plot;
  }
  const chosen = (one) => state.node !== null && (one.node === state.node || one.reader === state.node) ? "chosen" : "";
  function scalePlot(found) {
    if (!found.length) return el("div", { class: "empty" }, "No scale stands in the file.");
    const logs = found.flatMap((one) => one.q.scale).filter((scale) => scale > 0).map(Math.log10), low = Math.floor(Math.min(...logs, 0) * 2) / 2, high = Math.ceil(Math.max(...logs, low + 0.5) * 2) / 2;
    const y = (log) => 6 + (high - log) / (high - low) * 104, x = (i) => 42 + (i + 0.5) * (WIDE - 46) / found.length, plot = frame(118, low, high, (log) => tick(10 ** log), y);
    found.forEach((one, i) => {
      const [a, b] = one.q.scale.map((scale) => y(Math.log10(Math.max(scale, 10 ** low)))), sort = one.weight ? "weight" : "activation", go = () => choose(one.reader, true);
      const mark = one.q.count > 1 ? el("line", { class: `span thin ${sort} ${chosen(one)}`, x1: x(i), x2: x(i), y1: a + 0.6, y2: b - 0.6, onclick: go }) : el("circle", { class: `${sort} ${chosen(one)}`, cx: x(i), cy: a, r: found.length > 200 ? 1.2 : 2.4, onclick: go });
      mark.append(el("title", {}, `${one.tensor}\n${one.q.text}`)); plot.append(mark);
    });
    return plot;
  }
  function rangePlot(found) {
    if (!found.length) return el("div", { class: "empty" }, "No range can be told from the file.");
    const squash = (v) => Math.sign(v) * Math.log10(1 + Math.abs(v) * 10), back = (s) => Math.sign(s) * (10 ** Math.abs(s) - 1) / 10;
    const ends = found.flatMap((one) => one.q.range).filter((v) => v !== null).map(squash), low = Math.min(...ends, 0), high = Math.max(...ends, low + 0.1);
    const y = (s) => 6 + (high - s) / (high - low) * 104, x = (i) => 42 + (i + 0.5) * (WIDE - 46) / found.length, plot = frame(118, low, high, (s) => tick(back(s)), y);
    plot.append(el("line", { class: "zero", x1: 38, x2: WIDE, y1: y(0), y2: y(0) }));
    found.forEach((one, i) => {
      const [a, b] = one.q.range.map((v) => y(squash(v === null ? 0 : v)));
      plot.append(el("line", { class: `span activation ${chosen(one)}`, style: `stroke-width:${Math.min(5, Math.max(0.8, 220 / found.length))}`, x1: x(i), x2: x(i), y1: a, y2: b, onclick: () => choose(one.reader, true) }, el("title", {}, `${one.tensor}\n${number(one.q.range[0])} to ${number(one.q.range[1])}`)));
    });
    return plot;
  }
  // One quantizer beside the tensor that it is on: its range around zero, or the scales of its channels.
  function grid(q) {
    const made = el("div", { class: "grid" }, el("div", { class: "mono" }, q.text));
    if (q.range && q.range.every((v) => v !== null)) {
      const [low, high] = q.range, far = Math.max(Math.abs(low), Math.abs(high)) || 1, x = (v) => 150 + v / far * 140;
      made.append(el("svg", { viewBox: "0 0 300 30", role: "img" }, el("line", { class: "axis", x1: 6, x2: 294, y1: 10, y2: 10 }), el("line", { class: "span activation", x1: x(low), x2: x(high), y1: 10, y2: 10 }), el("line", { class: "zero", x1: 150, x2: 150, y1: 3, y2: 17 }),
        el("text", { x: Math.max(x(low), 2), y: 27 }, number(low)), el("text", { x: 150, y: 27, "text-anchor": "middle" }, low < 0 && high > 0 ? "0" : ""), el("text", { x: 298, y: 27, "text-anchor": "end" }, number(high))));
    }
    if (q.scales) {
      const logs = q.scales.map((scale) => Math.log10(Math.max(scale, 1e-12))), low = Math.min(...logs), high = Math.max(...logs), w = 288 / logs.length;
      made.append(el("svg", { viewBox: "0 0 300 30", role: "img" }, logs.map((log, i) => { const h = 3 + (log - low) / (high - low || 1) * 14; return el("rect", { class: "weight", x: 6 + i * w, y: 18 - h, width: Math.max(w - 0.8, 0.6), height: h }); }),
        el("text", { x: 6, y: 28 }, `${count(q.count, "scale")}, ${number(q.scale[0])} to ${number(q.scale[1])} (log)`)));
    }
    return made;
  }

  // -- details of an operator ----------------------------------------------------------------------------------------
  const side = el("aside", { id: "details", "aria-label": "operator", hidden: true });
  function details() {
    side.hidden = state.node === null;
    if (state.node === null) return;
    const node = model.nodes[state.node], placed = result.placed[state.node];
    const total = model.nodes.reduce((sum, one) => sum + (one.macs || 0), 0);
    const fact = (name, ...told) => [el("dt", {}, name), el("dd", {}, told)];
    const go = (to) => el("button", { class: "link-to mono", onclick: () => choose(to, true) }, model.nodes[to].name);
    const attrs = Object.entries(node.attrs || {});
    fill(side, 
      el("button", { class: "close", "aria-label": "close", onclick: clear }, "×"),
      el("h1", { class: "mono" }, node.name),
      el("div", { class: "dim" }, node.native && node.native.toLowerCase() !== node.kind ? `${node.kind} · ${node.native} in the file` : node.kind),
      placed ? el("dl", { class: "facts" },
        fact("runs in", el("span", { class: `tag ${placed[0]}` }, placed[0])), placed[1] ? fact("kernel", `${placed[1]}${placed[2] && placed[2] !== "none" ? ` (${placed[2]})` : ""}`) : null, placed[3] ? fact("note", placed[3]) : null,
        node.macs ? fact("work", `${big(node.macs)} MACs${total ? ` · ${number(100 * node.macs / total)} %` : ""}`) : null, node.source ? fact("from", el("span", { class: "mono" }, node.source)) : null) : el("dl", { class: "facts" }, node.source ? fact("from", el("span", { class: "mono" }, node.source)) : null),
      result.marks[state.node].length ? el("h2", {}, "findings") : null,
      result.marks[state.node].map((at) => el("button", { class: `feed ${result.findings[at].severity}`, style: "display:block;width:100%", onclick: () => open(at) }, el("b", {}, `${result.findings[at].rule} ${result.findings[at].code}`), el("div", {}, result.findings[at].what))),
      node.in.length ? el("h2", {}, "inputs") : null,
      node.in.map((feed) => el("div", { class: "feed" }, el("b", {}, feed.role ? `${feed.role} ` : ""), feed.from !== null ? go(feed.from) : el("span", { class: "mono" }, `${feed.constant ? "constant " : ""}${feed.tensor}`), el("div", { class: "dim" }, [feed.dtype, feed.shape].filter(Boolean).join(" · ")), feed.q.length ? feed.q.map((q) => grid(model.quantizers[q])) : feed.dtype.startsWith("float") ? el("div", { class: "dim" }, "no quantizer") : null)),
      readers[state.node].length ? el("h2", {}, "read by") : null,
      readers[state.node].slice(0, MOST).map(([to, feed]) => el("div", { class: "feed" }, go(to), el("span", { class: "dim" }, feed.role ? ` · ${feed.role}` : ""), feed.q.map((q) => grid(model.quantizers[q])))),
      (node.out || []).length ? [el("h2", {}, "outputs"), node.out.map((out) => el("div", { class: "feed" }, el("span", { class: "mono" }, out.tensor), el("div", { class: "dim" }, [out.dtype, out.shape].filter(Boolean).join(" · "))))] : [],
      attrs.length ? [el("h2", {}, "attributes"), el("dl", { class: "facts mono" }, attrs.map(([key, value]) => fact(key, value)))] : []);
    side.querySelectorAll("dl:empty").forEach((empty) => empty.remove());
    side.scrollTop = 0;
  }

  // -- the head and the legend -----------------------------------------------------------------------------------------
  const head = el("header", {});
  const marks = el("div", { class: "legend" });
  function header() {
    const backends = model.results.map((one, at) => el("button", { class: "backend", "data-backend": at, "aria-pressed": String(at === state.backend), onclick: () => { chooseBackend(at); all(); } },
      el("div", {}, el("b", {}, one.target || "no backend"), one.outcome === "refused" ? el("span", { class: "refused" }, "refuses it") : one.outcome !== null && one.share ? el("span", { class: "dim" }, `${one.share[0]} % of ${one.share[1]}`) : null), one.outcome === null ? null : barOf(at)));
    fill(head, 
      data.models.length > 1 ? el("select", { "aria-label": "model", onchange: (event) => { enter(+event.target.value); all(); fit(); } }, data.models.map((one, at) => el("option", { value: at, selected: at === state.model }, one.name))) : el("h1", { title: model.name }, model.name),
      el("span", { class: "dim" }, `${model.format} · ${count(model.ops, "op")} · ${model.quantization}`),
      el("div", { class: "backends" }, backends, el("span", {}, el("button", { class: "tool", title: "dark or light (d)", "aria-label": "dark or light", onclick: theme }, "◐"), " ", el("button", { class: "tool", title: "keys (?)", "aria-label": "keys", onclick: () => help.showModal() }, "?"))), failed);
  }
  function barOf(at) { const kept = result; result = model.results[at]; const made = bar(shares(model.nodes.map((_, node) => node))); result = kept; return made; }
  function legend() {
    const counts = PLACES.map((place) => [place, model.nodes.filter((_, node) => result.placed[node] && where(node) === place).length]).filter(([, n]) => n);
    fill(marks, ...counts.map(([place, n]) => el("button", { class: `chip ${place}`, "data-place": place, "aria-pressed": state.lit && state.lit !== place ? "false" : "true", title: "show only these", onclick: () => { state.lit = state.lit === place ? "" : place; state.finding = null; list(); legend(); mark(); } }, `${place} ${n}`)));
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function theme() { const root = document.documentElement; root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; }
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; });
  const KEYS = [["/", "search"], ["j  k", "next, previous finding"], ["↓  ↑", "along the data, from the chosen operator"], ["b", "next backend"], ["m", "next model"], ["+  −", "zoom"], ["0", "whole graph"], ["e  c", "unfold all, fold all"], ["d", "dark or light"], ["Esc", "let go"]];
  const help = el("dialog", {}, el("h1", { style: "font-size:15px;margin:0 0 10px" }, `qlint ${data.qlint}`), el("dl", { class: "facts" }, KEYS.map(([key, told]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, told)])), el("p", { class: "dim" }, "Drag to move, wheel to zoom. Blue lines are quantized, grey ones are not."), el("button", { class: "tool", onclick: () => help.close() }, "close"));
  addEventListener("keydown", (event) => {
    if (!model || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.key === "Escape") { if (document.activeElement === input) input.blur(); return clear(); }
    if (event.target.closest("input, select")) return;
    const step = (by) => { const rows = result.findings.map((_, at) => at).filter((at) => passes(result.findings[at])), now = rows.indexOf(state.finding); if (rows.length) open(rows[(now + by + rows.length + (now < 0 && by < 0 ? 1 : 0)) % rows.length]); };
    const actions = { "/": () => input.focus(), j: () => step(1), k: () => step(-1), ArrowDown: () => walkTo(false), ArrowUp: () => walkTo(true), b: () => { chooseBackend((state.backend + 1) % model.results.length); all(); }, m: () => { enter((state.model + 1) % data.models.length); all(); fit(); }, "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => fit(true), e: () => everything(true), c: () => everything(false), d: theme, "?": () => help.showModal() };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });

  function all() { header(); list(); draw(); legend(); details(); }
  const failed = data.failures.length ? el("div", { class: "failures" }, data.failures.map((one) => el("div", {}, el("b", {}, one.model ? `${one.model}: ` : ""), one.message, one.hint ? el("span", { class: "dim" }, ` · ${one.hint}`) : null))) : null;
  const tool = (label, title, action) => el("button", { class: "tool", title, "aria-label": title, onclick: action }, label);
  document.getElementById("app").append(
    head,
    el("aside", { id: "list", "aria-label": "findings" }, el("div", { class: "search" }, input, tabs, filters), listed),
    el("main", {}, svg, marks, el("div", { class: "zoom" }, tool("⊞", "unfold all (e)", () => everything(true)), tool("⊟", "fold all (c)", () => everything(false)), tool("−", "smaller (-)", () => zoom(0.8)), tool("+", "larger (+)", () => zoom(1.25)), tool("⤢", "whole graph (0)", () => fit(true)))),
    side, help);
  if (data.models.length) { enter(0); all(); fit(); }
  else { fill(head, el("h1", {}, "Nothing could be checked"), failed); document.querySelectorAll("#list, .zoom").forEach((one) => one.remove()); }
})();
