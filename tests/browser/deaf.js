/* A page that never hears of a changed price. */
const set = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage").set;
Object.defineProperty(WebSocket.prototype, "onmessage", {
  set(run) {
    set.call(this, run && ((event) => {
      const messages = [JSON.parse(event.data)].flat().map((message) => (message.name === "product.price" ? { ...message, data: { ...message.data, sku: "" } } : message));
      run({ data: JSON.stringify(messages) });
    }));
  },
});
