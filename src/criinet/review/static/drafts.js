// What is drawn and not saved yet, kept in this browser: a closed tab or a dead server loses no stroke.

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("criinet-review", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("drafts");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function within(mode, work) {
  const transaction = (await open()).transaction("drafts", mode);
  return new Promise((resolve, reject) => {
    const request = work(transaction.objectStore("drafts"));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    transaction.commit(); // At once: a page that is closed before it has heard of success would lose the stroke.
  });
}

// Each tab keeps its own draft of a case, so that none loses what is drawn in another.
const TAB = Math.random().toString(36).slice(2);

export const put = (key, draft) => within("readwrite", (store) => store.put({ ...draft, tab: TAB }, `${key}/${TAB}`));
export const remove = (key, tab = TAB) => within("readwrite", (store) => store.delete(`${key}/${tab}`));

// This tab's draft, or the newest of the others, which becomes this tab's.
export async function get(key) {
  const found = await within("readonly", (store) => store.getAll(IDBKeyRange.bound(`${key}/`, `${key}/\uffff`)));
  const newest = found.sort((a, b) => b.moment - a.moment)[0];
  const draft = found.find(({ tab }) => tab === TAB) ?? newest;
  if (!draft || draft.tab === TAB) return draft;
  await put(key, draft);
  await remove(key, draft.tab);
  return draft;
}

export async function keys() {
  const all = await within("readonly", (store) => store.getAllKeys());
  return all.map((key) => key.slice(0, key.lastIndexOf("/")));
}
