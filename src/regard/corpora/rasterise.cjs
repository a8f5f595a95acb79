// node rasterise.cjs PACKAGE SIDE < JSON array of SVG texts > for each: its size in 4 bytes, big-endian, and a PNG
// whose longer side is SIDE pixels; of what is no SVG nothing, size 0. PACKAGE: the directory of @resvg/resvg-wasm.
const { readFileSync } = require("fs");
const { join } = require("path");

const [place, side] = process.argv.slice(2);
const { initWasm, Resvg } = require(join(place, "index.js"));

function drawn(svg) {
  try {
    const { width, height } = new Resvg(svg);
    const fitTo = { mode: width >= height ? "width" : "height", value: Number(side) };
    return Buffer.from(new Resvg(svg, { fitTo }).render().asPng());
  } catch {
    return Buffer.alloc(0);
  }
}

initWasm(readFileSync(join(place, "index_bg.wasm"))).then(() => {
  const parts = [];
  for (const svg of JSON.parse(readFileSync(0, "utf8"))) {
    const png = drawn(svg);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(png.length);
    parts.push(size, png);
  }
  process.stdout.write(Buffer.concat(parts));
});
