const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const number = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });

for (const figure of document.querySelectorAll("figure.curves")) {
  const { box: [left, top, width, height], steps, values, lines } = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg.chart"), pointer = svg.querySelector(".pointer");
  const readings = [...figure.querySelectorAll("output")];
  const x = (step) => left + (steps[1] > steps[0] ? width * (step - steps[0]) / (steps[1] - steps[0]) : width / 2);
  const y = (value) => top + height * (values[1] - value) / (values[1] - values[0]);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const near = lines.map(({ points }) => points.reduce((best, point) =>
      !best || Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at) ? point : best, null));
    readings.forEach((reading, index) => {
      reading.textContent = near[index] ? `${number(near[index][1])} at ${near[index][0].toLocaleString("en")}` : "";
    });
    pointer.innerHTML = near.map((point, index) => point &&
      `<line x1="${x(point[0])}" x2="${x(point[0])}" y1="${top}" y2="${top + height}"/>` +
      `<circle class="line-${index}" cx="${x(point[0])}" cy="${y(point[1])}" r="4"/>`).join("");
  });
  svg.addEventListener("pointerleave", () => {
    pointer.innerHTML = "";
    readings.forEach((reading) => { reading.textContent = ""; });
  });
}

for (const figure of document.querySelectorAll("figure.attention")) {
  const { source, target, weights } = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg.heat-map"), plot = svg.querySelector(".plot"), ground = svg.querySelector(".ground");
  const reading = figure.querySelector(".reading"), choice = figure.querySelector("form"), shown = figure.querySelector(".shown");
  const across = [...svg.querySelectorAll(".source-labels text")], down = [...svg.querySelectorAll(".target-labels text")];
  const { layer, head } = choice.elements;
  let place = null; // [row, column] under the pointer or the arrow keys

  const chosen = () => weights[layer.value][head.value];
  const draw = () => {
    svg.querySelector(".cells").innerHTML = chosen().map((weight, index) => weight === 0 ? "" :
      `<rect x="${index % source.length}" y="${Math.floor(index / source.length)}" width="1" height="1" ` +
      `fill-opacity="${Math.pow(weight / 1000, GAMMA).toFixed(3)}"/>`).join("");
    const which = head.options[head.selectedIndex].text;
    shown.textContent = `layer ${+layer.value + 1}, ${which === "mean" ? "mean over heads" : "head " + which}`;
  };
  const point = () => {
    const [row, column] = place ?? [-1, -1];
    svg.classList.toggle("dimmed", place !== null);
    across.forEach((label, index) => label.classList.toggle("on", index === column));
    down.forEach((label, index) => label.classList.toggle("on", index === row));
    svg.querySelector(".cursor").innerHTML = place ? `<rect x="${column}" y="${row}" width="1" height="1"/>` : "";
    reading.innerHTML = place ? account(row, column) : "<p>Point at a square to read its weight, or move over them with the arrow keys.</p>";
  };
  const account = (row, column) => { // the five source tokens that this row looks at most, and the one pointed at
    const weighed = source.map((token, index) => ({ token, index, weight: chosen()[row * source.length + index] / 1000 }));
    const strongest = [...weighed].sort((one, other) => other.weight - one.weight).slice(0, 5);
    const listed = strongest.includes(weighed[column]) ? strongest : [...strongest, weighed[column]];
    return `<p>Writing <b>${escaped(target[row])}</b>, the decoder looks at</p><ul>` + listed.map(({ token, index, weight }) =>
      `<li${index === column ? ' class="on"' : ""}><span>${escaped(token)}</span><i style="width:${100 * weight}%"></i>` +
      `<data value="${weight}">${weight.toFixed(3)}</data></li>`).join("") + "</ul>";
  };
  const move = (row, column) => {
    place = [clamp(row, 0, target.length - 1), clamp(column, 0, source.length - 1)];
    point();
  };

  const follow = (event) => {
    const box = ground.getBoundingClientRect();
    move(Math.floor((event.clientY - box.top) / CELL), Math.floor((event.clientX - box.left) / CELL));
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  const leave = () => { place = null; point(); };
  plot.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") leave(); });
  figure.addEventListener("focusout", leave);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || event.target !== figure) return;
    event.preventDefault();
    move((place?.[0] ?? -step[0]) + step[0], (place?.[1] ?? -step[1]) + step[1]);
  });
  choice.addEventListener("change", () => { draw(); point(); });
  choice.hidden = false;
  shown.classList.add("spoken");
  draw();
  point();
}
