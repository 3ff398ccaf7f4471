// Starts the page: its tabs, and what is behind them.

import { $, json, say } from "./server.js";
import { startEdit } from "./edit.js";
import { startFeel, startTalk } from "./voices.js";
import { startLive } from "./live.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !chosen;
  }
}

tabs.forEach((tab, index) => {
  tab.onclick = () => choose(tab);
  tab.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  };
});

for (const input of document.querySelectorAll("#talk input[type=range], #live input[type=range]")) {
  input.addEventListener("input", () => {
    input.parentElement.querySelector("output").textContent = input.value;
  });
}

try {
  const { emotions, action_units: units } = await json("/v1/emotions");
  startEdit(emotions, units);
  startTalk(emotions);
  startFeel();
  startLive(emotions);
  document.body.dataset.ready = "yes";
} catch (error) {
  say(error.message, true);
}
