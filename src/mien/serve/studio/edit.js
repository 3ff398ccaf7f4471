// The tab Edit: a clip or picture, its faces, a feeling, a preview, and the result.

import { $, ask, element, json, latest, runJob, say, showResult } from "./server.js";
import { fileSource } from "./sources.js";
import { FeelingControls, fieldsOf, noFeeling } from "./feeling.js";
import { SpanTrack } from "./timeline.js";

const PREVIEW_SIDE = 960;

export function startEdit(emotions, units) {
  let clip = null;
  let whole = noFeeling();
  let face = "largest";
  const seconds = () => Number($("scrub").value);
  const track = new SpanTrack(() => show(), () => controls.show());
  const controls = new FeelingControls($("feeling"), emotions, units,
    () => track.selected?.feeling ?? whole,
    () => {
      if (track.selected) track.arrange(track.selected);
      show();
    });

  /** The fields of a request that say what is asked for; null where nothing is. */
  function wanted() {
    const timeline = track.entries();
    const fields = timeline.length ? { timeline } : fieldsOf(whole);
    return fields && { ...fields, face };
  }

  const frame = async (body) => URL.createObjectURL(await (await ask("/v1/preview", body)).blob());

  function put(image, address) {
    const before = image.src;
    image.src = address;
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  }

  const drawPreview = latest(async () => {
    if (!clip) return;
    const begun = performance.now();
    const fields = wanted();
    const body = { input: clip.id, seconds: seconds(), side: PREVIEW_SIDE };
    put($("after"), await frame(fields ? { ...body, ...fields } : { ...body, original: true }));
    $("latency").textContent = `Preview in ${((performance.now() - begun) / 1000).toFixed(2)} s`;
    $("after").dataset.shown = JSON.stringify(fields);
    say("");
  });

  const drawFrame = latest(async () => {
    if (!clip) return;
    const at = seconds();
    put($("before"), await frame({ input: clip.id, seconds: at, side: PREVIEW_SIDE, original: true }));
    const found = await json("/studio/faces", { input: clip.id, seconds: at });
    showFaces(found.faces);
  });

  function showFaces(boxes) {
    $("faces").replaceChildren(...(boxes.length < 2 ? [] : boxes.map((box, index) => {
      const number = String(index + 1);
      const button = element("button", { type: "button" }, element("span", { textContent: number }));
      button.setAttribute("aria-label", `Face ${number}`);
      button.setAttribute("aria-pressed", String(face === number));
      const [left, top, right, bottom] = box;
      Object.assign(button.style, {
        left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
      });
      button.onclick = () => {
        face = face === number ? "largest" : number;
        showFaces(boxes);
        show();
      };
      return button;
    })));
  }

  function show() {
    $("render").disabled = $("save-project").disabled = wanted() === null;
    drawPreview();
  }

  async function open(found) {
    if (found.kind === "sound") throw new Error("This is sound; choose a video or a picture.");
    clip = found;
    face = "largest";
    $("stage").hidden = $("edit-actions").hidden = false;
    $("edit-job").replaceChildren();
    const moving = found.kind === "video" && found.seconds;
    $("scrub").max = moving ? Math.max(0, found.seconds - 1 / found.rate) : 0;
    $("scrub").value = 0;
    $("scrub").parentElement.hidden = $("timeline").hidden = !moving;
    track.open(0, [], 1);
    if (moving) {
      const wave = await json("/studio/waveform", { input: found.id });
      track.open(found.seconds, wave.peaks, wave.peaks_per_second);
    }
    moved();
  }

  function moved() {
    $("time").textContent = `${seconds().toFixed(2)} s`;
    $("playhead").style.left = `${(100 * seconds()) / (track.seconds || 1)}%`;
    drawFrame();
    show();
  }

  $("scrub").oninput = moved;
  $("compare").oninput = () => {
    $("before").style.clipPath = `inset(0 ${100 - $("compare").value}% 0 0)`;
  };
  $("compare").oninput();

  $("render").onclick = async () => {
    $("render").disabled = true;
    try {
      const body = { input: clip.id, ...wanted() };
      if ($("beside").checked) body.beside = true;
      showResult(await runJob("/v1/edit", body, $("edit-job")), $("edit-job"), clip.kind === "picture");
      say("Done.");
    } catch (error) {
      say(error.message, true);
    }
    $("render").disabled = false;
  };

  $("save-project").onclick = () => {
    const named = (fields) => (fields.like ? { ...fields, like: fields.like.map((id) => names[id] ?? id) } : fields);
    const names = {};
    for (const feeling of [whole, ...track.spans.map((span) => span.feeling)]) {
      if (feeling.like) names[feeling.like.id] = feeling.like.name;
    }
    const { timeline, ...fields } = wanted();
    const project = { mien: 1, input: clip.name, ...named(fields) };
    if (timeline) project.timeline = timeline.map(named);
    project.studio = { whole, spans: track.spans.map(({ from, to, feeling }) => ({ from, to, feeling })) };
    const data = new Blob([JSON.stringify(project, null, 1)], { type: "application/json" });
    const link = element("a", { href: URL.createObjectURL(data), download: "project.json" });
    link.click();
    URL.revokeObjectURL(link.href);
  };

  $("open-project").onchange = async () => {
    try {
      const project = JSON.parse(await $("open-project").files[0].text());
      if (project.mien !== 1 || !project.studio) throw new Error("This is not a project of the studio.");
      if (!clip) throw new Error(`Open ${project.input} first, then its project.`);
      whole = { ...noFeeling(), ...project.studio.whole };
      face = project.face ?? "largest";
      track.spans = project.studio.spans;
      track.select(null);
      drawFrame();
      show();
      if (clip.name !== project.input) say(`The project was made for ${project.input}; it is applied to ${clip.name}.`);
    } catch (error) {
      say(error.message, true);
    }
    $("open-project").value = "";
  };

  fileSource($("edit-source"), "Open a video or picture", ["video", "picture"], ["clip.mp4", "woman.jpg"], open);
}
