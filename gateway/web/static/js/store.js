// Conversations, in this browser's IndexedDB and nowhere else.

const NAME = "gateway-chat";
const STORE = "conversations";
let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function within(mode, work) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = work(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Return all conversations, the newest first. */
export async function all() {
  const found = await within("readonly", (store) => store.getAll());
  return found.sort((one, other) => other.updated - one.updated);
}

export const put = (conversation) => within("readwrite", (store) => store.put(conversation));
export const remove = (id) => within("readwrite", (store) => store.delete(id));

/** Settings that a new conversation begins with. */
export const defaults = {
  read: () => JSON.parse(localStorage.getItem("settings") ?? "{}"),
  write: (settings) => localStorage.setItem("settings", JSON.stringify(settings)),
};
