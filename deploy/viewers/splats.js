// Gaussian splats of a PLY file. window.DepthSplats.SplatViewer.
import { Box3, Vector3 } from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
import { Stage, inner } from "./stage.js";

class SplatViewer {
  constructor(place, { background = 0x000000 } = {}) {
    this.stage = new Stage(place, { background });
    // Spark sorts in workers, and says when there is something new to draw
    this.stage.scene.add(new SparkRenderer({ renderer: this.stage.renderer, onDirty: () => this.stage.draw() }));
  }

  // The bytes of a PLY file, as ArrayBuffer; resolves to how many splats there are.
  async showPly(data) {
    if (this.mesh) { this.stage.scene.remove(this.mesh); this.mesh.dispose(); }
    this.mesh = new SplatMesh({ fileBytes: new Uint8Array(data), fileType: "ply" });
    await this.mesh.initialized;
    this.mesh.quaternion.set(1, 0, 0, 0); // OpenCV's axes to this page's: y up, z towards the viewer
    this.stage.scene.add(this.mesh);
    const count = this.mesh.packedSplats?.numSplats ?? this.mesh.numSplats ?? 0, step = Math.max(1, Math.floor(count / 20000)), places = [];
    let index = 0;
    this.mesh.forEachSplat((_, centre) => { if (index++ % step === 0) places.push(centre.x, -centre.y, -centre.z); });
    const box = places.length ? inner(Float32Array.from(places), 0.05, 0.95) : new Box3(new Vector3(-1, -1, -1), new Vector3(1, 1, 1));
    this.stage.lookAt(box, new Vector3(0.1, 0.1, 1));
    return { splats: index };
  }

  reset() { this.stage.reset(); }
  dispose() { this.mesh?.dispose(); this.stage.dispose(); }
}

window.DepthSplats = { SplatViewer };
