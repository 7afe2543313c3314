// Talking to the server: every failure becomes a Problem whose message a person can act on.

export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Problem("The server does not answer. What you drew is kept in this browser; start it again and open the address that it prints.", 0);
  }
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error ?? message;
  } catch {
    // Not JSON: the status is all there is to say.
  }
  throw new Problem(message, response.status);
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const at = (name) => `/api/cases/${encodeURIComponent(name)}`;

export const about = async () => (await ask("/api/about")).json();
export const status = async () => (await ask("/api/status")).json();
export const cases = async () => (await ask("/api/cases")).json();
export const detail = async (name) => (await ask(at(name))).json();
export const thumbnail = (name) => `${at(name)}/thumbnail`;
export const image = async (name, slice) =>
  createImageBitmap(await (await ask(`${at(name)}/image?slice=${slice}`)).blob(), { colorSpaceConversion: "none" });
export const plane = async (name, which, slice, round) =>
  new Uint8Array(await (await ask(`${at(name)}/planes/${which}?slice=${slice}&round=${round}`)).arrayBuffer());
export const decide = async (name, body) => (await post(`${at(name)}/decision`, body)).json();
export const rounds = async (body) => (await post("/api/rounds", body)).json();

// `png` holds the slices of these numbers, one above another.
export async function saveMask(name, png, slices, about) {
  const headers = { "content-type": "image/png" };
  const query = new URLSearchParams([...Object.entries(about), ...slices.map((number) => ["slice", number])]);
  const response = await ask(`${at(name)}/mask?${query}`, { method: "PUT", headers, body: png });
  return response.json();
}
