// Spans of time, each with a feeling of its own, over the clip's waveform.

import { $, element } from "./server.js";
import { fieldsOf, nameOf, noFeeling } from "./feeling.js";

const SHORTEST = 0.2;
const FADE = 0.3;

export class SpanTrack {
  /** `changed` is called after every change; `chosen` when another span, or none, is selected. */
  constructor(changed, chosen) {
    Object.assign(this, { changed, chosen, spans: [], selected: null, seconds: 0 });
    $("add-span").onclick = () => this.add(Number($("scrub").value));
    $("remove-span").onclick = () => this.remove();
    $("whole").onclick = () => this.select(null);
  }

  open(seconds, peaks, perSecond) {
    this.seconds = seconds;
    this.spans = [];
    this.draw(peaks, perSecond);
    this.select(null);
  }

  draw(peaks, perSecond) {
    const canvas = $("wave");
    canvas.width = Math.max(200, canvas.clientWidth * devicePixelRatio);
    const pen = canvas.getContext("2d");
    const height = canvas.height;
    pen.clearRect(0, 0, canvas.width, height);
    pen.fillStyle = getComputedStyle(document.body).getPropertyValue("color");
    pen.globalAlpha = 0.45;
    const loudest = Math.max(0.05, ...peaks);
    peaks.forEach((peak, index) => {
      const x = (index / perSecond / this.seconds) * canvas.width;
      const size = (peak / loudest) * height * 0.9;
      pen.fillRect(x, (height - size) / 2, Math.max(1, canvas.width / perSecond / this.seconds - 1), size);
    });
  }

  add(at) {
    const from = Math.min(at, Math.max(0, this.seconds - SHORTEST));
    const to = Math.min(this.seconds, from + Math.max(SHORTEST, this.seconds / 4));
    const span = { from, to, feeling: { ...noFeeling(), mix: { happy: 1 } } };
    this.spans.push(span);
    this.select(span);
    this.changed();
  }

  remove() {
    this.spans = this.spans.filter((span) => span !== this.selected);
    this.select(null);
    this.changed();
  }

  select(span) {
    this.selected = span;
    $("remove-span").disabled = $("whole").disabled = span === null;
    this.show();
    this.chosen(span);
  }

  /** Moves the beginning and end of a span by seconds, as far as the clip allows. */
  shift(span, from, to) {
    const length = span.to - span.from;
    if (from === to) {
      span.from = Math.max(0, Math.min(this.seconds - length, span.from + from));
      span.to = span.from + length;
    } else {
      span.from = Math.max(0, Math.min(span.to - SHORTEST, span.from + from));
      span.to = Math.min(this.seconds, Math.max(span.from + SHORTEST, span.to + to));
    }
    this.arrange(span);
    this.changed();
  }

  arrange(span) {
    span.button.style.left = `${(100 * span.from) / this.seconds}%`;
    span.button.style.width = `${(100 * (span.to - span.from)) / this.seconds}%`;
    const text = nameOf(span.feeling);
    span.button.lastChild.textContent = text;
    span.button.setAttribute("aria-label", `${text}, from ${span.from.toFixed(1)} to ${span.to.toFixed(1)} seconds`);
    span.button.setAttribute("aria-pressed", String(span === this.selected));
  }

  show() {
    const focused = this.spans.find((span) => span.button === document.activeElement);
    $("spans").replaceChildren(...this.spans.map((span) => {
      span.button = element("button", { type: "button", className: "span" },
        element("i", { className: "from" }), element("i", { className: "to" }), element("b"));
      span.button.onclick = () => this.selected === span || this.select(span);
      span.button.onkeydown = (event) => this.key(span, event);
      span.button.onpointerdown = (event) => this.drag(span, event);
      this.arrange(span);
      return span.button;
    }));
    focused?.button.focus();
  }

  key(span, event) {
    const step = { ArrowLeft: -0.1, ArrowRight: 0.1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      this.shift(span, event.shiftKey ? 0 : step, step);
    } else if (event.key === "Delete") {
      this.select(span);
      this.remove();
      $("add-span").focus();
    }
  }

  drag(span, event) {
    event.preventDefault();
    const side = event.target.className;
    if (this.selected !== span) this.select(span);
    span.button.focus();
    const perSecond = $("track").clientWidth / this.seconds;
    let last = event.clientX;
    const move = (now) => {
      const by = (now.clientX - last) / perSecond;
      last = now.clientX;
      this.shift(span, side === "to" ? 0 : by, side === "from" ? 0 : by);
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
  }

  /** Returns the spans as entries of a timeline; between them the face is left as it is. */
  entries() {
    const spans = this.spans.filter((span) => fieldsOf(span.feeling)).sort((a, b) => a.from - b.from);
    return spans.flatMap((span, index) => {
      const begin = { at: span.from, fade: FADE, ...fieldsOf(span.feeling) };
      const next = spans[index + 1];
      const follows = next && next.from <= span.to;
      return follows ? [begin] : [begin, { at: span.to, fade: FADE, emotion: "neutral", intensity: 0 }];
    });
  }
}
