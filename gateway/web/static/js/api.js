// The gateway's API, as the page uses it.

const KEY = "api-key";

/** The key of this tab: it goes with the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** A failure that the server told; `status` is HTTP's, 0 where it could not be reached. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Answer a GET; raises ApiError. */
export async function get(path, signal) {
  return checked(await reach(path, { signal }));
}

/** Return the models' ids and context lengths. */
export async function models() {
  return (await (await get("v1/models")).json()).data;
}

/** Yield the chunks of a streamed answer; raises ApiError, also for one told in the stream. */
export async function* chat(body, signal) {
  const response = await checked(await reach("v1/chat/completions", {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(response.status, chunk.error.message);
    yield chunk;
  }
  throw new ApiError(0, "The connection broke before the answer was complete.");
}

/** Yield the data of server-sent events. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield line.slice(5).trim();
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function reach(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  try {
    return await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
}

async function checked(response) {
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Something before the gateway answered: its status says what there is to say.
  }
  throw new ApiError(response.status, message);
}
