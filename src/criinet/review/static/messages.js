// What the page says: a message with what can be done about it, or a text where there is no image.

import { $, state } from "./state.js";

// Returns what `withdraw` takes the message back by, unless another one is shown by then.
export function tell(text, actions = []) {
  $("message").hidden = !text;
  $("message-text").textContent = text;
  const close = [["Close", () => tell("")]];
  $("message-actions").replaceChildren(...[...actions, ...close].map(([label, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => {
      tell("");
      act();
    });
    return button;
  }));
  return (state.told = {});
}

export function withdraw(told) {
  if (state.told === told) tell("");
}

export function empty(title, text, [label, act] = []) {
  $("empty").hidden = !title;
  $("empty-title").textContent = title;
  $("empty-text").textContent = text;
  $("empty-act").hidden = !label;
  $("empty-act").textContent = label;
  $("empty-act").onclick = act;
}
