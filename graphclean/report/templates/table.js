(() => {
  "use strict";
  const table = document.getElementById("nodes");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => row.cells[i].textContent.trim();
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      rows.sort((a, b) => down * key(a, i).localeCompare(key(b, i), undefined, { numeric: true }));
      body.append(...rows);
    };
  });
  const input = document.getElementById("filter"), count = document.getElementById("count");
  input.closest("[hidden]").hidden = false;
  input.oninput = () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row) => {
      const hide = !row.textContent.toLowerCase().includes(wanted);
      row.hidden = hide;
      document.getElementById(row.dataset.card).hidden = hide;
      shown += !hide;
    });
    count.textContent = wanted ? shown + " of " + rows.length : "";
  };
})();
