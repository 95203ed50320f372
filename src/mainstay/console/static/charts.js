// Draws every [data-chart] from the table inside it, and again whenever the table or the colours change.
(function () {
  "use strict";
  const drawn = new WeakMap();
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

  function points(figure) {
    const times = [], values = [];
    figure.querySelectorAll("[data-chart-data] tbody tr").forEach((row) => {
      times.push(Date.parse(row.querySelector("time").dateTime) / 1000);
      const told = row.cells[1].textContent;
      values.push(told === "–" ? null : Number(told));
    });
    return [times, values];
  }

  function colour(element, name) {
    const probe = document.createElement("span");
    probe.hidden = true;
    probe.style.color = `var(${name})`;
    element.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function tip(unit) {
    const box = document.createElement("div");
    box.className = "plot-tip";
    box.hidden = true;
    return {
      hooks: {
        init: (u) => u.over.append(box),
        setCursor: (u) => {
          const at = u.cursor.idx;
          box.hidden = at == null || u.data[1][at] == null;
          if (box.hidden) return;
          const time = new Date(u.data[0][at] * 1000).toLocaleTimeString([], clock);
          box.textContent = `${time}  ${u.data[1][at].toLocaleString()} ${unit}`;
          const left = u.valToPos(u.data[0][at], "x");
          const isRight = left > u.over.clientWidth / 2;
          box.style.left = isRight ? "auto" : `${left + 8}px`;
          box.style.right = isRight ? `${u.over.clientWidth - left + 8}px` : "auto";
        },
      },
    };
  }

  function options(figure, plot) {
    const line = colour(plot, "--line"), grid = colour(plot, "--n3"), text = colour(plot, "--n7");
    const isBars = figure.dataset.chart === "bars";
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const paths = isBars ? uPlot.paths.bars({ size: [0.7, 8], align: 1 }) : uPlot.paths.linear();
    return {
      width: plot.clientWidth, height: plot.clientHeight, padding: [6, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false }, points: { size: 6, fill: line } },
      scales: { x: { time: true }, y: { range: (u, low, high) => [0, Math.max(4, Math.ceil((high || 0) * 1.1))] } },
      axes: [
        { stroke: text, font, size: 20, gap: 4, space: 64, grid: { show: false }, ticks: { show: false },
          values: (u, marks) => marks.map((mark) => new Date(mark * 1000).toLocaleTimeString([], clock)) },
        { stroke: text, font, size: 36, gap: 4, space: 28, grid: { stroke: grid, width: 1 }, ticks: { show: false },
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6],
          values: (u, marks) => marks.map((mark) => (mark >= 1000 ? `${mark / 1000}k` : mark)) },
      ],
      series: [{}, { stroke: line, width: 1.5, fill: line.replace(/rgb\((.*)\)/, "rgb($1 / 0.1)").replace(/,(?=.*\/)/g, " "), points: { show: false }, paths }],
      plugins: [tip(figure.dataset.unit)],
    };
  }

  function draw(figure) {
    const plot = figure.querySelector(".plot"), data = points(figure);
    if (!data[0].length || !plot.clientWidth) return;
    const known = drawn.get(figure);
    if (known && known.width === plot.clientWidth) {
      known.setData(data);
      return;
    }
    if (known) known.destroy();
    plot.replaceChildren();
    drawn.set(figure, new uPlot(options(figure, plot), data, plot));
  }

  function redraw() {
    document.querySelectorAll("[data-chart]").forEach((figure) => {
      const known = drawn.get(figure);
      if (known) known.destroy();
      drawn.delete(figure);
      draw(figure);
    });
  }

  function drawAll() {
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  window.charts = { drawAll, redraw };
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
