// What unfold's templates ask of Alpine that its CSP build refuses: global functions and names, arrow functions, several
// statements in one attribute. It is given here by name, before Alpine looks at the page.
document.addEventListener("alpine:init", () => {
  for (const name of ["theme", "searchForm", "searchDropdown", "searchCommand"]) {
    if (typeof window[name] === "function") Alpine.data(name, window[name]);
  }

  const [, firstTab] = (document.body.getAttribute("x-data") || "").match(/activeTab: '([^']*)'/) || [null, ""];
  document.body.setAttribute("x-data", "page");
  document.body.removeAttribute("x-init");
  Alpine.data("page", () => ({
    activeTab: firstTab,
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    init() {
      if (firstTab) this.activeTab = getCurrentTab() || firstTab;
      this.$watch("sidebarDesktopOpen", (isOpen) => localStorage.setItem("sidebarDesktopOpen", isOpen ? "1" : "0"));
    },
  }));

  for (const toggle of document.querySelectorAll("[x-on\\:click*='localStorage']")) {
    toggle.setAttribute("x-on:click", "sidebarDesktopOpen = !sidebarDesktopOpen");
  }
  // Forms are sent where the page came from: what this would add to the address is the open tab.
  for (const form of document.querySelectorAll("form[x-bind\\:action]")) form.removeAttribute("x-bind:action");
});
