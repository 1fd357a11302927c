// Which service calls which, as a graph from left to right; the same as a list for who cannot see it.
import { html, number, short, svg, visible } from "./dom.js";

const WIDE = 120, TALL = 38, ACROSS = 96, DOWN = 14, MOST = 40, SMALLEST = 0.84;

export function topology({ services, edges }, on) {
  const stats = new Map(services.map((one) => [one.service, one]));
  const shown = edges.slice(0, MOST);
  const names = [...new Set([...services.map((one) => one.service), ...shown.flatMap((edge) => [edge.caller, edge.callee])])];
  const outside = new Set(shown.filter((edge) => edge.external && !stats.has(edge.callee)).map((edge) => edge.callee));
  const depth = layers(names, shown);
  const columns = [];
  for (const name of names) (columns[depth.get(name)] ??= []).push(name);
  const solid = columns.filter(Boolean);
  const rows = Math.max(...solid.map((column) => column.length));
  const height = rows * (TALL + DOWN) + 8, width = solid.length * WIDE + (solid.length - 1) * ACROSS + 4;
  const place = new Map();
  solid.forEach((column, x) => column.forEach((name, y) => {
    place.set(name, { x: 2 + x * (WIDE + ACROSS), y: 4 + ((height - 8) / column.length) * (y + 0.5) - TALL / 2 });
  }));
  const picture = svg("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "services" });
  // Never so small that nobody can read it: it scrolls instead.
  Object.assign(picture.style, { width: `${width}px`, maxWidth: "100%", minWidth: `${width * SMALLEST}px` });
  const calls = svg("g", { "aria-hidden": "true" });
  const most = Math.max(...shown.map((edge) => edge.calls), 1);
  const words = [], ends = new Map();
  for (const edge of shown) {
    const from = place.get(edge.caller), to = place.get(edge.callee);
    if (!from || !to || from === to) continue;
    const back = to.x <= from.x;
    const x1 = from.x + (back ? 0 : WIDE), x2 = to.x + (back ? WIDE : 0), y1 = from.y + TALL / 2, y2 = to.y + TALL / 2;
    const bend = back ? -40 : ACROSS / 2;
    const look = edge.rate > 0.01 ? "bad" : "";
    const line = svg("path", { class: `edge ${look}`, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "stroke-width": (1 + 3 * Math.sqrt(edge.calls / most)).toFixed(1) });
    line.append(svg("title", {}, told(edge)));
    calls.append(line);
    // Beside the arrow's end, where lines that began together are apart, on the side that the line does not come from.
    const many = ends.get(edge.callee) ?? 0;
    ends.set(edge.callee, many + 1);
    const near = { x: back ? x2 + 7 : x2 - 7, "text-anchor": back ? "start" : "end", class: look };
    const says = [`${short(edge.calls)} · ${short(edge.p95, "ms")}`, ...(edge.rate ? [`✗ ${short(edge.rate, "percentunit")}`] : [])];
    const below = back || y2 > y1 + 2;
    says.forEach((text, at) => {
      const row = below ? at : -at;
      words.push(svg("text", { ...near, y: below ? y2 + 14 + (row + many * 2) * 13 : y2 - 6 + (row - many * 2) * 13 }, text));
    });
  }
  calls.append(...words);
  picture.append(calls);
  for (const [name, at] of place) {
    const one = stats.get(name), inside = !outside.has(name);
    const more = inside ? { tabindex: 0, role: "button", "aria-label": `only ${visible(name)}` } : {};
    const node = svg("g", { class: `node ${inside ? "" : "outside"}`, "data-service": name, ...more });
    node.append(svg("title", {}, visible(name)), svg("rect", { x: at.x, y: at.y, width: WIDE, height: TALL, rx: 7 }),
      svg("text", { x: at.x + WIDE / 2, y: at.y + (one ? 16 : 23), "text-anchor": "middle", class: "name" }, cut(visible(name))));
    if (one) node.append(svg("text", { x: at.x + WIDE / 2, y: at.y + 30, "text-anchor": "middle", class: one.rate > 0.01 ? "bad" : "" }, `${short(one.requests)} · P95 ${short(one.p95, "ms")}`));
    if (inside) {
      node.addEventListener("click", () => on.narrow("service", name));
      node.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); on.narrow("service", name); } });
    }
    picture.append(node);
  }
  const list = html("ul", { class: "sr" }, ...shown.map((edge) => html("li", { "data-edge": `${edge.caller}>${edge.callee}`, "data-calls": edge.calls }, told(edge))));
  const more = edges.length > shown.length ? html("p", { class: "quiet tight" }, `the ${MOST} busiest of ${number(edges.length)} calls`) : "";
  return { graph: html("div", { class: "scroll" }, picture, list, more), wide: solid.length > 4 || rows > 5 };
}

const cut = (name) => (name.length > 15 ? `${name.slice(0, 14)}…` : name);
const told = (edge) => `${edge.caller} calls ${edge.callee}: ${short(edge.calls)} times, ${short(edge.rate, "percentunit")} failed, P50 ${short(edge.p50, "ms")}, P95 ${short(edge.p95, "ms")}`;

// How far from those whom nobody calls; circles are cut.
function layers(names, edges) {
  const depth = new Map();
  const callers = new Map(names.map((name) => [name, edges.filter((edge) => edge.callee === name && edge.caller !== name).map((edge) => edge.caller)]));
  const far = (name, seen) => {
    if (depth.has(name)) return depth.get(name);
    if (seen.has(name)) return -1;
    seen.add(name);
    const found = Math.max(-1, ...callers.get(name).map((caller) => far(caller, seen))) + 1;
    seen.delete(name);
    if (!seen.size) depth.set(name, found);
    return found;
  };
  for (const name of names) depth.set(name, far(name, new Set()));
  return depth;
}
