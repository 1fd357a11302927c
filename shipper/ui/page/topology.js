// Which service calls which, as a graph from left to right; the same as a list for who cannot see it.
import { html, short, svg, visible } from "./dom.js";

const WIDE = 122, TALL = 38, ACROSS = 160, DOWN = 12;

export function topology({ services, edges }, on) {
  const stats = new Map(services.map((one) => [one.service, one]));
  const shown = edges.slice(0, 24);
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
  const picture = svg("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  picture.style.maxHeight = `${Math.max(height, 150)}px`;
  const most = Math.max(...shown.map((edge) => edge.calls), 1);
  const words = [], ends = new Map();
  for (const edge of shown) {
    const from = place.get(edge.caller), to = place.get(edge.callee);
    if (!from || !to || from === to) continue;
    const back = to.x <= from.x;
    const x1 = from.x + (back ? 0 : WIDE), x2 = to.x + (back ? WIDE : 0), y1 = from.y + TALL / 2, y2 = to.y + TALL / 2;
    const bend = back ? -40 : ACROSS / 2;
    const line = svg("path", { class: `edge ${edge.rate > 0.01 ? "bad" : ""}`, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "stroke-width": (1 + 3 * Math.sqrt(edge.calls / most)).toFixed(1) });
    line.append(svg("title", {}, told(edge)));
    picture.append(line);
    // Beside the arrow's end, where lines that began together are apart.
    const many = ends.get(edge.callee) ?? 0;
    ends.set(edge.callee, many + 1);
    const look = edge.rate > 0.01 ? "bad" : "", x = back ? x2 + 8 : x2 - 8;
    const near = { x, "text-anchor": back ? "start" : "end", class: look };
    const failed = edge.rate ? ` · ✗ ${short(edge.rate, "percentunit")}` : "";
    // On the side that the line does not come from.
    const y = y2 > y1 + 2 ? y2 + 14 + many * 14 : y2 - 6 - many * 14;
    words.push(svg("text", { ...near, y }, `${short(edge.calls)} · ${short(edge.p95, "ms")}${failed}`));
  }
  picture.append(...words);
  for (const [name, at] of place) {
    const one = stats.get(name);
    const node = svg("g", { class: `node ${outside.has(name) ? "outside" : ""}`, "data-service": name });
    node.append(svg("rect", { x: at.x, y: at.y, width: WIDE, height: TALL, rx: 7 }),
      svg("text", { x: at.x + WIDE / 2, y: at.y + (one ? 16 : 23), "text-anchor": "middle", class: "name" }, visible(name).slice(0, 16)));
    if (one) node.append(svg("text", { x: at.x + WIDE / 2, y: at.y + 30, "text-anchor": "middle", class: one.rate > 0.01 ? "bad" : "" }, `${short(one.requests)} · P95 ${short(one.p95, "ms")}`));
    if (!outside.has(name)) node.addEventListener("click", () => on.narrow("service", name));
    picture.append(node);
  }
  const list = html("ul", { class: "sr" }, ...shown.map((edge) => html("li", { "data-edge": `${edge.caller}>${edge.callee}`, "data-calls": edge.calls }, told(edge))));
  return html("div", { class: "scroll" }, picture, list);
}

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
