// A gray 8-bit PNG of class indices, written by hand: a canvas may change what it exports, these bytes stay as drawn.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function chunk(type, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc32(bytes.subarray(4, content.length + 8)));
  return bytes;
}

// The slices of one size stand one above another.
export async function encodeGray(slices, width, height) {
  const rows = new Uint8Array((width + 1) * height * slices.length);
  slices.forEach((pixels, number) => {
    for (let y = 0; y < height; y++)
      rows.set(pixels.subarray(y * width, (y + 1) * width), (number * height + y) * (width + 1) + 1);
  });
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height * slices.length);
  header[8] = 8;
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  const data = new Uint8Array(await packed.arrayBuffer());
  return new Blob([signature, chunk("IHDR", header), chunk("IDAT", data), chunk("IEND", new Uint8Array(0))]);
}
