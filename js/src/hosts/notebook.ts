/** The viewer in a notebook. Unlike the page of its own, it can download through the kernel. */

import { CommDownloads } from "../client/commdownload.ts";
import widget, { type ReadScript, type Widget } from "./widget.ts";

export default (css: string, store: string, readScript: ReadScript): Widget => widget(css, store, readScript, (send) => new CommDownloads(send));
