// The addresses of the server; `app.py` has the contract that they keep.

/** What went wrong, in the server's own line. */
export class Refused extends Error {}

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function fetched(address, options) {
  try {
    return await fetch(address, options);
  } catch {
    throw new Refused("The server does not answer. Is it still running?");
  }
}

async function read(response) {
  const tree = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(tree.error ?? `The server said ${response.status}.`);
  return tree;
}

export const models = async () => read(await fetched("/v1/models"));

/** Fields, lists among them, and a picture; asked once more where the server is busy. */
export async function ask(address, fields, picture) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const each of [value].flat()) if (each !== "" && each !== undefined) form.append(name, each);
  }
  if (picture) form.append("image", picture, picture.name ?? "picture");
  const send = () => fetched(address, { method: "POST", body: form });
  let response = await send();
  if (response.status === 503) {
    await wait(Math.min(5, Number(response.headers.get("Retry-After") ?? 1)));
    response = await send();
  }
  return read(response);
}

/** A picture that the server shows, as a file that can be sent again. */
export async function fetchPicture(address) {
  const response = await fetched(address);
  if (!response.ok) await read(response);
  const blob = await response.blob();
  return new File([blob], "found.png", { type: blob.type });
}
