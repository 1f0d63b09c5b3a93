// ONNX files of ours in onnxruntime-web (the one that runs in browsers): our answers to 1e-4.
//
// usage: node onnx_web.mjs WRITE_ONNX     (the program built from tests/train/write_onnx.c). Exit 77: no onnxruntime-web
// beside the global packages of npm (scripts/setup --develop).
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

function load() {
  try {
    const root = execFileSync("npm", ["root", "--global"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return createRequire(join(root, "x.js"))("onnxruntime-web");
  } catch (e) {
    console.log(`skipped: no onnxruntime-web: npm install --global onnxruntime-web (${String(e.message).split("\n")[0]})`);
    process.exit(77);
  }
}

const ort = load();
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const folder = mkdtempSync(join(tmpdir(), "cordon-onnx-"));
let failed = 0;
try {
  const lines = execFileSync(process.argv[2], [folder], { encoding: "utf8" }).trim().split("\n");
  for (const line of lines) {
    const [name, ...numbers] = line.split(" ");
    const [c, h, w, k, n] = numbers.slice(0, 5).map(Number);
    const bytes = readFileSync(join(folder, name + ".f32"));
    const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const session = await ort.InferenceSession.create(readFileSync(join(folder, name + ".onnx")), { graphOptimizationLevel: "basic" });
    let worst = 0;
    for (const batch of [1, n]) {
      const image = new ort.Tensor("float32", all.slice(0, batch * c * h * w), [batch, c, h, w]);
      const out = await session.run({ image });
      for (const [i, key] of ["logits", "probabilities"].entries()) {
        const ours = all.subarray(n * c * h * w + i * n * k);
        if (out[key].data.length !== batch * k) throw new Error(`${name}: ${key} has ${out[key].data.length} values`);
        out[key].data.forEach((v, j) => (worst = Math.max(worst, Number.isNaN(v) ? Infinity : Math.abs(v - ours[j]))));
      }
    }
    await session.release();
    console.log(`${name}: onnxruntime-web ${ort.env.versions.web}: largest difference ${worst.toExponential(1)}`);
    failed += worst > 1e-4;
  }
} catch (e) {
  console.log(e.message);
  failed++;
} finally {
  rmSync(folder, { recursive: true });
}
process.exit(failed > 0 ? 1 : 0);
