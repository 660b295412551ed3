// The licences of what is in the bundles, in one file beside them; and the bundles' hashes.
const fs = require("fs"), path = require("path"), crypto = require("crypto");
const out = path.join(__dirname, "../../serve/http/viewers");
const parts = { three: "points.js, splats.js", "@sparkjsdev/spark": "splats.js", fflate: "splats.js" };
let text = "points.js and splats.js are built by `make viewers` from deploy/viewers/, which is of this project,\nand from the packages below, whose licences follow.\n";
for (const [name, where] of Object.entries(parts)) {
  const folder = path.join(__dirname, "node_modules", name);
  const facts = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  const file = fs.readdirSync(folder).find(one => /^licen[cs]e/i.test(one));
  text += `\n${"-".repeat(80)}\n${name} ${facts.version} (${facts.license}), in ${where}\n\n`;
  text += file ? fs.readFileSync(path.join(folder, file), "utf8").trim() + "\n" : `Its package holds no text of its licence, ${facts.license}.\n`;
}
fs.writeFileSync(path.join(out, "LICENCES.txt"), text);
const hashed = ["points.js", "splats.js"].map(name =>
  `${crypto.createHash("sha256").update(fs.readFileSync(path.join(out, name))).digest("hex")}  ${name}`);
fs.writeFileSync(path.join(out, "SHA256SUMS"), hashed.join("\n") + "\n");
