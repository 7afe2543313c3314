// Drawing on a mask: plain functions on a Uint8Array of class indices. Each returns the rectangle it may have changed,
// {x0, y0, x1, y1} with x1 and y1 outside, or null.

export function union(a, b) {
  if (!a || !b) return a ?? b;
  return { x0: Math.min(a.x0, b.x0), y0: Math.min(a.y0, b.y0), x1: Math.max(a.x1, b.x1), y1: Math.max(a.y1, b.y1) };
}

function clipped(x0, y0, x1, y1, width, height) {
  const rect = { x0: Math.max(0, x0), y0: Math.max(0, y0), x1: Math.min(width, x1), y1: Math.min(height, y1) };
  return rect.x0 < rect.x1 && rect.y0 < rect.y1 ? rect : null;
}

function discRows(cx, cy, radius, width, height, row) {
  const rect = clipped(Math.floor(cx - radius), Math.floor(cy - radius), Math.ceil(cx + radius) + 1,
    Math.ceil(cy + radius) + 1, width, height);
  if (!rect) return null;
  for (let y = rect.y0; y < rect.y1; y++) {
    const dy = y + 0.5 - cy;
    const reach = radius * radius - dy * dy;
    if (reach < 0) continue;
    const half = Math.sqrt(reach);
    const x0 = Math.max(rect.x0, Math.ceil(cx - half - 0.5));
    const x1 = Math.min(rect.x1, Math.floor(cx + half - 0.5) + 1);
    if (x0 < x1) row(y, x0, x1);
  }
  return rect;
}

export function disc(mask, width, height, cx, cy, radius, value) {
  return discRows(cx, cy, Math.max(0.5, radius), width, height, (y, x0, x1) => mask.fill(value, y * width + x0, y * width + x1));
}

// Inside the disc, only pixels on the probable side of the model's own edge are painted: those with at least the middle
// of the lowest and the highest probability under the disc. Where the model sees no edge, the whole disc is painted.
export function snappedDisc(mask, width, height, cx, cy, radius, value, probability) {
  let low = 255;
  let high = 0;
  const rect = discRows(cx, cy, Math.max(0.5, radius), width, height, (y, x0, x1) => {
    for (let i = y * width + x0; i < y * width + x1; i++) {
      if (probability[i] < low) low = probability[i];
      if (probability[i] > high) high = probability[i];
    }
  });
  if (!rect) return null;
  const least = high - low < 26 ? 0 : (low + high) / 2;
  discRows(cx, cy, Math.max(0.5, radius), width, height, (y, x0, x1) => {
    for (let i = y * width + x0; i < y * width + x1; i++) if (probability[i] >= least) mask[i] = value;
  });
  return rect;
}

export function along(from, to, radius, stamp) {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const steps = Math.max(1, Math.ceil(length / Math.max(1, radius / 3)));
  let rect = null;
  for (let i = 1; i <= steps; i++) {
    const t = i / steps;
    rect = union(rect, stamp(from.x + (to.x - from.x) * t, from.y + (to.y - from.y) * t));
  }
  return rect;
}

// Even-odd rule at pixel centres.
export function polygon(mask, width, height, points, value) {
  if (points.length < 3) return null;
  const ys = points.map((p) => p.y);
  const xs = points.map((p) => p.x);
  const rect = clipped(Math.floor(Math.min(...xs)), Math.floor(Math.min(...ys)), Math.ceil(Math.max(...xs)),
    Math.ceil(Math.max(...ys)), width, height);
  if (!rect) return null;
  for (let y = rect.y0; y < rect.y1; y++) {
    const crossings = [];
    for (let i = 0; i < points.length; i++) {
      const a = points[i];
      const b = points[(i + 1) % points.length];
      if (a.y <= y + 0.5 !== b.y <= y + 0.5) crossings.push(a.x + ((y + 0.5 - a.y) / (b.y - a.y)) * (b.x - a.x));
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const x0 = Math.max(rect.x0, Math.ceil(crossings[i] - 0.5));
      const x1 = Math.min(rect.x1, Math.ceil(crossings[i + 1] - 0.5));
      if (x0 < x1) mask.fill(value, y * width + x0, y * width + x1);
    }
  }
  return rect;
}

// The connected pixels of the clicked pixel's class become `value`.
export function fill(mask, width, height, x, y, value) {
  x = Math.floor(x);
  y = Math.floor(y);
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const from = mask[y * width + x];
  if (from === value) return null;
  let rect = { x0: x, y0: y, x1: x + 1, y1: y + 1 };
  const stack = [y * width + x];
  while (stack.length) {
    const at = stack.pop();
    if (mask[at] !== from) continue;
    const row = Math.floor(at / width);
    let left = at;
    let right = at;
    while (left > row * width && mask[left - 1] === from) left--;
    while (right < (row + 1) * width - 1 && mask[right + 1] === from) right++;
    mask.fill(value, left, right + 1);
    rect = union(rect, { x0: left - row * width, y0: row, x1: right - row * width + 1, y1: row + 1 });
    for (let i = left; i <= right; i++) {
      if (row > 0 && mask[i - width] === from && (i === left || mask[i - width - 1] !== from)) stack.push(i - width);
      if (row < height - 1 && mask[i + width] === from && (i === left || mask[i + width - 1] !== from)) stack.push(i + width);
    }
  }
  return rect;
}

export function differing(a, b) {
  let count = 0;
  for (let i = 0; i < a.length; i++) count += a[i] !== b[i];
  return count;
}
