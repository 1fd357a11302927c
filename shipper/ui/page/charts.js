// Charts as SVG, without a library, drawn at the size that they are shown at. What is clicked or dragged is told to `on`.
import { clock, date, html, short, svg } from "./dom.js";

const LEFT = 44, RIGHT = 6, BOTTOM = 18, TOP = 8;
const shown = new Set();
let deployed = [];

// When what was deployed: [{at, words}], drawn into every chart.
export function deployments(found) {
  deployed = found;
  for (const known of shown) known.deref()?.frame?.deployments();
}

// A chart is drawn anew when its place changes its width. `draw(frame)` fills it; `at(ms)` returns rows for the tip.
function chart(title, summary, height, span, draw, at) {
  const box = html("div", { class: "chart", role: "img", "aria-label": `${title}. ${summary}` });
  let width = 0;
  const paint = () => {
    if (!box.clientWidth || box.clientWidth === width) return;
    width = box.clientWidth;
    const frame = new Frame(width, height, span);
    draw(frame);
    drag(frame, span, at);
    box.replaceChildren(frame.svg);
    box.frame = frame;
    frame.deployments();
  };
  new ResizeObserver(paint).observe(box);
  shown.add(new WeakRef(box));
  return box;
}

class Frame {
  constructor(width, height, { from, to }) {
    Object.assign(this, { width, height, from, to });
    this.svg = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  }

  x(at) { return LEFT + ((at - this.from) / (this.to - this.from || 1)) * (this.width - LEFT - RIGHT); }
  y(share) { return TOP + (this.height - TOP - BOTTOM) * (1 - share); }
  time(x) { return this.from + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.to - this.from); }

  scale(top, unit) {
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.y(share)) + 0.5;
      this.svg.append(svg("line", { class: "axis", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      this.svg.append(svg("text", { x: LEFT - 6, y: y + 3, "text-anchor": "end" }, short(top * share, unit)));
    }
  }

  // A line for each deployment; where there is room, with its words.
  deployments() {
    for (const one of this.svg.querySelectorAll(".deployed")) one.remove();
    let last = -Infinity;
    for (const { at, words } of deployed) {
      if (at < this.from || at > this.to) continue;
      const x = Math.round(this.x(at)) + 0.5;
      const made = svg("g", { class: "deployed", "data-deployed": words }, svg("line", { x1: x, x2: x, y1: TOP - 4, y2: this.height - BOTTOM }), svg("path", { d: `M${x - 4} ${TOP - 8}h8l-4 6z` }), svg("title", {}, `deployed: ${words}`));
      if (this.width > 700 && x - last > 130) made.append(svg("text", { x: x + (x > this.width - 160 ? -7 : 7), y: TOP + 1, "text-anchor": x > this.width - 160 ? "end" : "start" }, words));
      last = x;
      this.svg.append(made);
    }
  }

  times() {
    const steps = [1, 5, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 345600, 604800, 1209600];
    const room = Math.max(Math.floor((this.width - LEFT) / 68), 2);
    const step = (steps.find((one) => (this.to - this.from) / 1000 / one <= room) ?? 2592000) * 1000;
    // Round times of the reader's zone, whose distance from UTC may change within the range.
    const zone = (at) => new Date(at).getTimezoneOffset() * 60000;
    const begin = Math.ceil((this.from - zone(this.from)) / step) * step;
    for (let local = begin; local <= this.to - zone(this.to); local += step) {
      const at = local + zone(local + zone(local));
      const x = this.x(at);
      if (at < this.from || at > this.to) continue;
      const words = step >= 86400000 ? date(at).slice(5) : clock(at, step < 60000);
      this.svg.append(svg("line", { class: "tick", x1: x, x2: x, y1: this.height - BOTTOM, y2: this.height - BOTTOM + 3 }));
      const anchor = x > this.width - 24 ? "end" : "middle";
      this.svg.append(svg("text", { x: Math.min(x, this.width - 2), y: this.height - 4, "text-anchor": anchor }, words));
    }
  }
}

function nice(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 6, 8, 10].map((one) => one * size).find((one) => one >= value * 1.02);
}

// Dragging over any chart sets the time for all of them; moving over one shows the moment in all of them.
function drag(frame, { on }, at) {
  const place = frame.svg;
  let begun = null;
  const mark = svg("rect", { class: "select", y: TOP, height: frame.height - TOP - BOTTOM, width: 0, x: 0 });
  const where = (event) => Math.min(Math.max(event.clientX - place.getBoundingClientRect().left, LEFT), frame.width - RIGHT);
  place.addEventListener("pointerdown", (event) => { begun = where(event); });
  place.addEventListener("pointermove", (event) => {
    const now = where(event);
    hover(frame.time(now), event, at);
    if (begun === null || Math.abs(now - begun) < 4) return;
    if (!mark.isConnected) { place.append(mark); place.setPointerCapture(event.pointerId); }
    mark.setAttribute("x", Math.min(begun, now));
    mark.setAttribute("width", Math.abs(now - begun));
  });
  place.addEventListener("pointerup", (event) => {
    const first = begun, now = where(event);
    begun = null;
    if (first === null || !mark.isConnected) return;
    mark.remove();
    place.addEventListener("click", (click) => click.stopPropagation(), { capture: true, once: true });
    setTimeout(() => on.range(frame.time(Math.min(first, now)), frame.time(Math.max(first, now))));
  });
  place.addEventListener("pointerleave", () => { begun = null; mark.remove(); hover(null); });
}

function hover(at, event, rows) {
  for (const known of shown) {
    const box = known.deref();
    if (!box?.isConnected) { if (!box) shown.delete(known); continue; }
    const frame = box.frame;
    if (!frame) continue;
    let line = frame.svg.querySelector(".cross");
    if (at === null) { line?.remove(); continue; }
    if (!line) { line = svg("line", { class: "cross", y1: TOP, y2: frame.height - BOTTOM }); frame.svg.append(line); }
    const x = Math.round(frame.x(at)) + 0.5;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
  const tip = document.getElementById("tip");
  const found = at === null ? [] : rows?.(at) ?? [];
  tip.hidden = !found.length;
  if (tip.hidden) return;
  tip.replaceChildren(html("b", {}, clock(at, true)), ...found.map(([name, value, look]) => html("div", {}, swatch(look), ` ${name} `, html("b", {}, value))));
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - box.width - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - box.height - 8)}px`;
}

// A series is known by its colour and its dashes: not by colour alone.
function swatch(look) {
  if (!look) return "";
  const filled = look.startsWith("l-");
  const drawn = svg("svg", { class: `swatch ${look}`, width: 14, height: 8, "aria-hidden": "true" });
  drawn.append(filled ? svg("rect", { x: 2, width: 9, height: 8, rx: 2 }) : svg("path", { class: `line ${look}`, d: "M0 4h14" }));
  return drawn;
}

const nearest = (points, at, step) => {
  const found = points.find(([time]) => time <= at && at < time + step * 1000);
  return found ? found[1] : null;
};

function summary(series, unit) {
  return series.map((one) => {
    const values = one.points.map(([, value]) => value);
    return values.length ? `${one.name}: now ${short(values[values.length - 1], unit)}, highest ${short(Math.max(...values), unit)}` : "";
  }).join("; ");
}

// Steps without an event are 0 where something is counted, a gap where something is measured.
export function filled(points, { from, to, step }) {
  const known = new Map(points), made = [];
  const first = Math.floor(from / 1000 / step) * step * 1000;
  for (let at = first; at < to && made.length < 2000; at += step * 1000) made.push([at, known.get(at) ?? 0]);
  return made;
}

// What a legend says is now: the last step that is over, for one that has just begun says little.
const ended = (series, { step, to }) => series.map((one) => (one.points.length > 4 ? { ...one, points: one.points.filter(([at]) => at + step * 1000 <= to) } : one));

// series: [{name, points: [[ms, value]]}]
export function lines(title, series, span) {
  const { step, unit, on, field, whole, more } = span;
  const highest = nice(Math.max(...series.flatMap((one) => one.points.map(([, value]) => value)), 0));
  const top = unit === "percentunit" ? Math.min(highest, 1) : highest;
  const looks = series.map((_, index) => `c${index % 6}`);
  const drawn = chart(title, summary(series, unit), 142, span, (frame) => {
    frame.scale(top, unit);
    frame.times();
    series.forEach((one, index) => {
      let path = "", last = null;
      for (const [at, value] of one.points) {
        // The first and the last step are within the range only in part: their rates would say too little.
        const middle = at + step * 500;
        if (middle < frame.from || middle > frame.to || (whole && one.points.length > 4 && (at < frame.from || at + step * 1000 > frame.to))) continue;
        const gap = last === null || at - last > step * 1500;
        path += `${gap ? "M" : "L"}${frame.x(middle).toFixed(1)} ${frame.y(value / top).toFixed(1)}`;
        if (gap) path += "h.1";
        last = at;
      }
      frame.svg.append(svg("path", { class: `line ${looks[index]}`, d: path, "data-series": one.name, "data-points": JSON.stringify(one.points) }));
    });
  }, (at) => series.map((one, index) => [one.name, nearest(one.points, at, step), looks[index]]).filter(([, value]) => value !== null).map(([name, value, look]) => [name, short(value, unit), look]));
  return [drawn, legend(ended(series, span), looks, unit, on, field, false, more)];
}

export function stacked(title, series, span) {
  const { step, unit, on, field, looks, height = 104 } = span;
  const sums = new Map();
  for (const one of series) for (const [at, value] of one.points) sums.set(at, (sums.get(at) ?? 0) + value);
  const top = nice(Math.max(...sums.values(), 0));
  const drawn = chart(title, summary(series, unit), height, span, (frame) => {
    frame.scale(top, unit);
    frame.times();
    const base = new Map();
    const width = Math.max(frame.x(frame.from + step * 1000) - LEFT - 1, 1);
    series.forEach((one, index) => {
      for (const [at, value] of one.points) {
        // Few errors among many lines must be seen, too.
        const foot = base.get(at) ?? frame.y(0), y = Math.min(foot - (frame.y(0) - frame.y(value / top)), foot - 2), x = Math.max(frame.x(at), LEFT);
        base.set(at, y);
        const bar = svg("rect", {
          class: `bar ${looks[index]}`, "data-click": one.name, "data-count": value, "data-time": at, x: x.toFixed(1), y: y.toFixed(1),
          width: Math.max(Math.min(width, frame.x(at) + width - x, frame.width - RIGHT - x), 0.5).toFixed(1), height: (foot - y).toFixed(1),
        });
        bar.addEventListener("click", () => on.narrow(field, one.name, at, at + step * 1000));
        frame.svg.append(bar);
      }
    });
  }, (at) => series.map((one, index) => [one.name, nearest(one.points, at, step), looks[index]]).filter(([, value]) => value).map(([name, value, look]) => [name, short(value), look]));
  return [drawn, legend(series, looks, unit, on, field, true)];
}

// cells: [[ms, bucket, count]]; buckets in order, the lowest first. `over`: lines of milliseconds, drawn on the same scale.
export function heatmap(title, cells, buckets, over, span) {
  const { step, on } = span;
  const most = Math.max(...cells.map(([, , count]) => count), 1);
  const looks = over.map((_, index) => `q${index}`);
  const bound = (bucket) => (bucket === "+Inf" ? Infinity : Number(bucket));
  // A duration's place lies within its bucket, between the bound below and its own.
  const share = (value) => {
    const row = Math.max(buckets.findIndex((bucket) => value <= bound(bucket)), 0);
    const low = row ? bound(buckets[row - 1]) : 0, high = bound(buckets[row]);
    const part = Number.isFinite(high) ? Math.min(Math.max((value - low) / (high - low || 1), 0), 1) : 0.5;
    return (row + part) / buckets.length;
  };
  const drawn = chart(title, `${cells.length} cells; ${summary(over, "ms")}`, 142, span, (frame) => {
    const tall = (frame.height - TOP - BOTTOM) / Math.max(buckets.length, 1);
    const width = Math.max(frame.x(frame.from + step * 1000) - LEFT - 0.5, 1);
    const every = Math.ceil(buckets.length / 6);
    buckets.forEach((bucket, row) => {
      if (row % every === 0) frame.svg.append(svg("text", { x: LEFT - 6, y: frame.y((row + 0.5) / buckets.length) + 3, "text-anchor": "end" }, bucket === "+Inf" ? "∞" : short(Number(bucket), "ms")));
    });
    frame.times();
    for (const [at, bucket, count] of cells) {
      const row = buckets.indexOf(bucket), x = Math.max(frame.x(at), LEFT);
      const cell = svg("rect", {
        class: "cell", "fill-opacity": (0.1 + 0.9 * Math.sqrt(count / most)).toFixed(2), "data-click": bucket, "data-count": count, "data-time": at,
        x: x.toFixed(1), width: Math.max(frame.x(at) + width - x, 0.5).toFixed(1), y: frame.y((row + 1) / buckets.length).toFixed(1), height: Math.max(tall - 0.5, 1).toFixed(1),
      });
      cell.addEventListener("click", () => on.narrow("duration_le", bucket, at, at + step * 1000));
      frame.svg.append(cell);
    }
    over.forEach((one, index) => {
      let path = "", last = null;
      for (const [at, value] of one.points) {
        if (value === null) continue;
        const gap = last === null || at - last > step * 1500;
        path += `${gap ? "M" : "L"}${frame.x(at + step * 500).toFixed(1)} ${frame.y(share(value)).toFixed(1)}${gap ? "h.1" : ""}`;
        last = at;
      }
      frame.svg.append(svg("path", { class: "halo", d: path }), svg("path", { class: `line ${looks[index]}`, d: path, "data-series": one.name, "data-points": JSON.stringify(one.points) }));
    });
  }, (at) => [
    ...over.map((one, index) => [one.name, nearest(one.points, at, step), looks[index]]).filter(([, value]) => value !== null).map(([name, value, look]) => [name, short(value, "ms"), look]),
    ["requests", short(cells.filter(([time]) => time <= at && at < time + step * 1000).reduce((sum, [, , count]) => sum + count, 0)), ""],
  ]);
  return [drawn, legend(ended(over, span), looks, "ms", on, "")];
}

function legend(series, looks, unit, on, field, sum = false, more = 0) {
  return html("div", { class: "legend" }, ...series.map((one, index) => {
    const values = one.points.map(([, value]) => value);
    const told = sum ? values.reduce((all, value) => all + value, 0) : values[values.length - 1] ?? null;
    const parts = [swatch(looks[index]), " ", one.name, " ", html("b", {}, short(told, unit))];
    if (!field) return html("span", {}, ...parts);
    return html("button", { type: "button", title: `only ${one.name}`, onclick: () => on.narrow(field, one.name) }, ...parts);
  }), more ? html("span", {}, `and ${more} more`) : "");
}
