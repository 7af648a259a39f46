// Puts the chosen colours on before anything is drawn. Not a module, because modules come too late for that.
{
  let theme = null;
  try {
    theme = localStorage.getItem("mgrok-theme");
  } catch {
    // Storage is switched off: the system's colours.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
