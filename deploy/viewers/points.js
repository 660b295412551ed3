// Points with colours, and cameras as lines: of a GLB file, or of arrays. window.DepthPoints.PointViewer.
import { BufferAttribute, BufferGeometry, Line, LineBasicMaterial, LinearSRGBColorSpace, Matrix4, Points, PointsMaterial, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { Stage, inner } from "./stage.js";

const NEAR_PX = 9, MARK = 0xff3b30;
const FEW = { points: 150000, size: 2, most: 8 }; // pixels of a point when there are so many, and at most

class PointViewer {
  // onMeasure({distance, points}) after two points; null when a measurement begins anew.
  constructor(place, { background = null, onMeasure = () => {} } = {}) {
    this.stage = new Stage(place, { background });
    this.stage.renderer.outputColorSpace = LinearSRGBColorSpace; // files hold colours as photos have them
    this.onMeasure = onMeasure;
    this.clouds = []; this.lines = []; this.marks = []; this.picked = [];
    this.size = 2; this.measuring = false; this.count = 0; this.extras = {};
    this.stage.canvas.addEventListener("pointerdown", event => { this.pressed = [event.clientX, event.clientY]; });
    this.stage.canvas.addEventListener("pointerup", event => {
      const [x, y] = this.pressed || [Infinity, 0];
      if (this.measuring && Math.hypot(event.clientX - x, event.clientY - y) < 4) this.#pick(event);
    });
  }

  // The bytes of a GLB file; resolves to what it says of itself, and how many points it has.
  async showGlb(data) {
    const file = await new Promise((done, failed) => new GLTFLoader().parse(data, "", done, failed));
    this.#clear();
    this.stage.scene.add(file.scene);
    file.scene.traverse(one => {
      if (one.isPoints) this.clouds.push(one);
      else if (one.isLine) this.lines.push(one);
    });
    this.extras = file.scene.userData || {};
    return this.#ready();
  }

  // positions: Float32Array of x, y, z; colours: Uint8Array of r, g, b.
  showPoints(positions, colours) {
    this.#clear();
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(positions, 3));
    geometry.setAttribute("color", new BufferAttribute(colours, 3, true));
    const cloud = new Points(geometry);
    this.stage.scene.add(cloud);
    this.clouds.push(cloud);
    this.extras = {};
    return this.#ready();
  }

  setPointSize(pixels) { this.size = pixels; for (const cloud of this.clouds) cloud.material.size = pixels * this.stage.renderer.getPixelRatio(); this.stage.draw(); }
  showCameras(on) { for (const line of this.lines) line.visible = on; this.stage.draw(); }
  setMeasuring(on) { this.measuring = on; this.stage.canvas.style.cursor = on ? "crosshair" : ""; if (!on) this.#unmark(); }
  reset() { this.stage.reset(); }
  // Where one stands and looks, as numbers; setView brings it back.
  view() { return [...this.stage.camera.position.toArray(), ...this.stage.controls.target.toArray()]; }
  setView(numbers) { this.stage.camera.position.fromArray(numbers); this.stage.controls.target.fromArray(numbers, 3); this.stage.controls.update(); this.stage.draw(); }
  dispose() { this.stage.dispose(); }

  #ready() {
    this.count = 0;
    let most = null;
    for (const cloud of this.clouds) {
      const places = cloud.geometry.attributes.position;
      this.count += places.count;
      cloud.material = new PointsMaterial({ size: this.size * this.stage.renderer.getPixelRatio(), sizeAttenuation: false, vertexColors: Boolean(cloud.geometry.attributes.color) });
      if (!most || places.count > most.count) most = places;
    }
    if (most) this.stage.lookAt(inner(most.array), undefined, this.#cameras());
    this.stage.draw();
    const fitting = Math.round(2 * FEW.size * Math.sqrt(FEW.points / Math.max(this.count, 1))) / 2; // few points are drawn large
    return { points: this.count, cameras: this.lines.length, extras: this.extras, size: Math.min(FEW.most, Math.max(FEW.size, fitting)) };
  }

  // Where cameras stand.
  #cameras() {
    const all = [];
    for (const line of this.lines) {
      line.updateWorldMatrix(true, false);
      const places = line.geometry.attributes.position;
      for (let index = 0; index < places.count; index++) all.push(new Vector3().fromBufferAttribute(places, index).applyMatrix4(line.matrixWorld));
    }
    return all;
  }

  #clear() {
    this.#unmark();
    for (const one of [...this.stage.scene.children]) this.stage.scene.remove(one);
    this.clouds = []; this.lines = [];
  }

  #unmark() {
    for (const mark of this.marks) this.stage.scene.remove(mark);
    this.marks = []; this.picked = [];
    this.onMeasure(null);
    this.stage.draw();
  }

  // The nearest of the points that are drawn where a person clicks.
  #pick(event) {
    const { left, top, width, height } = this.stage.canvas.getBoundingClientRect();
    const x = event.clientX - left, y = event.clientY - top;
    let found = null, nearest = Infinity;
    for (const cloud of this.clouds) {
      cloud.updateWorldMatrix(true, false);
      const e = new Matrix4().multiplyMatrices(this.stage.camera.projectionMatrix, this.stage.camera.matrixWorldInverse).multiply(cloud.matrixWorld).elements;
      const p = cloud.geometry.attributes.position.array;
      for (let i = 0; i < p.length; i += 3) {
        const w = e[3] * p[i] + e[7] * p[i + 1] + e[11] * p[i + 2] + e[15];
        if (w <= 0 || w >= nearest) continue;
        const u = ((e[0] * p[i] + e[4] * p[i + 1] + e[8] * p[i + 2] + e[12]) / w + 1) * width / 2 - x;
        const v = (1 - (e[1] * p[i] + e[5] * p[i + 1] + e[9] * p[i + 2] + e[13]) / w) * height / 2 - y;
        if (u * u + v * v < NEAR_PX * NEAR_PX) { nearest = w; found = new Vector3(p[i], p[i + 1], p[i + 2]).applyMatrix4(cloud.matrixWorld); }
      }
    }
    if (!found) return;
    if (this.picked.length === 2) this.#unmark();
    this.picked.push(found);
    const geometry = new BufferGeometry().setFromPoints(this.picked);
    const dots = new Points(geometry, new PointsMaterial({ color: MARK, size: 10 * this.stage.renderer.getPixelRatio(), sizeAttenuation: false, depthTest: false }));
    this.marks.push(dots);
    this.stage.scene.add(dots);
    if (this.picked.length === 2) {
      const line = new Line(geometry, new LineBasicMaterial({ color: MARK, depthTest: false }));
      this.marks.push(line);
      this.stage.scene.add(line);
      this.onMeasure({ distance: this.picked[0].distanceTo(this.picked[1]), points: this.picked.map(one => one.toArray()) });
    }
    this.stage.draw();
  }
}

window.DepthPoints = { PointViewer };
