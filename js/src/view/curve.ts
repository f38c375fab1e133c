/** A curve as paths: a line through its points; where they are so many that it were a surface, a band from least to most and the middle in it. */

/** Points of a pixel's width. */
const DENSE_POINTS_PER_PX = 1.5;
/** What one place of the band and of its middle is of, px. */
const COLUMN_PX = 2;

export interface CurvePaths {
  line: string;
  /** "" where the line goes through all points. */
  band: string;
}

/** Points that are drawn as one: the sums of their places, how many they are, and the least and the most. */
interface CurvePlace {
  x: number;
  y: number;
  of: number;
  low: number;
  high: number;
}

/** `px` and `py` give where a point stands. What is no number breaks a curve; so does a step that begins anew. */
export function curvePaths(x: Float64Array, value: Float64Array, px: (x: number) => number, py: (value: number) => number, width: number): CurvePaths {
  const dense = x.length > DENSE_POINTS_PER_PX * width;
  const runs: CurvePlace[][] = [];
  let last = Infinity;
  let column = -1;
  for (let i = 0; i < x.length; i++) {
    const isLost = !Number.isFinite(value[i]);
    if (isLost || x[i] < last) last = Infinity;
    if (isLost || Number.isNaN(x[i])) continue;
    const [left, top] = [px(x[i]), py(value[i])];
    if (last === Infinity) {
      runs.push([]);
      column = -1;
    }
    last = x[i];
    const run = runs.at(-1)!;
    if (dense && Math.floor(left / COLUMN_PX) === column) {
      const place = run.at(-1)!;
      place.x += left;
      place.y += top;
      place.of++;
      if (top > place.low) place.low = top;
      if (top < place.high) place.high = top;
    } else run.push({ x: left, y: top, of: 1, low: top, high: top });
    column = Math.floor(left / COLUMN_PX);
  }
  const middle = (run: CurvePlace[]): string => pathOf(run, ({ y, of }) => y / of);
  return {
    // A point alone is a dot.
    line: runs.map((run) => (run.length === 1 ? `${middle(run)}h0` : middle(run))).join(""),
    band: dense ? runs.filter((run) => run.length > 1).map((run) => `${pathOf(run, ({ high }) => high)}${pathOf(run.toReversed(), ({ low }) => low).replace("M", "L")}z`).join("") : "",
  };
}

function pathOf(run: CurvePlace[], y: (place: CurvePlace) => number): string {
  return `M${run.map((place) => `${roundToTenth(place.x / place.of)} ${roundToTenth(y(place))}`).join("L")}`;
}

/** A third of the time of `toFixed`. */
function roundToTenth(px: number): number {
  return Math.round(px * 10) / 10;
}
