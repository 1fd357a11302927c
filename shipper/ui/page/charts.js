// Charts as SVG, without a library. Each returns an element; what is clicked or dragged is told to `on`.
const NS = "http://www.w3.org/2000/svg";
const W = 400, H = 130, LEFT = 40, BOTTOM = 16, TOP = 6;

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function short(value, unit = "") {
  if (value == null || Number.isNaN(value)) return "–";
  if (unit === "percentunit") return `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`;
  if (unit === "ms") return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  const steps = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, letter] of steps) if (Math.abs(value) >= size) return `${(value / size).toFixed(1)}${letter}`;
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 1 ? 3 : 1);
}

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function frame(title, from, to, top, unit, on) {
  const made = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  for (const share of [0, 0.5, 1]) {
    const y = TOP + (H - TOP - BOTTOM) * (1 - share);
    made.append(svg("line", { class: "axis", x1: LEFT, x2: W, y1: y, y2: y }));
    made.append(svg("text", { x: LEFT - 4, y: y + 3, "text-anchor": "end" }, short(top * share, unit)));
  }
  for (const share of [0, 0.5, 1]) {
    const at = LEFT + (W - LEFT) * share;
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    made.append(svg("text", { x: at, y: H - 3, "text-anchor": anchor }, clock(from + (to - from) * share)));
  }
  drag(made, from, to, on);
  return made;
}

// Dragging over any chart sets the time for all of them.
function drag(chart, from, to, on) {
  let begun = null;
  const mark = svg("rect", { class: "select", y: TOP, height: H - TOP - BOTTOM, width: 0, x: 0 });
  const at = (event) => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * W;
    return Math.min(Math.max(x, LEFT), W);
  };
  const time = (x) => from + ((x - LEFT) / (W - LEFT)) * (to - from);
  chart.addEventListener("pointerdown", (event) => { begun = at(event); chart.append(mark); });
  chart.addEventListener("pointermove", (event) => {
    if (begun === null) return;
    const now = at(event);
    mark.setAttribute("x", Math.min(begun, now));
    mark.setAttribute("width", Math.abs(now - begun));
  });
  const end = (event) => {
    if (begun === null) return;
    const now = at(event), first = begun;
    begun = null;
    mark.remove();
    if (Math.abs(now - first) > 6) on.range(time(Math.min(first, now)), time(Math.max(first, now)));
  };
  chart.addEventListener("pointerup", end);
  chart.addEventListener("pointerleave", end);
}

const place = (value, from, to) => LEFT + ((value - from) / (to - from || 1)) * (W - LEFT);
const height = (value, top) => TOP + (H - TOP - BOTTOM) * (1 - value / (top || 1));

// series: [{name, points: [[ms, value]]}]
export function lines(title, series, { from, to, unit, step, on, field }) {
  const top = Math.max(...series.flatMap((one) => one.points.map(([, value]) => value)), 0) * 1.1 || 1;
  const chart = frame(title, from, to, top, unit, on);
  series.forEach((one, number) => {
    let path = "", last = null;
    for (const [at, value] of one.points) {
      const gap = last === null || at - last > step * 1500;
      path += `${gap ? "M" : "L"}${place(at, from, to).toFixed(1)} ${height(value, top).toFixed(1)}`;
      if (gap) path += "h1.5";
      last = at;
    }
    const drawn = svg("path", { class: `line c${number % 6}`, d: path, "data-series": one.name });
    drawn.append(svg("title", {}, one.name));
    chart.append(drawn);
  });
  return [chart, legend(series, unit, on, field)];
}

export function stacked(title, series, { from, to, unit, step, on, field, classes }) {
  const sums = new Map();
  for (const one of series) for (const [at, value] of one.points) sums.set(at, (sums.get(at) ?? 0) + value);
  const top = Math.max(...sums.values(), 0) * 1.05 || 1;
  const chart = frame(title, from, to, top, unit, on);
  const base = new Map();
  const width = Math.max(place(from + step * 1000, from, to) - LEFT - 0.4, 0.6);
  series.forEach((one, number) => {
    for (const [at, value] of one.points) {
      const below = base.get(at) ?? 0;
      base.set(at, below + value);
      const y = height(below + value, top);
      const bar = svg("rect", {
        class: classes?.[one.name] ?? `c${number % 6}`, fill: "currentColor", stroke: "none", "data-click": one.name,
        x: place(at, from, to).toFixed(1), width: width.toFixed(1), y: y.toFixed(1),
        height: Math.max(height(below, top) - y, 0).toFixed(1),
      });
      bar.append(svg("title", {}, `${one.name}: ${value}`));
      bar.addEventListener("click", () => on.narrow(field, one.name, at, at + step * 1000));
      chart.append(bar);
    }
  });
  return [chart, legend(series, unit, on, field, classes)];
}

// cells: [[ms, row's name, count]]; rows in order, the lowest first
export function heatmap(title, cells, rows, { from, to, step, on }) {
  const chart = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
  const most = Math.max(...cells.map(([, , count]) => count), 1);
  const tall = (H - TOP - BOTTOM) / Math.max(rows.length, 1);
  const width = Math.max(place(from + step * 1000, from, to) - LEFT - 0.3, 0.8);
  rows.forEach((row, number) => {
    if (number % Math.ceil(rows.length / 7)) return;
    chart.append(svg("text", { x: LEFT - 4, y: H - BOTTOM - number * tall - tall / 2 + 3, "text-anchor": "end" }, row));
  });
  for (const [at, row, count] of cells) {
    const number = rows.indexOf(row);
    const cell = svg("rect", {
      class: "c3", stroke: "none", fill: "currentColor", "fill-opacity": (0.08 + 0.92 * Math.sqrt(count / most)).toFixed(2),
      x: place(at, from, to).toFixed(1), width: width.toFixed(1), "data-click": row,
      y: (H - BOTTOM - (number + 1) * tall).toFixed(1), height: (tall - 0.3).toFixed(1),
    });
    cell.append(svg("title", {}, `${clock(at)} up to ${row} ms: ${count}`));
    cell.addEventListener("click", () => on.narrow("duration_le", row, at, at + step * 1000));
    chart.append(cell);
  }
  for (const share of [0, 0.5, 1]) {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    chart.append(svg("text", { x: LEFT + (W - LEFT) * share, y: H - 3, "text-anchor": anchor }, clock(from + (to - from) * share)));
  }
  drag(chart, from, to, on);
  return [chart];
}

function legend(series, unit, on, field, classes) {
  const entries = series.slice(0, 8).map((one, number) => {
    const last = one.points.length ? one.points[one.points.length - 1][1] : null;
    const text = html("button", { type: "button", class: classes?.[one.name] ?? `c${number % 6}`, title: field ? `only ${one.name}` : "" },
      "● ", one.name, " ", html("b", {}, short(last, unit)));
    if (field) text.addEventListener("click", () => on.narrow(field, one.name));
    return text;
  });
  return html("div", { class: "legend" }, ...entries);
}

// items: [{name, value, fields: {field: value}}]
export function bars(items, unit, on) {
  const most = Math.max(...items.map((item) => item.value), 0) || 1;
  return html("div", { class: "bars" }, ...items.map((item) => {
    const made = html("button", { type: "button", title: item.name },
      html("meter", { min: 0, max: most, value: item.value, "aria-hidden": "true" }),
      html("span", {}, item.name), html("span", {}, short(item.value, unit)));
    made.addEventListener("click", () => on.fields(item.fields));
    return made;
  }));
}

export function cloud(items, on) {
  const most = Math.max(...items.map((item) => item.value), 1);
  return html("div", { class: "cloud" }, ...items.map((item) => {
    const size = 1 + Math.round(4 * Math.sqrt(item.value / most));
    const made = html("button", { type: "button", class: `s${Math.min(size, 5)}`, title: `${item.value} times` }, item.name);
    made.addEventListener("click", () => on.fields(item.fields));
    return made;
  }));
}
