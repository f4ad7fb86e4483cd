// Pointing at a member highlights its lineage.
for (const svg of document.querySelectorAll("svg.chart")) {
  const marks = new Map([...svg.querySelectorAll("[data-id]")].map((mark) => [mark.dataset.id, mark]));
  const clear = () => {
    svg.classList.remove("traced");
    for (const mark of marks.values()) mark.classList.remove("on");
  };
  const trace = (id) => {
    clear();
    svg.classList.add("traced");
    const left = [id];
    while (left.length) {
      const mark = marks.get(left.pop());
      if (!mark || mark.classList.contains("on")) continue;
      mark.classList.add("on");
      left.push(...mark.dataset.from.split(" ").filter(Boolean));
    }
  };
  for (const [id, mark] of marks) mark.addEventListener("pointerenter", () => trace(id));
  svg.addEventListener("pointerleave", clear);
}
// Print folded parts, too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
