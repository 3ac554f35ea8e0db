"use strict";
// Draws the charts of a report. What is drawn is thinned to the lowest and highest of each pixel or so of the view.
(() => {
  const page = JSON.parse(document.getElementById("report-data").textContent);
  const INK = "#262626", QUIET = "#6e6e6e", EXPECTED = "#0072B2", BAND = "rgba(86, 180, 233, 0.35)", ALARM = "#D55E00";
  const ALARM_PALE = "rgba(213, 94, 0, 0.16)", LABELLED = "#009E73", GRID = "#e3e3e3";
  const BUCKETS = 1200, FEW = 150;
  const STRIP = 12, GAP = 30, SCORE_HEIGHT = 150, TOP = 26, BOTTOM = 44;
  const FONT = { family: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif', size: 12, color: INK };
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d"]] };
  const SHADED = 40; // events that are shaded over the full height; more would hide the curves
  const byId = (id) => document.getElementById(id);

  // ---- data ----

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }
  const axis = page.axis, dates = axis.kind === "date";
  const at = axis.at ? new Float64Array(bytes(axis.at)) : null;
  function positions(packed, length) {
    const rows = packed ? new Uint32Array(bytes(packed)) : null, x = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      const row = rows ? rows[i] : i;
      x[i] = at ? at[row] : axis.start + axis.step * row;
    }
    return x;
  }
  const floats = (text) => new Float32Array(bytes(text));
  function curve(packed) {
    const y = floats(packed.values);
    return { x: positions(packed.rows, y.length), y };
  }
  const decoded = new Map(); // a channel is unpacked when it is first drawn
  function channel(i) {
    if (!decoded.has(i)) {
      const one = page.channels[i], lower = floats(one.band.lower);
      decoded.set(i, {
        name: one.name, observed: curve(one.observed), expected: curve(one.expected),
        band: { x: positions(one.band.rows, lower.length), lower, upper: floats(one.band.upper) },
      });
    }
    return decoded.get(i);
  }
  const score = curve(page.score);

  // ---- thinning ----

  function firstFrom(x, value) {
    let low = 0, high = x.length;
    while (low < high) { const middle = (low + high) >> 1; if (x[middle] < value) low = middle + 1; else high = middle; }
    return low;
  }
  // Indices of the view [a, b], with a point beyond each end so that lines leave the picture.
  const inView = (x, [a, b]) => [Math.max(firstFrom(x, a) - 1, 0), Math.min(firstFrom(x, b) + 1, x.length)];
  function buckets(x, view, visit) {
    const [low, high] = inView(x, view), width = (view[1] - view[0]) / BUCKETS;
    if (high - low <= 2 * BUCKETS) { for (let i = low; i < high; i++) visit(i, i + 1); return; }
    for (let i = low; i < high;) {
      const end = Math.floor((x[i] - view[0]) / width);
      let j = i + 1;
      while (j < high && Math.floor((x[j] - view[0]) / width) === end) j++;
      visit(i, j);
      i = j;
    }
  }
  function thin({ x, y }, view) {
    const out = { x: [], y: [] };
    const put = (i) => { out.x.push(x[i]); out.y.push(Number.isNaN(y[i]) ? null : y[i]); };
    buckets(x, view, (i, j) => {
      let low = -1, high = -1;
      for (let k = i; k < j; k++) {
        if (Number.isNaN(y[k])) continue;
        if (low < 0 || y[k] < y[low]) low = k;
        if (high < 0 || y[k] > y[high]) high = k;
      }
      if (low < 0) put(i);
      else { put(Math.min(low, high)); if (low !== high) put(Math.max(low, high)); }
    });
    return out;
  }
  function bandPolygons({ x, lower, upper }, view) {
    const out = { x: [], y: [] }, known = [];
    let run = [];
    const close = () => {
      if (!run.length) return;
      if (out.x.length) { out.x.push(null); out.y.push(null); }
      for (const [place, , high] of run) { out.x.push(place); out.y.push(high); }
      for (const [place, low] of run.reverse()) { out.x.push(place); out.y.push(low); }
      run = [];
    };
    buckets(x, view, (i, j) => {
      let low = Infinity, high = -Infinity;
      for (let k = i; k < j; k++) { if (lower[k] < low) low = lower[k]; if (upper[k] > high) high = upper[k]; }
      if (low === Infinity) close(); else { run.push([x[i], low, high]); known.push(low, high); }
    });
    close();
    return { ...out, known };
  }
  const bounds = (numbers) => {
    let low = Infinity, high = -Infinity;
    for (const one of numbers) if (one !== null) { if (one < low) low = one; if (one > high) high = one; }
    return [low, high];
  };

  // ---- state ----

  const margin = 0.005 * (axis.ends[1] - axis.ends[0]) || 0.5;
  const WHOLE = [axis.ends[0] - margin, axis.ends[1] + margin];
  let view = WHOLE, chosen = null;
  const shown = new Set(page.channels.keys().filter((i) => i < page.shown));
  let logarithmic = page.score.log;

  // ---- the main chart ----

  // A date as paths and ranges take it; paths end numbers at letters, so that the T of ISO dates is out.
  const stamp = (value) => (dates ? new Date(value).toISOString().slice(0, 23).replace("T", "_") : String(value));
  const place = (value) => (dates ? new Date(value).toISOString().slice(0, 23).replace("T", " ") : value);
  const places = (values) => (dates ? values.map((value) => (value === null ? null : place(value))) : values);
  const literal = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 12)}…${text.slice(-11)}` : text);
  const digits = (value) => String(Number(value.toPrecision(4)));

  // One path for all spans: thousands of shapes would be slow. Its outline keeps a span of no pixel visible.
  function spans([starts, ends], low, high, style) {
    let path = "";
    for (let i = 0; i < starts.length; i++) {
      if (ends[i] < view[0] || starts[i] > view[1]) continue;
      const from = stamp(Math.max(starts[i], view[0])), to = stamp(Math.min(ends[i], view[1]));
      path += `M${from},${low}L${from},${high}L${to},${high}L${to},${low}Z`;
    }
    return path ? [{ type: "path", path, xref: "x", yref: "paper", layer: "below", ...style }] : [];
  }

  // Of many events in view only the most severe are shaded from top to bottom; the strip above has all.
  function tallSpans() {
    const [starts, ends] = page.shading, seen = starts.filter((start, i) => ends[i] >= view[0] && start <= view[1]).length;
    if (seen <= SHADED) return page.shading;
    const best = ranked.filter(inSight).slice(0, SHADED).map((event) => event.span);
    return [best.map(([start]) => start), best.map(([, end]) => end)];
  }
  const ranked = [...page.events].sort((a, b) => (b.severity ?? 0) - (a.severity ?? 0));
  const inSight = (event) => event.span[1] >= view[0] && event.span[0] <= view[1];

  // Where the score is drawn: as it is, by its logarithm, or, where it can be negative, by it above a power of ten only.
  function scoreScale() {
    const knee = page.score.knee;
    if (!logarithmic || knee === null) return { map: (y) => y, axis: { type: "linear" } };
    if (page.score.positive) return { map: (y) => (y > 0 ? y : null), axis: { type: "log" }, log: true };
    const map = (y) => (Math.abs(y) <= knee ? y / knee : Math.sign(y) * (1 + Math.log10(Math.abs(y) / knee)));
    const tickvals = [0], ticktext = ["0"];
    for (let power = 0; power < 16; power += 1) {
      for (const sign of [1, -1]) { tickvals.push(sign * (1 + power)); ticktext.push(digits(sign * knee * 10 ** power)); }
    }
    return { map, axis: { type: "linear", tickvals, ticktext } };
  }

  // Numbers of a linear axis: written out where that is short.
  function writing(low, high) {
    const most = Math.max(Math.abs(low), Math.abs(high));
    return { exponentformat: most < 1e7 && most >= 1e-4 ? "none" : "power", separatethousands: true };
  }
  // Ticks of a logarithmic axis over [low, high], in powers of ten: all written out.
  function logTicks([low, high]) {
    const decades = high - low, written = low > -5 && high < 6;
    const dtick = decades > 6 ? 2 : decades > 1.5 ? 1 : decades > 0.4 ? Math.log10(2) : undefined;
    return { type: "log", dtick, exponentformat: written ? "none" : "power", separatethousands: true };
  }

  function draw() {
    const dragmode = byId("chart").layout?.dragmode || "zoom";
    const order = [...page.channels.keys()].filter((i) => shown.has(i));
    const heights = order.map(() => (order.length === 1 ? 260 : order.length === 2 ? 180 : order.length === 3 ? 140 : 105));
    const strips = [["events", page.shading, ALARM], ["labelled", page.labelled, LABELLED]].filter(([, one]) => one && one[0].length);
    const inner = strips.length * (STRIP + 4) + heights.reduce((sum, height) => sum + GAP + height, 0) + GAP + SCORE_HEIGHT;
    const traces = [], shapes = [], annotations = [];
    const layout = {
      height: inner + TOP + BOTTOM, margin: { l: 64, r: 96, t: TOP, b: BOTTOM }, font: FONT, showlegend: false,
      hovermode: "x", hoverlabel: { font: { size: 11 } }, dragmode, shapes, annotations, modebar: { orientation: "v" },
      paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    };
    let top = inner;
    const domain = (height) => { const high = top; top -= height; return [top / inner, high / inner]; };
    for (const [name, [starts, ends], colour] of strips) {
      const [low, high] = domain(STRIP);
      shapes.push(...spans([starts, ends], low, high, { fillcolor: colour, line: { width: 1.2, color: colour } }));
      annotations.push({ text: name, xref: "paper", x: 1, xanchor: "left", xshift: 4, yref: "paper", y: (low + high) / 2, showarrow: false, font: { size: 11, color: QUIET } });
      top -= 4;
    }
    shapes.push(...spans(tallSpans(), 0, top / inner, { fillcolor: ALARM_PALE, line: { width: 0.6, color: "rgba(213, 94, 0, 0.45)" } }));
    const head = (name) => {
      top -= GAP;
      annotations.push({ text: `<b>${literal(short(name, 70))}</b>`, xref: "paper", x: 0, xanchor: "left", yref: "paper", y: top / inner, yanchor: "bottom", yshift: 2, showarrow: false, font: { size: 12 } });
    };
    const yAxis = { gridcolor: GRID, zeroline: false, fixedrange: true, nticks: 5, automargin: false, tickfont: { size: 11 } };

    order.forEach((i, row) => {
      const one = channel(i), suffix = row ? String(row + 1) : "", yaxis = `y${suffix}`;
      const observed = thin(one.observed, view), expected = thin(one.expected, view), band = bandPolygons(one.band, view);
      const dots = { x: [], y: [] }, gone = (k) => observed.y[k] === null || observed.y[k] === undefined;
      observed.y.forEach((y, k) => { if (!gone(k) && (observed.y.length <= FEW || (gone(k - 1) && gone(k + 1)))) { dots.x.push(observed.x[k]); dots.y.push(y); } });
      const width = observed.y.length > 900 ? 0.8 : 1.3;
      const common = { yaxis, xaxis: "x", type: "scatter" };
      traces.push(
        { ...common, x: places(band.x), y: band.y, mode: "lines", fill: "toself", fillcolor: BAND, line: { width: 0 }, hoverinfo: "skip" },
        { ...common, x: places(observed.x), y: observed.y, mode: "lines", line: { width, color: INK }, hovertemplate: "observed %{y:.4~g}<extra></extra>" },
        { ...common, x: places(dots.x), y: dots.y, mode: "markers", marker: { size: 3.5, color: INK }, hoverinfo: "skip" },
        { ...common, x: places(expected.x), y: expected.y, mode: "lines", line: { width: width + 0.3, color: EXPECTED }, opacity: 0.85, hovertemplate: "expected %{y:.4~g}<extra></extra>" },
      );
      // The measured values fill the picture; a wild band may leave it.
      let [low, high] = bounds(observed.y);
      const [least, most] = bounds([...band.known, ...expected.y]);
      if (low === Infinity) [low, high] = [least, most];
      if (low === Infinity) [low, high] = [0, 1];
      const reach = 0.5 * (high - low) || 1;
      if (least !== Infinity) { low = Math.max(Math.min(low, least), low - reach); high = Math.min(Math.max(high, most), high + reach); }
      const room = 0.06 * (high - low) || 0.5;
      head(one.name);
      layout[`yaxis${suffix}`] = { ...yAxis, domain: domain(heights[row]), range: [low - room, high + room], ...writing(low, high) };
    });

    const scale = scoreScale(), last = order.length ? String(order.length + 1) : "", limit = page.score.threshold;
    const line = thin(score, view), y = line.y.map((value) => (value === null ? null : scale.map(value)));
    // Where more than the limit decides, a score above it need not be flagged: the events alone are coloured.
    const above = limit === null || !page.score.fixed ? [] : line.y.map((value, k) => (value !== null && value > limit ? y[k] : null));
    const text = line.y.map((value) => (value === null ? "" : digits(value)));
    const common = { yaxis: `y${last}`, xaxis: "x", type: "scatter", x: places(line.x) };
    traces.push(
      { ...common, y, text, mode: line.x.length > FEW ? "lines" : "lines+markers", line: { width: 1, color: QUIET }, marker: { size: 3 }, hovertemplate: "score %{text}<extra></extra>" },
      { ...common, y: above, mode: "lines+markers", line: { width: 1.5, color: ALARM }, marker: { size: 3.5, color: ALARM }, hoverinfo: "skip" },
    );
    const seen = y.filter((value) => value !== null), level = limit === null ? null : scale.map(limit);
    if (level !== null) seen.push(level);
    let range = bounds(scale.log ? seen.map(Math.log10) : seen);
    if (range[0] === Infinity) range = [0, 1];
    const room = 0.08 * (range[1] - range[0]) || 0.5;
    head("score");
    layout[`yaxis${last}`] = { ...yAxis, ...scale.axis, ...(scale.log ? logTicks(range) : writing(...range)), domain: domain(SCORE_HEIGHT), range: [range[0] - room, range[1] + room] };
    if (level !== null) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref: `y${last}`, y0: level, y1: level, line: { color: ALARM, width: 1.5, dash: "dash" } });
      annotations.push({ text: `threshold<br>${digits(limit)}`, align: "left", xref: "paper", x: 1, xanchor: "left", xshift: 4, yref: `y${last}`, y: scale.log ? Math.log10(level) : level, showarrow: false, font: { size: 11, color: "#a84a00" } });
    }
    layout.xaxis = {
      type: dates ? "date" : "linear", range: view.map(place), anchor: `y${last}`, gridcolor: GRID, zeroline: false,
      title: { text: literal(axis.title), font: { size: 12 }, standoff: 8 }, exponentformat: "none", separatethousands: true, tickfont: { size: 11 }, nticks: 10,
      showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "dot", spikecolor: QUIET,
    };
    numberEvents(layout);
    if (chosen) {
      shapes.push({ type: "rect", xref: "x", yref: "paper", x0: place(chosen.span[0]), x1: place(chosen.span[1]), y0: 0, y1: 1, line: { color: ALARM, width: 1.5 } });
    }
    return Plotly.react("chart", traces, layout, CONFIG);
  }

  // The numbers of as many events as have room above the chart, the most severe first.
  function numberEvents(layout) {
    const width = Math.max(byId("chart").clientWidth - 160, 200), perUnit = width / (view[1] - view[0]), taken = [];
    for (const event of (chosen ? [chosen, ...ranked] : ranked).filter(inSight)) {
      const middle = (Math.max(event.span[0], view[0]) + Math.min(event.span[1], view[1])) / 2;
      const x = (middle - view[0]) * perUnit, half = 5 + 4 * String(event.number).length;
      if (taken.some(([other, room]) => Math.abs(x - other) < half + room)) continue;
      taken.push([x, half]);
      layout.annotations.push({
        text: event === chosen ? `<b>${event.number}</b>` : String(event.number), x: place(middle), xref: "x", y: 1, yref: "paper",
        yanchor: "bottom", showarrow: false, captureevents: true, name: `event ${event.number}`, font: { size: 12, color: "#a84a00" },
      });
    }
  }

  // ---- choosing ----

  const buttons = new Map([...document.querySelectorAll("button[data-event]")].map((one) => [Number(one.dataset.event), one]));
  function choose(event) {
    chosen = event;
    view = event ? pad(event.view) : WHOLE;
    const best = event && event.channels.length ? page.channels.findIndex((one) => one.name === page.names[event.channels[0]]) : -1;
    if (best >= 0 && !shown.has(best)) { shown.add(best); tellChannels(); }
    for (const [number, button] of buttons) {
      const own = event !== null && number === event.number;
      button.setAttribute("aria-pressed", String(own));
      button.closest("tr").classList.toggle("chosen", own);
    }
    tellChosen();
    draw();
    const frame = byId("chart").getBoundingClientRect(); // where the table stands below the chart
    if (event && (frame.bottom < 100 || frame.top > innerHeight - 100)) byId("chart").scrollIntoView();
  }
  const pad = ([a, b]) => (b > a ? [a, b] : [a - 1, b + 1]);
  function element(kind, attributes, ...children) {
    const one = Object.assign(document.createElement(kind), attributes);
    one.append(...children);
    return one;
  }
  function tellChosen() {
    const box = byId("chosen");
    box.replaceChildren();
    if (!chosen) return;
    const row = buttons.get(chosen.number).closest("tr");
    box.append(element("h3", { textContent: `Event ${chosen.number}` }), element("p", { textContent: `${row.dataset.told}.` }));
    if (!chosen.channels.length) { box.append(element("p", { className: "note", textContent: "No channel stands out." })); return; }
    const body = element("tbody", {});
    chosen.channels.forEach((channel, i) => {
      const bar = element("span", { className: "amount" });
      bar.style.width = `${(70 * chosen.shares[i]) / chosen.shares[0]}%`;
      const cell = element("td", { className: "share" }, bar, `${(100 * chosen.shares[i]).toFixed(chosen.shares[i] < 0.1 ? 1 : 0)} %`);
      body.append(element("tr", {}, element("th", { scope: "row", textContent: page.names[channel] }), cell));
    });
    const rest = 1 - chosen.shares.reduce((sum, share) => sum + share, 0), left = page.names.length - chosen.channels.length;
    if (left > 0 && rest > 0.0005) body.append(element("tr", {}, element("th", { scope: "row", textContent: `${left} more` }), element("td", { textContent: `${(100 * rest).toFixed(1)} % together` })));
    const heads = element("tr", {}, element("th", { scope: "col", textContent: "Channel" }), element("th", { scope: "col", textContent: "Share of the excess score" }));
    box.append(element("table", {}, element("thead", {}, heads), body));
  }
  function step(by) {
    const order = [...document.querySelectorAll("button[data-event]")].map((one) => page.events.find((event) => event.number === Number(one.dataset.event)));
    const next = order[(chosen ? order.indexOf(chosen) : by > 0 ? -1 : order.length) + by];
    if (!next) return;
    choose(next);
    buttons.get(next.number).scrollIntoView({ block: "nearest" });
  }
  function sortEvents() {
    const body = document.querySelector("#events tbody"), severe = byId("order").value === "severity";
    for (const event of severe ? ranked : page.events) body.append(buttons.get(event.number).closest("tr"));
  }
  function tellChannels() {
    const box = byId("channels");
    if (!box) return;
    const all = Number(box.dataset.all);
    byId("channel-count").textContent = `${shown.size} of ${all} channels shown, ${all - shown.size} not shown`;
    box.querySelectorAll("input").forEach((one, i) => { one.checked = shown.has(i); });
  }

  // ---- the small charts ----

  const SMALL = { font: FONT, margin: { l: 64, r: 20, t: 12, b: 44 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", height: 280 };
  const plain = { gridcolor: GRID, zeroline: false, exponentformat: "power", minexponent: 5 };
  function drawEpochs(id, term) {
    const { epoch, best } = page.epochs, lines = [];
    for (const [part, colour, dash] of [["train", INK, "solid"], ["validation", EXPECTED, "dash"]]) {
      const y = page.epochs[`${part}_${term}`];
      if (y.some((value) => value !== null)) {
        lines.push({ x: epoch, y, name: part === "train" ? "training" : part, mode: epoch.length > 30 ? "lines" : "lines+markers", line: { color: colour, dash, width: 2 }, marker: { size: 5 } });
      }
    }
    const known = lines.flatMap((line) => line.y).filter((value) => value !== null), [low, high] = bounds(known);
    const layout = {
      ...SMALL, hovermode: "x", legend: { orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom" }, margin: { ...SMALL.margin, t: 34 },
      xaxis: { ...plain, title: { text: "epoch" }, nticks: 8, tickformat: "d" }, yaxis: { ...plain, nticks: 6, ...(low > 0 && high > 50 * low ? logTicks([Math.log10(low), Math.log10(high)]) : {}) },
      showlegend: true, shapes: [], annotations: [],
    };
    if (epoch.length < 8) layout.xaxis.dtick = 1;
    if (best) {
      layout.shapes.push({ type: "line", x0: best, x1: best, yref: "paper", y0: 0, y1: 1, line: { color: LABELLED, width: 1.5, dash: "dot" } });
      layout.annotations.push({ text: `epoch ${best}, kept`, x: best, yref: "paper", y: 1, yanchor: "bottom", xanchor: best > epoch[0] + 0.7 * (epoch.at(-1) - epoch[0]) ? "right" : "left", showarrow: false, font: { size: 11, color: "#00694d" } });
      layout.legend = { ...layout.legend, x: 0, xanchor: "left", y: 1.0 };
    }
    Plotly.newPlot(id, lines, layout, { ...CONFIG, displayModeBar: false });
  }
  function drawCalibration() {
    const { counts, edges, threshold, beyond } = page.calibration;
    const width = edges[1] - edges[0], layout = {
      ...SMALL, bargap: 0, hovermode: "closest", shapes: [], annotations: [], showlegend: false, margin: { ...SMALL.margin, t: 28 },
      xaxis: { ...plain, title: { text: "score" }, nticks: 8 }, yaxis: { ...plain, title: { text: "rows" }, nticks: 6, tickformat: ",~d" },
    };
    const bars = {
      type: "bar", x: counts.map((_, i) => (edges[i] + edges[i + 1]) / 2), y: counts, width, marker: { color: "#8c8c8c", line: { width: 0 } },
      text: counts.map((_, i) => `${digits(edges[i])} to ${digits(edges[i + 1])}`), textposition: "none", hovertemplate: "%{text}: %{y}<extra></extra>",
    };
    if (threshold !== null) {
      const late = threshold > edges[0] + 0.6 * (edges.at(-1) - edges[0]);
      layout.shapes.push({ type: "line", x0: threshold, x1: threshold, yref: "paper", y0: 0, y1: 1, line: { color: ALARM, width: 2, dash: "dash" } });
      layout.annotations.push({ text: `threshold ${digits(threshold)}`, x: threshold, yref: "paper", y: 1, yanchor: "bottom", xanchor: late ? "right" : "left", showarrow: false, font: { size: 12, color: "#a84a00" } });
    }
    if (beyond) byId("beyond").textContent = `${beyond.toLocaleString("en")} higher scores, above ${digits(edges.at(-1))}, are not drawn.`;
    Plotly.newPlot("calibration", [bars], layout, { ...CONFIG, displayModeBar: false });
  }

  // ---- wiring ----

  const back = (value) => (typeof value === "string" ? Date.parse(value.includes(" ") ? `${value.replace(" ", "T")}Z` : value) : Number(value));
  for (const [number, button] of buttons) {
    const event = page.events.find((one) => one.number === number);
    button.addEventListener("click", () => choose(event));
  }
  if (byId("order")) { byId("order").addEventListener("change", sortEvents); sortEvents(); }
  byId("whole").addEventListener("click", () => choose(null));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  if (!page.events.length) for (const id of ["previous", "next"]) byId(id).disabled = true;
  if (page.score.knee !== null) {
    byId("log-label").hidden = false;
    byId("log").checked = logarithmic;
    byId("log").addEventListener("change", () => { logarithmic = byId("log").checked; draw(); });
  }
  if (byId("channels")) {
    page.channels.forEach((one, i) => {
      const box = element("input", { type: "checkbox", checked: shown.has(i) });
      box.addEventListener("change", () => { if (box.checked) shown.add(i); else shown.delete(i); tellChannels(); draw(); });
      byId("channels").append(element("label", {}, box, ` ${one.name}`));
    });
  }
  draw().then((chart) => {
    chart.on("plotly_relayout", (change) => {
      const range = change["xaxis.range"] ?? ("xaxis.range[0]" in change ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null);
      if (range) { view = range.map(back); draw(); } else if (change["xaxis.autorange"]) choose(null);
    });
    chart.on("plotly_clickannotation", ({ annotation }) => {
      const event = page.events.find((one) => `event ${one.number}` === annotation.name);
      if (event) choose(event);
    });
  });
  if (page.epochs.epoch.length) {
    drawEpochs("loss", "total");
    if ([...page.epochs.train_kl, ...page.epochs.validation_kl].some((value) => value)) drawEpochs("kl", "kl");
    else byId("kl-box").remove();
  }
  if (page.calibration) drawCalibration();
})();
