// The page around the picture (`share_scene.js`, which comes first): data, colours, legend and controls.
// Text of the run is only ever set as textContent.

async function unpack() {
  const text = atob(at("data").textContent);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const kinds = { int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };
  const found = {};
  let start = 0;
  for (const [name, kind, count] of facts.arrays) {
    const end = start + count * kinds[kind].BYTES_PER_ELEMENT;
    found[name] = new kinds[kind](bytes.slice(start, end));
    start = end;
  }
  at("data").remove();
  return found;
}

// --------------------------------------------------------------------------------------------------- colours

const side = () => (at("purified").checked ? "purified" : "raw");
const labels = () => arrays[at("coloring").value === "truth" ? "truth" : `label ${side()}`];

// Colour of point i as three numbers into `into` at 4 i.
function painter(into) {
  const put = (i, color) => {
    into[4 * i] = color[0];
    into[4 * i + 1] = color[1];
    into[4 * i + 2] = color[2];
  };
  const label = labels();
  const { red, green, blue, truth } = arrays;
  switch (at("coloring").value) {
    case "photo":
      return (i) => put(i, [red[i], green[i], blue[i]]);
    case "heat": {
      const heat = arrays[`heat ${side()} ${at("word").value}`];
      return (i) => put(i, facts.hot[heat[i]]);
    }
    case "score": {
      const score = arrays[`score ${side()}`];
      return (i) => put(i, facts.hot[score[i]]);
    }
    case "errors":
      return (i) => put(i, errorColor(truth[i], label[i]));
    default:
      return (i) => put(i, facts.colors[label[i]]);
  }
}

function errorColor(truth, label) {
  if (truth === NONE) return facts.colors[NONE];
  if (label === NONE) return facts.unlabelled;
  return truth === label ? facts.right : facts.wrong;
}

function paint() {
  const count = arrays.x.length;
  const colors = new Uint8Array(4 * count); // the fourth number: whether the point is shown
  const label = labels();
  const paintOne = painter(colors);
  for (let i = 0; i < count; i++) {
    paintOne(i);
    colors[4 * i + 3] = hidden.has(label[i]) ? 0 : 255;
  }
  gl.bindBuffer(gl.ARRAY_BUFFER, points.colors);
  gl.bufferData(gl.ARRAY_BUFFER, colors, gl.DYNAMIC_DRAW);
  draw();
}

// ----------------------------------------------------------------------------------------------------- panel

function element(parent, kind, text = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.appendChild(made);
  return made;
}

function choices(select, names) {
  names.forEach(([value, text]) => (element(select, "option", text).value = value));
}

function legend() {
  const place = at("legend");
  place.replaceChildren();
  for (const [index, count] of facts.legends[at("coloring").value === "truth" ? "truth" : side()]) {
    const row = element(place, "div");
    row.className = "row";
    const button = element(row, "button");
    button.setAttribute("aria-pressed", String(!hidden.has(index)));
    button.title = facts.names[index];
    element(button, "i").style.backgroundColor = `rgb(${facts.colors[index]})`;
    element(button, "b", facts.names[index]);
    element(button, "span", count.toLocaleString("en"));
    button.onclick = () => {
      if (!hidden.delete(index)) hidden.add(index);
      refresh();
    };
    element(row, "button", "only").onclick = () => {
      hidden = new Set(facts.names.keys());
      hidden.delete(index);
      refresh();
    };
  }
}

function refresh() {
  const coloring = at("coloring").value;
  const asked = facts.words[at("word").value];
  at("asking").hidden = coloring !== "heat";
  at("asking").style.display = coloring === "heat" ? "" : "none";
  at("scale").hidden = !["heat", "score"].includes(coloring);
  const [low, high] = at("ends").children;
  const heat = coloring === "heat" && asked[side()];
  low.textContent = heat ? `cosine ${heat.low.toFixed(3)}` : "";
  high.textContent = heat ? heat.high.toFixed(3) : "";
  at("meaning").textContent = heat ? heat.verdict : facts.meanings[coloring][side()];
  legend();
  paint();
}

function panel() {
  const [shown, all] = [arrays.x.length, facts.points];
  const left = all > shown ? ` ${(all - shown).toLocaleString("en")} are left out (a fair sample is here).` : "";
  at("count").textContent = `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} points are here.${left}`;
  const known = Object.keys(facts.meanings).filter((name) => name !== "heat" || facts.words.length);
  choices(at("coloring"), known.map((name) => [name, name]));
  at("coloring").value = "label";
  choices(at("word"), facts.words.map((word, i) => [i, word.text]));
  const stops = [0, 64, 128, 191, 255].map((i) => `rgb(${facts.hot[i]})`);
  at("ramp").style.background = `linear-gradient(to right, ${stops})`;
  at("objects").style.display = facts.boxes.length ? "" : "none";
  facts.boxes.forEach((box) => (element(at("signs"), "span", box.name).hidden = true));
  for (const id of ["coloring", "word", "purified"]) at(id).addEventListener("change", refresh);
  for (const id of ["size", "cut", "background", "boxes"]) at(id).addEventListener("input", draw);
  at("all").onclick = () => (hidden.clear(), refresh());
  at("home").onclick = () => (home(), draw());
}

async function main() {
  document.querySelector("details").open = window.innerWidth > 700;
  at("name").textContent = document.title = facts.name || "purify3d";
  gl = canvas.getContext("webgl2", { antialias: false });
  if (!gl || !window.DecompressionStream) throw new Error("this page needs WebGL 2 and DecompressionStream: a newer browser");
  arrays = await unpack();
  measure();
  panel();
  listen();
  start();
  refresh();
}

main().catch((error) => (at("count").textContent = `nothing can be shown: ${error.message}`));
