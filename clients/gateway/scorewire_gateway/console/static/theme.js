// Sets the theme before the page is drawn, so that a dark page never flashes light. No module: modules run later.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("scorewire-theme");
  } catch {
    // The browser keeps nothing for this page.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
