// asynqmon shows nothing when a change is refused, and goes blank when the sign-in has
// ended. This says why, and asks for the sign-in.
(function () {
  var open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method) {
    this.addEventListener("load", function () {
      if (this.status === 401) location.reload();
      else if (this.status >= 400 && method.toUpperCase() !== "GET") say(this.responseText);
    });
    return open.apply(this, arguments);
  };
  function say(text) {
    try { text = JSON.parse(text).detail || text; } catch (e) { /* plain text */ }
    var box = document.getElementById("gateway-cron-refusal");
    box.firstElementChild.textContent = text;
    box.hidden = false;
  }
  document.addEventListener("DOMContentLoaded", function () {
    var box = document.getElementById("gateway-cron-refusal");
    box.lastElementChild.addEventListener("click", function () { box.hidden = true; });
  });
})();
