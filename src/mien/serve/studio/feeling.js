// Choosing a feeling: a plane of valence and arousal, voices and pictures, action units.

import { $, element } from "./server.js";
import { fileSource } from "./sources.js";

const SHOWN = ["happy", "sad", "angry", "fear", "disgusted", "surprised", "contempt", "neutral"];

export const noFeeling = () => ({ mix: {}, units: {}, like: null, intensity: 1 });

/** Returns the fields of a request that say what a feeling is; null where it says nothing. */
export function fieldsOf(feeling) {
  const text = (parts, sign) => Object.entries(parts).filter(([, value]) => value >= 0.03)
    .map(([name, value]) => `${name}${sign}${value.toFixed(2)}`).join(",");
  const fields = {};
  if (text(feeling.mix, ":")) fields.emotion = text(feeling.mix, ":");
  if (text(feeling.units, "=")) fields.au = text(feeling.units, "=");
  if (feeling.like) fields.like = [feeling.like.id];
  if (!Object.keys(fields).length) return null;
  return { ...fields, intensity: feeling.intensity };
}

/** Returns a short name of a feeling. */
export function nameOf(feeling) {
  const parts = Object.entries(feeling.mix).filter(([, value]) => value >= 0.1).sort((a, b) => b[1] - a[1]);
  const words = parts.slice(0, 2).map(([name]) => name);
  if (feeling.like) words.push(feeling.like.name);
  if (Object.values(feeling.units).some((value) => value >= 0.03)) words.push("action units");
  return words.join(" + ") || "nothing yet";
}

/** The controls of a feeling in `place`; `changed` is called after every change of `current()`. */
export class FeelingControls {
  constructor(place, emotions, units, current, changed) {
    Object.assign(this, { emotions, current, changed });
    this.plane = element("div", { id: "plane" });
    this.words = element("p", { className: "quiet" });
    for (const [side, text] of [["top", "excited"], ["bottom", "calm"], ["left", "unpleasant"], ["right", "pleasant"]]) {
      this.plane.append(element("span", { className: `edge ${side}`, textContent: text }));
    }
    this.point = element("div", { id: "point" });
    this.buttons = {};
    this.plane.append(this.point);
    for (const name of SHOWN.filter((name) => name in emotions)) {
      const button = element("button", { type: "button", textContent: name });
      this.place(button, emotions[name]);
      button.onclick = () => this.choose({ [name]: 1 });
      this.buttons[name] = button;
      this.plane.append(button);
    }
    this.plane.addEventListener("pointerdown", (event) => this.drag(event));
    this.select = element("select", {}, element("option", { value: "", textContent: "none" }),
      ...Object.keys(emotions).map((name) => element("option", { value: name, textContent: name })));
    this.select.onchange = () => this.choose(this.select.value ? { [this.select.value]: 1 } : {});
    this.valence = this.slider("Pleasant", -1, 1, 0.05, () => this.move());
    this.arousal = this.slider("Excited", -1, 1, 0.05, () => this.move());
    this.intensity = this.slider("Intensity", 0, 1.5, 0.05, (value) => {
      this.current().intensity = value;
      this.changed();
    });
    const plane = element("fieldset", {}, element("legend", { textContent: "Feeling" }), this.plane, this.words,
      element("label", {}, "Emotion ", this.select), this.valence.label, this.arousal.label, this.intensity.label);
    const like = element("fieldset", {}, element("legend", { textContent: "Like this voice or face" }));
    const row = element("div", { className: "row" });
    fileSource(row, "Choose a file", ["sound", "picture"], ["speech.ogg"], (found) => {
      this.current().like = found;
      this.show();
      this.changed();
    });
    this.forget = element("button", { type: "button", textContent: "Forget it" });
    this.forget.onclick = () => {
      this.current().like = null;
      this.show();
      this.changed();
    };
    like.append(row, this.forget);
    this.unitSliders = {};
    const list = element("div", { className: "units", tabIndex: 0 });
    list.setAttribute("role", "group");
    list.setAttribute("aria-label", "Action units");
    for (const [unit, meaning] of Object.entries(units)) {
      const slider = this.slider(`${unit} ${meaning}`, 0, 1.5, 0.05, (value) => {
        this.current().units[unit] = value;
        this.changed();
      });
      this.unitSliders[unit] = slider;
      list.append(slider.label);
    }
    const details = element("details", {}, element("summary", { textContent: "Action units" }), list);
    place.append(plane, like, element("fieldset", {}, element("legend", { textContent: "By muscle" }), details));
    this.spread();
    this.show();
  }

  /** Moves names on the plane apart that would lie on one another. */
  spread() {
    const buttons = Object.values(this.buttons);
    for (let pass = 0; pass < 8; pass += 1) {
      for (const one of buttons) {
        for (const other of buttons) {
          if (one === other) continue;
          const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
          const apart = a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;
          if (apart || a.top > b.top) continue;
          const shift = (a.bottom - b.top) / 2 + 1;
          one.style.marginTop = `${(parseFloat(one.style.marginTop) || 0) - shift}px`;
          other.style.marginTop = `${(parseFloat(other.style.marginTop) || 0) + shift}px`;
        }
      }
    }
  }

  slider(text, low, high, step, use) {
    const output = element("output");
    const input = element("input", { type: "range", min: low, max: high, step, value: 0 });
    const label = element("label", {}, `${text} `, output, input);
    const set = (value) => {
      input.value = value;
      output.textContent = Number(value).toFixed(2);
    };
    input.oninput = () => {
      output.textContent = Number(input.value).toFixed(2);
      use(Number(input.value));
    };
    return { label, input, set };
  }

  place(thing, { valence, arousal }) {
    thing.style.left = `${50 + 44 * valence}%`;
    thing.style.top = `${50 - 44 * arousal}%`;
  }

  drag(event) {
    if (event.target !== this.plane && event.target !== this.point) return;
    event.preventDefault();
    this.plane.setPointerCapture(event.pointerId);
    const move = (now) => {
      const box = this.plane.getBoundingClientRect();
      const limit = (value) => Math.max(-1, Math.min(1, value));
      this.valence.set(limit(((now.clientX - box.left) / box.width - 0.5) / 0.44));
      this.arousal.set(limit((0.5 - (now.clientY - box.top) / box.height) / 0.44));
      this.move();
    };
    move(event);
    this.plane.onpointermove = move;
    this.plane.onpointerup = this.plane.onpointercancel = () => {
      this.plane.onpointermove = null;
    };
  }

  /** Mixes the emotions nearest to the point. */
  move() {
    const [valence, arousal] = [Number(this.valence.input.value), Number(this.arousal.input.value)];
    const near = Object.entries(this.emotions).map(([name, there]) => {
      return [name, 1 / ((there.valence - valence) ** 2 + (there.arousal - arousal) ** 2 + 0.01)];
    }).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const total = near.reduce((sum, [, weight]) => sum + weight, 0);
    const mix = Object.fromEntries(near.map(([name, weight]) => [name, weight / total]).filter(([, share]) => share >= 0.08));
    this.choose(mix, { valence, arousal });
  }

  choose(mix, where = null) {
    this.current().mix = mix;
    this.current().where = where;
    this.show();
    this.changed();
  }

  /** Shows the feeling that is current. */
  show() {
    const feeling = this.current();
    const names = Object.keys(feeling.mix);
    const mean = (axis) => names.reduce((sum, name) => sum + feeling.mix[name] * this.emotions[name][axis], 0);
    const where = feeling.where ?? { valence: mean("valence"), arousal: mean("arousal") };
    this.place(this.point, where);
    this.valence.set(where.valence);
    this.arousal.set(where.arousal);
    this.intensity.set(feeling.intensity);
    this.words.textContent = names.map((name) => `${name} ${feeling.mix[name].toFixed(2)}`).join(", ") || "nothing yet";
    this.select.value = names.length === 1 ? names[0] : "";
    for (const [name, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String((feeling.mix[name] ?? 0) >= 0.1));
    }
    for (const [unit, slider] of Object.entries(this.unitSliders)) slider.set(feeling.units[unit] ?? 0);
    this.forget.hidden = !feeling.like;
    this.forget.textContent = feeling.like ? `Forget ${feeling.like.name}` : "";
  }
}
