// What a form's answer says goes with what the form said then: once another file is chosen, it is taken away.
// And what did not get through is told, which no answer can.
"use strict";

function tell(text) {
  const panel = document.createElement("div");
  panel.className = "panel";
  const inside = document.createElement("p");
  inside.className = "inside";
  inside.textContent = text;
  panel.append(inside);
  document.getElementById("outcome").replaceChildren(panel);
}

// unfold's script writes the name of a chosen file into the first text field that it finds near: here that is another's.
document.addEventListener("DOMContentLoaded", () => {
  for (const input of document.querySelectorAll(".launching-form input[type=file]")) {
    input.hasChangeListener = true;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches(".launching-form input[type=file]")) {
    tell("Check the file, and see here what it holds.");
  }
});

document.addEventListener("htmx:sendError", () => {
  tell("It did not get through. Has the file changed since it was chosen? Then choose it again; else try once more.");
});
