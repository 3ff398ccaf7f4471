// The tabs Talk and Feel.

import { $, ask, element, runJob, say, showResult } from "./server.js";
import { fileSource } from "./sources.js";

export function fillEmotions(select, emotions, ...more) {
  select.replaceChildren(...[...more, ...Object.keys(emotions)].map((name) => element("option", { value: name, textContent: name })));
}

export function startTalk(emotions) {
  const files = {};
  const show = () => {
    $("talk-render").disabled = !(files.portrait && files.speech);
  };
  const want = (name, kinds, label, examples) => {
    const thumb = element("div");
    fileSource($(`talk-${name}`), label, kinds, examples, async (found) => {
      files[name] = found;
      thumb.replaceChildren();
      if (found.kind === "picture") {
        const picture = await (await ask("/v1/preview", { input: found.id, side: 320, original: true })).blob();
        thumb.append(element("img", { className: "thumb", src: URL.createObjectURL(picture), alt: "The portrait" }));
      }
      show();
    });
    $(`talk-${name}`).append(thumb);
  };
  want("portrait", ["picture"], "Open a picture", ["woman.jpg", "man.jpg"]);
  want("speech", ["sound"], "Open a voice", ["speech.ogg"]);
  fillEmotions($("talk-emotion"), emotions, "auto");
  $("talk-render").onclick = async () => {
    $("talk-render").disabled = true;
    try {
      const body = {
        portrait: files.portrait.id,
        speech: files.speech.id,
        emotion: $("talk-emotion").value,
        intensity: Number($("talk-intensity").value),
        liveliness: Number($("talk-liveliness").value),
      };
      showResult(await runJob("/v1/talk", body, $("talk-job")), $("talk-job"), false);
      say("Done.");
    } catch (error) {
      say(error.message, true);
    }
    show();
  };
}

export function startFeel() {
  fileSource($("feel-voice"), "Open a voice or face", ["sound", "picture"], ["speech.ogg", "woman.jpg"], async (found) => {
    const job = await runJob("/v1/feel", { input: found.id }, $("feel-job"));
    const reading = await (await ask(job.links.result)).json();
    const felt = reading.faces ?? [reading];
    $("feel-bars").replaceChildren(...felt.flatMap((one, index) => [
      ...(felt.length > 1 ? [element("h3", { textContent: `Face ${index + 1} from the left` })] : []),
      ...barsOf(one.emotion),
      element("p", { textContent: wordsOf(one) }),
    ]));
    $("feel-words").textContent = reading.warnings.join(" ");
    $("feel-result").hidden = false;
    const [first] = felt;
    $("feel-curve").hidden = $("feel-key").hidden = first.curve.length === 0;
    drawCurve(first.curve, reading.seconds);
  });
}

function barsOf(emotion) {
  const likely = Object.entries(emotion).filter(([, share]) => share >= 0.01).sort((a, b) => b[1] - a[1]);
  return likely.map(([name, share]) => {
    const bar = element("div");
    bar.style.width = `${100 * share}%`;
    return element("div", { className: "barline" }, element("span", { textContent: name }), element("div", {}, bar),
      element("span", { textContent: `${Math.round(100 * share)} %` }));
  });
}

function wordsOf(felt) {
  const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2);
  const intensity = felt.intensity === undefined ? "" : `, intensity ${felt.intensity.toFixed(2)}`;
  return `Valence ${signed(felt.valence)}, arousal ${signed(felt.arousal)}${intensity}`;
}

function drawCurve(curve, seconds) {
  const canvas = $("feel-curve");
  const pen = canvas.getContext("2d");
  const place = (time, value) => [8 + (canvas.width - 16) * Math.min(1, time / seconds), canvas.height / 2 - value * (canvas.height / 2 - 8)];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = "#8884";
  pen.strokeRect(...place(0, 1), canvas.width - 16, canvas.height - 16);
  pen.beginPath();
  pen.moveTo(...place(0, 0));
  pen.lineTo(...place(seconds, 0));
  pen.stroke();
  pen.lineWidth = 3;
  for (const [name, colour] of [["valence", "#2e7d32"], ["arousal", "#c62828"], ["intensity", "#1565c0"]]) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.beginPath();
    let before = false;
    for (const second of curve) {
      if (second.emotion === null || second[name] === undefined) {
        before = false;
        continue;
      }
      const [x, y] = place(second.time, second[name]);
      if (before) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      pen.fillRect(x - 2, y - 2, 4, 4);
      before = true;
    }
    pen.stroke();
  }
}
