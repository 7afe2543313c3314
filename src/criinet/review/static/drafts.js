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

export const put = (key, draft) => within("readwrite", (store) => store.put(draft, key));
export const get = (key) => within("readonly", (store) => store.get(key));
export const remove = (key) => within("readwrite", (store) => store.delete(key));
export const keys = () => within("readonly", (store) => store.getAllKeys());
