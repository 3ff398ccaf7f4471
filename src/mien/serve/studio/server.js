// What the page asks of the server, and how it tells the person.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function say(text, isError = false) {
  $("message").textContent = text;
  $("message").classList.toggle("error", isError);
}

export async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", body };
  if (body !== undefined && !(body instanceof FormData) && !(body instanceof Blob)) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `The server answered ${answer.status}.`);
  }
  return answer;
}

export const json = async (path, body) => (await ask(path, body)).json();

export async function upload(file, name) {
  const form = new FormData();
  form.append("file", file, name ?? file.name);
  const found = await json("/v1/uploads", form);
  return { ...found, name: name ?? file.name };
}

/** Calls an asynchronous function with the newest argument only, one call at a time. */
export function latest(run) {
  let busy = false;
  let next = null;
  return async function call(value) {
    next = [value];
    if (busy) return;
    busy = true;
    while (next) {
      const [now] = next;
      next = null;
      try {
        await run(now);
      } catch (error) {
        say(error.message, true);
      }
    }
    busy = false;
  };
}

/** Starts a job and shows its progress in `place`; resolves to the job once it is done. */
export async function runJob(path, body, place) {
  const bar = element("progress", { max: 1 });
  bar.setAttribute("aria-label", "Progress");
  const words = element("p", { textContent: "Waiting …" });
  words.setAttribute("role", "status");
  const cancel = element("button", { type: "button", textContent: "Cancel" });
  place.replaceChildren(bar, words, cancel);
  try {
    const job = await json(path, body);
    cancel.onclick = () => fetch(job.links.self, { method: "DELETE" });
    const end = await followed(job, (now) => {
      const progress = now.progress;
      if (!progress) return;
      if (progress.total) bar.value = progress.done / progress.total;
      const rate = progress.frames_per_second ? `, ${progress.frames_per_second.toFixed(1)} frames/s` : "";
      const left = progress.seconds_left === null ? "" : `, ${progress.seconds_left} s left`;
      words.textContent = `Frame ${progress.done} of ${progress.total ?? "?"}${rate}${left}`;
    });
    if (end.state !== "done") throw new Error(end.error?.message ?? "The job was cancelled.");
    place.replaceChildren();
    return end;
  } catch (error) {
    place.replaceChildren();
    throw error;
  }
}

function followed(job, tell) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(job.links.events);
    const hear = (event) => {
      const now = JSON.parse(event.data);
      tell(now);
      if (["done", "failed", "cancelled"].includes(now.state)) {
        source.close();
        resolve(now);
      }
    };
    for (const state of ["queued", "running", "done", "failed", "cancelled"]) {
      source.addEventListener(state, hear);
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) reject(new Error("The server is gone."));
    };
  });
}

/** Shows a finished job: the picture or clip, and links to it and its report. */
export function showResult(job, place, picture) {
  const shown = picture
    ? element("img", { src: job.links.result, alt: "The result" })
    : element("video", { src: job.links.result, controls: true, loop: true });
  const links = element("div", { className: "row" });
  for (const [text, address] of [["Download the result", job.links.result], ["Download the report", job.links.report]]) {
    links.append(element("a", { href: address, textContent: text, download: text.endsWith("report") ? "report.json" : "" }));
  }
  const box = element("div", { className: "result" }, shown, links);
  place.replaceChildren(box);
}
