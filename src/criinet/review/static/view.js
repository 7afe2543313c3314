// The canvas: the image, the layers above it, zoom and pan. Only the part of the screen that changed is drawn again.

import { union } from "./draw.js";

const HATCH = 6;

function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.scale = 1;
    this.aspect = 1;
    this.left = 0;
    this.top = 0;
    this.layers = {};
    this.shown = { mask: true, model: false, coarse: false, uncertainty: false };
    this.opacity = { mask: 0.4, model: 0.6, coarse: 0.6, uncertainty: 0.7 };
    this.dirty = null;
    this.waiting = false;
    this.trace = null;
    this.frames = 0;
    this.ratio = 1;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.followScreen();
  }

  // On another screen, or zoomed, the same size in CSS pixels is another one in pixels of the screen.
  followScreen() {
    this.resize();
    const same = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    same.addEventListener("change", () => this.followScreen(), { once: true });
  }

  // How much higher than wide a pixel is, times the scale.
  get scaleDown() {
    return this.scale * this.aspect;
  }

  load(image, mask, planes, colors, aspect) {
    this.image = image;
    this.width = image.width;
    this.height = image.height;
    this.mask = mask;
    this.colors = colors;
    this.aspect = aspect;
    this.layers = {
      image: surface(this.width, this.height),
      mask: surface(this.width, this.height),
      edge: surface(this.width, this.height),
    };
    const context = this.layers.image.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    this.pixels = context.getImageData(0, 0, this.width, this.height);
    if (planes.refined) this.layers.model = this.classLayer(planes.refined, (x, y) => (x - y) & HATCH);
    if (planes.coarse) this.layers.coarse = this.classLayer(planes.coarse, (x, y) => (x + y) & HATCH);
    if (planes.uncertainty) this.layers.uncertainty = this.heatLayer(planes.uncertainty);
    this.paintMask({ x0: 0, y0: 0, x1: this.width, y1: this.height });
    this.all();
  }

  clear() {
    this.image = null;
    this.layers = {};
    this.all();
  }

  classLayer(plane, hatched) {
    const layer = surface(this.width, this.height);
    const context = layer.getContext("2d");
    const data = context.createImageData(this.width, this.height);
    for (let y = 0, i = 0; y < this.height; y++)
      for (let x = 0; x < this.width; x++, i++) {
        if (!plane[i] || !hatched(x, y)) continue;
        const [r, g, b] = this.colors[plane[i]];
        data.data.set([r, g, b, 255], 4 * i);
      }
    context.putImageData(data, 0, 0);
    return layer;
  }

  // From clear through violet to a light pink, which no class has: light and dark differ too, so it reads without colour.
  heatLayer(plane) {
    const layer = surface(this.width, this.height);
    const context = layer.getContext("2d");
    const data = context.createImageData(this.width, this.height);
    for (let i = 0; i < plane.length; i++) {
      const t = plane[i] / 255;
      data.data[4 * i] = 120 + 135 * t;
      data.data[4 * i + 1] = 190 * t * t;
      data.data[4 * i + 2] = 200 + 55 * t;
      data.data[4 * i + 3] = Math.min(255, 340 * t);
    }
    context.putImageData(data, 0, 0);
    return layer;
  }

  setWindow(window, level) {
    if (!this.image) return;
    const low = level - window / 2;
    const table = Uint8ClampedArray.from({ length: 256 }, (_, v) => ((v - low) / window) * 255);
    const shown = new ImageData(this.width, this.height);
    const from = this.pixels.data;
    const to = shown.data;
    for (let i = 0; i < from.length; i += 4) {
      to[i] = table[from[i]];
      to[i + 1] = table[from[i + 1]];
      to[i + 2] = table[from[i + 2]];
      to[i + 3] = 255;
    }
    this.layers.image.getContext("2d").putImageData(shown, 0, 0);
    this.all();
  }

  // Bring the mask's layer up to date inside a rectangle; its neighbours' edges may change with it.
  paintMask(rect) {
    if (!rect) return;
    const x0 = Math.max(0, rect.x0 - 1);
    const y0 = Math.max(0, rect.y0 - 1);
    const wide = Math.min(this.width, rect.x1 + 1) - x0;
    const high = Math.min(this.height, rect.y1 + 1) - y0;
    const fillContext = this.layers.mask.getContext("2d");
    const fill = fillContext.createImageData(wide, high);
    const edge = fillContext.createImageData(wide, high);
    const fills = new Uint32Array(fill.data.buffer);
    const edges = new Uint32Array(edge.data.buffer);
    const packed = this.colors.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    const { mask, width, height } = this;
    for (let y = y0; y < y0 + high; y++)
      for (let x = x0; x < x0 + wide; x++) {
        const i = y * width + x;
        const value = mask[i];
        if (!value) continue;
        const at = (y - y0) * wide + x - x0;
        fills[at] = packed[value];
        const inside = x > 0 && x < width - 1 && y > 0 && y < height - 1 && mask[i - 1] === value &&
          mask[i + 1] === value && mask[i - width] === value && mask[i + width] === value;
        if (!inside) edges[at] = packed[value];
      }
    fillContext.putImageData(fill, x0, y0);
    this.layers.edge.getContext("2d").putImageData(edge, x0, y0);
    this.invalidate({ x0, y0, x1: x0 + wide, y1: y0 + high });
  }

  // Pixels of the screen for each CSS pixel are those that the canvas was made for: all that lies on it counts by them.
  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio;
    const wide = Math.round(clientWidth * ratio);
    const high = Math.round(clientHeight * ratio);
    if (this.ratio === ratio && this.canvas.width === wide && this.canvas.height === high) return;
    const finer = ratio / this.ratio;
    this.scale *= finer;
    this.left *= finer;
    this.top *= finer;
    this.ratio = ratio;
    this.canvas.width = wide;
    this.canvas.height = high;
    if (this.image && this.fitted) this.fit();
    this.all();
  }

  fit() {
    const margin = 12 * this.ratio;
    const room = [this.canvas.width - 2 * margin, this.canvas.height - 2 * margin];
    this.scale = Math.max(0.01, Math.min(room[0] / this.width, room[1] / (this.height * this.aspect)));
    this.left = (this.canvas.width - this.width * this.scale) / 2;
    this.top = (this.canvas.height - this.height * this.scaleDown) / 2;
    this.fitted = true;
    this.all();
  }

  // Zoom about a point of the screen, in CSS pixels.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(64, Math.max(0.02, this.scale * factor));
    const applied = scale / this.scale;
    this.left = x * this.ratio - (x * this.ratio - this.left) * applied;
    this.top = y * this.ratio - (y * this.ratio - this.top) * applied;
    this.scale = scale;
    this.fitted = false;
    this.all();
  }

  pan(dx, dy) {
    this.left += dx * this.ratio;
    this.top += dy * this.ratio;
    this.fitted = false;
    this.all();
  }

  // A point of the screen, in CSS pixels of the canvas, as image coordinates.
  toImage(x, y) {
    return { x: (x * this.ratio - this.left) / this.scale, y: (y * this.ratio - this.top) / this.scaleDown };
  }

  get pixel() {
    return this.scale / this.ratio;
  }

  setTrace(points) {
    this.trace = points;
    this.all();
  }

  all() {
    this.whole = true;
    this.schedule();
  }

  invalidate(rect) {
    this.dirty = union(this.dirty, rect);
    this.schedule();
  }

  schedule() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { context, canvas } = this;
    this.frames++;
    context.save();
    if (!this.whole && this.dirty) {
      const x = Math.floor(this.left + this.dirty.x0 * this.scale) - 2;
      const y = Math.floor(this.top + this.dirty.y0 * this.scaleDown) - 2;
      const wide = Math.ceil((this.dirty.x1 - this.dirty.x0) * this.scale) + 5;
      const high = Math.ceil((this.dirty.y1 - this.dirty.y0) * this.scaleDown) + 5;
      context.beginPath();
      context.rect(x, y, wide, high);
      context.clip();
    }
    this.whole = false;
    this.dirty = null;
    context.fillStyle = getComputedStyle(canvas).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.image) {
      context.setTransform(this.scale, 0, 0, this.scaleDown, this.left, this.top);
      context.imageSmoothingEnabled = this.scale < 2;
      context.drawImage(this.layers.image, 0, 0);
      for (const name of ["uncertainty", "coarse", "model"]) this.drawLayer(name, name, this.opacity[name]);
      this.drawLayer("mask", "mask", this.opacity.mask);
      this.drawLayer("mask", "edge", Math.min(1, this.opacity.mask * 2.5));
      this.drawTrace();
    }
    context.restore();
  }

  drawLayer(shown, name, opacity) {
    if (!this.shown[shown] || !this.layers[name]) return;
    this.context.globalAlpha = opacity;
    this.context.drawImage(this.layers[name], 0, 0);
    this.context.globalAlpha = 1;
  }

  drawTrace() {
    if (!this.trace?.length) return;
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    const corners = this.trace.map((p) => [this.left + p.x * this.scale, this.top + p.y * this.scaleDown]);
    const line = new Path2D();
    corners.forEach(([x, y], i) => (i ? line.lineTo(x, y) : line.moveTo(x, y)));
    for (const [style, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width * this.ratio;
      context.stroke(line);
    }
    const size = 6 * this.ratio;
    context.fillStyle = "#fff";
    for (const [x, y] of corners) context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}
