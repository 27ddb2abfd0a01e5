// Lets a test ask the page's newest connection.
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration) {
    super(configuration);
    window.peer = this;
  }
};
