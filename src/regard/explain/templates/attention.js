for (const figure of document.querySelectorAll("figure.attention")) {
  const { source, target, weights, per, said, drawn = source.length, least = 0, across, below = 0 } =
    JSON.parse(figure.querySelector("script").textContent);
  const isPicture = across !== undefined; // one row at a time, laid over the picture; else all rows, one below the other
  const isPlaced = figure.querySelector(".most") !== null; // full colour is the strongest weight, else it is 1
  const svg = figure.querySelector(isPicture ? ".pictures svg:last-child" : "svg.heat-map"), plot = svg.querySelector(".plot");
  const reading = figure.querySelector(".reading"), choice = figure.querySelector("form"), shown = figure.querySelector(".shown");
  const columns = [...svg.querySelectorAll(".source-labels text")], rows = [...svg.querySelectorAll(".target-labels text")];
  const readers = [...figure.querySelectorAll(".readers label")];
  const { layer, head } = choice.elements;
  const isFixed = layer.options.length * head.options.length === 1; // there is nothing to choose
  const size = isPicture ? [drawn / across, across] : [target.length, drawn]; // of the grid: down, across
  let place = null; // [down, across] under the pointer or the arrow keys
  let reader = 0; // the row that a picture shows

  const chosen = () => weights[layer.value][head.value] ?? weights[layer.value][0];
  const weight = (row, column) => chosen()[row * source.length + column];
  const cell = (x, y, share) =>
    `<rect x="${x}" y="${y}" width="1" height="1" fill-opacity="${Math.pow(share, GAMMA).toFixed(3)}"/>`;
  const draw = () => {
    const every = target.map((_, row) => Array.from({ length: drawn }, (_, column) => weight(row, column)));
    const full = (isPlaced ? Math.max(...every.map((row) => Math.max(...row))) : per) || per;
    const squares = every.map((row, y) => row.map((one, x) => one <= least * full ? "" :
      isPicture ? cell(x % across, Math.floor(x / across), one / full) : cell(x, y, one / full)).join(""));
    svg.querySelector(".cells").innerHTML = isPicture ? squares[reader] : squares.join("");
    readers.forEach((label, row) => { label.querySelector(".cells").innerHTML = squares[row]; });
    if (isPlaced) figure.querySelector(".most").textContent = (full / per).toFixed(3);
    const which = head.options[head.selectedIndex].text, of = layer.options[layer.selectedIndex].text;
    if (isFixed) return;
    head.disabled = weights[layer.value].length < head.options.length;
    shown.textContent = head.disabled ? `layers: ${of}` : `layer ${of}, ${which === "mean" ? "mean over heads" : "head " + which}`;
  };
  const point = () => {
    const [down, right] = place ?? [-1, -1];
    svg.classList.toggle("dimmed", place !== null);
    columns.forEach((label, index) => label.classList.toggle("on", index === right));
    rows.forEach((label, index) => label.classList.toggle("on", index === down));
    svg.querySelector(".cursor").innerHTML = !place ? "" : `<rect x="${right}" y="${down}" width="1" height="1"/>` +
      (below ? `<rect x="${right}" y="${size[0] + 0.2}" width="1" height="${below}"/>` : "");
    reading.innerHTML = place || isPicture ? account(isPicture ? reader : down, isPicture ? down * across + right : right)
      : "<p>Point at a square to read its weight, or move over them with the arrow keys.</p>";
  };
  const account = (row, column) => { // the five that this row looks at most, and the one pointed at
    const weighed = source.map((name, index) => ({ name, index, weight: weight(row, index) / per }));
    const strongest = [...weighed].sort((one, other) => other.weight - one.weight).slice(0, 5);
    const listed = column < 0 || strongest.includes(weighed[column]) ? strongest : [...strongest, weighed[column]];
    const whole = isPlaced ? strongest[0].weight || 1 : 1;
    return `<p>${said[0]}<b>${escaped(target[row])}</b>${said[1]}</p><ul>` + listed.map(({ name, index, weight }) =>
      `<li${index === column ? ' class="on"' : ""}><span>${escaped(name)}</span><i style="width:${100 * weight / whole}%"></i>` +
      `<data value="${weight}">${weight.toFixed(3)}</data></li>`).join("") + "</ul>" +
      (isPicture && !place ? "<p>Point at a patch to read its weight, or move over them with the arrow keys.</p>" : "");
  };
  const move = (down, right) => {
    place = [clamp(down, 0, size[0] - 1), clamp(right, 0, size[1] - 1)];
    point();
  };

  const follow = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    move(Math.floor(at.y), Math.floor(at.x));
  };
  const pointed = isPicture ? svg : plot;
  pointed.addEventListener("pointermove", follow);
  pointed.addEventListener("pointerdown", follow);
  const leave = () => { place = null; point(); };
  pointed.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") leave(); });
  figure.addEventListener("focusout", leave);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || event.target !== figure) return;
    event.preventDefault();
    move((place?.[0] ?? -step[0]) + step[0], (place?.[1] ?? -step[1]) + step[1]);
  });
  for (const label of readers) {
    label.addEventListener("change", (event) => { reader = +event.target.value; draw(); point(); });
  }
  choice.addEventListener("change", () => { draw(); point(); });
  choice.hidden = isFixed;
  shown.classList.toggle("spoken", !isFixed);
  draw();
  point();
}
