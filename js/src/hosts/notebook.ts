/** The viewer in a notebook. Unlike the page of its own, it can download through the kernel. */

import { CommDownloads } from "../client/commdownload.ts";
import widget, { type Widget } from "./widget.ts";

export default (css: string, store: string, readChartCode: () => Promise<string>): Widget => widget(css, store, readChartCode, (send) => new CommDownloads(send));
