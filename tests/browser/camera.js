// For the README's pictures: a table with products instead of the fake camera's green, as the page's camera.
const pictures = ["walnut-board", "ceramic-vase", "espresso-cup"].map(name => {
  const image = new Image();
  image.src = `/static/pictures/${name}.svg`;
  return image;
});

navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
  const pen = canvas.getContext("2d");
  const draw = () => {
    const wall = pen.createLinearGradient(0, 0, 0, 560);
    wall.addColorStop(0, "#e9dccb");
    wall.addColorStop(1, "#d8c2a6");
    pen.fillStyle = wall;
    pen.fillRect(0, 0, 1280, 560);
    pen.fillStyle = "#8a5a3b";
    pen.fillRect(0, 540, 1280, 180);
    pen.fillStyle = "#7a4d31";
    pen.fillRect(0, 540, 1280, 14);
    const sway = Math.sin(performance.now() / 900);
    pictures.forEach((image, index) => {
      const size = index === 0 ? 380 : 260;
      const x = [450, 130, 890][index] + sway * (index === 0 ? 12 : 4);
      pen.save();
      pen.beginPath();
      pen.roundRect(x, 640 - size - (index === 0 ? 0 : 20), size, size, 28);
      pen.clip();
      if (image.complete) pen.drawImage(image, x, 640 - size - (index === 0 ? 0 : 20), size, size);
      pen.restore();
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
