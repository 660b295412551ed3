// What both viewers share: a canvas in a place of the page, a camera that is moved by mouse, fingers and keys, and a
// picture that is drawn when something has changed.
import { Box3, Color, PerspectiveCamera, Scene, Spherical, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const STEP = Math.PI / 36, NEARER = 0.9;
const UP = new Vector3(0, 1, 0);

export class Stage {
  constructor(place, { background = null } = {}) {
    this.place = place;
    this.renderer = new WebGLRenderer({ antialias: true, alpha: background === null, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.scene = new Scene();
    if (background !== null) this.scene.background = new Color(background);
    this.camera = new PerspectiveCamera(50, 1, 0.01, 1000);
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    this.canvas.style.cssText = "display:block;width:100%;height:100%;touch-action:none;outline-offset:-2px";
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "a view in three dimensions; arrow keys turn it, plus and minus move it nearer and farther, R resets it");
    place.replaceChildren(this.canvas);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.addEventListener("change", () => this.draw());
    this.canvas.addEventListener("keydown", event => this.#key(event));
    this.resized = new ResizeObserver(() => this.#resize());
    this.resized.observe(place);
    this.home = { position: new Vector3(0, 0, 3), target: new Vector3() };
    this.waits = false;
    this.#resize();
  }

  // Stand so that a box fills the picture, looking at it from the front and a little above; and so far back that other
  // places are seen too, unless the box would be tiny then.
  lookAt(box, from = new Vector3(0.25, 0.2, 1), places = []) {
    const centre = box.getCenter(new Vector3()), size = box.getSize(new Vector3());
    const across = Math.max(size.y, size.x / this.camera.aspect, 1e-6);
    const distance = across / (2 * Math.tan(this.camera.fov * Math.PI / 360)) * 1.2 + size.z / 2;
    this.camera.near = distance / 1000; this.camera.far = distance * 100;
    this.camera.updateProjectionMatrix();
    from.normalize();
    const stand = times => { this.home = { position: centre.clone().addScaledVector(from, times * distance), target: centre }; this.reset(); };
    const seen = () => { this.camera.updateMatrixWorld(); return places.every(place => { const at = place.clone().project(this.camera); return Math.abs(at.x) < 0.97 && Math.abs(at.y) < 0.97 && at.z < 1; }); };
    const times = [1, 1.15, 1.3, 1.5, 1.75, 2, 2.5, 3].find(one => (stand(one), seen()));
    if (!times) stand(1);
  }

  reset() {
    this.camera.position.copy(this.home.position);
    this.controls.target.copy(this.home.target);
    this.controls.update();
    this.draw();
  }

  draw() {
    if (this.waits || this.ended) return;
    this.waits = true;
    requestAnimationFrame(() => { this.waits = false; if (!this.ended) this.#now(); });
  }

  dispose() {
    this.ended = true;
    this.resized.disconnect();
    this.controls.dispose();
    this.scene.traverse(one => { one.geometry?.dispose?.(); one.material?.dispose?.(); });
    this.renderer.dispose();
    this.canvas.remove();
  }

  #now() { this.renderer.render(this.scene, this.camera); }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  #key(event) {
    const turns = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const nearer = { "+": NEARER, "=": NEARER, "-": 1 / NEARER };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arm = this.camera.position.clone().sub(this.controls.target);
    if (turns[event.key]) {
      const around = new Spherical().setFromVector3(arm);
      around.theta += turns[event.key][0] * STEP; around.phi += turns[event.key][1] * STEP; around.makeSafe();
      arm.setFromSpherical(around);
    } else if (nearer[event.key]) arm.multiplyScalar(nearer[event.key]);
    else if (event.key.toLowerCase() === "r") return void (event.preventDefault(), this.reset());
    else return;
    event.preventDefault();
    this.camera.position.copy(this.controls.target).add(arm);
    this.camera.up.copy(UP);
    this.controls.update();
    this.draw();
  }
}

// The box that holds all but the outermost points: a few stray ones would make the rest tiny.
export function inner(positions, low = 0.02, high = 0.98) {
  const count = positions.length / 3, step = Math.max(1, Math.floor(count / 20000)), box = new Box3();
  for (const axis of [0, 1, 2]) {
    const values = [];
    for (let index = 0; index < count; index += step) {
      const value = positions[3 * index + axis];
      if (Number.isFinite(value)) values.push(value);
    }
    values.sort((a, b) => a - b);
    box.min.setComponent(axis, values[Math.floor(low * (values.length - 1))] ?? 0);
    box.max.setComponent(axis, values[Math.ceil(high * (values.length - 1))] ?? 1);
  }
  return box;
}
