// Puts the chosen colours in force before anything is painted. The one script that is no module, because
// modules run after the first paint.
"use strict";
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem("conduit.theme");
  } catch {
    // Storage may be closed to us: then the system's choice stands.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
