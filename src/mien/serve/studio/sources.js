// Where files come from: the disk, the microphone, the camera, and the examples that ship.

import { element, json, say, upload } from "./server.js";

/**
 * Fills `place` with ways to choose a file, and calls `chosen` with the uploaded one.
 * `kinds` says what is wanted: "picture", "video", "sound".
 */
export function fileSource(place, label, kinds, examples, chosen) {
  const accept = kinds.map((kind) => ({ picture: "image/*", video: "video/*", sound: "audio/*,video/*" })[kind]).join(",");
  const input = element("input", { type: "file", accept });
  const name = element("span", { className: "quiet" });
  const take = async (promise) => {
    say("Reading the file …");
    try {
      const found = await promise;
      name.textContent = found.name;
      say("");
      await chosen(found);
    } catch (error) {
      say(error.message, true);
    }
  };
  input.onchange = () => input.files.length && take(upload(input.files[0]));
  place.append(element("label", { className: "file" }, label, input));
  if (kinds.includes("sound")) place.append(recorder("Record a voice", { audio: true }, take));
  if (kinds.includes("video")) place.append(recorder("Record the camera", { video: true, audio: true }, take));
  if (kinds.includes("picture")) place.append(cameraButton(take));
  for (const example of examples) {
    const button = element("button", { type: "button", textContent: `Example: ${example}` });
    button.onclick = () => take(json(`/studio/examples/${example}`, {}));
    place.append(button);
  }
  place.append(name);
}

function recorder(label, wanted, take) {
  const button = element("button", { type: "button", textContent: label });
  let running = null;
  button.onclick = async () => {
    if (running) {
      running.stop();
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      say(`The ${wanted.video ? "camera" : "microphone"} cannot be used (${error.message}).`, true);
      return;
    }
    const parts = [];
    running = new MediaRecorder(stream);
    running.ondataavailable = (event) => parts.push(event.data);
    running.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      const type = running.mimeType;
      running = null;
      button.textContent = label;
      const suffix = type.includes("mp4") ? "mp4" : "webm";
      take(upload(new Blob(parts, { type }), `recording.${suffix}`));
    };
    running.start();
    button.textContent = "Stop recording";
  };
  return button;
}

function cameraButton(take) {
  const button = element("button", { type: "button", textContent: "Take a picture" });
  button.onclick = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      const video = element("video", { srcObject: stream, muted: true });
      await video.play();
      await new Promise((done) => setTimeout(done, 500)); // cameras need a moment for the exposure
      const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      for (const track of stream.getTracks()) track.stop();
      const picture = await new Promise((done) => canvas.toBlob(done, "image/png"));
      await take(upload(picture, "picture.png"));
    } catch (error) {
      say(`The camera cannot be used (${error.message}).`, true);
    }
  };
  return button;
}
