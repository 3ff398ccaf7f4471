// The tab Live: the camera's pictures, edited one by one.

import { $, ask, element, say } from "./server.js";
import { fillEmotions } from "./voices.js";

const QUALITY = 0.85;
const AT_ONCE = 2;

export function startLive(emotions) {
  fillEmotions($("live-emotion"), emotions);
  $("live-emotion").value = "happy";
  let stream = null;
  let session = 0;

  $("live-stop").onclick = stop;
  $("live-start").onclick = async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    } catch (error) {
      say(`The camera cannot be used (${error.message}).`, true);
      return;
    }
    const video = element("video", { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    const grabbed = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    const shown = $("live-picture");
    Object.assign(shown, { width: grabbed.width, height: grabbed.height });
    $("live-start").disabled = true;
    $("live-stop").disabled = false;
    session += 1;
    const here = session;
    let [count, begun, newest] = [0, performance.now(), 0];
    const loop = async () => {
      while (stream && here === session) {
        const number = (count += 1);
        grabbed.getContext("2d").drawImage(video, 0, 0);
        const picture = await new Promise((done) => grabbed.toBlob(done, "image/jpeg", QUALITY));
        const asked = new URLSearchParams({ emotion: `${$("live-emotion").value}:${$("live-intensity").value}` });
        try {
          const edited = await createImageBitmap(await (await ask(`/studio/live?${asked}`, picture)).blob());
          if (number > newest) shown.getContext("2d").drawImage(edited, 0, 0);
          newest = Math.max(newest, number);
        } catch (error) {
          say(error.message, true);
          stop();
        }
        if (performance.now() - begun > 2000) {
          $("live-rate").textContent = `${((1000 * count) / (performance.now() - begun)).toFixed(1)} pictures per second`;
          [count, begun, newest] = [0, performance.now(), 0];
        }
      }
    };
    for (let i = 0; i < AT_ONCE; i += 1) loop();
  };

  function stop() {
    for (const one of stream?.getTracks() ?? []) one.stop();
    stream = null;
    $("live-start").disabled = false;
    $("live-stop").disabled = true;
  }
}
