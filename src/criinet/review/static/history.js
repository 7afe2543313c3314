// Undo and redo over the slices of a case: each step keeps the pixels of its rectangle, as they were and as they became.

const MOST = 64 * 1024 * 1024;

function cut(mask, width, rect) {
  const wide = rect.x1 - rect.x0;
  const pixels = new Uint8Array(wide * (rect.y1 - rect.y0));
  for (let y = rect.y0; y < rect.y1; y++)
    pixels.set(mask.subarray(y * width + rect.x0, y * width + rect.x1), (y - rect.y0) * wide);
  return pixels;
}

function paste(mask, width, rect, pixels) {
  const wide = rect.x1 - rect.x0;
  for (let y = rect.y0; y < rect.y1; y++)
    mask.set(pixels.subarray((y - rect.y0) * wide, (y - rect.y0 + 1) * wide), y * width + rect.x0);
}

export class History {
  constructor(width) {
    this.width = width;
    this.done = [];
    this.undone = [];
    this.slice = null;
    this.before = null;
  }

  begin(slice) {
    this.slice = slice;
    this.before = slice.mask.slice();
  }

  commit(rect) {
    const { slice, before } = this;
    this.before = null;
    if (!rect) return;
    this.done.push({ slice, rect, before: cut(before, this.width, rect), after: cut(slice.mask, this.width, rect) });
    this.undone = [];
    let size = 0;
    for (let i = this.done.length - 1; i >= 0; i--) {
      size += 2 * this.done[i].before.length;
      if (size > MOST) {
        this.done.splice(0, i);
        break;
      }
    }
  }

  abort(rect) {
    if (rect) paste(this.slice.mask, this.width, rect, cut(this.before, this.width, rect));
    this.before = null;
    return rect;
  }

  undo() {
    const step = this.done.pop();
    if (!step) return null;
    paste(step.slice.mask, this.width, step.rect, step.before);
    this.undone.push(step);
    return step;
  }

  redo() {
    const step = this.undone.pop();
    if (!step) return null;
    paste(step.slice.mask, this.width, step.rect, step.after);
    this.done.push(step);
    return step;
  }
}
