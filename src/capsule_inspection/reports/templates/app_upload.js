// Uploads files one by one, then triggers the event "upload" with their paths on the server.
const status = element.querySelector("[role=status]");
const drop = element.querySelector(".drop");
let isBusy = false;
async function send(files) {
  if (isBusy || !files.length) return;
  isBusy = true;
  const limit = props.max_files, stored = [], failed = [];
  if (files.length > limit) failed.push(`Only the first ${limit} of ${files.length} files are predicted.`);
  for (const file of files.slice(0, limit)) {
    status.textContent = `Uploading ${file.name}`;
    try {
      stored.push((await upload(file)).path);
    } catch (error) {
      failed.push(`${file.name} was not uploaded: ${error.message || error}`);
    }
  }
  status.textContent = failed.join(" ");
  isBusy = false;
  if (stored.length) trigger("upload", {files: stored});
}
element.addEventListener("change", event => { send([...event.target.files]); event.target.value = ""; });
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  element.addEventListener(name, event => {
    event.preventDefault();
    drop.classList.toggle("over", name.startsWith("dragen") || name === "dragover");
    if (name === "drop") send([...event.dataTransfer.files]);
  });
