"use strict";
// The picture of a shared run: points and boxes in WebGL 2, and the camera that mouse, fingers and keys move.

const at = (id) => document.getElementById(id);
const facts = JSON.parse(at("facts").textContent);
const canvas = at("canvas");
const NONE = facts.names.length - 1; // the label that stands for "no label"
let hidden = new Set(); // labels whose points are not shown
const camera = { turn: -1.05, tilt: 0.85, distance: 1, target: [0, 0, 0] };
const FIELD = 0.9; // radians from the top of the picture to its bottom
let arrays, gl, points, lines;
let drawn = false; // whether a picture is on its way


const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const plus = (a, b, times = 1) => a.map((value, i) => value + times * b[i]);
const [EAST, NORTH, UP] = facts.frame;

// --------------------------------------------------------------------------------------------------- drawing

const POINTS = `#version 300 es
in float x, y, z;
in vec4 color;
uniform mat4 view;
uniform vec3 step, up;
uniform float size, largest, cut;
out vec3 shade;
void main() {
  vec3 place = vec3(x, y, z) * step;
  gl_Position = view * vec4(place, 1.0);
  gl_PointSize = clamp(size / gl_Position.w, 1.0, largest);
  if (color.a == 0.0 || dot(place, up) > cut) gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  shade = color.rgb;
}`;
const LINES = `#version 300 es
in vec3 place, color;
uniform mat4 view;
out vec3 shade;
void main() {
  gl_Position = view * vec4(place, 1.0);
  shade = color;
}`;
const SHADE = `#version 300 es
precision mediump float;
in vec3 shade;
out vec4 color;
void main() { color = vec4(shade, 1.0); }`;

function program(vertex) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, SHADE]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "no shader");
  return made;
}

// A buffer whose numbers, `width` at a time, are the attribute `name`; bytes arrive as 0..1.
function attribute(made, name, data, width) {
  const buffer = gl.createBuffer();
  const place = gl.getAttribLocation(made, name);
  const kind = data instanceof Int16Array ? gl.SHORT : data instanceof Uint8Array ? gl.UNSIGNED_BYTE : gl.FLOAT;
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, width, kind, kind === gl.UNSIGNED_BYTE, 0, 0);
  return buffer;
}

function start() {
  points = { program: program(POINTS), array: gl.createVertexArray() };
  gl.bindVertexArray(points.array);
  for (const axis of ["x", "y", "z"]) attribute(points.program, axis, arrays[axis], 1);
  points.colors = attribute(points.program, "color", new Uint8Array(4), 4);
  lines = { program: program(LINES), array: gl.createVertexArray() };
  gl.bindVertexArray(lines.array);
  attribute(lines.program, "place", arrays.edges, 3);
  const colors = facts.boxes.flatMap((box) => Array(24).fill(box.color).flat());
  attribute(lines.program, "color", new Uint8Array(colors), 3);
  gl.enable(gl.DEPTH_TEST);
  paint();
}

// Where the camera stands, and its axes: right, top and back (away from what it sees).
function stand() {
  const flat = plus(EAST.map((value) => value * Math.cos(camera.turn)), NORTH, Math.sin(camera.turn));
  const back = plus(flat.map((value) => value * Math.cos(camera.tilt)), UP, Math.sin(camera.tilt));
  const right = plus(NORTH.map((value) => value * Math.cos(camera.turn)), EAST, -Math.sin(camera.turn));
  const top = plus(UP.map((value) => value * Math.cos(camera.tilt)), flat, -Math.sin(camera.tilt));
  return { right, top, back, eye: plus(camera.target, back, camera.distance) };
}

// Share of the picture's width that the panel covers, where there is room beside it.
function covered() {
  const panel = document.querySelector("details");
  return panel.open && canvas.clientWidth > 700 ? panel.offsetWidth / canvas.clientWidth : 0;
}

// Clip coordinates from those of the scene, column after column.
function viewing({ right, top, back, eye }) {
  const tall = 1 / Math.tan(FIELD / 2);
  const wide = (tall * canvas.height) / canvas.width;
  const near = camera.distance / 100;
  const far = camera.distance + 4 * radius;
  const depth = [-(far + near) / (far - near), (-2 * far * near) / (far - near)];
  const rows = [right, top, back].map((axis) => [...axis, -dot(axis, eye)]);
  const clip = [
    rows[0].map((value, i) => value * wide + covered() * rows[2][i]), // the middle is that of what is free
    rows[1].map((value) => value * tall),
    rows[2].map((value, i) => value * depth[0] + (i === 3 ? depth[1] : 0)),
    rows[2].map((value) => -value),
  ];
  return new Float32Array([0, 1, 2, 3].flatMap((column) => clip.map((row) => row[column])));
}

function draw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    if (arrays && !gl.isContextLost()) drawNow();
  });
}

function drawNow() {
  const dense = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * dense));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * dense));
  gl.viewport(0, 0, canvas.width, canvas.height);
  const color = at("background").value;
  gl.clearColor(...[1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255), 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const view = viewing(stand());
  const uniform = (made, name) => gl.getUniformLocation(made.program, name);
  gl.useProgram(points.program);
  gl.bindVertexArray(points.array);
  gl.uniformMatrix4fv(uniform(points, "view"), false, view);
  gl.uniform3fv(uniform(points, "step"), facts.step);
  gl.uniform3fv(uniform(points, "up"), UP);
  const pixels = canvas.height / (2 * Math.tan(FIELD / 2)); // of a metre at a distance of one
  gl.uniform1f(uniform(points, "size"), 1.5 * spacing * at("size").value * pixels);
  gl.uniform1f(uniform(points, "largest"), 24 * dense);
  gl.uniform1f(uniform(points, "cut"), cut());
  gl.drawArrays(gl.POINTS, 0, arrays.x.length);
  if (at("boxes").checked) {
    gl.useProgram(lines.program);
    gl.bindVertexArray(lines.array);
    gl.uniformMatrix4fv(uniform(lines, "view"), false, view);
    gl.drawArrays(gl.LINES, 0, arrays.edges.length / 3);
  }
  placeSigns(view);
}

// Place on the page, in pixels, and distance of (x, y, z); null behind the camera.
function project(view, place) {
  const [x, y, , w] = [0, 1, 2, 3].map((row) => dot([view[row], view[row + 4], view[row + 8]], place) + view[row + 12]);
  if (w <= 0) return null;
  return [((x / w + 1) / 2) * canvas.clientWidth, ((1 - y / w) / 2) * canvas.clientHeight, w];
}

function placeSigns(view) {
  const shown = at("boxes").checked;
  facts.boxes.forEach((box, i) => {
    const sign = at("signs").children[i];
    const place = shown && project(view, box.center);
    sign.hidden = !place;
    if (place) sign.style.transform = `translate(${place[0]}px, ${place[1]}px) translate(-50%, -50%)`;
  });
}

// ---------------------------------------------------------------------------------------------------- camera

let radius, highest, spacing; // metres; the middle is at height 0

function measure() {
  const half = ["x", "y", "z"].map((axis, i) => facts.step[i] * arrays[axis].reduce((a, b) => Math.max(a, Math.abs(b)), 1));
  radius = Math.max(Math.hypot(...half), 0.05);
  highest = half.reduce((sum, value, i) => sum + value * Math.abs(UP[i]), 0);
  spacing = facts.spacing * Math.sqrt(facts.points / Math.max(arrays.x.length, 1)); // of a sample: wider
  home();
}

const cut = () => (at("cut").value === "1" ? 1e9 : (2 * at("cut").value - 1) * highest);

const place = (i) => [arrays.x[i] * facts.step[0], arrays.y[i] * facts.step[1], arrays.z[i] * facts.step[2]];

// As near as all points are still seen.
function home() {
  Object.assign(camera, { turn: -1.05, tilt: 0.85, target: [0, 0, 0], distance: radius });
  const { right, top, back } = stand();
  const tall = Math.tan(FIELD / 2) * 0.95;
  const wide = (tall * (1 - covered()) * canvas.clientWidth) / canvas.clientHeight;
  for (let i = 0; i < arrays.x.length; i += 7) {
    const point = place(i);
    const aside = Math.max(Math.abs(dot(point, right)) / wide, Math.abs(dot(point, top)) / tall);
    camera.distance = Math.max(camera.distance, dot(point, back) + aside);
  }
}

function turn(across, down) {
  camera.turn -= across;
  camera.tilt = Math.min(Math.max(camera.tilt + down, -1.57), 1.57);
}

function move(across, down) {
  const { right, top } = stand();
  const metres = (2 * camera.distance * Math.tan(FIELD / 2)) / canvas.clientHeight;
  camera.target = plus(plus(camera.target, right, -across * metres), top, down * metres);
}

function zoom(factor) {
  camera.distance = Math.min(Math.max(camera.distance * factor, radius / 500), radius * 20);
}

// The shown point nearest to the camera within a few pixels of a place becomes the middle.
function center(x, y) {
  const view = viewing(stand());
  const label = labels();
  let best = null;
  let nearest = Infinity;
  for (let i = 0; i < arrays.x.length; i++) {
    if (hidden.has(label[i])) continue;
    const point = place(i);
    if (dot(point, UP) > cut()) continue;
    const seen = project(view, point);
    if (seen && seen[2] < nearest && Math.hypot(seen[0] - x, seen[1] - y) < 8) [best, nearest] = [point, seen[2]];
  }
  if (best) camera.target = best;
}

function listen() {
  const fingers = new Map();
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, spacing: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (fingers.size === 2) {
      const old = spread();
      fingers.set(event.pointerId, now);
      const next = spread();
      move(next.x - old.x, next.y - old.y);
      zoom(old.spacing / Math.max(next.spacing, 1));
    } else if (fingers.size === 1) {
      const [across, down] = [now.x - before.x, now.y - before.y];
      if (event.buttons & 6 || event.shiftKey) move(across, down);
      else turn(across / 200, down / 200);
      fingers.set(event.pointerId, now);
    }
    draw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", (event) => (center(event.clientX, event.clientY), draw()));
  const wheel = (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.min(Math.max(event.deltaY * (event.deltaMode ? 20 : 1), -300), 300) / 700));
    draw();
  };
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1),
      ArrowDown: () => turn(0, 0.1), "+": () => zoom(0.9), "-": () => zoom(1.1) };
    if (!keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
    draw();
  });
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", start);
  document.querySelector("details").addEventListener("toggle", draw);
  new ResizeObserver(draw).observe(canvas);
}
