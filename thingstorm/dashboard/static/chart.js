// Charts over time: uPlot in the page's colours, with the phases of a scenario shaded and a legend that tells values.
import { html, useEffect, useRef, useState, clock, figure } from "./lib.js";

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The theme that is shown; charts are drawn anew when it changes. */
export function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  useEffect(() => {
    const seen = new MutationObserver(() => setTheme(document.documentElement.dataset.theme));
    seen.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => seen.disconnect();
  }, []);
  return theme;
}

function shade(phases) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const phase of phases.current || []) {
      const from = Math.max(bbox.left, plot.valToPos(phase.start / 1000, "x", true));
      const to = Math.min(bbox.left + bbox.width, plot.valToPos(phase.end / 1000, "x", true));
      if (to <= from) continue;
      ctx.fillStyle = css(phase.kind.startsWith("attack") ? "--attack-shade" : phase.kind.startsWith("fault") ? "--undecided-shade" : "--uptick-shade");
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.restore();
  };
}

function names(phases) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillStyle = css("--dim");
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const phase of phases.current || []) {
      const from = Math.max(bbox.left, plot.valToPos(phase.start / 1000, "x", true));
      const to = Math.min(bbox.left + bbox.width, plot.valToPos(phase.end / 1000, "x", true));
      if (to - from > ctx.measureText(phase.id).width + 6 * devicePixelRatio) ctx.fillText(phase.id, from + 4 * devicePixelRatio, bbox.top + 3 * devicePixelRatio);
    }
    ctx.restore();
  };
}

/** Data as uPlot draws it: series that are stacked lie on those before them. */
function drawn(xs, series) {
  const sums = xs.map(() => 0);
  return [xs, ...series.map((one) => one.stack
    ? one.values.map((value, at) => (sums[at] += value || 0))
    : one.values)];
}

function options({ series, phases, width, height, format, sync, min, onCursor }) {
  const grid = { stroke: css("--grid"), width: 1 }, font = "11px system-ui, sans-serif";
  const axis = { stroke: css("--dim"), grid, ticks: { show: false }, font };
  const stacked = series.map((one, at) => (one.stack ? at + 1 : 0)).filter(Boolean);
  return {
    width, height, padding: [10, 26, 0, 0],
    cursor: { sync: sync ? { key: sync } : undefined, y: false, points: { size: 5 }, drag: { setScale: false } },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_plot, low, high) => [0, Math.max(min || 1, high * 1.12)] } },
    axes: [
      { ...axis, size: 26, space: 70, values: (_plot, ticks) => ticks.map((tick) => clock(tick * 1000)) },
      { ...axis, size: 46, space: 34, values: (_plot, ticks) => ticks.map((tick) => format(tick)) },
    ],
    bands: stacked.slice(1).map((at, place) => ({ series: [at, stacked[place]] })),
    series: [{}, ...series.map((one) => ({
      label: one.label, stroke: css(one.color), width: one.stack ? 0 : 1.8, dash: one.dash,
      fill: one.stack ? css(one.color) + "b8" : one.fill ? css(one.color) + "30" : undefined,
      points: { show: false }, spanGaps: false,
      paths: one.bars ? uPlot.paths.bars({ size: [0.9, 12] }) : undefined,
    }))],
    hooks: { drawClear: [shade(phases)], draw: [names(phases)], setCursor: [(plot) => onCursor(plot.cursor.idx)] },
  };
}

/**
 * series: [{label, color: "--c1", values, stack?, dash?, fill?, quiet?}], one value for each of `xs` (seconds).
 */
export function TimeChart({ xs, series, phases = [], height = 180, format = figure, unit = "", label, sync, min }) {
  const box = useRef(null), plot = useRef(null), shaded = useRef(phases);
  const [cursor, setCursor] = useState(null);
  const theme = useTheme();
  shaded.current = phases;
  const shape = JSON.stringify(series.map((one) => [one.label, one.color, Boolean(one.stack)]));

  useEffect(() => {
    const made = new uPlot(options({
      series, phases: shaded, width: box.current.clientWidth || 300, height, format, sync, min, onCursor: setCursor,
    }), drawn(xs, series), box.current);
    plot.current = made;
    const sized = new ResizeObserver(() => {
      const width = box.current ? box.current.clientWidth : 0;
      if (width && width !== made.width) made.setSize({ width, height });
    });
    sized.observe(box.current);
    return () => { sized.disconnect(); made.destroy(); plot.current = null; };
  }, [shape, theme, height]);

  useEffect(() => { if (plot.current) plot.current.setData(drawn(xs, series)); });

  const at = cursor === null || cursor === undefined || cursor >= xs.length ? xs.length - 1 : cursor;
  return html`<figure class="chart">
    <figcaption class="legend">
      ${series.filter((one) => !one.quiet).map((one) => html`<span key=${one.label}>
        <i class=${one.dash ? "dash" : ""} ref=${(mark) => { if (mark) mark.style.setProperty("--mark", `var(${one.color})`); }}></i>${one.label}
        <b>${at >= 0 ? format(one.values[at]) : "–"}${unit}</b></span>`)}
      ${cursor !== null && cursor !== undefined && xs[at] ? html`<time>${clock(xs[at] * 1000)}</time>` : null}
    </figcaption>
    <div ref=${box} role="img" aria-label=${label}></div>
  </figure>`;
}
