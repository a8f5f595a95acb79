const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const number = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });

for (const figure of document.querySelectorAll("figure.curves")) {
  const { box: [left, top, width, height], steps, values, log, lines } = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg.chart"), pointer = svg.querySelector(".pointer");
  const readings = [...figure.querySelectorAll("output")];
  const at = log ? Math.log : (step) => step;
  const x = (step) => left + (steps[1] > steps[0] ? width * (at(step) - at(steps[0])) / (at(steps[1]) - at(steps[0])) : width / 2);
  const y = (value) => top + height * (values[1] - value) / (values[1] - values[0]);
  svg.addEventListener("pointermove", (event) => {
    const over = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const near = lines.map(({ points }) => points.reduce((best, point) =>
      !best || Math.abs(x(point[0]) - over) < Math.abs(x(best[0]) - over) ? point : best, null));
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
