// The house from above: a stage, and seats in arcs around it. Drawn, never loaded.

const SVG = "http://www.w3.org/2000/svg";
const ROWS = 9;
const FIRST_ROW = 74;
const ROW_STEP = 24;
const SEAT_STEP = 21;
/** Seats leave two stairways free, as in Epidaurus. */
const STAIRS = [Math.PI / 3, (2 * Math.PI) / 3];
const STAIR_WIDTH = 15;

/** Fills every `[data-theatre]` of the page; its value is the share of lit seats, from 0 to 1. */
export function drawTheatres(): void {
  for (const place of document.querySelectorAll<HTMLElement>("[data-theatre]")) {
    place.replaceChildren(theatre(Number(place.dataset["theatre"] || 0)));
  }
}

function theatre(share: number): SVGSVGElement {
  const radius = FIRST_ROW + ROWS * ROW_STEP;
  const svg = node("svg", { viewBox: `${-radius} -46 ${2 * radius} ${radius + 46}`, class: "theatre", "aria-hidden": "true" });
  svg.append(node("circle", { class: "light", r: 60 }));
  svg.append(node("circle", { class: "stage", r: 17 }));
  for (let row = 0; row < ROWS; row++) {
    const away = FIRST_ROW + row * ROW_STEP;
    const seats = Math.floor((Math.PI * away) / SEAT_STEP);
    for (let seat = 0; seat <= seats; seat++) {
      const angle = (Math.PI * seat) / seats;
      if (STAIRS.some((stair) => Math.abs(angle - stair) * away < STAIR_WIDTH)) continue;
      const lit = scatter(row * 97 + seat) < share;
      svg.append(node("circle", {
        class: lit ? "seat lit" : "seat",
        cx: (away * Math.cos(angle)).toFixed(1),
        cy: (away * Math.sin(angle)).toFixed(1),
        r: 5.4,
      }));
    }
  }
  return svg as SVGSVGElement;
}

/** The same seats are taken at every visit. */
function scatter(n: number): number {
  const x = Math.sin(n * 12.9898) * 43758.5453;
  return x - Math.floor(x);
}

function node(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
