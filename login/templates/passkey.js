// Asks the browser for a passkey when the button of a form with data-passkey is pressed,
// and sends the form with the answer. Without this script the button is not shown.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const descriptors = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));
  const ask = async (kind, options) => {
    options.challenge = bytes(options.challenge);
    if (kind === "create") {
      options.user.id = bytes(options.user.id);
      options.excludeCredentials = descriptors(options.excludeCredentials);
      const made = await navigator.credentials.create({ publicKey: options });
      const r = made.response;
      return { id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: made.getClientExtensionResults(),
        response: { clientDataJSON: text(r.clientDataJSON), attestationObject: text(r.attestationObject), transports: r.getTransports ? r.getTransports() : [] } };
    }
    options.allowCredentials = descriptors(options.allowCredentials);
    const got = await navigator.credentials.get({ publicKey: options });
    const r = got.response;
    return { id: got.id, rawId: text(got.rawId), type: got.type, clientExtensionResults: got.getClientExtensionResults(),
      response: { clientDataJSON: text(r.clientDataJSON), authenticatorData: text(r.authenticatorData), signature: text(r.signature),
        userHandle: r.userHandle ? text(r.userHandle) : undefined } };
  };
  if (!window.PublicKeyCredential) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const button = form.querySelector("button");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      if (form.elements.passkey.value !== "") return;
      event.preventDefault();
      button.disabled = true;
      try {
        form.elements.passkey.value = JSON.stringify(await ask(form.dataset.passkey, JSON.parse(form.dataset.options)));
        button.disabled = false;
        const keep = document.querySelector('input[name="keep"]');
        if (keep && form.elements.keep) form.elements.keep.value = keep.checked ? "1" : "";
        form.requestSubmit(button);
      } catch (error) {
        button.disabled = false;
        form.querySelector("[role=alert]").hidden = false;
      }
    });
  }
})();
