/* Sorting, filtering, comparing, hovering. Without it the pages show the same tables, links and pictures. */
(() => {
  const all = (selector, node = document) => [...node.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const escaped = (text) => make("i", { textContent: text }).innerHTML;

  /* Sorting: a click on a column's last header cell. What has no number comes last. */
  const text = (cell) => (cell ? cell.innerText || cell.textContent : "").trim().replace("−", "-");
  const number = (cell) => {
    const found = text(cell).match(/^[<+]?(-?[\d,]*\.?\d+)(?![\w-])/);
    return found ? parseFloat(found[1].replaceAll(",", "")) : NaN;
  };
  const leaves = (table) => {
    const rows = all("thead tr", table), taken = rows.map(() => []), found = [];
    rows.forEach((row, r) => {
      let column = 0;
      for (const cell of row.cells) {
        while (taken[r][column]) column++;
        for (let y = r; y < Math.min(rows.length, r + cell.rowSpan); y++)
          for (let x = column; x < column + cell.colSpan; x++) taken[y][x] = true;
        if (cell.colSpan === 1 && r + cell.rowSpan >= rows.length) found.push([cell, column]);
        column += cell.colSpan;
      }
    });
    return found;
  };
  const sort = (table, head, column, sign) => {
    const body = table.tBodies[0], rows = [...body.rows], cells = rows.map((row) => row.cells[column]);
    const numbers = cells.map(number), numeric = numbers.some((value) => !isNaN(value));
    const order = rows.map((row, i) => i).sort((a, b) => {
      if (!numeric) return sign * text(cells[a]).localeCompare(text(cells[b]), undefined, { numeric: true });
      if (isNaN(numbers[a]) || isNaN(numbers[b])) return isNaN(numbers[a]) - isNaN(numbers[b]);
      return sign * (numbers[a] - numbers[b]);
    });
    body.append(...order.map((i) => rows[i]));
    all("[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  };
  const sortable = (table) => leaves(table).forEach(([head, column]) => {
    if (!head.textContent.trim()) return;
    head.tabIndex = 0;
    head.classList.add("sort");
    const act = () => {
      const named = head.getAttribute("aria-sort");
      const first = number(table.tBodies[0].rows[0]?.cells[column]);
      sort(table, head, column, named ? (named === "ascending" ? -1 : 1) : isNaN(first) ? 1 : -1);
    };
    head.addEventListener("click", act);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
    });
  });

  /* Values under the pointer, of any curves: points are read from their paths. */
  const tip = make("div", { className: "tip", hidden: true });
  document.body.append(tip);
  const hover = (svg) => {
    const [left, right, top, bottom, xLow, xHigh, yLow, yHigh] = svg.dataset.scale.split(" ").map(Number);
    const lines = all("[data-name]", svg).map((path) => ({
      name: path.dataset.name,
      css: path.getAttribute("class").replace("line ", ""),
      points: (path.getAttribute("d") || `M${path.getAttribute("cx")} ${path.getAttribute("cy")}`)
        .slice(1).split("L").map((pair) => pair.split(" ").map(Number)),
    }));
    const inverse = (value, from, to, low, high) => low + ((value - from) / (to - from)) * (high - low);
    const show = (value, low, high) => value.toFixed(Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(high - low))))).replace("-", "−");
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const nearest = lines.map((line) => line.points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)));
      const x = nearest.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a))[0];
      all(".mark", svg).forEach((mark) => mark.remove());
      svg.insertAdjacentHTML("beforeend", `<path class="mark axis" d="M${x} ${top}V${bottom}"/>` + lines.map((line, i) =>
        Math.abs(nearest[i][0] - x) < 2 ? `<circle class="mark ${line.css}" cx="${nearest[i][0]}" cy="${nearest[i][1]}" r="3"/>` : "").join(""));
      tip.innerHTML = `<b>${escaped(svg.dataset.x)} ${Math.round(inverse(x, left, right, xLow, xHigh))}</b>` + lines.map((line, i) =>
        Math.abs(nearest[i][0] - x) < 2 ? `<span><i class="${line.css}"></i>${escaped(line.name)} <b>${show(inverse(nearest[i][1], bottom, top, yLow, yHigh), yLow, yHigh)}</b></span>` : "").join("");
      tip.hidden = false;
      const over = event.clientX + tip.offsetWidth + 24 > innerWidth;
      tip.style.left = `${Math.max(4, over ? event.clientX - tip.offsetWidth - 12 : event.clientX + 12)}px`;
      tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 4))}px`;
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; all(".mark", svg).forEach((mark) => mark.remove()); });
  };

  all("table.sortable").forEach(sortable);
  all("svg.curves").forEach(hover);
  all("figure img").forEach((image) => {
    image.classList.add("zooms");
    image.addEventListener("click", () => image.classList.toggle("zoomed"));
  });
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);

  /* One filter for every table of runs. */
  const filters = all("input.filter"), counts = all(".shown");
  const rows = all("table.filterable tbody tr").map((row) => [row, row.textContent.toLowerCase()]);
  const runRows = rows.filter(([row]) => row.dataset.run);
  const filter = (words) => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [row, content] of rows) row.hidden = !wanted.every((word) => content.includes(word));
    const left = runRows.filter(([row]) => !row.hidden).length;
    counts.forEach((count) => { count.textContent = wanted.length ? `${left} of ${runRows.length} runs` : ""; });
  };
  filters.forEach((input) => input.addEventListener("input", () => {
    filters.forEach((other) => { other.value = input.value; });
    filter(input.value);
  }));
  all(".tools").forEach((tools) => { tools.hidden = false; });

  /* Downloads from the page itself, so that it may be sent alone. */
  const csv = (lines, keys = []) => {
    const header = [...new Set([...keys, ...lines.flatMap(Object.keys)])];
    const cell = (value) => {
      const word = value == null ? "" : Array.isArray(value) ? value.join(" ") : String(value);
      return /[",\n]/.test(word) ? `"${word.replaceAll('"', '""')}"` : word;
    };
    return [header, ...lines.map((line) => header.map((key) => line[key]))].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };
  const contents = {
    "report.json": () => JSON.stringify({ runs: data.runs, differences: data.differences }),
    "report_runs.csv": () => csv(data.runs),
    "report_differences.csv": () => csv(data.differences, data.difference_keys),
  };
  all("a[download]").forEach((link) => link.addEventListener("click", () => {
    link.href = URL.createObjectURL(new Blob([contents[link.download]()], { type: "text/plain" }));
  }));

  /* Picked runs: curves in one plot, and the settings in which they differ. */
  const picked = [], most = 8, bar = document.getElementById("picked"), panel = document.getElementById("compare");
  const ticks = (low, high, whole) => {
    const power = 10 ** Math.floor(Math.log10((high - low) / 4));
    let step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= ((high - low) / 4) * 0.75);
    if (whole) step = Math.max(1, step);
    const found = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * step; value += step) found.push(value);
    return found;
  };
  const written = (value) => String(+value.toPrecision(4)).replace("-", "−");
  const plot = (label, lines) => {
    const [width, height, left, right, top, bottom] = data.frame;
    const xs = lines.flatMap((line) => line.x), ys = lines.flatMap((line) => line.y);
    if (!xs.length) return "";
    let [xLow, xHigh, yLow, yHigh] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    if (xHigh <= xLow) xHigh = xLow + 1;
    const margin = (yHigh - yLow) * 0.06 || Math.abs(yLow) * 0.05 || 0.5;
    yLow -= margin; yHigh += margin;
    const across = (x) => (left + ((x - xLow) / (xHigh - xLow)) * (right - left)).toFixed(2);
    const down = (y) => (top + ((yHigh - y) / (yHigh - yLow)) * (bottom - top)).toFixed(2);
    return `<div class="plot"><div class="plot-title">${label}</div><svg class="curves" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}" data-x="epoch" data-scale="${[left, right, top, bottom, xLow, xHigh, yLow, yHigh].join(" ")}">`
      + ticks(yLow, yHigh).map((y) => `<path class="rule" d="M${left} ${down(y)}H${right}"/><text x="${left - 6}" y="${+down(y) + 3.5}" text-anchor="end">${written(y)}</text>`).join("")
      + ticks(xLow, xHigh, true).map((x) => `<text x="${across(x)}" y="${bottom + 14}" text-anchor="middle">${written(x)}</text>`).join("")
      + `<path class="axis" d="M${left} ${bottom}H${right}"/>`
      + lines.map((line) => `<path class="line ${line.css}" data-name="${escaped(line.name).replaceAll('"', "&quot;")}" d="M${line.x.map((x, i) => `${across(x)} ${down(line.y[i])}`).join("L")}"/>`).join("")
      + `<text x="${right}" y="${height - 4}" text-anchor="end">epoch</text></svg></div>`;
  };
  const name = (index) => `${String.fromCharCode(65 + picked.indexOf(index))}`;
  const differing = () => {
    const lists = picked.map((index) => data.more[index].settings), keys = [...new Set(lists.flatMap(Object.keys))].sort();
    return keys.filter((key) => new Set(lists.map((list) => JSON.stringify(list[key]))).size > 1)
      .map((key) => [key, ...lists.map((list) => (key in list ? JSON.stringify(list[key]) : "–"))]);
  };
  const draw = () => {
    all('tr[data-run] input[type="checkbox"]').forEach((box) => {
      box.checked = picked.includes(+box.value);
      box.disabled = !box.checked && picked.length >= most;
    });
    bar.hidden = panel.hidden = !picked.length;
    document.getElementById("count").textContent = `${picked.length} run${picked.length > 1 ? "s" : ""} picked${picked.length >= most ? " (at most)" : ""}`;
    if (!picked.length) return;
    const chosen = picked.map((index, i) => ({ index, css: `s${i}`, ...data.more[index] }));
    const lines = (key) => chosen.filter((run) => run[key]).map((run) => ({ name: name(run.index), css: run.css, x: run[key][0], y: run[key][1] }));
    const legend = chosen.map((run) => `<li><i class="${run.css}"></i><b>${name(run.index)}</b> <a href="${run.page}">${escaped(run.title)}</a> <code>${escaped(run.words)}</code></li>`).join("");
    const metrics = Object.entries(data.metrics).filter(([key]) => picked.some((index) => key in data.runs[index]))
      .map(([key, title]) => [title, ...picked.map((index) => (key in data.runs[index] ? data.runs[index][key].toFixed(2).replace("-", "−") : "–"))]);
    const grid = (rows, code) => rows.map((row) => `<tr>${row.map((cell, i) => (i ? `<td class="number">${escaped(cell)}</td>` : `<th scope="row">${code ? `<code>${escaped(cell)}</code>` : escaped(cell)}</th>`)).join("")}</tr>`).join("");
    const settings = picked.length > 1 ? differing() : [];
    panel.querySelector(".body").innerHTML = `<ul class="legend">${legend}</ul><div class="plots">${plot("5-NN accuracy, %", lines("knn"))}${plot("training loss", lines("loss"))}</div>`
      + `<div class="scroll"><table class="numbers compare"><thead><tr><th></th>${picked.map((index) => `<th class="number">${name(index)}</th>`).join("")}</tr></thead><tbody>${grid(metrics)}</tbody>`
      + (picked.length > 1 ? `<tbody><tr><th colspan="${picked.length + 1}" class="sub">${settings.length ? "Settings in which they differ" : "No setting differs"}</th></tr>${grid(settings, true)}</tbody>` : "") + "</table></div>";
    all("svg.curves", panel).forEach(hover);
  };
  for (const [row] of runRows) {
    const box = make("input", { type: "checkbox", value: row.dataset.run, ariaLabel: "pick this run" });
    box.addEventListener("change", () => {
      if (box.checked) picked.push(+box.value); else picked.splice(picked.indexOf(+box.value), 1);
      draw();
    });
    row.cells[0].prepend(box);
  }
  document.getElementById("clear").addEventListener("click", () => { picked.length = 0; draw(); });
})();
