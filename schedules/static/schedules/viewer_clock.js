// Shows due times on the clock of whoever looks: only the browser knows it. Without this the column is not there.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const format = new Intl.DateTimeFormat("en-GB", {
    weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
    timeZoneName: "shortOffset",
  });
  for (const time of document.querySelectorAll("time[data-viewer-clock]")) {
    time.textContent = format.format(new Date(time.dateTime)).replace(/^(\w+), /, "$1 ");
  }
  for (const name of document.querySelectorAll("[data-viewer-zone]")) {
    name.textContent = zone ? `On your clock (${zone})` : "On your clock";
  }
  for (const cell of document.querySelectorAll("[data-viewer-column]")) {
    cell.hidden = false;
  }
});
