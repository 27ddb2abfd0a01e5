// A camera that films a clock: its picture tells when it was drawn, in black and white blocks that any encoder keeps.
// Twenty columns: black, sixteen bits of the time in milliseconds, two bits of their sum, white.
const COLUMNS = 20;

navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
  const pen = canvas.getContext("2d", { alpha: false });
  const bits = (value, count) => Array.from({ length: count }, (_, index) => (value >> (count - 1 - index)) & 1);
  const draw = () => {
    const now = Date.now() % 65536;
    const code = bits(now, 16);
    const sum = code.reduce((before, bit) => before + bit, 0) % 4;
    pen.fillStyle = `hsl(${now / 40} 45% 45%)`;
    pen.fillRect(0, 0, 1280, 720);
    pen.fillStyle = "#d8c2a6";
    pen.fillRect(540 + 400 * Math.sin(now / 700), 60, 160, 160); // something moves, as in front of a camera
    [0, ...code, ...bits(sum, 2), 1].forEach((bit, column) => {
      pen.fillStyle = bit ? "#fff" : "#000";
      pen.fillRect((column * 1280) / COLUMNS, 270, 1280 / COLUMNS, 180);
    });
    requestAnimationFrame(draw);
  };
  draw();
  const stream = canvas.captureStream(30);
  const sound = new AudioContext();
  const output = sound.createMediaStreamDestination();
  sound.createOscillator().connect(output);
  output.stream.getAudioTracks().forEach(track => stream.addTrack(track));
  return stream;
};

// What a viewer's video shows of that clock: the delays in milliseconds of the next `count` frames.
window.readClock = count => new Promise(resolve => {
  const video = document.querySelector("[data-testid=video]");
  const canvas = new OffscreenCanvas(320, 180);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const delays = [];
  const read = (_, { expectedDisplayTime }) => {
    const shown = Math.max(Date.now(), performance.timeOrigin + expectedDisplayTime);
    pen.drawImage(video, 0, 0, 320, 180);
    const { data } = pen.getImageData(0, 90, 320, 1);
    const bits = Array.from({ length: COLUMNS }, (_, column) => data[4 * (16 * column + 8) + 1] > 127 ? 1 : 0);
    const code = bits.slice(1, 17);
    const sum = code.reduce((before, bit) => before + bit, 0) % 4;
    const whole = bits[0] === 0 && bits[19] === 1 && sum === 2 * bits[17] + bits[18];
    if (whole) delays.push((Math.round(shown) - code.reduce((value, bit) => 2 * value + bit, 0) + 2 * 65536) % 65536);
    if (delays.length < count) video.requestVideoFrameCallback(read);
    else resolve(delays);
  };
  video.requestVideoFrameCallback(read);
});
