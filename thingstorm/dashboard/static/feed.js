// The websocket: what views want is sent, frames come back and go to those who show them.
import { useEffect, useState } from "./lib.js";

const wanted = new Map(); // topic -> set of callbacks
const frames = new Map(); // topic -> its newest frame
const watchers = new Set();
let socket = null, pause = 500, told = "", live = false;

function address() {
  const url = new URL("page/feed", location.href.split("#")[0]);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

function setLive(now) {
  if (live === now) return;
  live = now;
  for (const watch of watchers) watch(live);
}

function connect() {
  socket = new WebSocket(address());
  socket.onopen = () => { pause = 500; told = ""; setLive(true); tell(); };
  socket.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    if (!wanted.has(frame.key)) return;
    frames.set(frame.key, frame);
    for (const take of wanted.get(frame.key)) take(frame);
  };
  socket.onclose = () => {
    setLive(false);
    setTimeout(connect, pause);
    pause = Math.min(8000, pause * 2);
  };
}

function tell() {
  const list = JSON.stringify({ want: [...wanted.keys()] });
  if (socket && socket.readyState === WebSocket.OPEN && list !== told) { told = list; socket.send(list); }
}

/** The newest frame of a topic while a view shows it. */
export function useTopic(topic) {
  const [frame, setFrame] = useState(topic ? frames.get(topic) : null);
  useEffect(() => {
    if (!topic) { setFrame(null); return undefined; }
    if (!wanted.has(topic)) wanted.set(topic, new Set());
    wanted.get(topic).add(setFrame);
    setFrame(frames.get(topic) || null);
    tell();
    return () => {
      const takers = wanted.get(topic);
      takers.delete(setFrame);
      if (!takers.size) { wanted.delete(topic); frames.delete(topic); queueMicrotask(tell); }
    };
  }, [topic]);
  return frame && frame.key === topic ? frame : null;
}

export function useLive() {
  const [now, setNow] = useState(live);
  useEffect(() => { watchers.add(setNow); setNow(live); return () => watchers.delete(setNow); }, []);
  return now;
}

/** Wants sent again: the server answers at once instead of within the second. */
export function refresh() { told = ""; tell(); }

/** Topic and arguments, in one order always. */
export function topic(name, args = {}) {
  const query = Object.entries(args).filter(([, value]) => value !== "" && value !== undefined && value !== null)
    .sort().map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join("&");
  return query ? `${name}?${query}` : name;
}

connect();
