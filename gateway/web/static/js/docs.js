// The API reference, out of this server's own OpenAPI document.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const key = sessionStorage.getItem("api-key"); // as the chat page keeps it
    if (key) request.headers.Authorization ??= `Bearer ${key}`;
    return request;
  },
  presets: [SwaggerUIBundle.presets.apis],
});
