// What refreshes itself asks for nothing while nobody looks, nor while somebody selects text to copy it.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.target.matches("[data-polls]")) return;
  const selection = document.getSelection();
  if (document.hidden || (selection && !selection.isCollapsed && event.target.contains(selection.anchorNode))) {
    event.preventDefault();
  }
});

// Signed out meanwhile: the answer is the sign-in page, which belongs in no part of this one.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, pathInfo } = event.detail;
  const asked = new URL(pathInfo.requestPath, location.href);
  if (xhr.responseURL && new URL(xhr.responseURL).pathname !== asked.pathname) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
